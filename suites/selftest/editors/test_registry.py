"""Editors by name: own ones, those of other packages, and what a wrong name is told."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest

from editverdict.editors import Hyperparameters, editor_names, make_editor, register_editor, registry


class OneSetting(Hyperparameters):
    """One number."""

    strength: float = 1.0


class Foreign:
    """An editor as another package would bring it."""

    name: ClassVar[str] = "foreign"
    version: ClassVar[int] = 1
    hyperparameters_type: ClassVar[type[Hyperparameters]] = OneSetting

    def __init__(self, hyperparameters: OneSetting) -> None:
        self.hyperparameters = hyperparameters


NOT_AN_EDITOR = 7


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is forgotten."""
    monkeypatch.setattr(registry, "_EDITORS", dict(registry._EDITORS))
    registry._points.cache_clear()
    yield
    registry._points.cache_clear()


def offer(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    """Pretend that installed packages name these objects in the entry-point group."""
    made = [EntryPoint(name, value, "editverdict.editors") for name, value in points.items()]

    def entry_points(*, group: str) -> list[EntryPoint]:
        return [point for point in made if point.group == group]

    monkeypatch.setattr(registry, "entry_points", entry_points)


def test_own_editors() -> None:
    assert {"no-op", "placebo", "rome", "scr"} <= set(editor_names())
    assert editor_names() == sorted(editor_names())
    for name in ("no-op", "rome", "scr"):
        assert make_editor(name, {}).name == name


@pytest.mark.parametrize(("wrong", "right"), [("rom", "rome"), ("noop", "no-op"), ("placebos", "placebo")])
def test_unknown_editor(wrong: str, right: str) -> None:
    with pytest.raises(ValueError) as caught:
        make_editor(wrong, {})
    message = str(caught.value)
    assert f"unknown editor '{wrong}'" in message and f"did you mean '{right}'?" in message
    assert all(f"'{name}'" in message for name in editor_names())


def test_an_editor_like_no_other_gets_no_advice() -> None:
    with pytest.raises(ValueError, match="unknown editor 'zzz'") as caught:
        make_editor("zzz", {})
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"covarience": True}, ["covarience", "did you mean 'covariance'?", "it takes: ", "covariance, residual_key"]),
        ({"value": {"learning_rat": 0.1}}, ["value.learning_rat", "did you mean 'learning_rate'?"]),
        ({"value": {"steps": 0}}, ["value.steps", "greater than or equal to 1", "(found 0)"]),
        ({"residual_key": "other"}, ["residual_key", "(found 'other')"]),
        ({"layer": -1, "prefixes": -2}, ["layer:", "prefixes:"]),
    ],
)
def test_wrong_hyperparameters(settings: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(ValueError, match="hyperparameters of editor 'rome'") as caught:
        make_editor("rome", settings)
    for part in said:
        assert part in str(caught.value)


def test_a_missing_hyperparameter() -> None:
    with pytest.raises(ValueError, match=r"hyperparameters of editor 'placebo': like: Field required.*like, seed"):
        make_editor("placebo", {})
    with pytest.raises(ValueError, match="it takes: none"):
        make_editor("no-op", {"anything": 1})


def test_settings_are_closed_and_frozen() -> None:
    editor = make_editor("rome", {"layer": 3})
    with pytest.raises(ValueError, match="frozen"):
        editor.hyperparameters.layer = 4


def test_another_package_brings_an_editor(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, foreign=f"{__name__}:Foreign")
    assert "foreign" in editor_names()
    made = make_editor("foreign", {"strength": 2.5})
    assert type(made).__name__ == "Foreign" and made.hyperparameters.strength == 2.5
    with pytest.raises(ValueError, match=r"editor 'foreign': strenght.*did you mean 'strength'"):
        make_editor("foreign", {"strenght": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert editor_names().count("foreign") == 1


def test_a_broken_package_takes_no_other_down(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, gone="no_such_package.here:Editor", odd=f"{__name__}:NOT_AN_EDITOR", fine=f"{__name__}:Foreign")
    with pytest.warns(UserWarning) as caught:
        assert {"foreign", "rome"} <= set(editor_names())
    told = [str(warning.message) for warning in caught]
    assert len(told) == 2
    assert "editor 'gone' from no_such_package.here:Editor cannot be loaded" in told[0] and "'odd'" in told[1]


def test_two_editors_of_one_name() -> None:
    with pytest.raises(ValueError, match=r"two editors are called 'rome': Rome and .*Impostor"):

        @register_editor
        class Impostor(Foreign):
            name: ClassVar[str] = "rome"

    assert type(make_editor("rome", {})).__name__ == "Rome"
    register_editor(type(make_editor("rome", {})))  # the same class again is no conflict
