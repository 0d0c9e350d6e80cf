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
