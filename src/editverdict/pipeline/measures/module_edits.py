"""What claims about an encoder-decoder's modules have in common: a case's single edits, and what is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from editverdict.capture.modules import ModuleSite, Part
from editverdict.editors.base import State
from editverdict.geometry.amplification import POOLINGS, from_components
from editverdict.geometry.recomputed import check_angle_order, check_distinct, check_energy, check_rates
from editverdict.inference.rows import CheckResult
from editverdict.pipeline.base import batches_of
from editverdict.pipeline.measurement import Case, Measurement, passed
from editverdict.pipeline.measures.perturbation import NO_OP_TOLERANCE, method_of, single_states
from editverdict.pipeline.module_changes import ModuleChange, module_changes
from editverdict.pipeline.module_validity import findings, with_k
from editverdict.pipeline.modules import ModuleSpectrum, sites_of, spectra
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.pipeline.validity import Finding, results, weights_again
from editverdict.pipeline.wide_angles import PER_DIMENSION
from editverdict.pipeline.witness import text_hashes

BEFORE: tuple[Part, ...] = ("wi", "wo")
OF_SPECTRA = ("states-reproduced", "spectrum-recomputed")
OF_CHANGES = ("states-reproduced", "change-recomputed", "components-recomputed", "angles-recomputed")
"""Checks that are made when a module's spectrum, or a state's change, is measured."""
AFTER: tuple[Part, ...] = ("act", "wo")


@dataclass(frozen=True)
class ModuleEdits:
    """Single edits of a case with what they are measured against."""

    sites: dict[str, ModuleSite]
    full: dict[str, ModuleSpectrum]
    states: list[State]
    own: list[ModuleChange]
    idle: ModuleChange

    def names(self, parts: Sequence[Part], among: Iterable[str] | None = None) -> list[str]:
        """Modules of these parts, in order."""
        allowed = set(self.sites if among is None else among)
        return [name for name, site in self.sites.items() if site.part in parts and name in allowed]

    @property
    def reached(self) -> list[str]:
        """Modules that some edit reaches."""
        return [name for name in self.sites if any(name in change.reached for change in self.own)]


def module_edits(trial: Trial, case: Case) -> ModuleEdits:
    """Measure the case's single edits.

    Raises
    ------
    NotHere
        The model is decoder-only, the method's states are no weight deltas, or no edit changes any measured module.
    """
    method, sites = method_of(case), sites_of(trial, case.model)
    states = single_states(trial, case, method)
    own = module_changes(trial, case.model, states, what=f"{method} edits")
    (idle,) = module_changes(trial, case.model, [()], what="no-op")
    full = spectra(trial, case.model, trial.sample(case.model))
    found = ModuleEdits(sites, full, states, [_beyond(change, idle) for change in own], idle)
    if not found.reached:
        raise NotHere(f"no {method} edit changes the states of any measured module: {', '.join(sites)}")
    return found


def _beyond(change: ModuleChange, idle: ModuleChange) -> ModuleChange:
    """The change, reaching only modules that it changes by more than a pass without an edit does.

    Where sums are not taken in a fixed order (some GPU kernels) every pass differs in its last bits, and modules that
    no edit reaches would count. A no-op beyond its tolerance excuses nothing: the check no-op-zero fails.
    """

    def noise(norms: dict[str, float]) -> float:
        return min(norms["max"], NO_OP_TOLERANCE * norms["rms_hidden"])

    kept = [name for name in change.reached if change.norms[name]["mean"] > noise(idle.norms[name])]
    return replace(change, reached=tuple(kept))


def module_measurement(trial: Trial, case: Case, given: ModuleEdits) -> Measurement:
    """A measurement with checks, what it stands on, and which modules are reached."""
    sample, subset = trial.sample(case.model), trial.subset(case.model)
    made = Measurement({}, edits=int(case.claim.edits), n_samples=sample.n_samples)
    made.checks = _checks(trial, case.model, subset.n_samples, subset.n_texts, given)
    like = spectra(trial, case.model, subset)
    keys = [one.artifact.key for one in (*given.full.values(), *like.values())]
    made.recipes = [*keys, given.idle.key, *(change.key for change in given.own)]
    reached = given.names(BEFORE, given.reached)
    made.stands_on = (
        f"{case.subject}, {len(given.own)} single edits, {subset.n_tokens} paired tokens of {subset.n_texts} texts, "
        f"modules {', '.join(reached)}"
    )
    made.descriptive["modules_reached"] = reached
    made.descriptive["modules_unreached"] = [name for name in given.names(BEFORE) if name not in reached]
    widest = max(site.width for site in given.sites.values())
    if subset.n_samples < PER_DIMENSION * widest:
        made.descriptive["power"] = (
            f"{subset.n_samples / widest:.1f} tokens per dimension of the widest module where {PER_DIMENSION} "
            "are wanted for angles: what subspaces lose on few is not what they lose at the full size"
        )
    return made


def _checks(trial: Trial, model_id: str, tokens: int, texts: int, given: ModuleEdits) -> dict[str, CheckResult]:
    """All that claims about modules list, but for above-resolution."""
    sizes = trial.profile.sizes
    widest, wanted = max(site.width for site in given.sites.values()), max(sizes.angle_tokens, sizes.norm_tokens)
    found = passed(
        "enough-tokens",
        tokens >= wanted and tokens > widest,
        f"{tokens} tokens of {texts} texts, widest module d = {widest}; wanted {wanted} and more than d",
    )
    seen = [(i, name, *check) for i, change in enumerate(given.own) for name, check in change.checks.items()]
    bad = [f"edit {i}, {name}: {detail}" for i, name, ok, detail in seen if not ok]
    example = seen[0][3] if seen else "too few samples at a time to tell"
    found |= passed("samples-paired", bool(seen) and not bad, "; ".join(bad[:3]) or example)
    idle = max(norms["ratio"] for norms in given.idle.norms.values())
    found |= passed("no-op-zero", idle <= NO_OP_TOLERANCE, f"no-op changes states by {idle:.2g} of their size")
    off = [f"{name}: {one.centred[1]}" for name, one in given.full.items() if not one.centred[0]]
    detail = "; ".join(off[:3]) or f"{len(given.full)} modules"
    found |= passed("centred-over-samples", not off, detail)
    told = [(what, check_distinct(*text_hashes(batches_of(trial.model(model_id), sample))))
            for what, sample in (("sample", trial.sample(model_id)), ("subset", trial.subset(model_id)))]  # fmt: skip
    found |= passed("texts-distinct", all(one.ok for _, one in told), "; ".join(f"{w}: {o.detail}" for w, o in told))
    return found | results(_found_again(trial, model_id, given))


def _found_again(trial: Trial, model_id: str, given: ModuleEdits) -> list[Finding]:
    """States, spectra, changes and angles: what was found when measured, and what the parts say of each other."""
    found = [Finding(model_id, weights_again(trial, model_id))]
    for sample in (trial.sample(model_id), trial.subset(model_id)):
        for name, one in spectra(trial, model_id, sample).items():
            found += findings(f"{name}, {sample.n_texts} texts", one.validity, OF_SPECTRA)
    m, rms = trial.subset(model_id).n_samples, POOLINGS.index("rms")
    for where, change in (("no-op", given.idle), *((f"edit {i}", change) for i, change in enumerate(given.own))):
        found += findings(where, change.validity, OF_CHANGES)
        for name in given.sites:
            place = f"{where}, {name}"
            found.append(Finding(place, check_angle_order(with_k(change.angles[name]))))
            found.append(Finding(place, check_energy(change.norms[name], m, change.pooled[name][rms])))
    return found + _rates(given)


def _rates(given: ModuleEdits) -> list[Finding]:
    """R_k as it is computed from the first edit's pooled components: by Eq. 11."""
    found = []
    for name in given.own[0].reached:
        spectrum, pooled = given.full[name].spectrum, given.own[0].pooled[name][0]
        rates = from_components(spectrum, pooled[None])
        if bool(rates.identified.any()):
            found.append(Finding(name, check_rates(spectrum, pooled, rates.r, rates.identified)))
    return found
