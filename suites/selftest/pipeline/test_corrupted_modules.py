"""Corrupting the way of an encoder-decoder's modules makes the claims that stand on the stage invalid.

As ``test_corrupted_*`` do it for decoder-only models, on a toy T5 with two edits.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from editverdict.editors.base import State, Step
from editverdict.editors.deltas import dense
from editverdict.inference.rows import Row
from editverdict.numerics.moments import Moments
from editverdict.pipeline import module_changes, modules
from editverdict.pipeline.cases import judge_case
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.measures import encoder_decoder, module_edits
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.store import Store
from suites.selftest.pipeline.corruption import failed_checks
from suites.selftest.pipeline.sessions import ROOT

MODEL = "rehearsal-t5"
NORMS, ANGLES, RATES = "smallpert-t5-heterogeneous", "pc-t5-immediate-loss", "amp-t5"
CLAIMS = (NORMS, ANGLES, RATES)
Corruption = Callable[[pytest.MonkeyPatch], None]


def edits() -> list[State]:
    """Two edits of wi in decoder block 2."""
    name = "decoder.block.2.layer.2.DenseReluDense.wi.weight"
    made = []
    for seed in range(2):
        noise = torch.randn((96, 48), generator=torch.Generator().manual_seed(seed))
        made.append((Step(dense(name, 0.02 * noise), {"key": f"corrupted|{seed}"}),))
    return made


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """A trial whose store holds the spectra of the unedited model."""
    trial = make_trial(Options(profile=MODEL, store=tmp_path_factory.mktemp("t5") / "store"), ROOT / "specs")
    for sample in (trial.sample(MODEL), trial.subset(MODEL)):
        modules.spectra(trial, MODEL, sample)
    return trial


@pytest.fixture
def rows(honest: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Row]]:
    """Judge claims on a store without some kinds of artifact."""
    states = edits()
    for module in (module_edits, encoder_decoder):
        monkeypatch.setattr(module, "single_states", lambda *_args: states)

    def judged(*without: str) -> dict[str, Row]:
        shutil.copytree(
            honest.store.root, tmp_path / "store", ignore=lambda _f, names: {".locks", ".tmp", *without} & set(names)
        )
        kept = {key: value for key, value in honest._memo.items() if key[0] == "protocol"}
        own = dataclasses.replace(honest, store=Store(tmp_path / "store"), _memo=kept)
        return {
            claim: judge_case(own, Case(own.library.claims[claim], MODEL, "FT-L", "worldfacts")).row for claim in CLAIMS
        }

    return judged


def invalid_by(rows: dict[str, Row], check: str, claims: tuple[str, ...] = CLAIMS) -> None:
    """These claims are invalid because of (at least) one check, and no other says anything but that it lacks edits."""
    for claim, row in rows.items():
        if claim in claims:
            assert row.verdict == "invalid" and check in failed_checks(row), (claim, row.traceback or row.reason)
            assert check in row.reason
        else:
            assert check not in failed_checks(row), (claim, row.reason)


def test_without_corruption_every_check_holds(rows: Callable[..., dict[str, Row]]) -> None:
    for row in rows("module-change").values():
        assert failed_checks(row) == set() and row.verdict == "inconclusive", row.traceback or row.reason


# --------------------------------------------------------------------------- states
def exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """States of one block's modules under the names of another's, in the pass over the unedited model."""
    honest_pass = modules.module_pass
    other = {"2": "3", "3": "2"}

    def wrapped(loaded: Any, batches: Any, sites: Any, visit: Any) -> None:
        def swapped(batch: Any, seen: dict[str, Tensor]) -> None:
            visit(batch, {name: seen[name[:3] + other[name[3]] + name[4:]] for name in seen})

        honest_pass(loaded, batches, sites, swapped)

    monkeypatch.setattr(modules, "module_pass", wrapped)


def centred_over_features(monkeypatch: pytest.MonkeyPatch) -> None:
    honest_rows = module_changes.module_rows
    monkeypatch.setattr(
        module_changes,
        "module_rows",
        lambda *args: {n: x - x.mean(1, keepdim=True) for n, x in honest_rows(*args).items()},
    )


def not_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """Edited passes of a model whose wi was made twice as large."""
    honest_rows, calls = module_changes.module_rows, [0]

    def wrapped(*args: Any) -> dict[str, Tensor]:
        calls[0] += 1
        found = honest_rows(*args)
        return {n: 2 * x if calls[0] % 2 == 0 else x for n, x in found.items()}

    monkeypatch.setattr(module_changes, "module_rows", wrapped)


@pytest.mark.parametrize(
    ("corrupt", "kinds"),
    [
        (exchanged, ("module-spectrum", "module-change")),
        (centred_over_features, ("module-change",)),
        (not_in_force, ("module-change",)),
    ],
)
def test_states_of_another_module_or_model(
    rows: Callable[..., dict[str, Row]],
    monkeypatch: pytest.MonkeyPatch,
    corrupt: Corruption,
    kinds: tuple[str, ...],
) -> None:
    corrupt(monkeypatch)
    invalid_by(rows(*kinds), "states-reproduced")


def test_weights_changed_in_memory(rows: Callable[..., dict[str, Row]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editverdict.pipeline.validity.hash_weights", lambda _model: "0" * 64)
    invalid_by(rows("module-change"), "states-reproduced")


# --------------------------------------------------------------------------- spectra, changes, angles
class Narrow(Moments):
    """Moments that were rounded to float32 once."""

    def scatter(self) -> Tensor:
        """Of lower precision than the sums beside it."""
        return super().scatter().float().double()


def test_moments_in_float32(rows: Callable[..., dict[str, Row]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "Moments", Narrow)
    invalid_by(rows("module-spectrum", "module-change"), "spectrum-recomputed")


def test_moments_of_edited_states_in_float32(
    rows: Callable[..., dict[str, Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_changes, "Moments", Narrow)
    invalid_by(rows("module-change"), "spectrum-recomputed")


def smallest_for_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = module_changes.angle_profile

    def wrong(*args: Any) -> Any:
        found = profile(*args)
        return dataclasses.replace(found, largest_angle=found.smallest_angle)

    monkeypatch.setattr(module_changes, "angle_profile", wrong)


def edited_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = module_changes.angle_profile
    monkeypatch.setattr(module_changes, "angle_profile", lambda _base, edited, k: profile(edited, edited, k))


@pytest.mark.parametrize("corrupt", [smallest_for_largest, edited_on_both_sides])
def test_the_wrong_angle_or_basis(
    rows: Callable[..., dict[str, Row]], monkeypatch: pytest.MonkeyPatch, corrupt: Corruption
) -> None:
    corrupt(monkeypatch)
    invalid_by(rows("module-change"), "angles-recomputed", (ANGLES,))


def test_components_along_another_basis(rows: Callable[..., dict[str, Row]], monkeypatch: pytest.MonkeyPatch) -> None:
    honest_projection = module_changes.project
    monkeypatch.setattr(module_changes, "project", lambda full, change: honest_projection(full, change).roll(1, dims=1))
    invalid_by(rows("module-change"), "components-recomputed", (RATES,))


def test_norms_of_unpaired_samples(rows: Callable[..., dict[str, Row]], monkeypatch: pytest.MonkeyPatch) -> None:
    honest_add = module_changes._Tally.add
    monkeypatch.setattr(
        module_changes._Tally, "add", lambda self, before, after: honest_add(self, before, after.roll(7, 0))
    )
    invalid_by(rows("module-change"), "change-recomputed", (NORMS, RATES))


def test_what_was_stored_without_checks_is_not_believed() -> None:
    from editverdict.pipeline.module_validity import findings

    found = findings("edit 0", (("states-reproduced", True, "fine"),), module_edits.OF_CHANGES)
    assert [(one.outcome.name, one.outcome.ok) for one in found] == [
        ("states-reproduced", True),
        ("change-recomputed", False),
        ("components-recomputed", False),
        ("angles-recomputed", False),
    ]
