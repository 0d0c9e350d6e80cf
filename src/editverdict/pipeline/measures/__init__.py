"""The measurements, one module per part of the paper; importing this registers all of them."""

from editverdict.pipeline.measures import (
    accumulation,
    amplification,
    answers,
    beside,
    collapse,
    identities,
    perturbation,
    smallest,
    stability,
)

__all__ = [
    "accumulation",
    "amplification",
    "answers",
    "beside",
    "collapse",
    "identities",
    "perturbation",
    "smallest",
    "stability",
]
