"""The measurements, one module per part of the paper; importing this registers all of them."""

from editverdict.pipeline.measures import (
    amplification,
    answers,
    collapse,
    correlation,
    identities,
    perturbation,
    smallest,
)

__all__ = ["amplification", "answers", "collapse", "correlation", "identities", "perturbation", "smallest"]
