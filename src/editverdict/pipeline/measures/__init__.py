"""The measurements, one module per part of the paper; importing this registers all of them."""

from editverdict.pipeline.measures import (
    amplification,
    answers,
    collapse,
    continuity,
    identities,
    linear,
    perturbation,
    pretrained,
    smallest,
    universal,
)

__all__ = [
    "amplification",
    "answers",
    "collapse",
    "continuity",
    "identities",
    "linear",
    "perturbation",
    "pretrained",
    "smallest",
    "universal",
]
