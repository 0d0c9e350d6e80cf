"""`make bench`: what hidden states and their spectra cost, as ratios measured side by side in one run.

Collecting and reducing is put beside the bare forward pass over the very same batches (layers up to the highest one
measured, no head), block of texts by block of texts in turn; streamed spectra beside ``torch.linalg.svd``. CPU seconds
of one thread, except for the large matrix: seconds on the clock, two threads. Memory is what a fresh process grows by
at its peak. Exit code 1 if a budget is exceeded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from board import Board, cpu
from rich.console import Console
from torch import Tensor

from editverdict.capture.by_block import BlockReduction
from editverdict.capture.passes import full_pass, tail_pass
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.editors.base import State, Step
from editverdict.editors.deltas import installed, layer_delta
from editverdict.models.sources import LoadedModel
from editverdict.numerics.moments import Moments
from editverdict.numerics.spectrum import exact_spectrum, singular_values, spectrum_of
from editverdict.pipeline.cost import costing
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.together import TOGETHER, tails_together

ROOT = Path(__file__).resolve().parents[1]
MODEL = "smollm2-135m"
N, D, LARGE_D = 100_000, 1024, 4096
COLLECTING = 1.15
STREAMING_TIME, STREAMING_MEMORY, EXACT_TIME = 1 / 10, 1 / 20, 1 / 2
RELATIVE_ERROR, DOWN_TO = 1e-6, 1e-5
LARGE_MINUTES, LARGE_GIB = 10.0, 2.0
LINEAR = 1.25
"""Cost per sample (per layer) of the most over that of the fewest: more is not linear."""
CHUNK = 2048


# --------------------------------------------------------------------------- collecting
def of_block(sample: TextSample, batches: list[TokenBatch]) -> list[list[TokenBatch]]:
    """Batches by the block of texts that they are of."""
    return [list(own) for _, own in groupby(batches, lambda batch: sample.block_of(int(batch.text[0])))]


@torch.no_grad()
def bare(loaded: LoadedModel, batches: list[TokenBatch], stop: int) -> None:
    """The forward pass alone."""
    with loaded.sites.only_layers_before(stop) as backbone:
        for batch in batches:
            backbone(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)


def collecting(loaded: LoadedModel, sample: TextSample, layers: tuple[int, ...], board: Board) -> None:
    """Hidden states of some layers, reduced by block to moments and these to spectra, beside the forward pass."""
    reduction = BlockReduction(loaded, sample, layers)
    plain = own = 0.0
    bare(loaded, reduction.batches[:2], max(layers) + 1)
    for number, batches in enumerate(of_block(sample, reduction.batches), start=1):
        plain += cpu(lambda b=batches: bare(loaded, b, max(layers) + 1))
        own += cpu(lambda b=batches: full_pass(loaded, b, reduction.visit, outputs=layers))
        board.say(f"collecting, block {number} of {sample.n_blocks}: {own / plain:.3f} so far")
    own += cpu(reduction.finish)
    n = reduction.blocks[layers[0]].n
    what = f"collecting {n} tokens, {len(layers)} layers, d = {loaded.sites.width}"
    board.row(f"{what}: moments by block", f"{own:.1f} CPU s", own / plain, "× the bare forward pass")
    own += cpu(lambda: [spectrum_of(blocks.total()) for blocks in reduction.blocks.values()])
    board.row(f"{what}, and spectra", f"{own:.1f} CPU s", own / plain, "× the bare forward pass", COLLECTING)
    own += cpu(lambda: [_jackknife(blocks) for blocks in reduction.blocks.values()])
    board.row(
        f"{what}, and 22 spectra each for the intervals", f"{own:.1f} CPU s", own / plain, "× the bare forward pass"
    )


def _jackknife(blocks: Any) -> None:
    for number in range(blocks.blocks):
        singular_values(blocks.without(number))
    for fraction in (0.5, 0.25):
        singular_values(blocks.first_fraction(fraction))


def by_layers(loaded: LoadedModel, sample: TextSample, layers: tuple[int, ...], board: Board) -> None:
    """Cost of reducing 1, 2, 4, … layers, without the forward pass that they share."""
    kept: list[tuple[TokenBatch, dict[tuple[str, int], Tensor]]] = []
    batches = BlockReduction(loaded, sample, layers).batches
    full_pass(loaded, batches, lambda batch, seen: kept.append((batch, dict(seen))), outputs=layers)
    costs = {}
    for count in (1, 2, 4, len(layers)):

        def reduce(count: int = count) -> None:
            reduction = BlockReduction(loaded, sample, layers[:count])
            for batch, seen in kept:
                reduction.visit(batch, seen)
            reduction.finish()

        costs[count] = min(cpu(reduce) for _ in range(5)) / count
    table("reducing, CPU s per layer", {f"{count} layers": cost for count, cost in costs.items()}, board)


def together(loaded: LoadedModel, sample: TextSample, board: Board) -> None:
    """Hidden states of four rank-one states over the same tokens: in one pass, and installed one after the other."""
    start, layers = loaded.spec.layers.edit, [n for n in loaded.spec.layers.measured if n >= loaded.spec.layers.edit]
    generator, d_key = torch.Generator().manual_seed(0), int(loaded.sites.down_weight(start).shape[1])
    states: list[State] = []
    for _ in range(TOGETHER):
        left, right = (torch.randn(*shape, generator=generator) / 10 for shape in ((loaded.sites.width, 1), (1, d_key)))
        states.append((Step(layer_delta(loaded, start, left, right)),))
    batches, lower = sample.batches(int(loaded.tokenizer.pad_token_id), loaded.device), list[Tensor]()
    full_pass(loaded, batches, lambda _batch, seen: lower.append(seen["in", start].clone()), layer_inputs=[start])

    def one_by_one() -> None:
        for state in states:
            with installed(loaded.model, state):
                tail_pass(loaded, batches, lower, start, layers)

    pairs = [(cpu(one_by_one), cpu(lambda: tails_together(loaded, batches, lower, start, layers, states)))
             for _ in range(3)]  # fmt: skip
    plain, own = (min(pair[number] for pair in pairs) for number in (0, 1))
    what = f"{TOGETHER} states, {sample.n_tokens} tokens, {len(layers)} layers: one pass"
    board.row(what, f"{own:.1f} CPU s", own / plain, "× one after the other")


def by_samples(x: Tensor, board: Board) -> None:
    """Cost of the moments of more and more samples."""
    costs = {}
    for count in (N // 8, N // 4, N // 2, N):
        costs[count] = min(cpu(lambda c=count: streamed(x[:c])) for _ in range(3)) / count * 10_000
    table("moments, CPU s per 10,000 samples", {f"n = {count}": cost for count, cost in costs.items()}, board)


def table(what: str, costs: dict[str, float], board: Board) -> None:
    """A line for each size, and one for how far from linear the cost is."""
    for size, cost in costs.items():
        board.row(f"{what}, {size}", f"{cost:.4f} s", cost / next(iter(costs.values())), "× the first")
    board.row(f"{what}: linear", "", list(costs.values())[-1] / next(iter(costs.values())), "last over first", LINEAR)


# --------------------------------------------------------------------------- spectra
def streamed(x: Tensor) -> Moments:
    """Moments of rows that arrive in chunks."""
    moments = Moments(x.shape[1])
    for chunk in torch.split(x, CHUNK):
        moments.update(chunk)
    return moments


def planted(n: int, d: int, seed: int = 0) -> Tensor:
    """Float32 sample [n, d] whose singular values fall from 1 to 1e-6 of the largest, with an offset."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
    scaled = torch.logspace(0, -6, d)[:, None] * basis.T
    x = torch.empty(n, d)
    for rows in torch.split(x, CHUNK):
        rows.copy_(torch.randn(len(rows), d, generator=generator) @ scaled + 0.1)
    return x


WAYS: dict[str, Callable[[Tensor], Any]] = {
    "svd": lambda x: torch.linalg.svd(x.T, full_matrices=False),
    "svd-tall": lambda x: torch.linalg.svd(x, full_matrices=False),
    "streaming": lambda x: spectrum_of(streamed(x)),
    "exact": lambda x: exact_spectrum(torch.split(x, CHUNK), x.shape[1]),
}


def probe(way: str) -> dict[str, float]:
    """Seconds and peak memory of one way in this process; a few samples first, so that libraries hold their buffers."""
    if way == "large":
        return probe_large()
    x = planted(N, D)
    WAYS[way](x[:CHUNK])
    with costing() as cost:
        WAYS[way](x)
    return {"seconds": cost.cpu_seconds, "mib": cost.peak_mib}


def generated(n: int, d: int) -> Iterator[Tensor]:
    """Chunks of a Gaussian sample, float32."""
    generator = torch.Generator().manual_seed(0)
    for start in range(0, n, CHUNK):
        yield torch.randn(min(CHUNK, n - start), d, generator=generator)


def probe_large() -> dict[str, float]:
    """The large matrix from a generator: seconds on the clock, peak memory beyond one of the generator's chunks."""
    streamed(next(generated(CHUNK, LARGE_D)))
    started = time.perf_counter()
    with costing() as cost:
        moments = Moments(LARGE_D)
        for chunk in generated(N, LARGE_D):
            moments.update(chunk)
        spectrum_of(moments)
    return {"seconds": time.perf_counter() - started, "mib": cost.peak_mib - CHUNK * LARGE_D * 4 / 2**20}


def in_a_process(way: str, threads: int = 1) -> dict[str, float]:
    """:func:`probe` in a fresh process."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, __file__, "--probe", way, "--threads", str(threads)],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


def against_svd(board: Board) -> None:
    """Time and memory of streamed spectra beside those of an SVD of the whole matrix.

    The matrix of the budgets is the paper's H, d × n. LAPACK is several times faster on its transpose, which is
    measured as well, so that nobody takes the ratio for more than it is.
    """
    size = f"{N:,} × {D:,} float32"
    found = {}
    for way in WAYS:
        board.say(f"{size}: {way}")
        found[way] = in_a_process(way)
    svd, tall = found["svd"], found["svd-tall"]
    board.row(f"{size}: SVD of H, d × n", f"{svd['seconds']:.1f} CPU s, {svd['mib']:.0f} MiB", 1.0, "")
    tall_cost = f"{tall['seconds']:.1f} CPU s, {tall['mib']:.0f} MiB"
    board.row(f"{size}: SVD of its transpose", tall_cost, tall["seconds"] / svd["seconds"], "of the SVD's")
    for way, time_share, memory_share in (("streaming", STREAMING_TIME, STREAMING_MEMORY), ("exact", EXACT_TIME, None)):
        seconds, mib = found[way]["seconds"], found[way]["mib"]
        board.row(f"{size}: {way}, time", f"{seconds:.1f} CPU s", seconds / svd["seconds"], "of the SVD's", time_share)
        board.row(f"{size}: {way}, time beside the transpose", "", seconds / tall["seconds"], "of that SVD's")
        board.row(f"{size}: {way}, extra memory", f"{mib:.0f} MiB", mib / svd["mib"], "of the SVD's", memory_share)


def accuracy(x: Tensor, board: Board) -> None:
    """Relative error of streamed singular values against LAPACK on the same numbers in float64."""
    board.say("float64 reference")
    wide = x.double()
    reference = torch.linalg.svdvals(wide.sub_(wide.mean(0)))
    found = spectrum_of(streamed(x)).sigma
    error = (found - reference).abs() / reference
    for down_to, budget in ((DOWN_TO, RELATIVE_ERROR), (1e-6, None)):
        worst = float(error[reference >= down_to * reference[0]].max())
        board.row(f"largest relative error, σ_k ≥ {down_to:g} σ_1", f"{worst:.2g}", worst / RELATIVE_ERROR, "× 1e-6",
                  None if budget is None else 1.0)  # fmt: skip


def large(board: Board) -> None:
    """The large matrix on two threads."""
    size = f"{N:,} × {LARGE_D:,} from a generator, two threads"
    board.say(size)
    found = in_a_process("large", threads=2)
    board.row(f"{size}: time", f"{found['seconds']:.0f} s", found["seconds"] / 60, "minutes", LARGE_MINUTES)
    board.row(f"{size}: extra memory", f"{found['mib']:.0f} MiB", found["mib"] / 1024, "GiB", LARGE_GIB)


def main() -> int:
    """Run the benchmark; 1 if a budget is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="folder of the artifact store")
    parser.add_argument("--tokens", type=int, help="tokens to collect (default: the base sample of the profile laptop)")
    parser.add_argument("--probe", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.probe:
        sys.stdout.write(json.dumps(probe(options.probe)))
        return 0
    console = Console(width=150)
    board = Board("hidden states and spectra, one thread unless a line says otherwise", console)
    trial = make_trial(Options(profile="laptop", store=options.store), ROOT / "specs")
    loaded, sample = trial.model(MODEL), trial.sample(MODEL)
    layers = loaded.spec.layers.measured
    part = replace(sample.head(options.tokens or sample.n_tokens), n_blocks=sample.n_blocks)
    collecting(loaded, part, loaded.spec.layers.inner, board)
    by_layers(loaded, sample.head(4000), layers, board)
    together(loaded, trial.subset(MODEL), board)
    against_svd(board)
    large(board)
    x = planted(N, D)
    by_samples(x, board)
    accuracy(x, board)
    console.print(board.table)
    return 1 if board.over else 0


if __name__ == "__main__":
    sys.exit(main())
