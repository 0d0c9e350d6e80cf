"""The measurements, one module per part of the paper; importing this registers all of them."""

from editverdict.pipeline.measures import amplification, answers, collapse, identities, perturbation, smallest
from editverdict.pipeline.measures import encoder_decoder as encoder_decoder

__all__ = ["amplification", "answers", "collapse", "identities", "perturbation", "smallest"]
