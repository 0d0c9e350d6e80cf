"""Models: where they come from, where their edit sites are, and what identifies them."""

from editverdict.models.fingerprint import hash_tensors, hash_text, hash_weights
from editverdict.models.sites import SiteError, Sites
from editverdict.models.sources import LoadedModel, ModelIdentity, ModelLoadError, load_model, source_folder

__all__ = [
    "LoadedModel",
    "ModelIdentity",
    "ModelLoadError",
    "SiteError",
    "Sites",
    "hash_tensors",
    "hash_text",
    "hash_weights",
    "load_model",
    "source_folder",
]
