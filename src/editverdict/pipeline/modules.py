"""Artifacts of an encoder-decoder's modules: base spectra of wi, its activation and wo.

As ``base`` does it for decoder-only models. A module's width may be 16,384, so that one matrix of directions takes
2 GB: modules are measured in groups that fit into ``MEMORY``, and nothing of the size samples x width is kept.

Versions below are part of the recipes: raise one whenever the same recipe would give other numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from editverdict.capture.by_block import PROBES_PER_BATCH
from editverdict.capture.modules import ModuleSite, Part, measured_blocks, module_pass, module_sites
from editverdict.capture.texts import TextSample, TokenBatch
from editverdict.geometry.checks import CheckOutcome, check_centred
from editverdict.geometry.recomputed import check_spectrum
from editverdict.geometry.sketch import Sketch
from editverdict.models.sites import SiteError
from editverdict.numerics.moments import Moments
from editverdict.numerics.null_directions import bounded_by_rank, dead_units, spectrum_with_dead_units
from editverdict.numerics.precision import effective_dtype
from editverdict.numerics.spectrum import Spectrum
from editverdict.pipeline import module_validity
from editverdict.pipeline.base import batches_of
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.store import Artifact, Clock, Draft, Job, Recipe

SPECTRUM_VERSION = 2
DECODER_READS = "copy"
"""What the decoder is fed (capture/modules.py)."""
MEMORY = 12 * 2**30
"""Bytes for the square matrices of the modules that are measured together."""
SQUARES = 5
"""Such matrices per module: its moments and basis, and what diagonalising takes; 11 GB at d = 16,384."""
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


def groups_of(sites: Mapping[str, ModuleSite]) -> list[dict[str, ModuleSite]]:
    """Modules measured together, within ``MEMORY``."""
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
    validity: module_validity.Stored = ()
    """What checks found when it was measured."""

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
    ready: dict[str, Passed] = {}
    order = trial.offset(list(sites))
    jobs = [Job(spectrum_recipe(trial, model_id, sample, name), _spectrum_of(trial, model_id, sample, name, ready))
            for name in order]  # fmt: skip
    clock = Clock(f"spectra of the modules of {model_id}", "modules", trial.report)
    made = dict(zip(order, trial.store.build_many(jobs, progress=clock.tick), strict=True))
    trial._memo[memo] = {name: _read_spectrum(made[name]) for name in sites}
    return dict(trial._memo[memo])


def spectrum_recipe(trial: Trial, model_id: str, sample: TextSample, name: str) -> Recipe:
    """Recipe of one module's spectrum over a sample."""
    return Recipe.of(
        "module-spectrum",
        SPECTRUM_VERSION,
        model=trial.model(model_id).identity.fields(),
        tokens=sample.hash,
        decoder=DECODER_READS,
        module=name,
    )


def _spectrum_of(
    trial: Trial, model_id: str, sample: TextSample, name: str, ready: dict[str, Passed]
) -> Callable[[Draft], None]:
    """Producer of a module's spectrum; a pass for one module serves its whole group, through ``ready``."""

    def produce(draft: Draft) -> None:
        group = next(group for group in groups_of(sites_of(trial, model_id)) if name in group)
        if name not in ready:
            ready.clear()
            ready.update(_moments(trial, model_id, sample, group))
        moments, probe, sums, reproduced = ready.pop(name)
        whole = spectrum_with_dead_units(moments, activation_dtype=effective_dtype(probe))
        spectrum = bounded_by_rank(whole, group[name].rank)
        centred = check_centred(spectrum, probe)
        checks = module_validity.stored([reproduced, check_spectrum(spectrum, sums)])
        tensors = spectrum.to_tensors()
        draft.write_tensors({"basis": tensors.pop("basis")}, "basis")
        draft.write_tensors(tensors)
        draft.write_json({"dead": dead_units(moments), "centred": [centred.ok, centred.detail], "validity": checks})

    return produce


class Passed(NamedTuple):
    """What a pass over a sample leaves of one module."""

    moments: Moments
    probe: Tensor
    """Some rows of every batch, [r, d]."""
    sums: Sketch
    reproduced: CheckOutcome


def _moments(trial: Trial, model_id: str, sample: TextSample, sites: Mapping[str, ModuleSite]) -> dict[str, Passed]:
    """Moments of each site over the sample, and what they are checked against."""
    loaded = trial.model(model_id)
    batches = batches_of(loaded, sample)
    moments = {name: Moments(site.width) for name, site in sites.items()}
    sums = {name: Sketch(site.width) for name, site in sites.items()}
    probe: dict[str, list[Tensor]] = {name: [] for name in sites}
    first: dict[str, Tensor] = {}
    clock = Clock(f"states of {len(sites)} modules of {model_id}", "batches", trial.report)
    done = 0

    def visit(batch: TokenBatch, seen: dict[str, Tensor]) -> None:
        nonlocal done
        for name, own in moments.items():
            states = batch.samples(seen[name]).cpu()
            own.update(states)
            sums[name].update(states)
            if done == 0:
                first[name] = states
            probe[name].append(states[:: max(1, len(states) // PROBES_PER_BATCH)].clone())
        done += 1
        clock.tick(done, len(batches))

    module_pass(loaded, batches, sites, visit)
    return {
        name: Passed(
            own,
            torch.cat(probe[name]),
            sums[name],
            module_validity.check_states(loaded, batches[:1], {name: first[name]}, None),
        )
        for name, own in moments.items()
    }


def _read_spectrum(artifact: Artifact) -> ModuleSpectrum:
    tensors, record = artifact.tensors(), artifact.json()
    light = Spectrum.from_tensors(tensors | {"basis": torch.empty(tensors["sigma"].numel(), 0, dtype=torch.float64)})
    ok, detail = record["centred"]
    return ModuleSpectrum(light, record["dead"], (ok, detail), artifact, module_validity.read(record))


def table_ks(part: Part, spectrum: Spectrum) -> dict[str, int]:
    """The k of Tables 19 and 20 at which a module's leading subspace is defined: below d, and all k identified.

    Beyond the identified directions it is rounding that chooses the directions, and their angles are those of chance.
    """
    limit = min(spectrum.d - 1, spectrum.n_identified)
    return {str(k): k for k in TABLE_KS[part] if k <= limit}
