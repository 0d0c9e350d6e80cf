"""Spectra in single precision, the wrong angle and the wrong basis make every case that stands on them invalid."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from editverdict.geometry import angles
from editverdict.inference.rows import Row
from editverdict.numerics.moments import Moments
from editverdict.numerics.spectrum import Spectrum, sample_spectrum
from editverdict.pipeline import base, changes
from suites.selftest.pipeline.corruption import (
    AMPLIFICATION,
    ANGLES,
    CHANGES,
    COLLAPSE,
    EDITED,
    MODEL,
    NORMS,
    REAL,
    SPECTRA,
    World,
    all_invalid,
    judged,
)

Corruption = Callable[[pytest.MonkeyPatch], None]


# --------------------------------------------------------------------------- float32 moments
def accumulated_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    absorb = Moments._absorb

    def narrow(self: Moments, x: torch.Tensor) -> None:
        absorb(self, x)
        for strip in self._scatter.strips:
            strip.copy_(strip.float())
        self._offset = self._offset.float().double()

    monkeypatch.setattr(Moments, "_absorb", narrow)


def textbook_formula_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    def scatter(self: Moments) -> torch.Tensor:
        mean = self.mean.float()
        second = self._scatter.square().float() / self.n + torch.outer(mean, mean)
        return ((second - torch.outer(mean, mean)) * self.n).double()

    monkeypatch.setattr(Moments, "scatter", scatter)


def rounded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scatter = Moments.scatter
    monkeypatch.setattr(Moments, "scatter", lambda self: scatter(self).float().double())


@pytest.mark.parametrize("corrupt", [accumulated_in_float32, textbook_formula_in_float32, rounded_once])
def test_moments_in_float32(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch, corrupt: Corruption
) -> None:
    corrupt(monkeypatch)
    all_invalid(judged(world.again(SPECTRA), *COLLAPSE, REAL, *CHANGES), "spectrum-recomputed", honest)


def test_moments_of_edited_states_in_float32(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Narrow(Moments):
        def scatter(self) -> torch.Tensor:
            return super().scatter().float().double()

    monkeypatch.setattr(changes, "Moments", Narrow)
    all_invalid(judged(world.again(EDITED), *ANGLES), "spectrum-recomputed", honest)


# --------------------------------------------------------------------------- angles
def swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smallest and largest angle in each other's place."""
    profile = changes.angle_profile

    def wrong(*args: Any) -> angles.AngleProfile:
        found = profile(*args)
        return dataclasses.replace(found, largest_angle=found.smallest_angle, smallest_angle=found.largest_angle)

    monkeypatch.setattr(changes, "angle_profile", wrong)


def smallest_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest angle in place of the largest, as the paper words it."""
    profile = changes.angle_profile

    def wrong(*args: Any) -> angles.AngleProfile:
        found = profile(*args)
        return dataclasses.replace(found, largest_angle=found.smallest_angle)

    monkeypatch.setattr(changes, "angle_profile", wrong)


def ascending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cosines in ascending order."""
    cosines = angles.principal_cosines
    monkeypatch.setattr(angles, "principal_cosines", lambda a, b: cosines(a, b).flip(0))


def all_the_smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the smallest angle, so that no order is broken."""
    cosines = angles.principal_cosines
    monkeypatch.setattr(angles, "principal_cosines", lambda a, b: cosines(a, b)[:1].expand(a.shape[1]))


def edited_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """The edited basis against itself."""
    profile = changes.angle_profile
    monkeypatch.setattr(changes, "angle_profile", lambda _base, edited, k: profile(edited, edited, k))


@pytest.mark.parametrize("corrupt", [swapped, smallest_for_both, ascending, all_the_smallest, edited_on_both_sides])
def test_another_angle_in_place_of_the_largest(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch, corrupt: Corruption
) -> None:
    corrupt(monkeypatch)
    all_invalid(judged(world.again(["change"]), *ANGLES), "angles-recomputed", honest)


def test_smallest_angle_read_for_the_largest(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is stored is sound; only whoever reads it takes the wrong one.
    read = changes.read_change

    def wrong(*args: Any) -> changes.Change:
        found = read(*args)
        profiles = {
            layer: {label: {**p, "largest_angle": p["smallest_angle"]} for label, p in by_label.items()}
            for layer, by_label in found.angles.items()
        }
        return dataclasses.replace(found, angles=profiles)

    monkeypatch.setattr(changes, "read_change", wrong)
    all_invalid(judged(world.again(()), *ANGLES), "angles-recomputed", honest)


# --------------------------------------------------------------------------- the basis of R_k
def edited_spectra(own: Any, layer: int) -> Spectrum:
    """Spectrum of the subset after the first edit, with the full sample's count as the base's has it."""
    state = own.single_states(MODEL, "ROME", "worldfacts")[0]
    return sample_spectrum(changes.hidden_after(own, MODEL, state)[layer])


def test_components_along_the_edited_basis(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As little as possible is wrong: the directions are those after one edit, the singular values are the base's.
    own = world.again(EDITED)
    after = {layer: edited_spectra(own, layer).basis for layer in (1, 2, 3)}
    project, base_of = changes.project, {}

    def wrong(spectrum: Spectrum, dh: torch.Tensor) -> torch.Tensor:
        if not base_of:
            base_of.update({id(s.spectrum): layer for layer, s in base.spectra(own, MODEL).items()})
        return project(dataclasses.replace(spectrum, basis=after[base_of[id(spectrum)]]), dh)

    monkeypatch.setattr(changes, "project", wrong)
    all_invalid(judged(own, *AMPLIFICATION), "components-recomputed", honest)


def test_edited_spectra_in_place_of_the_base(
    world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, spectra = world.again(EDITED), base.spectra
    after = {layer: edited_spectra(own, layer) for layer in (1, 2, 3)}

    def wrong(*args: Any) -> dict[int, base.LayerSpectra]:
        found = spectra(*args)
        return {n: dataclasses.replace(s, spectrum=after.get(n, s.spectrum)) for n, s in found.items()}

    monkeypatch.setattr(base, "spectra", wrong)
    rows = judged(own, *NORMS, *AMPLIFICATION, REAL)
    all_invalid(rows, "spectrum-recomputed", honest)


def test_rates_without_the_root_of_n(world: World, honest: dict[str, Row], monkeypatch: pytest.MonkeyPatch) -> None:
    module = "editverdict.geometry.amplification"
    from editverdict.geometry import amplification

    build = amplification.from_components

    def wrong(spectrum: Spectrum, *args: Any) -> amplification.Amplification:
        return build(dataclasses.replace(spectrum, n=1 + spectrum.n // 4), *args)

    monkeypatch.setattr(f"{module}.from_components", wrong)
    all_invalid(judged(world.again(()), *AMPLIFICATION), "components-recomputed", honest)
