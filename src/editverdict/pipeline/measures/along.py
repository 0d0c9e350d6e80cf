"""Chains on their way: what the states at each T of the schedule do to hidden states."""

from __future__ import annotations

from collections.abc import Sequence

from editverdict.editors.base import State
from editverdict.geometry.amplification import Amplification
from editverdict.pipeline.changes import Change, changes
from editverdict.pipeline.edits import steps
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.measures.amplification import amplified
from editverdict.pipeline.trial import NotHere, Trial

MIN_STEPS = 3
"""Fewest T that a trend is read off."""
Along = dict[int, list[Change]]
"""T -> the change of each chain's state after T edits."""


def schedule(trial: Trial, length: int, least: int = MIN_STEPS) -> list[int]:
    """T of the profile's schedule up to the length of the chains.

    Raises
    ------
    NotHere
        They are fewer than ``least``.
    """
    found = sorted(t for t in set(trial.profile.sizes.schedule) if t <= length)
    if len(found) < least:
        raise NotHere(
            f"needs {least} values of T; the schedule of profile '{trial.profile.id}' has {found} up to T = {length}"
        )
    return found


def states_along(trial: Trial, case: Case, method: str, lengths: Sequence[int]) -> dict[int, list[State]]:
    """T -> the state of every chain of the profile after T edits; all chains must have the longest T."""
    chains = [chain for chain in trial.chains(str(case.dataset)) if len(chain) >= max(lengths)]
    return {t: [steps(trial, case.model, method, chain[:t]) for chain in chains] for t in lengths}


def along(trial: Trial, case: Case, method: str, lengths: Sequence[int]) -> Along:
    """The changes of every chain of the profile at each T; all chains must have the longest one."""
    reached = states_along(trial, case, method, lengths)
    return {t: changes(trial, case.model, many, what=f"{t} {method} edits") for t, many in reached.items()}


def long_enough(trial: Trial, case: Case) -> int:
    """T of a claim whose chains may be fewer than the claim asks for: then the number of units says so.

    A rehearsal with random weights, which can support nothing, takes its longest chain.

    Raises
    ------
    NotHere
        Not even one chain is that long.
    """
    wanted, longest = int(case.claim.edits), max(len(chain) for chain in trial.chains(str(case.dataset)))
    if longest >= wanted:
        return wanted
    if trial.library.models[case.model].weights == "random":
        return longest
    raise NotHere(f"needs T ≥ {wanted}; the longest chain of profile '{trial.profile.id}' has {longest} edits")


def rates(trial: Trial, case: Case, change: Change, layers: Sequence[int]) -> dict[int, Amplification]:
    """R_k of one state by layer."""
    return {layer: amplified(trial, case.model, change, layer) for layer in layers}
