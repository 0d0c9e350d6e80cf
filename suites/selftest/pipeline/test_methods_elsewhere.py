"""A run says which methods wait in another profile."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from editverdict.pipeline.matrix import cases_of, planned_claims
from editverdict.pipeline.runs import methods_elsewhere
from editverdict.pipeline.setup import load_library
from editverdict.schema.errors import SpecError
from editverdict.schema.profiles import ProfileSpec
from suites.selftest.pipeline.sessions import ROOT

LIBRARY = load_library([ROOT / "specs"])


def test_laptop_names_the_methods_that_overnight_has_beyond_it() -> None:
    laptop, overnight = LIBRARY.profiles["laptop"], LIBRARY.profiles["overnight"]
    found = methods_elsewhere(LIBRARY, laptop)
    assert set(found["overnight"]) == set(overnight.methods) - set(laptop.all_methods)
    assert "AlphaEdit" in laptop.all_methods and "methods-table" not in found  # which puts no claim on trial


def test_a_choice_of_methods_by_the_user_is_not_the_profiles() -> None:
    laptop = LIBRARY.profiles["laptop"]
    assert methods_elsewhere(LIBRARY, laptop.model_copy(update={"methods": ("ROME",)})) == methods_elsewhere(
        LIBRARY, laptop
    )


def test_a_profile_that_has_all_methods_names_no_other() -> None:
    assert methods_elsewhere(LIBRARY, LIBRARY.profiles["overnight"]) == {}


def test_methods_on_other_models_do_not_count() -> None:
    assert methods_elsewhere(LIBRARY, LIBRARY.profiles["smoke"]) == {}


# --------------------------------------------------------------------------- methods for some claims only
def test_a_method_for_some_claims_has_cases_of_those_alone() -> None:
    laptop = LIBRARY.profiles["laptop"]
    profile = laptop.model_copy(update={"methods": ("ROME",), "methods_for": {"GRACE": ("rq1-far-from-perfect",)}})
    found = {
        claim: [case.method for case in cases_of(LIBRARY, profile, LIBRARY.claims[claim])]
        for claim in ("rq1-far-from-perfect", "smallpert-norm")
    }
    # GRACE keeps text: the claim is about parameter methods, and names decide nothing about kinds.
    assert found == {"rq1-far-from-perfect": ["ROME"], "smallpert-norm": ["ROME"]}
    profile = profile.model_copy(update={"methods_for": {"MEMIT": ("rq1-far-from-perfect",)}})
    assert [case.method for case in cases_of(LIBRARY, profile, LIBRARY.claims["rq1-far-from-perfect"])] == [
        "ROME",
        "MEMIT",
    ]
    assert [case.method for case in cases_of(LIBRARY, profile, LIBRARY.claims["smallpert-norm"])] == ["ROME"]
    assert profile.all_methods == ("ROME", "MEMIT")


def test_a_method_stands_in_one_of_the_two_lists() -> None:
    twice = {**LIBRARY.profiles["laptop"].model_dump(), "methods_for": {"ROME": ("smallpert-norm",)}}
    with pytest.raises(ValidationError, match="names ROME for smallpert-norm; ROME stands under methods, too"):
        ProfileSpec.model_validate(twice)


def test_a_claim_that_is_left_out_comes_back_for_the_methods_that_are_named() -> None:
    laptop, claim = LIBRARY.profiles["laptop"], LIBRARY.claims["rq4-edit-time-order"]
    profile = laptop.model_copy(
        update={"methods": ("ROME", "MEMIT"), "left_out": (claim.id,), "methods_for": {"ROME": (claim.id,)}}
    )
    assert ProfileSpec.model_validate(profile.model_dump()) == profile
    assert [case.method for case in cases_of(LIBRARY, profile, claim)] == ["ROME"]
    assert claim in planned_claims(LIBRARY, profile) and profile.claims_elsewhere == ()
    assert profile.all_methods == ("ROME", "MEMIT")
    assert profile.claims_in_part == {claim.id: ("ROME",)}
    nowhere = profile.model_copy(update={"methods_for": {}})
    assert claim not in planned_claims(LIBRARY, nowhere) and nowhere.claims_elsewhere == (claim.id,)
    # Asked for by name, it is on trial for every method.
    asked = nowhere.model_copy(update={"claims": (claim.id,)})
    assert [case.method for case in cases_of(LIBRARY, asked, claim)] == ["ROME", "MEMIT"]


def test_an_unknown_claim_of_a_method_is_found_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = (ROOT / "specs" / "profiles" / "smoke.yaml").read_text()
    file.write_text(text.replace("id: smoke", "id: mine") + "    methods_for: {MEMIT: [smallpert-nrom]}\n")
    with pytest.raises(SpecError, match=r"mine\.yaml:.*smallpert-nrom") as caught:
        load_library([ROOT / "specs", tmp_path])
    assert "did you mean 'smallpert-norm'" in str(caught.value)
