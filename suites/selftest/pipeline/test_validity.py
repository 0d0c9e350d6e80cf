"""Running a few texts again: equal to the batched passes of every family, and what a witness keeps of a pass."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from editverdict.capture.passes import full_pass, row_texts
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.geometry.checks import CheckOutcome
from editverdict.geometry.recomputed import check_reproduced, check_spectrum
from editverdict.models.sources import LoadedModel, load_model
from editverdict.numerics.spectrum import sample_spectrum
from editverdict.pipeline.setup import load_library
from editverdict.pipeline.validity import Finding, results, states_again
from editverdict.pipeline.witness import Witness, WitnessRecord, chosen_texts, prefix_hashes, text_hashes
from suites.selftest.pipeline.sessions import ROOT

FAMILIES = ("rehearsal-llama", "rehearsal-mistral", "rehearsal-qwen2", "rehearsal-qwen3", "rehearsal-gpt2")
LAYERS = (0, 1, 2, 3)


def toy(model_id: str) -> LoadedModel:
    library = load_library([ROOT / "specs"])
    spec = library.models[model_id]
    return load_model(spec, library.architectures[spec.architecture], torch.device("cpu"), library.models.__getitem__)


def batched(loaded: LoadedModel, own: TextSample) -> dict[int, torch.Tensor]:
    """Hidden states by padded batches, put into the order of the texts."""
    batches = own.batches(0, loaded.device)
    rows: dict[int, list[torch.Tensor]] = {layer: [] for layer in LAYERS}

    def visit(batch: TokenBatch, seen: dict[tuple[str, int], torch.Tensor]) -> None:
        for layer, kept in rows.items():
            kept.append(seen["h", layer][batch.keep].clone())

    full_pass(loaded, batches, visit, outputs=LAYERS)
    owner = row_texts(batches)
    order = torch.cat([(owner == text).nonzero().flatten() for text in range(own.n_texts)])
    return {layer: torch.cat(parts)[order] for layer, parts in rows.items()}


def sample(seed: int, texts: int = 30) -> TextSample:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 30, (texts,), generator=generator).tolist()
    ids = tuple(tuple(torch.randint(5, 40_000, (n,), generator=generator).tolist()) for n in lengths)
    return TextSample(ids, 4)


@pytest.fixture(scope="module")
def llama() -> LoadedModel:
    return toy("rehearsal-llama")


# --------------------------------------------------------------------------- no false alarms
@pytest.mark.parametrize("family", FAMILIES)
def test_texts_run_alone_equal_the_padded_batches(family: str) -> None:
    loaded = toy(family)
    for seed in (1, 2, 3):
        own = sample(seed)
        stored, again = batched(loaded, own), states_again(loaded, own.ids, LAYERS)
        found = check_reproduced(stored, again)
        assert found.ok, found.detail
    assert not check_reproduced({**stored, 2: stored[3], 3: stored[2]}, again).ok
    with torch.no_grad():
        loaded.sites.down_proj(1).weight[0] *= 1.1  # one row of one layer is another model
    assert not check_reproduced(stored, states_again(loaded, own.ids, LAYERS)).ok


def test_nothing_is_left_on_the_model(llama: LoadedModel) -> None:
    states_again(llama, [(5, 6, 7)], LAYERS)
    assert not any(module._forward_hooks for module in llama.model.modules())


# --------------------------------------------------------------------------- the witness
def test_a_witness_keeps_sums_states_and_hashes(llama: LoadedModel) -> None:
    own = sample(7)
    witness, seen_rows = Witness(own, LAYERS), []

    def visit(batch, seen) -> None:
        witness.see(batch, seen)
        seen_rows.append(seen["h", 2][batch.keep].clone())

    full_pass(llama, own.batches(0, llama.device), visit, outputs=LAYERS)
    told = WitnessRecord.read(witness.tensors())
    x = torch.cat(seen_rows)
    assert check_spectrum(sample_spectrum(x), told.sums[2]).ok
    assert told.sums[2].n == own.n_tokens == len(told.samples)
    assert len(told.texts) == len(set(told.texts.tolist())) == own.n_texts
    texts = chosen_texts(own.n_texts)
    assert sorted(set(told.text.tolist())) == texts
    assert len(told.text) == sum(len(own.ids[text]) - 1 for text in texts) == len(told.states[2])
    with pytest.raises(ValueError, match="no witness"):
        WitnessRecord.read({"0.sigma": x})


def test_chosen_texts_are_spread_over_the_sample() -> None:
    assert chosen_texts(2000, 8) == [0, 286, 571, 857, 1142, 1428, 1713, 1999]
    assert chosen_texts(3, 8) == [0, 1, 2]
    assert chosen_texts(1, 8) == [0]


def test_hashes_tell_prefixes_apart() -> None:
    ids = torch.tensor([[1, 2, 3], [1, 2, 4], [2, 1, 3], [0, 1, 2]])
    hashes = prefix_hashes(ids)
    assert torch.equal(hashes[0, :2], hashes[1, :2])
    assert len(set(hashes.flatten().tolist())) == 12 - 2
    # Padding is not part of a text: the same text is the same beside longer ones.
    own = TextSample(((5, 6, 7), (5, 6, 7), (5, 6, 7, 8, 9, 10)), 1)
    texts, samples = text_hashes(own.batches(0, torch.device("cpu"), tokens_per_batch=4))
    together = text_hashes(own.batches(0, torch.device("cpu")))
    assert sorted(texts.tolist()) == sorted(together[0].tolist()) and len(set(texts.tolist())) == 2
    assert sorted(samples.tolist()) == sorted(together[1].tolist())
    assert len(samples) == 2 + 2 + 5 and len(set(samples.tolist())) == 5  # a prefix of a longer text is a repetition
    many = prefix_hashes(torch.arange(200_000).reshape(-1, 2))
    assert len(set(many.flatten().tolist())) == 200_000


# --------------------------------------------------------------------------- gathering
def test_a_check_holds_where_it_holds_everywhere() -> None:
    fine = Finding("layer 1", CheckOutcome("a", True, "fine"))
    bad = Finding("layer 2", CheckOutcome("a", False, "off"))
    other = dataclasses.replace(fine.outcome, name="b")
    made = results([fine, bad, Finding("layer 3", other)])
    assert not made["a"].ok and made["a"].detail == "layer 2: off"
    assert made["b"].ok and made["b"].detail == "layer 3: fine"
    assert "2 places" in results([fine, fine])["a"].detail
