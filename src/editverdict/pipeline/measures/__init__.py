"""The measurements, one module per part of the paper; importing this registers all of them."""

from editverdict.pipeline.measures import (
    accumulation,
    amplification,
    answers,
    beside,
    collapse,
    continuity,
    correlation,
    identities,
    linear,
    perturbation,
    pretrained,
    smallest,
    stability,
    universal,
)

__all__ = [
    "accumulation",
    "amplification",
    "answers",
    "beside",
    "collapse",
    "continuity",
    "correlation",
    "identities",
    "linear",
    "perturbation",
    "pretrained",
    "smallest",
    "stability",
    "universal",
]
