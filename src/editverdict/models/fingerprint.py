"""Hashes that identify a model: weights, tokenizer, chat template."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The raw bytes of a tensor, row-major, whatever its dtype and device."""
    flat = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
    return memoryview(flat.numpy().data)


def hash_tensors(named: Iterable[tuple[str, Tensor]]) -> str:
    """sha256 over names, dtypes, shapes and bytes, in the order given."""
    digest = hashlib.sha256()
    for name, tensor in named:
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def hash_weights(model: nn.Module) -> str:
    """sha256 of all parameters and persistent buffers; tied tensors count once."""
    kept = model.state_dict().keys()
    buffers = [(name, buffer) for name, buffer in model.named_buffers() if name in kept]
    return hash_tensors(sorted([*model.named_parameters(), *buffers], key=lambda named: named[0]))


def hash_text(text: str) -> str:
    """sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 of what decides token ids: vocabulary, merges, normalisers, special tokens; not padding or truncation."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return hash_text(json.dumps(sorted(tokenizer.get_vocab().items())))
    state = json.loads(backend.to_str())
    state.pop("padding", None)
    state.pop("truncation", None)
    return hash_text(json.dumps(state, sort_keys=True))


def hash_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 of the chat template ('' if there is none)."""
    template = getattr(tokenizer, "chat_template", None)
    return hash_text(template if isinstance(template, str) else json.dumps(template, sort_keys=True, default=str))
