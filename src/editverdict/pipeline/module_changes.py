"""Artifacts of edited encoder-decoders: what edits do to the modules' states.

As ``changes`` does it for decoder-only models, with two differences beside the groups of ``modules``. There is no layer
below which base and edited model agree, so both are run as wholes, on the same batches, a chunk of them at a time. And
which modules an edit reaches is read off the states: those that change at all.

Versions below are part of the recipes: raise one whenever the same recipe would give other numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from editverdict.capture.modules import ModuleSite, Part, module_rows
from editverdict.capture.texts import TokenBatch
from editverdict.editors.base import State
from editverdict.editors.deltas import installed, touched
from editverdict.geometry.amplification import POOLINGS, project
from editverdict.geometry.angles import angle_profile
from editverdict.geometry.checks import MIN_SAMPLES, CheckOutcome, check_paired
from editverdict.geometry.recomputed import check_angle_order, check_spectrum
from editverdict.geometry.sketch import Sketch
from editverdict.numerics.moments import Moments
from editverdict.numerics.null_directions import spectrum_with_dead_units
from editverdict.numerics.spectrum import Spectrum
from editverdict.pipeline import module_validity
from editverdict.pipeline.base import batches_of
from editverdict.pipeline.edits import state_key
from editverdict.pipeline.modules import ModuleSpectrum, groups_of, sites_of, spectra, spectrum_recipe, table_ks
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.store import Artifact, Clock, Draft, Job, Recipe

CHANGE_VERSION = 2
CHUNK = 2**30
"""Bytes of base states that wait for the edited ones."""
PROJECTED_ROWS = 4096
"""Rows that are projected at a time."""


@dataclass(frozen=True)
class ModuleChange:
    """What one edited state does to the states of the subset, by module name."""

    norms: dict[str, dict[str, float]]
    """mean, std, min, max of |dh|; ``even`` and ``odd``, its mean over every second sample; rms_hidden; ratio."""
    pooled: dict[str, Tensor]
    """[poolings, d] pooled |c_k| in the basis of the full sample; rows as POOLINGS."""
    angles: dict[str, dict[str, dict[str, float]]]
    """module -> k -> largest_angle, smallest_angle, mean, overlap."""
    reached: tuple[str, ...]
    """Modules some of whose states change."""
    checks: dict[str, tuple[bool, str]]
    key: str
    validity: module_validity.Stored = ()
    """What checks found when this was measured."""


class _Tally:
    """What is kept of a module's states while chunks go by: sums, and one norm per sample."""

    def __init__(self, name: str, full: Spectrum) -> None:
        self.name, self.full = name, full
        self.edited = Moments(full.d)
        self.norms: list[Tensor] = []
        self.total, self.square, self.shift = (full.sigma.new_zeros(full.d) for _ in range(3))
        self.largest = full.sigma.new_zeros(full.d)

    def add(self, before: Tensor, after: Tensor) -> bool:
        """Take in samples [m, d] of the base and the edited model; whether they differ at all."""
        self.edited.update(after)
        if torch.equal(before, after):
            self.norms.append(torch.zeros(len(after), dtype=torch.float64))
            return False
        for base_rows, rows in zip(
            torch.split(before, PROJECTED_ROWS), torch.split(after, PROJECTED_ROWS), strict=True
        ):
            change = rows.double() - base_rows.double()
            self.norms.append(change.norm(dim=1))
            components = project(self.full, change)
            self.total += components.abs().sum(0)
            self.square += components.square().sum(0)
            self.shift += components.sum(0)
            self.largest = torch.maximum(self.largest, components.abs().amax(0))
        return True

    def pooled(self) -> Tensor:
        """[poolings, d], rows as POOLINGS."""
        count = self.edited.n
        found = {
            "mean_abs": self.total / count,
            "rms": (self.square / count).sqrt(),
            "max": self.largest,
            "mean_shift": (self.shift / count).abs(),
        }
        return torch.stack([found[name] for name in POOLINGS])

    def sizes(self) -> dict[str, float]:
        """Norms as in :class:`ModuleChange`."""
        norms, scale = torch.cat(self.norms), self.full.rms_norm
        if not scale > 0.0:
            raise ValueError(f"the unedited states of {self.name} do not vary: a relative change is undefined")
        read = {"mean": norms.mean(), "std": norms.std(), "min": norms.min(), "max": norms.max()}
        read |= {"even": norms[::2].mean(), "odd": norms[1::2].mean(), "ratio": norms.mean() / scale}
        return {name: float(value) for name, value in read.items()} | {"rms_hidden": scale}


def require_weight_deltas(states: Sequence[State]) -> None:
    """Refuse states that are more than weight deltas.

    Raises
    ------
    NotHere
        Some state is put in force by its editor alone.
    """
    if any(step.tensors and not touched((step,)) for state in states for step in state):
        raise NotHere("hidden states are measured for methods whose state is weight deltas, and this one's is not")


def _chunks(batches: Sequence[TokenBatch], widths: int) -> Iterator[list[TokenBatch]]:
    """Batches whose samples of ``widths`` float32 numbers each fit into ``CHUNK`` bytes together; at least one."""
    chunk: list[TokenBatch] = []
    held = 0
    for batch in batches:
        need = int(batch.keep.sum()) * widths * 4
        if chunk and held + need > CHUNK:
            yield chunk
            chunk, held = [], 0
        chunk.append(batch)
        held += need
    if chunk:
        yield chunk


def _change_recipe(trial: Trial, model_id: str, state: State, scale: float) -> Recipe:
    sample, subset = trial.sample(model_id), trial.subset(model_id)
    sites = sites_of(trial, model_id)
    return Recipe.of(
        "module-change",
        CHANGE_VERSION,
        base=[spectrum_recipe(trial, model_id, sample, name) for name in sites],
        subset=[spectrum_recipe(trial, model_id, subset, name) for name in sites],
        state=state_key(state),
        scale=float(scale),
    )


def _produce(trial: Trial, model_id: str, state: State, scale: float, draft: Draft) -> None:
    full = spectra(trial, model_id, trial.sample(model_id))
    like = spectra(trial, model_id, trial.subset(model_id))
    tensors: dict[str, Tensor] = {}
    record: dict[str, Any] = {"norms": {}, "angles": {}, "reached": [], "checks": {}, "validity": []}
    for group in groups_of(sites_of(trial, model_id)):
        tallies = {name: _Tally(name, full[name].whole()) for name in group}
        witnesses = {name: module_validity.Witness(full[name].whole()) for name in group}
        reached, checks, reproduced = _compare(trial, model_id, group, tallies, witnesses, (state, scale))
        record["reached"] += reached
        record["checks"] |= {name: [outcome.ok, outcome.detail] for name, outcome in checks.items()}
        for name, site in group.items():
            tally = tallies.pop(name)
            tensors[f"pooled.{name}"] = tally.pooled()
            record["norms"][name] = tally.sizes()
            # The same states have the same directions; only without an edit is that measured all the same.
            edited = tally.edited if name in reached or not state else None
            witness, pooled = witnesses.pop(name), tensors[f"pooled.{name}"]
            del tally  # with its basis
            record["angles"][name], outcomes = _angles(site.part, like[name], edited, witness.edited)
            outcomes += witness.outcomes(record["norms"][name], dict(zip(POOLINGS, pooled, strict=True)))
            record["validity"] += module_validity.stored(named(name, outcomes))
        record["validity"] += module_validity.stored(reproduced)
    draft.write_tensors(tensors)
    draft.write_json(record)


def _compare(
    trial: Trial,
    model_id: str,
    sites: Mapping[str, ModuleSite],
    tallies: Mapping[str, _Tally],
    witnesses: Mapping[str, module_validity.Witness],
    edit: tuple[State, float],
) -> tuple[list[str], dict[str, CheckOutcome], list[CheckOutcome]]:
    """Run both models over the subset.

    Returns
    -------
    tuple
        Which modules changed; whether samples are paired (module -> worst); whether states are those of either model.
    """
    loaded = trial.model(model_id)
    batches = batches_of(loaded, trial.subset(model_id))
    reached: set[str] = set()
    checks: dict[str, CheckOutcome] = {}
    reproduced: list[CheckOutcome] = []
    for chunk in _chunks(batches, sum(site.width for site in sites.values())):
        before = module_rows(loaded, chunk, sites)
        with installed(loaded.model, *edit):
            after = module_rows(loaded, chunk, sites)
        if not reproduced:
            reproduced.append(module_validity.check_states(loaded, chunk, before, None))
            reproduced.append(module_validity.check_states(loaded, chunk, after, edit))
        for name, witness in witnesses.items():
            witness.add(before[name], after[name])
        moved = [name for name, tally in tallies.items() if tally.add(before[name], after[name])]
        reached |= set(moved)
        # Mis-pairing shows in every module alike: the first and the last one suffice. Few samples tell nothing.
        shown = moved if len(next(iter(before.values()))) >= MIN_SAMPLES else []
        for name in dict.fromkeys([*shown[:1], *shown[-1:]]):
            outcome = check_paired(before[name], after[name])
            if name not in checks or not outcome.ok:
                checks[name] = outcome
    return [name for name in sites if name in reached], checks, reproduced


def named(module: str, outcomes: Sequence[CheckOutcome]) -> list[CheckOutcome]:
    """Outcomes that say of which module they are."""
    return [replace(outcome, detail=f"{module}: {outcome.detail}") for outcome in outcomes]


def _angles(
    part: Part, like: ModuleSpectrum, edited: Moments | None, sums: Sketch
) -> tuple[dict[str, dict[str, float]], list[CheckOutcome]]:
    """K -> cosines, and whether the edited spectrum and they are found again; ``sums`` of the edited states."""
    ks = table_ks(part, like.spectrum)
    if edited is None:
        same = {label: {"largest_angle": 1.0, "smallest_angle": 1.0, "mean": 1.0, "overlap": 1.0} for label in ks}
        return same, [check_angle_order(module_validity.with_k(same))]
    if not ks:
        return {}, [check_angle_order({})]
    # Whole bases are let go one after the other: at d = 16,384 each takes 2 GB.
    leading = max(ks.values())
    whole = spectrum_with_dead_units(edited)
    outcome = check_spectrum(whole, sums)
    theirs = whole.basis[:, :leading].clone()
    del whole
    ours = like.whole().basis[:, :leading].clone()
    readings = {label: vars(angle_profile(ours, theirs, k)) for label, k in ks.items()}
    found = {label: {n: float(v) for n, v in one.items() if n != "k"} for label, one in readings.items()}
    return found, [outcome, *module_validity.check_subspaces(ours, theirs, found)]


def module_changes(
    trial: Trial, model_id: str, states: Sequence[State], scale: float = 1.0, what: str = "states"
) -> list[ModuleChange]:
    """Measure several states on the subset; several workers share the work, one artifact per state.

    Raises
    ------
    NotHere
        As :func:`sites_of`, or a state is more than weight deltas.
    """
    require_weight_deltas(states)
    for sample in (trial.sample(model_id), trial.subset(model_id)):
        spectra(trial, model_id, sample)
    order = trial.offset(list(range(len(states))))
    jobs = [_change_job(trial, model_id, states[i], scale) for i in order]
    clock = Clock(f"modules of {model_id} after {what}", "states", trial.report)
    made = trial.store.build_many(jobs, progress=clock.tick)
    found = {i: _read_change(artifact) for i, artifact in zip(order, made, strict=True)}
    return [found[i] for i in range(len(states))]


def _change_job(trial: Trial, model_id: str, state: State, scale: float) -> Job:
    return Job(
        _change_recipe(trial, model_id, state, scale), lambda draft: _produce(trial, model_id, state, scale, draft)
    )


def _read_change(artifact: Artifact) -> ModuleChange:
    record = artifact.json()
    return ModuleChange(
        norms=record["norms"],
        pooled={name.removeprefix("pooled."): tensor for name, tensor in artifact.tensors().items()},
        angles=record["angles"],
        reached=tuple(record["reached"]),
        checks={name: (ok, detail) for name, (ok, detail) in record["checks"].items()},
        key=artifact.key,
        validity=module_validity.read(record),
    )
