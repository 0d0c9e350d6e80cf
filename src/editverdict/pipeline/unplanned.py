"""Why a profile has no case of a claim: what it lacks, or that it leaves the claim to others, and which those are.

Told from the specs alone. A claim without a verdict is to say what it needs; that no case is planned says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from editverdict.editors.registry import changes_weights
from editverdict.pipeline.matrix import cases_of, planned_claims
from editverdict.schema.claims import ClaimSpec
from editverdict.schema.library import SpecLibrary
from editverdict.schema.profiles import ProfileSpec

ENCODER_DECODER = frozenset({"module_spread", "module_subspace_cosine", "module_mean_r"})
"""Quantities of the modules of an encoder-decoder (`measures/encoder_decoder.py`); another model has none."""
FURTHER = {"other_implementation": "EasyEdit, in a Python of its own (--easyedit-python)"}
"""Quantity -> what it needs beside models, methods and data."""
SHOWN = 3
"""So many models of another profile, and so many methods of a kind, are named."""


def unplanned(library: SpecLibrary, profile: ProfileSpec, suites: Iterable[str]) -> dict[str, str]:
    """Claims that a profile leaves out altogether, each with the reason; none where the user chose the claims.

    Claims that it plans and has no case of are not among them: they have a verdict of their own, ``not_run``.
    """
    if profile.id in library.profiles and library.profiles[profile.id].claims != profile.claims:
        return {}
    chosen, here = set(suites), {claim.id for claim in planned_claims(library, profile)}
    return {
        name: why_no_case(library, profile, claim)
        for name, claim in library.claims.items()
        if claim.kind != "survey" and claim.suite in chosen and name not in here
    }


def why_no_case(library: SpecLibrary, profile: ProfileSpec, claim: ClaimSpec) -> str:
    """Why a profile has no case of a claim, what would give it one, and which profiles that ship have one.

    Parameters
    ----------
    library, profile
        The specs, and the profile as it is run (with the user's own models, methods and data).
    claim
        A claim that the profile plans no case of.
    """
    if claim.id in profile.claims_elsewhere:
        head = f"profile '{profile.id}' leaves this claim to others (left_out)"
    elif claim.id not in {one.id for one in planned_claims(library, profile)}:
        head = f"profile '{profile.id}' has claims of its own choice (claims), and this is none of them"
    else:
        head = "the profile plans no case of this claim"
    needs = [*_models(library, profile, claim), *_methods(library, profile, claim), *_data(library, profile, claim)]
    needs += [FURTHER[claim.quantity]] if claim.quantity in FURTHER else []
    return "; ".join([head, *(f"needs {need}" for need in needs), _elsewhere(library, profile, claim)])


# --------------------------------------------------------------------------- what is lacking
def _models(library: SpecLibrary, profile: ProfileSpec, claim: ClaimSpec) -> list[str]:
    has = f"(profile '{profile.id}' has {', '.join(profile.models)})"
    if claim.quantity in ENCODER_DECODER and not _encoder_decoders(library, profile.models):
        fitting = [name for name in _encoder_decoders(library, library.models) if _real(library, name)]
        return [f"an encoder-decoder such as {_either(fitting)} {has}"]
    if claim.about_models and not set(claim.about_models) & set(profile.models):
        return [f"the model {_either(claim.about_models)} {has}"]
    return []


def _methods(library: SpecLibrary, profile: ProfileSpec, claim: ClaimSpec) -> list[str]:
    if "method" not in claim.subject:
        return []
    there = profile.methods_of(claim.id) or profile.methods
    if any(_fits(library, claim, name) for name in there):
        return []
    has = f"profile '{profile.id}' has {', '.join(there) or 'none'}"
    if not claim.about:
        planned = dict.fromkeys(name for one in library.profiles.values() for name in one.all_methods)
        such = [name for name in planned if _fits(library, claim, name)][:SHOWN]
        changed = " that changes weights" if claim.suite == "hypotheses" else ""
        return [f"a method of kind {' or '.join(claim.methods)}{changed}, such as {_either(such)} ({has})"]
    named = [name for name in claim.about if _fits(library, claim, name)]
    if not named:
        return [f"hidden states after edits by {_either(claim.about)}, whose states are more than changed weights"]
    others = [name for name in named if name in profile.all_methods]
    alone = f"; {', '.join(others)} is on trial there for other claims alone" if others else ""
    return [f"{_either(named)} on trial for it ({has}{alone})"]


def _fits(library: SpecLibrary, claim: ClaimSpec, method: str) -> bool:
    spec = library.methods.get(method)
    if spec is None or spec.kind not in claim.methods or (claim.about and method not in claim.about):
        return False
    return claim.suite != "hypotheses" or changes_weights(spec.editor)


def _data(library: SpecLibrary, profile: ProfileSpec, claim: ClaimSpec) -> list[str]:
    if "dataset" not in claim.subject:
        return []
    if any(library.datasets[name].kind in (None, *claim.data) for name in profile.datasets):
        return []
    known = [name for name, spec in library.datasets.items() if spec.kind in claim.data]
    such = f", such as {_either(known)}," if known else ""
    return [
        f"data of {' or '.join(claim.data)}{such} by --datasets (profile '{profile.id}' has {_and(profile.datasets)})"
    ]


# --------------------------------------------------------------------------- who has it
def _elsewhere(library: SpecLibrary, profile: ProfileSpec, claim: ClaimSpec) -> str:
    having = [p for p in library.profiles.values() if p.id != profile.id and _can_decide(library, p, claim)]
    if not having:
        return "no profile that ships has a case of it that could decide"
    return f"on trial in {'; '.join(_told(library, one, claim) for one in having)}"


def _can_decide(library: SpecLibrary, profile: ProfileSpec, claim: ClaimSpec) -> bool:
    """Whether a profile has a case of a claim that its models and chains could decide: random weights never do."""
    if claim.id not in {one.id for one in planned_claims(library, profile)}:
        return False
    if isinstance(claim.edits, int) and claim.edits > max(profile.sizes.chain_length, profile.sizes.long_chain):
        return False
    return bool(_deciding(library, profile, claim))


def _deciding(library: SpecLibrary, profile: ProfileSpec, claim: ClaimSpec) -> list[str]:
    """The models of a profile's cases of a claim that could decide it."""
    models = list(dict.fromkeys(case.model for case in cases_of(library, profile, claim)))
    if claim.quantity in ENCODER_DECODER:
        models = _encoder_decoders(library, models)
    return [name for name in models if _real(library, name)]


def _told(library: SpecLibrary, profile: ProfileSpec, claim: ClaimSpec) -> str:
    models = _deciding(library, profile, claim)
    more = f" and {len(models) - SHOWN} more" if len(models) > SHOWN else ""
    cuda = "a GPU with CUDA, " if profile.requires_cuda else ""
    return f"{profile.id} ({cuda}{', '.join(models[:SHOWN])}{more})"


# --------------------------------------------------------------------------- words
def _real(library: SpecLibrary, model: str) -> bool:
    return library.models[model].weights != "random"


def _encoder_decoders(library: SpecLibrary, models: Iterable[str]) -> list[str]:
    return [name for name in models if library.architectures[library.models[name].architecture].encoder_decoder]


def _either(names: Sequence[str]) -> str:
    return " or ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else "".join(names)


def _and(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
