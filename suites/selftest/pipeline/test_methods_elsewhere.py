"""A run says which methods wait in another profile."""

from __future__ import annotations

from editverdict.pipeline.runs import methods_elsewhere
from editverdict.pipeline.setup import load_library
from suites.selftest.pipeline.sessions import ROOT

LIBRARY = load_library([ROOT / "specs"])


def test_laptop_names_the_methods_that_overnight_has_beyond_it() -> None:
    laptop, overnight = LIBRARY.profiles["laptop"], LIBRARY.profiles["overnight"]
    found = methods_elsewhere(LIBRARY, laptop)
    assert set(found) == {"overnight"}
    assert set(found["overnight"]) == set(overnight.methods) - set(laptop.methods)


def test_a_choice_of_methods_by_the_user_is_not_the_profiles() -> None:
    laptop = LIBRARY.profiles["laptop"]
    assert methods_elsewhere(LIBRARY, laptop.model_copy(update={"methods": ("ROME",)})) == methods_elsewhere(
        LIBRARY, laptop
    )


def test_a_profile_that_has_all_methods_names_no_other() -> None:
    assert methods_elsewhere(LIBRARY, LIBRARY.profiles["overnight"]) == {}


def test_methods_on_other_models_do_not_count() -> None:
    assert methods_elsewhere(LIBRARY, LIBRARY.profiles["smoke"]) == {}
