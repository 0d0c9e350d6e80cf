"""Edits on the tiny model, and resources that compute everything on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from editverdict.data.records import EditRecord
from editverdict.editors import Resources, Step
from editverdict.models.fingerprint import hash_weights
from editverdict.models.sites import Sites
from editverdict.models.sources import LoadedModel, ModelIdentity
from editverdict.schema.library import SpecLibrary
from editverdict.schema.sources import FolderSource
from editverdict.schema.specs import LayerPlan, ModelSpec

SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_inner": 64, "n_positions": 256},
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 3, "num_decoder_layers": 3, "num_heads": 4},
}


@pytest.fixture
def resources() -> Callable[..., Resources]:
    """Resources without a store: white covariance, one prefix, values computed anew."""

    def make(**changes: Any) -> Resources:
        parts: dict[str, Any] = {
            "covariance": lambda _layer: torch.eye(64, dtype=torch.float64),
            "prefixes": lambda count, _tokens: ["It is so"][:count],
            "values": lambda _fields, edits, compute: [compute([edit])[0] for edit in edits],
            "step_of": lambda _method, _records: Step(),
            "encoder": lambda: None,
        }
        return Resources(**(parts | changes))

    return make


@pytest.fixture
def edits() -> list[EditRecord]:
    """Three edits of different subjects."""
    facts = [
        ("The capital of France is", "France", "Rome"),
        ("Ada lived in", "Ada", "Lisbon"),
        ("Seven ships sailed from Goa to", "Goa", "a red sea"),
    ]
    return [
        EditRecord(id=f"e{i}", prompt=prompt, subject=subject, target_new=target)
        for i, (prompt, subject, target) in enumerate(facts)
    ]


@pytest.fixture
def tiny_of(tiny_tokenizer: PreTrainedTokenizerFast, pytestconfig: pytest.Config) -> Callable[[str], LoadedModel]:
    """Model type -> a random model of three layers by the real table of edit sites: ``gpt2``, ``t5``."""

    def make(model_type: str) -> LoadedModel:
        architectures = SpecLibrary.load(pytestconfig.rootpath / "specs").architectures.values()
        (table,) = [one for one in architectures if model_type in one.model_types]
        special = {name: getattr(tiny_tokenizer, name) for name in ("eos_token_id", "pad_token_id")}
        config = AutoConfig.for_model(
            model_type, vocab_size=len(tiny_tokenizer), initializer_range=0.2, **special, **SIZES[model_type]
        )
        config.decoder_start_token_id = tiny_tokenizer.pad_token_id
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(12)
            model = kind.from_config(config).eval().requires_grad_(False)
        plan = LayerPlan(edit=1, measured=(0, 1, 2), inner=(0, 1))
        spec = ModelSpec(
            id=f"tiny-{model_type}", source=FolderSource(path="nowhere"), architecture=table.id, layers=plan
        )
        identity = ModelIdentity(hash_weights(model), "tokenizer", "", "float32", "cpu", "sdpa", "sites")
        return LoadedModel(spec, model, tiny_tokenizer, Sites(model, table), identity, torch.device("cpu"))

    return make


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[Step], Step]:
    """A step as it comes back from a file."""

    def through(step: Step) -> Step:
        save_file({name: tensor.contiguous() for name, tensor in step.tensors.items()}, tmp_path / "step.safetensors")
        return Step(load_file(tmp_path / "step.safetensors"), dict(step.info), step.edits)

    return through
