"""Size of the change (Assumption 4.2) and stability of principal directions (Assumption 4.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch

from editverdict.editors.base import State
from editverdict.geometry import angles as geometry
from editverdict.inference.intervals import Estimate, missing, seeds_interval, t_interval
from editverdict.inference.rows import CheckResult
from editverdict.pipeline import base, paired, validity
from editverdict.pipeline.changes import Change, Reach, changes, hidden_after, reach_of
from editverdict.pipeline.edits import singles, steps
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, Unmeasurable, measure, passed
from editverdict.pipeline.paired_again import pairing_of
from editverdict.pipeline.sample_bias import sample_bias
from editverdict.pipeline.trial import Trial
from editverdict.pipeline.wide_angles import PER_DIMENSION, HasAngles
from editverdict.store import Recipe

THIRTY = 30.0
CONTROL_EDITS = 10
"""Edits (or chains) that a gross positive control is measured on; its effect needs no fine interval. On planted worlds
whose edits differ by half, six left one case in twenty undecided for the control alone."""
NO_OP_TOLERANCE = 1e-5
NO_OP_VERSION = 1


def method_of(case: Case) -> str:
    """The case's method; cases of these claims always have one."""
    if case.method is None or case.dataset is None:
        raise ValueError(f"claim '{case.claim.id}' is about a method on a dataset; its subject is {case.claim.subject}")
    return case.method


def single_states(trial: Trial, case: Case, method: str) -> list[State]:
    """States of the single edits by a method (or ``placebo:METHOD``)."""
    return trial.single_states(case.model, method, str(case.dataset))


def chain_states(trial: Trial, case: Case, method: str, length: int) -> list[State]:
    """States after the first ``length`` edits of each chain."""
    wanted = [chain[:length] for chain in trial.chains(str(case.dataset)) if len(chain) >= length]
    return [steps(trial, case.model, method, chain) for chain in wanted]


def reach(trial: Trial, case: Case) -> Reach:
    """Which layers the case's method edits, and which lie above: read off its first single edit."""
    memo = ("reach", case.model, case.method, case.dataset)
    if memo not in trial._memo:
        first = trial.singles(str(case.dataset))[:1]
        trial._memo[memo] = reach_of(trial, case.model, singles(trial, case.model, method_of(case), first))
    found: Reach = trial._memo[memo]
    return found


def edited_and_later(trial: Trial, case: Case) -> list[int]:
    """Measured layers from the lowest edited one up; of a case without a method, from the model's edited layer up."""
    if case.method is None:
        return list(reach_of(trial, case.model, []).layers)
    return list(reach(trial, case).layers)


def no_op(trial: Trial, model_id: str, start: int | None = None) -> Change:
    """The measurement of the state that changes nothing, run from layer ``start`` (default: the model's edited one)."""
    return changes(trial, model_id, [()], what="no-op", start=start)[0]


def common_checks(trial: Trial, case: Case, measured: Sequence[Change]) -> dict[str, CheckResult]:
    """enough-tokens, samples-paired, no-op-zero, and what is found again in another way (``validity.NAMES``)."""
    sub, sizes = paired.subset(trial, case.model), trial.profile.sizes
    width = next(iter(sub.states.values())).shape[1]
    wanted = max(sizes.angle_tokens, sizes.norm_tokens)
    count = len(sub.tokens)
    found = passed(
        "enough-tokens",
        count >= wanted and count > width,
        f"{count} tokens of {sub.n_texts} texts, d = {width}; wanted {wanted} and more than d",
    )
    found |= _paired(trial, case, measured)
    idle = max(norms["ratio"] for norms in no_op(trial, case.model).norms.values())
    found |= passed("no-op-zero", idle <= NO_OP_TOLERANCE, f"no-op changes hidden states by {idle:.2g} of their size")
    return found | validity.of_edits(trial, case.model, sub, measured)


def _paired(trial: Trial, case: Case, measured: Sequence[Change]) -> dict[str, CheckResult]:
    """samples-paired: every change is that of a token's own two states."""
    pairings = [pairing_of(trial, case.model, change) for change in measured]
    bad = [f"state {i}, {one.detail}" for i, one in enumerate(pairings) if not one.ok]
    again = [f"state {i}, {one.detail}" for i, one in enumerate(pairings) if one.keys]
    example = pairings[0].detail if pairings else "nothing measured"
    text = "; ".join(bad[:3] or again[:1] or [example])
    return passed("samples-paired", not bad and bool(measured), text)


def keys_of(trial: Trial, model_id: str, measured: Sequence[Change]) -> list[str]:
    """Keys of what changes stand on: their own, and those of the texts that were run again for their pairing."""
    return [key for one in measured for key in (one.key, *pairing_of(trial, model_id, one).keys)]


def start(trial: Trial, case: Case, measured: Sequence[Change], what: str, *, resolved: bool = False) -> Measurement:
    """A measurement with checks, scope text and recipes filled in.

    Raises
    ------
    Unmeasurable
        ``resolved`` is asked for, and some direction in use is no more than rounding: R_k is then any number, or none.
    """
    sub = paired.subset(trial, case.model)
    made = Measurement({}, edits=int(case.claim.edits), n_samples=base.spectra_n(trial, case.model))
    made.checks = common_checks(trial, case, measured)
    made.recipes = [base.base_recipe(trial, case.model).key, sub.key, *keys_of(trial, case.model, measured)]
    made.stands_on = f"{case.subject}, {what}, {len(sub.tokens)} paired tokens of {sub.n_texts} texts"
    per_dimension = len(sub.tokens) / next(iter(sub.states.values())).shape[1]
    if per_dimension < PER_DIMENSION:
        made.descriptive["power"] = (
            f"{per_dimension:.1f} tokens per dimension where {PER_DIMENSION} are wanted for angles: few samples spread "
            "the spectrum, so what deep subspaces lose is not what they lose at the full size"
        )
    if resolved and not made.checks["above-resolution"].ok:
        raise Unmeasurable(made)
    return made


def units_picture(case: Case, title: str, groups: dict[str, Sequence[float]]) -> dict[str, Any]:
    """Dots per unit with the expected region."""
    region = case.claim.expect
    return {
        "kind": "units",
        "title": title,
        "label": case.claim.describes,
        "groups": [{"name": name, "values": [float(v) for v in values]} for name, values in groups.items()],
        "threshold": region.threshold,
        "low": region.low,
        "high": region.high,
        "op": region.op,
    }


# --------------------------------------------------------------------------- size of the change
@measure("relative_change")
def relative_change(trial: Trial, case: Case) -> Measurement:
    """Mean |dh| over RMS |h| per single edit, median over the edited and later layers (Tables 9-12)."""
    method, at = method_of(case), reach(trial, case)
    layers = at.layers
    states = single_states(trial, case, method)
    own = changes(trial, case.model, states, what=f"{method} edits")
    placebo = changes(trial, case.model, single_states(trial, case, f"placebo:{method}"), what=f"{method} placebos")
    gross = changes(trial, case.model, states[:CONTROL_EDITS], THIRTY, what=f"30-fold {method} edits")

    def typical(change: Change) -> float:
        return median(change.norms[layer]["ratio"] for layer in layers)

    made = start(trial, case, own, f"{len(own)} single edits")
    made.definitions = {
        "mean-norm": t_interval([typical(c) for c in own]),
        "edited-layer": t_interval([c.norms[at.edited]["ratio"] for c in own]),
        "last-layer": t_interval([c.norms[layers[-1]]["ratio"] for c in own]),
        "absolute-norm": t_interval([median(c.norms[layer]["mean"] for layer in layers) for c in own]),
    }
    made.controls["thirty-fold"] = t_interval([typical(c) for c in gross])
    made.comparators["placebo"] = [typical(c) for c in placebo]
    made.descriptive["by_layer"] = {
        str(n): {
            k: sum(c.norms[n][k] for c in own) / len(own) for k in ("mean", "std", "min", "max", "rms_hidden", "ratio")
        }
        for n in layers
    }
    made.pictures.append(
        units_picture(
            case,
            f"Relative change after one {method} edit",
            {
                method: [typical(c) for c in own],
                "placebo (comparator)": made.comparators["placebo"],
                "thirty-fold (positive)": [typical(c) for c in gross],
            },
        )
    )
    return made


# --------------------------------------------------------------------------- principal angles
def gaps_at_k(trial: Trial, case: Case) -> dict[str, dict[str, float]]:
    """Layer -> k -> (σ_k - σ_(k+1)) / σ_k of the base: the smaller, the more easily a subspace turns."""
    bases = paired.subset(trial, case.model).bases
    return {
        str(n): {
            label: float((bases[n].sigma[k - 1] - bases[n].sigma[k]) / bases[n].sigma[k - 1])
            for label, k in geometry.paper_ks(bases[n].d).items()
        }
        for n in edited_and_later(trial, case)
    }


def angle(change: Change, layers: Sequence[int], label: str, reading: str = "largest_angle") -> float:
    """A principal cosine at one k, median over layers."""
    return median(change.angles[layer][label][reading] for layer in layers)


def angle_picture(trial: Trial, case: Case, groups: dict[str, Sequence[Change]], layer: int) -> dict[str, Any]:
    """Mean cosine of the largest angle against k at one layer, with the no-op baseline."""
    width = next(iter(paired.subset(trial, case.model).states.values())).shape[1]
    ks = geometry.paper_ks(width)
    everything = {**groups, "no-op (baseline)": [no_op(trial, case.model, reach(trial, case).start)]}
    chance = [
        float(
            geometry.angle_profile(
                geometry.random_subspace(width, k, 1), geometry.random_subspace(width, k, 2), k
            ).largest_angle
        )
        for k in ks.values()
    ]
    return {
        "kind": "angles",
        "title": f"Largest principal angle against the base, layer {layer}, same tokens",
        "ks": list(ks.values()),
        "curves": [
            {
                "name": name,
                "cos": [sum(c.angles[layer][label]["largest_angle"] for c in many) / len(many) for label in ks],
            }
            for name, many in everything.items()
        ],
        "chance": chance,
    }


@measure("leading_subspace_cosine")
def leading_subspace_cosine(trial: Trial, case: Case) -> Measurement:
    """Cosine of the largest principal angle at k = 10 after a chain, per chain (Tables 13-18)."""
    method, at, length = method_of(case), reach(trial, case), chain_length(trial, case)
    layers = at.layers
    states = chain_states(trial, case, method, length)
    own = changes(trial, case.model, states, what=f"{method} chains")
    placebo = changes(
        trial, case.model, chain_states(trial, case, f"placebo:{method}", length), what=f"{method} placebo chains"
    )
    gross = changes(trial, case.model, states[:CONTROL_EDITS], THIRTY, what=f"30-fold {method} chains")
    width = next(iter(paired.subset(trial, case.model).states.values())).shape[1]
    made = start(trial, case, own, f"{len(own)} chains of {length} edits")
    made.edits = length
    made.definitions = {
        "largest-angle": t_interval([angle(c, layers, "10") for c in own]),
        "smallest-angle": t_interval([angle(c, layers, "10", "smallest_angle") for c in own]),
        "mean-cosine": t_interval([angle(c, layers, "10", "mean") for c in own]),
        "later-layers": t_interval([angle(c, at.later, "10") for c in own]) if at.later else missing(),
    }
    made.controls["thirty-fold"] = t_interval([angle(c, layers, "10") for c in gross])
    made.controls["unrelated-subspace"] = seeds_interval(_unrelated(trial, width))
    made.controls["no-op"] = t_interval(
        [no_op(trial, case.model, at.start).angles[n]["10"]["largest_angle"] for n in layers]
    )
    made.comparators["placebo"] = [angle(c, layers, "10") for c in placebo]
    made.descriptive["gap_at_k"] = gaps_at_k(trial, case)
    made.descriptive["by_layer"] = {
        str(n): sum(c.angles[n]["10"]["largest_angle"] for c in own) / len(own) for n in layers
    }
    made.pictures += [
        units_picture(
            case,
            f"Leading subspace after {length} {method} edits",
            {
                method: made.definitions["largest-angle"].units,
                "placebo (comparator)": made.comparators["placebo"],
                "thirty-fold (positive)": [angle(c, layers, "10") for c in gross],
            },
        ),
        angle_picture(trial, case, {f"{method} T={length}": own, "placebo": placebo}, at.edited),
        angle_picture(trial, case, {f"{method} T={length}": own, "placebo": placebo}, layers[-1]),
    ]
    return made


def _unrelated(trial: Trial, width: int) -> list[float]:
    k = min(10, width - 1)
    seeds = range(trial.profile.sizes.random_seeds)
    return [
        geometry.angle_profile(
            geometry.random_subspace(width, k, 2 * s + 1), geometry.random_subspace(width, k, 2 * s + 2), k
        ).largest_angle
        for s in seeds
    ]


@measure("tail_drift")
def tail_drift(trial: Trial, case: Case) -> Measurement:
    """Loss at the deepest k minus loss at k = 10 after one edit, per edit (Tables 13-20)."""
    method, at = method_of(case), reach(trial, case)
    layers = at.layers
    states = single_states(trial, case, method)
    own = changes(trial, case.model, states, what=f"{method} edits")
    placebo = changes(trial, case.model, single_states(trial, case, f"placebo:{method}"), what=f"{method} placebos")
    sub = paired.subset(trial, case.model)
    deep = list(geometry.paper_ks(next(iter(sub.states.values())).shape[1]))[-1]

    def drift(change: HasAngles, reading: str = "largest_angle") -> float:
        return median(change.angles[n]["10"][reading] - change.angles[n][deep][reading] for n in layers)

    made = start(trial, case, own, f"{len(own)} single edits")
    for name, reading in (("mean-cosine", "mean"), ("largest-angle", "largest_angle")):
        few = sample_bias(trial, case.model, states, own, partial(drift, reading=reading), f"{method} edits")
        made.definitions[name] = few.hulled([drift(c, reading) for c in own])
        if few.said:
            made.descriptive["power"] = few.said
    made.recipes += few.keys
    made.checks = validity.joined(made.checks, few.findings)
    made.controls["planted-tail-rotation"] = planted_drift(trial, case.model, deep, tail=True)
    made.controls["rotation-equal-in-k"] = planted_drift(trial, case.model, deep, tail=False)
    idle = no_op(trial, case.model, at.start)
    made.controls["no-op"] = t_interval(
        [idle.angles[n]["10"]["largest_angle"] - idle.angles[n][deep]["largest_angle"] for n in layers]
    )
    made.comparators["placebo"] = [drift(c) for c in placebo]
    made.descriptive["k"] = geometry.paper_ks(next(iter(sub.states.values())).shape[1])
    made.descriptive["gap_at_k"] = gaps_at_k(trial, case)
    made.pictures += [
        units_picture(
            case,
            f"Extra loss of the tail after one {method} edit",
            {method: [drift(c) for c in own], "placebo (comparator)": made.comparators["placebo"]},
        ),
        angle_picture(trial, case, {f"{method} T=1": own, "placebo": placebo}, at.edited),
    ]
    return made


def planted_drift(trial: Trial, model_id: str, deep: str, *, tail: bool) -> Estimate:
    """The same quantity for the base's own basis rotated by a known angle: in the tail alone, or at every k."""
    sub = paired.subset(trial, model_id)
    basis = next(iter(sub.bases.values())).basis
    ks = geometry.paper_ks(basis.shape[0])
    rotate: Callable[[int], torch.Tensor] = (
        (lambda seed: geometry.rotate_tail(basis, 10, 1.0, seed))
        if tail
        else (lambda seed: geometry.rotate_uniform(basis, 0.5, seed))
    )
    values = []
    for seed in range(trial.profile.sizes.random_seeds):
        curve = geometry.angle_curve(basis, rotate(seed), ks)
        values.append(curve["10"] - curve[deep])
    return seeds_interval(values)


# --------------------------------------------------------------------------- the check that pairing works at all
@measure("no_op_change")
def no_op_change(trial: Trial, case: Case) -> Measurement:
    """Hidden states extracted again without an edit, against the stored ones, per block of texts."""
    sub = paired.subset(trial, case.model)
    recipe = Recipe.of(
        "no-op-again",
        NO_OP_VERSION,
        model=trial.model(case.model).identity.fields(),
        subset=sub.key,
        blocks=trial.subset(case.model).n_blocks,
    )
    found = trial.store.build(recipe, lambda draft: draft.write_json(_again(trial, case))).json()
    made = start(trial, case, [no_op(trial, case.model)], "no-op")
    made.definitions["relative-norm"] = t_interval(found["same"])
    made.controls["re-ordered"] = t_interval(found["re-ordered"])
    made.pictures.append(
        units_picture(
            case,
            "Change without an edit",
            {
                "same order": made.definitions["relative-norm"].units,
                "re-ordered (positive)": made.controls["re-ordered"].units,
            },
        )
    )
    return made


def _again(trial: Trial, case: Case) -> dict[str, list[float]]:
    """Mean change over RMS per block (the worst layer), extracted again in the same order and paired with another."""
    sub, layers = paired.subset(trial, case.model), edited_and_later(trial, case)
    again = hidden_after(trial, case.model, ())
    half = len(sub.tokens) // 2

    def ratio(block: int, shift: int) -> float:
        rows = sub.block == block
        worst = 0.0
        for layer in layers:
            own = sub.states[layer].double()
            other = own if shift == 0 else own.roll(shift, 0)
            scale = float((own - own.mean(0)).square().sum(1).mean().sqrt())
            worst = max(worst, float((again[layer].double() - other)[rows].norm(dim=1).mean()) / scale)
        return worst

    blocks = sorted(set(sub.block.tolist()))
    return {"same": [ratio(b, 0) for b in blocks], "re-ordered": [ratio(b, half) for b in blocks]}
