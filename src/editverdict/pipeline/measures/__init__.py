"""The measurements, one module per part of the paper; importing this registers all of them."""

from editverdict.pipeline.measures import (
    accumulation,
    amplification,
    answers,
    beside,
    capability,
    collapse,
    continuity,
    correlation,
    encoder_decoder,
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
    "capability",
    "collapse",
    "continuity",
    "correlation",
    "encoder_decoder",
    "identities",
    "linear",
    "perturbation",
    "pretrained",
    "smallest",
    "stability",
    "universal",
]
