"""What several rooms' tests share: data beside the checkout, a tiny model made here, and the real default model."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from editverdict.cli import main
from editverdict.models.fingerprint import hash_weights
from editverdict.models.sites import Sites
from editverdict.models.sources import LoadedModel, ModelIdentity, load_model
from editverdict.schema.library import SpecLibrary
from editverdict.schema.sources import FolderSource
from editverdict.schema.specs import ArchitectureSpec, LayerPlan, ModelSpec
from editverdict.store.packaged import PackageFetchError

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = "EDITVERDICT_REQUIRE_SHARED"
LLAMA = ArchitectureSpec(
    id="llama",
    model_types=("llama",),
    layers="model.layers",
    attention="model.layers.{}.self_attn",
    mlp="model.layers.{}.mlp",
    down_proj="model.layers.{}.mlp.down_proj",
    final_norm="model.norm",
    lm_head="lm_head",
)
SENTENCES = [
    "The capital of France is Paris. The capital of Italy is Rome.",
    "Ada wrote programs before there were machines to run them on. She lived in London.",
    "Seven ships sailed from Lisbon to Goa; three of them came back.",
    "It is known that a river flows into the sea. Therefore, water is a liquid.",
]


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


def absent(reason: str) -> NoReturn:
    """Skip a test for want of what is not here; a failure where a complete check is asked for."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"{reason}, and {REQUIRED} forbids to skip", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Nothing here outlives a power cut, and a sixth of the time of some tests was waiting for one not to matter.

    Of this process alone: sessions in processes of their own force their files to disk, as they do for users.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


@pytest.fixture(scope="session")
def shared(pytestconfig: pytest.Config) -> Callable[..., Path]:
    """Path of a file or folder beside the checkout (``EDITVERDICT_SHARED``, default ``../shared``)."""

    def path(*parts: str) -> Path:
        found = pytestconfig.rootpath.joinpath(os.environ.get("EDITVERDICT_SHARED", "../shared"), *parts)
        if not found.exists():
            absent(f"{found} is not here (EDITVERDICT_SHARED)")
        return found

    return path


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of 400 tokens: whatever is not plain English falls apart into bytes."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<pad>", "<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", padding_side="right", model_max_length=256
    )


@pytest.fixture
def tiny(tiny_tokenizer: PreTrainedTokenizerFast) -> LoadedModel:
    """A random Llama of four layers, new for every test; its weights are wide, so that its answers differ."""
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        pad_token_id=tiny_tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = LlamaForCausalLM(config).eval().requires_grad_(False)
    plan = LayerPlan(edit=1, measured=(0, 1, 2, 3), inner=(0, 1))
    spec = ModelSpec(id="tiny", source=FolderSource(path="nowhere"), architecture="llama", layers=plan)
    identity = ModelIdentity(hash_weights(model), "tokenizer", "", "float32", "cpu", "sdpa", "sites")
    return LoadedModel(spec, model, tiny_tokenizer, Sites(model, LLAMA), identity, torch.device("cpu"))


@pytest.fixture(scope="session")
def smollm() -> Iterator[LoadedModel]:
    """The default model, out of its package; whoever uses it leaves its weights as they were."""
    library = SpecLibrary.load(ROOT / "specs")
    spec = library.models["smollm2-135m"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        loaded = load_model(spec, library.architectures[spec.architecture], torch.device("cpu"), library.models.get)
    except PackageFetchError as error:
        absent(f"the default model cannot be fetched here: {error}")
    yield loaded
    torch.set_num_threads(threads)
    assert hash_weights(loaded.model) == loaded.identity.weights, "a test left the default model changed"


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run ``editverdict`` in a folder of its own, within this process; an exception that gets out fails the test."""

    def run(*words: str | Path) -> Done:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["editverdict", *map(str, words)])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        assert isinstance(code, int)
        return Done(code, *capsys.readouterr())

    return run
