"""Artifacts of an encoder-decoder's modules: base spectra of wi, its activation and wo, and what edits do to them.

As ``base`` and ``changes`` do it for decoder-only models, with three differences. There is no layer below which base
and edited model agree, so both are run as wholes, on the same batches, a chunk of them at a time. A module's width may
be 16,384, so that one matrix of directions takes 2 GB: modules are measured in groups that fit into ``MEMORY``, and
nothing of the size samples x width is kept. And which modules an edit reaches is read off the states: those that
change at all.

Versions below are part of the recipes: raise one whenever the same recipe would give other numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from editverdict.capture.by_block import PROBES_PER_BATCH
from editverdict.capture.modules import ModuleSite, Part, measured_blocks, module_pass, module_rows, module_sites
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.editors.base import State
from editverdict.editors.deltas import installed, touched
from editverdict.geometry.amplification import POOLINGS, project
from editverdict.geometry.angles import angle_profile
from editverdict.geometry.checks import MIN_SAMPLES, CheckOutcome, check_centred, check_paired
from editverdict.models.sites import SiteError
from editverdict.numerics.moments import Moments
from editverdict.numerics.null_directions import bounded_by_rank, dead_units, spectrum_with_dead_units
from editverdict.numerics.precision import effective_dtype
from editverdict.numerics.spectrum import Spectrum
from editverdict.pipeline.base import batches_of
from editverdict.pipeline.edits import state_key
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.store import Artifact, Clock, Draft, Job, Recipe

SPECTRUM_VERSION = 1
CHANGE_VERSION = 1
DECODER_READS = "copy"
"""What the decoder is fed (capture/modules.py)."""
MEMORY = 12 * 2**30
"""Bytes for the square matrices of the modules that are measured together."""
SQUARES = 5
"""Such matrices per module: its moments and basis, and what diagonalising takes; 11 GB at d = 16,384."""
CHUNK = 2**30
"""Bytes of base states that wait for the edited ones."""
PROJECTED_ROWS = 4096
"""Rows that are projected at a time."""
WI_KS, WO_KS = (10, 50, 100, 1000, 5000), (5, 10, 50, 200, 500)
TABLE_KS: Mapping[Part, tuple[int, ...]] = {"wi": WI_KS, "act": WI_KS, "wo": WO_KS}
"""Subspace dimensions of the paper's Tables 19 (wi) and 20 (wo)."""


def sites_of(trial: Trial, model_id: str) -> dict[str, ModuleSite]:
    """The modules that are measured in a model, by name.

    Raises
    ------
    NotHere
        The model is decoder-only (told from its spec, without loading it), or its feed-forward modules have no wi.
    """
    spec = trial.library.models[model_id]
    if not trial.library.architectures[spec.architecture].encoder_decoder:
        raise NotHere(f"needs an encoder-decoder; {model_id} is decoder-only")
    loaded = trial.model(model_id)
    try:
        return module_sites(loaded, measured_blocks(loaded))
    except SiteError as error:
        raise NotHere(str(error)) from error


def groups_within(widths: Mapping[str, int], memory: int) -> list[list[str]]:
    """Modules measured together, so that their square float64 matrices fit into so many bytes; at least one a group."""
    groups: list[list[str]] = []
    left = 0
    for name, width in widths.items():
        need = SQUARES * 8 * width * width
        if not groups or need > left:
            groups.append([])
            left = memory
        groups[-1].append(name)
        left -= need
    return groups


def _groups(sites: Mapping[str, ModuleSite]) -> list[dict[str, ModuleSite]]:
    found = groups_within({name: site.width for name, site in sites.items()}, MEMORY)
    return [{name: sites[name] for name in group} for group in found]


# --------------------------------------------------------------------------- base spectra
@dataclass(frozen=True)
class ModuleSpectrum:
    """Spectrum of one module's states in the unedited model."""

    spectrum: Spectrum
    """Without its directions (basis [d, 0]): 2 GB at d = 16,384. See :meth:`whole`."""
    dead: int
    """Coordinates that never vary: directions with sigma = 0 exactly."""
    centred: tuple[bool, str]
    artifact: Artifact

    def whole(self) -> Spectrum:
        """The spectrum with its directions, from the store."""
        return replace(self.spectrum, basis=self.artifact.tensors("basis")["basis"])


def spectra(trial: Trial, model_id: str, sample: TextSample) -> dict[str, ModuleSpectrum]:
    """Spectra of all measured modules over a sample; several workers share the work, one artifact per module."""
    memo = ("module-spectra", model_id, sample.hash)
    if memo in trial._memo:
        kept: dict[str, ModuleSpectrum] = trial._memo[memo]
        return kept
    sites = sites_of(trial, model_id)
    ready: dict[str, tuple[Moments, Tensor]] = {}
    order = trial.offset(list(sites))
    jobs = [Job(_spectrum_recipe(trial, model_id, sample, name), _spectrum_of(trial, model_id, sample, name, ready))
            for name in order]  # fmt: skip
    clock = Clock(f"spectra of the modules of {model_id}", "modules", trial.report)
    made = dict(zip(order, trial.store.build_many(jobs, progress=clock.tick), strict=True))
    trial._memo[memo] = {name: _read_spectrum(made[name]) for name in sites}
    return dict(trial._memo[memo])


def _spectrum_recipe(trial: Trial, model_id: str, sample: TextSample, name: str) -> Recipe:
    return Recipe.of(
        "module-spectrum",
        SPECTRUM_VERSION,
        model=trial.model(model_id).identity.fields(),
        tokens=sample.hash,
        decoder=DECODER_READS,
        module=name,
    )


def _spectrum_of(
    trial: Trial, model_id: str, sample: TextSample, name: str, ready: dict[str, tuple[Moments, Tensor]]
) -> Callable[[Draft], None]:
    """Producer of a module's spectrum; a pass for one module serves its whole group, through ``ready``."""

    def produce(draft: Draft) -> None:
        group = next(group for group in _groups(sites_of(trial, model_id)) if name in group)
        if name not in ready:
            ready.clear()
            ready.update(_moments(trial, model_id, sample, group))
        moments, probe = ready.pop(name)
        whole = spectrum_with_dead_units(moments, activation_dtype=effective_dtype(probe))
        spectrum = bounded_by_rank(whole, group[name].rank)
        centred = check_centred(spectrum, probe)
        tensors = spectrum.to_tensors()
        draft.write_tensors({"basis": tensors.pop("basis")}, "basis")
        draft.write_tensors(tensors)
        draft.write_json({"dead": dead_units(moments), "centred": [centred.ok, centred.detail]})

    return produce


def _moments(
    trial: Trial, model_id: str, sample: TextSample, sites: Mapping[str, ModuleSite]
) -> dict[str, tuple[Moments, Tensor]]:
    """Moments of each site over the sample, and some rows of every batch [r, d]."""
    loaded = trial.model(model_id)
    batches = batches_of(loaded, sample)
    moments = {name: Moments(site.width) for name, site in sites.items()}
    probe: dict[str, list[Tensor]] = {name: [] for name in sites}
    clock = Clock(f"states of {len(sites)} modules of {model_id}", "batches", trial.report)
    done = 0

    def visit(batch: TokenBatch, seen: dict[str, Tensor]) -> None:
        nonlocal done
        for name, own in moments.items():
            states = batch.samples(seen[name]).cpu()
            own.update(states)
            probe[name].append(states[:: max(1, len(states) // PROBES_PER_BATCH)].clone())
        done += 1
        clock.tick(done, len(batches))

    module_pass(loaded, batches, sites, visit)
    return {name: (own, torch.cat(probe[name])) for name, own in moments.items()}


def _read_spectrum(artifact: Artifact) -> ModuleSpectrum:
    tensors, record = artifact.tensors(), artifact.json()
    light = Spectrum.from_tensors(tensors | {"basis": torch.empty(tensors["sigma"].numel(), 0, dtype=torch.float64)})
    ok, detail = record["centred"]
    return ModuleSpectrum(light, record["dead"], (ok, detail), artifact)


def table_ks(part: Part, spectrum: Spectrum) -> dict[str, int]:
    """The k of Tables 19 and 20 at which a module's leading subspace is defined: below d, and all k identified.

    Beyond the identified directions it is rounding that chooses the directions, and their angles are those of chance.
    """
    limit = min(spectrum.d - 1, spectrum.n_identified)
    return {str(k): k for k in TABLE_KS[part] if k <= limit}


# --------------------------------------------------------------------------- what an edit does
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
        base=[_spectrum_recipe(trial, model_id, sample, name) for name in sites],
        subset=[_spectrum_recipe(trial, model_id, subset, name) for name in sites],
        state=state_key(state),
        scale=float(scale),
    )


def _produce(trial: Trial, model_id: str, state: State, scale: float, draft: Draft) -> None:
    full = spectra(trial, model_id, trial.sample(model_id))
    like = spectra(trial, model_id, trial.subset(model_id))
    tensors: dict[str, Tensor] = {}
    record: dict[str, Any] = {"norms": {}, "angles": {}, "reached": [], "checks": {}}
    for group in _groups(sites_of(trial, model_id)):
        tallies = {name: _Tally(name, full[name].whole()) for name in group}
        reached, checks = _compare(trial, model_id, group, tallies, (state, scale))
        record["reached"] += reached
        record["checks"] |= {name: [outcome.ok, outcome.detail] for name, outcome in checks.items()}
        for name, site in group.items():
            tally = tallies.pop(name)
            tensors[f"pooled.{name}"] = tally.pooled()
            record["norms"][name] = tally.sizes()
            # The same states have the same directions; only without an edit is that measured all the same.
            edited = tally.edited if name in reached or not state else None
            del tally  # with its basis
            record["angles"][name] = _angles(site.part, like[name], edited)
    draft.write_tensors(tensors)
    draft.write_json(record)


def _compare(
    trial: Trial,
    model_id: str,
    sites: Mapping[str, ModuleSite],
    tallies: Mapping[str, _Tally],
    edit: tuple[State, float],
) -> tuple[list[str], dict[str, CheckOutcome]]:
    """Run both models over the subset; which modules changed, and whether samples are paired (module -> worst)."""
    loaded = trial.model(model_id)
    batches = batches_of(loaded, trial.subset(model_id))
    reached: set[str] = set()
    checks: dict[str, CheckOutcome] = {}
    for chunk in _chunks(batches, sum(site.width for site in sites.values())):
        before = module_rows(loaded, chunk, sites)
        with installed(loaded.model, *edit):
            after = module_rows(loaded, chunk, sites)
        moved = [name for name, tally in tallies.items() if tally.add(before[name], after[name])]
        reached |= set(moved)
        # Mis-pairing shows in every module alike: the first and the last one suffice. Few samples tell nothing.
        shown = moved if len(next(iter(before.values()))) >= MIN_SAMPLES else []
        for name in dict.fromkeys([*shown[:1], *shown[-1:]]):
            outcome = check_paired(before[name], after[name])
            if name not in checks or not outcome.ok:
                checks[name] = outcome
    return [name for name in sites if name in reached], checks


def _angles(part: Part, like: ModuleSpectrum, edited: Moments | None) -> dict[str, dict[str, float]]:
    ks = table_ks(part, like.spectrum)
    if edited is None:
        return {label: {"largest_angle": 1.0, "smallest_angle": 1.0, "mean": 1.0, "overlap": 1.0} for label in ks}
    if not ks:
        return {}
    # Whole bases are let go one after the other: at d = 16,384 each takes 2 GB.
    leading = max(ks.values())
    theirs = spectrum_with_dead_units(edited).basis[:, :leading].clone()
    ours = like.whole().basis[:, :leading].clone()
    readings = {label: vars(angle_profile(ours, theirs, k)) for label, k in ks.items()}
    return {label: {n: float(v) for n, v in found.items() if n != "k"} for label, found in readings.items()}


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
    )
