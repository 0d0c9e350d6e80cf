"""The matrix of cases: every claim crossed with the subjects that the profile plans, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from editverdict.editors.registry import changes_weights
from editverdict.pipeline.measurement import Case
from editverdict.schema.claims import ClaimSpec
from editverdict.schema.library import SpecLibrary
from editverdict.schema.profiles import ProfileSpec


def planned_claims(library: SpecLibrary, profile: ProfileSpec) -> list[ClaimSpec]:
    """Claims of the profile, sorted by id, with the checks that they require; never a survey, which is data only."""
    testable = {name: claim for name, claim in library.claims.items() if claim.kind != "survey"}
    if profile.claims == "all":
        left_out = {*profile.claims_elsewhere}
        return [claim for name, claim in testable.items() if name not in left_out]
    wanted = set(profile.claims)
    for name in profile.claims:
        wanted |= set(library.claims[name].requires)
    return [claim for name, claim in testable.items() if name in wanted]


def cases_of(library: SpecLibrary, profile: ProfileSpec, claim: ClaimSpec) -> list[Case]:
    """Cases of one claim under a profile."""
    methods: Sequence[str | None] = [None]
    datasets: Sequence[str | None] = [None]
    if "method" in claim.subject:
        there = profile.methods_of(claim.id)
        named = claim.about or there
        found = [m for m in there if library.methods[m].kind in claim.methods and m in named]
        if claim.suite == "hypotheses":
            # Hidden states are those of changed weights: a state that its editor puts in force by hooks has no case.
            found = [m for m in found if changes_weights(library.methods[m].editor)]
        methods = found
    if "dataset" in claim.subject:
        kinds = {name: library.datasets[name].kind for name in profile.datasets}
        datasets = [name for name, kind in kinds.items() if kind is None or kind in claim.data]
    models = [m for m in profile.models if not claim.about_models or m in claim.about_models]
    return [Case(claim, model, method, dataset) for model in models for method in methods for dataset in datasets]


def matrix(
    library: SpecLibrary, profile: ProfileSpec, suites: Iterable[str] = ("hypotheses", "benchmark")
) -> list[Case]:
    """All cases of a profile in the given suites."""
    chosen = set(suites)
    return [
        case
        for claim in planned_claims(library, profile)
        if claim.suite in chosen
        for case in cases_of(library, profile, claim)
    ]
