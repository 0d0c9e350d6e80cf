"""Hidden states reduced block by block, in bounded memory: against the plain way, which keeps all rows."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from editverdict.capture.by_block import BlockFactors, BlockReduction, batches_by_block
from editverdict.capture.passes import full_pass, row_texts
from editverdict.capture.reduction import Gathering, plan_passes
from editverdict.capture.texts import POSITIONS, Positions, TextSample, TokenBatch, tokenize_sample
from editverdict.models.sources import LoadedModel
from editverdict.numerics.moments import chunk_rows
from editverdict.numerics.spectrum import exact_spectrum
from editverdict.numerics.triangle import triangle_bytes

WORDS = ("river", "sea", "Ada", "London", "ships", "Lisbon", "Goa", "Rome", "France", "Paris", "of", "the", "into")
LAYERS = (1, 3)


@pytest.fixture
def sample(tiny_tokenizer: Any) -> TextSample:
    return made(tiny_tokenizer, "all_tokens")


def made(tokenizer: Any, positions: Positions) -> TextSample:
    texts = [" ".join(WORDS[(3 * i + j) % len(WORDS)] for j in range(2 + 7 * i % 9)) for i in range(40)]
    return tokenize_sample(tokenizer, texts, min_texts=40, min_tokens=1, n_blocks=4, positions=positions)


def rows_of(loaded: LoadedModel, sample: TextSample, batches: list[TokenBatch]) -> tuple[dict[int, Tensor], Tensor]:
    """Layer -> all samples, and the block of each."""
    rows: dict[int, list[Tensor]] = {layer: [] for layer in LAYERS}

    def visit(batch: TokenBatch, seen: dict[tuple[str, int], Tensor]) -> None:
        for layer in LAYERS:
            rows[layer].append(batch.samples(seen["h", layer]))

    full_pass(loaded, batches, visit, outputs=LAYERS)
    block = torch.tensor([sample.block_of(int(text)) for text in row_texts(batches)])
    return {layer: torch.cat(parts) for layer, parts in rows.items()}, block


def reduced(loaded: LoadedModel, sample: TextSample, folder: Path | None = None) -> BlockReduction:
    reduction = BlockReduction(loaded, sample, LAYERS, keys=[1], folder=folder)
    full_pass(loaded, reduction.batches, reduction.visit, outputs=LAYERS, keys=[1])
    reduction.finish()
    return reduction


def scatter(x: Tensor) -> Tensor:
    centred = x.double() - x.double().mean(0)
    return centred.T @ centred


# --------------------------------------------------------------------------- batches
def test_batches_keep_to_blocks_and_hold_every_text_once(tiny: LoadedModel, sample: TextSample) -> None:
    batches = batches_by_block(tiny, sample)
    of_batch = [{sample.block_of(int(text)) for text in batch.text} for batch in batches]
    assert all(len(blocks) == 1 for blocks in of_batch)
    order = [blocks.pop() for blocks in of_batch]
    assert order == sorted(order) and set(order) == {0, 1, 2, 3}
    assert sorted(int(text) for batch in batches for text in batch.text) == list(range(40))
    whole = sample.batches(0, tiny.device)
    assert {batch.positions for batch in batches} == {batch.positions for batch in whole} == {"all_tokens"}


# --------------------------------------------------------------------------- moments
@pytest.mark.parametrize("positions", POSITIONS)
def test_moments_of_blocks_are_those_of_their_rows(
    tiny: LoadedModel, tiny_tokenizer: Any, positions: Positions
) -> None:
    sample = made(tiny_tokenizer, positions)
    reduction = reduced(tiny, sample)
    rows, block = rows_of(tiny, sample, sample.batches(int(tiny.tokenizer.pad_token_id), tiny.device))
    for layer in LAYERS:
        blocks = reduction.blocks[layer]
        assert blocks.n == sample.n_samples == len(rows[layer])
        assert blocks.counts == [int((block == number).sum()) for number in range(4)]
        scale = float(scatter(rows[layer]).abs().max())
        for out in range(4):
            expected = scatter(rows[layer][block != out])
            torch.testing.assert_close(blocks.without(out).scatter(), expected, rtol=0, atol=1e-4 * scale)
        assert len(torch.cat(reduction.probe[layer])) >= len(reduction.batches)
    # Keys are of every token, the first included, whatever the samples are.
    assert reduction.keys[1].n == sum(map(len, sample.ids))


def test_what_lies_on_disk_has_the_same_bits(tiny: LoadedModel, sample: TextSample, tmp_path: Path) -> None:
    held, stored = reduced(tiny, sample), reduced(tiny, sample, tmp_path)
    assert len(list((tmp_path / "1").iterdir())) == 3, "all blocks but the last are put away"
    for layer in LAYERS:
        assert torch.equal(held.blocks[layer].total().scatter(), stored.blocks[layer].total().scatter())
        for out in range(4):
            one, other = (found.blocks[layer].without(out).scatter() for found in (held, stored))
            assert torch.equal(one, other)
    assert torch.equal(held.keys[1].second_moment(), stored.keys[1].second_moment())


def test_layers_in_groups_have_the_same_bits(tiny: LoadedModel, sample: TextSample) -> None:
    together = reduced(tiny, sample)
    for layer in LAYERS:
        alone = BlockReduction(tiny, sample, [layer])
        full_pass(tiny, alone.batches, alone.visit, outputs=[layer])
        alone.finish()
        assert torch.equal(alone.blocks[layer].total().scatter(), together.blocks[layer].total().scatter())


def test_rows_wait_and_none_is_lost() -> None:
    got: list[Tensor] = []
    gathering = Gathering(4, got.append)
    limit = chunk_rows(4)
    parts = torch.split(torch.arange(4.0 * (limit + 37)).reshape(-1, 4), limit // 2)
    for part in parts:
        gathering.add(part)
    gathering.add(torch.zeros(0, 4))
    assert len(got) == 1 and len(got[0]) >= limit
    gathering.flush()
    gathering.flush()
    assert torch.equal(torch.cat(got), torch.cat(parts)) and len(got) == 2


# --------------------------------------------------------------------------- exact mode
@pytest.mark.parametrize("positions", ["all_tokens", "mean_token"])
def test_factors_by_block_are_the_exact_mode(
    tiny: LoadedModel, tiny_tokenizer: Any, positions: Positions, tmp_path: Path
) -> None:
    sample = made(tiny_tokenizer, positions)
    factors = BlockFactors(tiny, sample, 3, tmp_path)
    full_pass(tiny, factors.batches, factors.visit, outputs=[3])
    rows, block = rows_of(tiny, sample, factors.batches)
    x = rows[3].double()
    assert factors.merged(range(4)).n == len(x)
    for chosen in ((0, 1, 2, 3), (0, 2, 3), (1,)):
        own = x[torch.isin(block, torch.tensor(chosen))]
        expected = exact_spectrum([own], 32).sigma
        bound = 2e-14 * math.sqrt(32) * float(expected[0])
        torch.testing.assert_close(factors.merged(chosen).singular_values(), expected, rtol=0, atol=bound)
        torch.testing.assert_close(factors.merged(chosen).spectrum().sigma, expected, rtol=0, atol=bound)


# --------------------------------------------------------------------------- plans
GIB = 2**30


def test_small_models_stay_in_memory() -> None:
    plan = plan_passes(range(8), 576, 20, 1 * GIB, d_key=1536)
    assert plan.groups == (tuple(range(8)),) and not plan.on_disk and plan.disk_bytes == 0
    assert 8 * 20 * triangle_bytes(576) < plan.peak_bytes < GIB / 2


def test_wide_models_go_to_disk_and_then_into_groups() -> None:
    whole = plan_passes(range(7), 4096, 20, 6 * GIB, d_key=14336)
    assert whole.on_disk and whole.groups == (tuple(range(7)),) and whole.peak_bytes < 6 * GIB
    assert whole.disk_bytes == 7 * 20 * triangle_bytes(4096)
    widest = plan_passes([3, 5, 8, 13], 16384, 20, 12 * GIB)
    assert widest.on_disk and widest.peak_bytes < 12 * GIB
    assert [layer for group in widest.groups for layer in group] == [3, 5, 8, 13] and len(widest.groups) == 2
    # Little disk makes groups, too.
    cramped = plan_passes([3, 5, 8, 13], 16384, 20, 40 * GIB, disk_bound=50 * GIB)
    assert [len(group) for group in cramped.groups] == [2, 2] and cramped.on_disk


@pytest.mark.parametrize(("memory", "disk"), [(8 * GIB, math.inf), (40 * GIB, 20 * GIB)])
def test_what_cannot_fit_is_refused_with_the_numbers(memory: float, disk: float) -> None:
    with pytest.raises(ValueError, match=r"width 16384 needs 10\.\d GiB of memory and 22\.5 GiB on disk; there are"):
        plan_passes([0, 1], 16384, 20, memory, disk_bound=disk)


MEASURED = """
import sys, tempfile, threading, time
from pathlib import Path
import psutil, torch
torch.set_num_threads(1)
from editverdict.numerics.moments import BlockMoments
from editverdict.numerics.spectrum import singular_values, spectrum_of

def run(d, rows, folder):
    generator = torch.Generator().manual_seed(0)
    blocks = BlockMoments(d, 20, folder=folder)
    for block in range(20):
        blocks.update(block, torch.randn(rows, d, generator=generator))
    spectrum_of(blocks.total())
    singular_values(blocks.without(7))

process = psutil.Process()
with tempfile.TemporaryDirectory() as folder:
    run(64, 100, None)
    start = peak = process.memory_info().rss
    def watch():
        global peak
        while True:
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.002)
    threading.Thread(target=watch, daemon=True).start()
    run(768, 200, Path(folder) if sys.argv[1] == "disk" else None)
print((peak - start) / 2**20)
"""


def measured(where: str) -> float:
    """MiB that a fresh process grows by at its peak."""
    command = [sys.executable, "-c", MEASURED, where]
    return float(subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout)


def test_memory_stays_within_the_plan() -> None:
    """Resident memory of a process, because nothing else sees what torch allocates."""
    plans = {where: plan_passes([0], 768, 20, mib * 2**20) for where, mib in (("disk", 50), ("memory", 200))}
    assert plans["disk"].on_disk and not plans["memory"].on_disk
    bound = {where: plan.peak_bytes / 2**20 for where, plan in plans.items()}
    found = {where: measured(where) for where in bound}
    slack = 15.0  # buffers of the linear algebra library
    assert found["disk"] < bound["disk"] + slack < found["memory"] < bound["memory"] + slack, (found, bound)
