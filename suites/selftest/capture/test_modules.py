"""States of an encoder-decoder's modules: where they are read, what the decoder reads, and what cannot be measured."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from editverdict.capture.modules import measured_blocks, module_pass, module_rows, module_sites, shifted
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.models.sites import SiteError, Sites
from editverdict.models.sources import LoadedModel
from suites.selftest.models.toys import assert_untouched, toy

TEXTS = ((5, 9, 12, 7, 30), (8, 4), (11, 3, 3, 19, 21, 40, 2, 6), (15, 16, 17))


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return toy("rehearsal-t5")


@pytest.fixture(scope="module")
def batches(loaded: LoadedModel) -> list[TokenBatch]:
    return TextSample(TEXTS, 2).batches(int(loaded.tokenizer.pad_token_id), loaded.device, tokens_per_batch=12)


def test_modules_are_called_what_the_paper_calls_them(loaded: LoadedModel) -> None:
    sites = module_sites(loaded, measured_blocks(loaded))
    assert list(sites) == [
        f"{side}{block}-FFN-{part}" for side in ("Enc", "Dec") for block in (2, 3) for part in ("wi", "act", "wo")
    ]
    assert {site.part: (site.width, site.rank) for site in sites.values()} == {
        "wi": (96, 48), "act": (96, 96), "wo": (48, 48)
    }  # fmt: skip
    names = {id(module): name for name, module in loaded.model.named_modules()}
    assert names[id(sites["Enc3-FFN-wi"].module)] == "encoder.block.3.layer.1.DenseReluDense.wi"
    assert names[id(sites["Dec2-FFN-act"].module)] == "decoder.block.2.layer.2.DenseReluDense.wo"


def test_without_blocks_in_the_spec_the_last_two_are_measured(loaded: LoadedModel) -> None:
    bare = dataclasses.replace(loaded, spec=loaded.spec.model_copy(update={"module_blocks": ()}))
    other = dataclasses.replace(loaded, spec=loaded.spec.model_copy(update={"module_blocks": (0,)}))
    assert measured_blocks(bare) == (2, 3) and measured_blocks(other) == (0,)


def by_hand(loaded: LoadedModel, ids: tuple[int, ...]) -> dict[str, Tensor]:
    """What the modules of block 3 put out for one text, by the model's own forward pass with the text as its labels."""
    model = loaded.model
    found: dict[str, Tensor] = {}
    text = torch.tensor([ids])
    with torch.no_grad():
        for side, stack, layer in (("Enc", model.encoder, 1), ("Dec", model.decoder, 2)):
            feed = stack.block[3].layer[layer]
            normed: list[Tensor] = []
            handle = feed.layer_norm.register_forward_hook(lambda _m, _a, out, to=normed: to.append(out))
            try:
                model(input_ids=text, labels=text)
            finally:
                handle.remove()
            wi = normed[0][0] @ feed.DenseReluDense.wi.weight.T
            act = wi.clamp(min=0)
            found |= {f"{side}3-FFN-wi": wi, f"{side}3-FFN-act": act}
            found[f"{side}3-FFN-wo"] = act @ feed.DenseReluDense.wo.weight.T
    return found


def test_states_are_those_of_a_copying_decoder_and_padding_changes_none(
    loaded: LoadedModel, batches: list[TokenBatch]
) -> None:
    """Batches against one text at a time, through the loss's own way of feeding the decoder."""
    rows = module_rows(loaded, batches, module_sites(loaded, [3]))
    assert {len(states) for states in rows.values()} == {sum(len(text) - 1 for text in TEXTS)}
    order = [int(text) for batch in batches for text in batch.text]
    assert len(batches) > 1 and any(0 in batch.mask for batch in batches)
    wanted = [by_hand(loaded, TEXTS[number]) for number in order]
    for name, states in rows.items():
        expected = torch.cat([one[name][1:] for one in wanted])
        torch.testing.assert_close(
            states, expected, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert_untouched(loaded)


def test_the_decoder_reads_the_text_one_place_to_the_right(loaded: LoadedModel) -> None:
    ids = torch.tensor([[5, 9, 12], [8, 4, 2]])
    start = loaded.model.config.decoder_start_token_id
    assert shifted(ids, start).tolist() == [[start, 5, 9], [start, 8, 4]]
    assert torch.equal(shifted(ids, start), loaded.model._shift_right(ids))


def test_hooks_go_whatever_happens(loaded: LoadedModel, batches: list[TokenBatch]) -> None:
    def fail(_batch: TokenBatch, seen: dict[str, Tensor]) -> None:
        assert len(seen) == 6
        raise KeyError

    with pytest.raises(KeyError):
        module_pass(loaded, batches, module_sites(loaded, [0]), fail)
    assert_untouched(loaded)


# --------------------------------------------------------------------------- what cannot be measured
def test_a_decoder_only_model_is_refused() -> None:
    with pytest.raises(SiteError, match="needs an encoder-decoder; rehearsal-llama is decoder-only"):
        module_sites(toy("rehearsal-llama"), [0])


def test_gated_feed_forward_modules_are_refused_by_name(loaded: LoadedModel) -> None:
    config = T5Config(
        vocab_size=60, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_decoder_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu", decoder_start_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        gated = T5ForConditionalGeneration(config).eval()
    other = dataclasses.replace(loaded, model=gated, sites=Sites(gated, loaded.sites.spec))
    other.sites.check()  # it can be edited all the same
    with pytest.raises(SiteError, match=r"gated \(wi_0 and wi_1, as in T5 v1\.1\), so there is no one wi"):
        module_sites(other, [0])


def test_a_block_beyond_the_last_and_a_table_without_the_path(loaded: LoadedModel) -> None:
    with pytest.raises(SiteError, match=r"no module 'encoder\.block\.4\..*name blocks that the model has"):
        module_sites(loaded, [4])
    spec = loaded.sites.spec
    partial = {name: path for name, path in spec.modules.items() if name != "Dec-wo"}
    sites = Sites(loaded.model, spec.model_copy(update={"modules": partial}))
    with pytest.raises(SiteError, match="'t5' has no path for 'Dec-wo' under 'modules'"):
        module_sites(dataclasses.replace(loaded, sites=sites), [3])
    wrong = {**spec.modules, "Enc-wi": "encoder.block.{}.layer.1.DenseReluDense.w1"}
    sites = Sites(loaded.model, spec.model_copy(update={"modules": wrong}))
    with pytest.raises(SiteError, match=r"holds wi, wo, dropout, act: correct the path"):
        module_sites(dataclasses.replace(loaded, sites=sites), [3])
