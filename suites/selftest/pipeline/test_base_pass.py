"""The base pass: the same bits in whatever memory, and what it counts for each choice of tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from editverdict.capture.texts import Positions
from editverdict.numerics.spectrum import sample_spectrum
from editverdict.pipeline import base
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.store import Store
from suites.selftest.pipeline.sessions import ROOT

MODEL = "rehearsal-llama"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("store")), ROOT / "specs")
    torch.set_num_threads(threads)


def again(trial: Trial, folder: Path, **changed: Any) -> Trial:
    """The same trial with another profile, on a store of its own; model and corpus stay loaded."""
    sizes = trial.profile.sizes.model_copy(update={"base_tokens": changed.pop("base_tokens", 1200)})
    profile = trial.profile.model_copy(update={"sizes": sizes, **changed})
    made = dataclasses.replace(trial, profile=profile, store=Store(folder), _memo={}, _samples={})
    made.__dict__["corpus"] = trial.corpus
    return made


def everything(trial: Trial) -> dict[str, torch.Tensor]:
    artifact = base.base_pass(trial, MODEL)
    files = ["tensors", *(f"layer-{layer}" for layer in trial.model(MODEL).spec.layers.measured)]
    return {f"{name}/{key}": tensor for name in files for key, tensor in artifact.tensors(name).items()}


def test_little_memory_means_more_passes_and_the_same_bits(
    smoke: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = everything(smoke)
    passes: list[tuple[int, ...]] = []
    honest = base.full_pass

    def counting(loaded: Any, batches: Any, visit: Any, **options: Any) -> None:
        passes.append(tuple(options["outputs"]))
        honest(loaded, batches, visit, **options)

    monkeypatch.setattr(base, "full_pass", counting)
    short = again(smoke, tmp_path, memory_gib=0.01)
    assert base.base_recipe(short, MODEL).key == base.base_recipe(smoke, MODEL).key, "memory is no part of the numbers"
    found = everything(short)
    assert len(passes) > 1 and [layer for group in passes for layer in group] == [0, 1, 2, 3]
    assert found.keys() == whole.keys() and all(torch.equal(found[name], whole[name]) for name in whole)
    folder = base.base_pass(short, MODEL).path
    assert not [path for path in folder.rglob("*") if "block" in path.name], "blocks are no part of the artifact"


def test_too_little_memory_is_told_before_anything_is_run(
    smoke: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "full_pass", lambda *_args, **_options: pytest.fail("a pass was run"))
    with pytest.raises(NotHere, match=r"width 48 .*memory_gib"):
        base.base_pass(again(smoke, tmp_path, memory_gib=0.002), MODEL)


@pytest.mark.parametrize("positions", ["last_token", "mean_token"])
def test_spectra_of_texts(smoke: Trial, tmp_path: Path, positions: Positions) -> None:
    """One sample per text; the spectrum is that of the rows collected in the plain way."""
    own = again(smoke, tmp_path, positions=positions, base_tokens=150)
    assert base.base_recipe(own, MODEL).key != base.base_recipe(smoke, MODEL).key
    record = base.base_pass(own, MODEL).json()
    assert record["positions"] == positions and record["samples"] == record["texts"] == 150 < record["tokens"]
    loaded, sample = own.model(MODEL), own.sample(MODEL)
    rows: list[torch.Tensor] = []
    batches = base.batches_of(loaded, sample)
    base.full_pass(loaded, batches, lambda batch, seen: rows.append(batch.samples(seen["h", 2])), outputs=[2])
    spectra = base.spectra(own, MODEL)[2]
    assert spectra.spectrum.n == 150 == len(torch.cat(rows)) and spectra.leave_out.shape == (4, 48)
    torch.testing.assert_close(
        spectra.spectrum.sigma, sample_spectrum(torch.cat(rows)).sigma, rtol=1e-3, atol=1e-5 * float(spectra.half[0])
    )
    # The noise floor is that of float32: a mean claims no digits that its tokens lack.
    assert record["checks"]["2"]["above-resolution"][0]
    assert float(spectra.spectrum.resolution) >= 1e-6 * float(spectra.spectrum.sigma[0])


def test_the_exact_mode_agrees(smoke: Trial) -> None:
    exact, fast = base.exact_layer(smoke, MODEL, 3), base.spectra(smoke, MODEL)[3]
    assert exact.exact and (exact.n_half, exact.n_quarter) == (fast.n_half, fast.n_quarter)
    scale = float(fast.spectrum.sigma[0])
    for name in ("leave_out", "half", "quarter"):
        torch.testing.assert_close(getattr(exact, name), getattr(fast, name), rtol=0, atol=1e-5 * scale)
    torch.testing.assert_close(exact.spectrum.sigma, fast.spectrum.sigma, rtol=0, atol=1e-5 * scale)
