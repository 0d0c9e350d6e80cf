"""Fingerprints: one bit changes them, another name changes them, loading again does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from editverdict.models.fingerprint import hash_template, hash_tensors, hash_text, hash_tokenizer, hash_weights
from editverdict.models.sources import LoadedModel


def flip_one_bit(parameter: torch.Tensor) -> None:
    with torch.no_grad():
        parameter.view(torch.int32).view(-1)[7] ^= 1


def test_one_bit(tiny: LoadedModel) -> None:
    before = hash_weights(tiny.model)
    for name in ("model.embed_tokens.weight", "model.layers.3.mlp.down_proj.weight", "model.norm.weight"):
        parameter = tiny.model.get_parameter(name)
        flip_one_bit(parameter)
        assert hash_weights(tiny.model) != before
        flip_one_bit(parameter)
        assert hash_weights(tiny.model) == before


def test_loading_again_changes_nothing(tiny: LoadedModel, tmp_path: Path) -> None:
    tiny.model.save_pretrained(tmp_path)
    again = LlamaForCausalLM.from_pretrained(tmp_path)
    assert hash_weights(again) == hash_weights(tiny.model) == hash_weights(tiny.model)


def test_persistent_buffers_count() -> None:
    module = nn.BatchNorm1d(3)
    before = hash_weights(module)
    module.running_mean[1] = 0.5
    assert hash_weights(module) != before
    module.running_mean[1] = 0.0
    module.register_buffer("scratch", torch.zeros(2), persistent=False)
    assert hash_weights(module) == before


def test_tied_tensors_count_once() -> None:
    module = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    module["b"].weight = module["a"].weight
    assert hash_weights(module) == hash_tensors([("a.weight", module["a"].weight)])


def test_names_types_shapes_and_layout() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    base = hash_tensors([("w", tensor)])
    assert hash_tensors([("w", tensor.T.contiguous().T)]) == base  # strides are no part of the value
    assert hash_tensors([("w", tensor.clone().requires_grad_())]) == base
    others = [
        [("v", tensor)],
        [("w", tensor.reshape(3, 2))],
        [("w", tensor.double())],
        [("w", tensor.int())],
        [("w", tensor), ("x", tensor)],
        [("w", -0.0 * tensor)],
    ]
    assert len({base, *(hash_tensors(other) for other in others)}) == 7
    for dtype in (torch.bfloat16, torch.float16, torch.bool, torch.int64):
        assert len(hash_tensors([("w", torch.zeros(3, dtype=dtype)), ("s", torch.zeros((), dtype=dtype))])) == 64


def test_tokenizer(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    before = hash_tokenizer(tiny_tokenizer)
    tiny_tokenizer.save_pretrained(tmp_path)
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert hash_tokenizer(again) == before
    again(["a", "some longer text"], padding=True, truncation=True, max_length=5)
    assert hash_tokenizer(again) == before, "how a batch was padded is no part of the tokenizer"
    again.add_tokens(["<new>"])
    assert hash_tokenizer(again) != before


def test_tokenizer_without_a_backend() -> None:
    class Slow:
        """Has a vocabulary and nothing else."""

        def __init__(self, **vocabulary: int) -> None:
            self._vocabulary = vocabulary

        def get_vocab(self) -> dict[str, int]:
            return self._vocabulary

    one: Any = Slow(a=0, b=1)
    same: Any = Slow(b=1, a=0)
    other: Any = Slow(a=1, b=0)
    assert hash_tokenizer(one) == hash_tokenizer(same) != hash_tokenizer(other)


@pytest.mark.parametrize("template", [None, "", "{{ messages }}", {"default": "{{ messages }}"}])
def test_chat_template(template: Any) -> None:
    class WithTemplate:
        """Has a chat template."""

        def __init__(self, chat_template: Any) -> None:
            self.chat_template = chat_template

    holder: Any = WithTemplate(template)
    other: Any = WithTemplate("{{ other }}")
    assert hash_template(holder) == hash_template(holder) != hash_template(other)
    assert hash_text("a") != hash_text("b")
