"""How many edits a claim's chains have: what the claim says, never silently less."""

from __future__ import annotations

from editverdict.pipeline.measurement import Case
from editverdict.pipeline.trial import NotHere, Trial


def chain_length(trial: Trial, case: Case) -> int:
    """T of a claim about chains.

    A rehearsal with random weights, which can support nothing, runs on the profile's shorter chains; anything else
    needs the length that the claim names.

    Raises
    ------
    NotHere
        The profile's chains are too short.
    """
    wanted, there = int(case.claim.edits), trial.profile.sizes.chain_length
    if there >= wanted:
        return wanted
    if trial.library.models[case.model].weights == "random":
        return there
    raise NotHere(f"needs T ≥ {wanted}; the chains of profile '{trial.profile.id}' have {there} edits")


def length_from(trial: Trial, case: Case, needed: int, why: str) -> int:
    """T of a claim that has something to say of a method only from so many edits on.

    The claim's own T where that is enough, else the whole chains of the profile. A rehearsal with random weights takes
    what there is.

    Raises
    ------
    NotHere
        The profile's chains are too short; ``why`` names where the number comes from.
    """
    length, there = chain_length(trial, case), trial.profile.sizes.chain_length
    if length >= needed or trial.library.models[case.model].weights == "random":
        return length
    if there >= needed:
        return there
    raise NotHere(f"needs T ≥ {needed} ({why}); the chains of profile '{trial.profile.id}' have {there} edits")
