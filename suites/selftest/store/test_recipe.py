"""Recipes: stable keys, Merkle structure, refusals that name the field."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest

from editverdict.store import Recipe

CANONICAL = (
    '{"fields":{"layers":[1,2],"lr":0.1,"model":"m-1","nested":{"a":true,"b":null,"c":"\\u00e9"},"pair":[1.0,1e-300]},'
    '"kind":"delta","version":3}'
)
GOLDEN = "944da9dca200fa9c3d7c40f68658a3612521d0707ae280b4d6d53cd519b94b68"


def example() -> Recipe:
    return Recipe.of(
        "delta", 3, model="m-1", lr=0.1, layers=[1, 2], nested={"b": None, "a": True, "c": "é"}, pair=(1.0, 1e-300)
    )


def test_key_is_pinned() -> None:
    # A change of this value makes every store in the world worthless: do it only on purpose.
    assert hashlib.sha256(CANONICAL.encode()).hexdigest() == GOLDEN == example().key


def test_order_of_fields_does_not_matter() -> None:
    one = Recipe("k", 1, {"a": 1, "b": {"x": 1, "y": 2}})
    other = Recipe("k", 1, {"b": {"y": 2, "x": 1}, "a": 1})
    assert one == other and hash(one) == hash(other) and one.key == other.key


@pytest.mark.parametrize(
    "other",
    [
        Recipe.of("l", 1, a=1, b=[1, 2]),
        Recipe.of("k", 2, a=1, b=[1, 2]),
        Recipe.of("k", 1, a=1.0, b=[1, 2]),
        Recipe.of("k", 1, a=True, b=[1, 2]),
        Recipe.of("k", 1, a="1", b=[1, 2]),
        Recipe.of("k", 1, a=1, b=[2, 1]),
        Recipe.of("k", 1, a=1, b=[1, 2], c=None),
    ],
)
def test_whatever_differs_changes_the_key(other: Recipe) -> None:
    assert other.key != Recipe.of("k", 1, a=1, b=[1, 2]).key


def test_tuples_are_lists_and_numpy_floats_are_floats() -> None:
    assert Recipe.of("k", 1, a=(1, 2), b=np.float64(0.1)) == Recipe.of("k", 1, a=[1, 2], b=0.1)


def test_a_recipe_inside_enters_by_its_key() -> None:
    base = Recipe.of("model", 1, sha="0")
    chain = Recipe.of("chain", 1, base=base, edits=[base])
    assert chain == Recipe.of("chain", 1, base=base.key, edits=[base.key])
    assert chain != Recipe.of("chain", 1, base=Recipe.of("model", 1, sha="1"), edits=[base])


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (float("nan"), "fields.a.b[1]"),
        (float("inf"), "fields.a.b[1]"),
        ({1, 2}, "fields.a.b[1]"),
        (np.arange(2), "fields.a.b[1]"),
        (b"bytes", "fields.a.b[1]"),
        ({3: "x"}, "fields.a.b[1]"),
    ],
)
def test_bad_values_name_their_field(value: object, where: str) -> None:
    with pytest.raises(TypeError, match=r"fields\.a\.b\[1\]") as caught:
        Recipe.of("k", 1, a={"b": [0, value]})
    assert where in str(caught.value)


@pytest.mark.parametrize("kind", ["", "a/b", "..", "Upper", "damaged", ".tmp"])
def test_a_kind_must_name_a_folder(kind: str) -> None:
    with pytest.raises(ValueError, match="cannot name a folder"):
        Recipe.of(kind, 1)


def test_fields_cannot_be_changed_afterwards() -> None:
    given = {"a": [1], "b": {"c": 1}}
    recipe = Recipe("k", 1, given)
    given["a"].append(2)  # type: ignore[attr-defined]
    assert recipe.to_json()["fields"] == {"a": [1], "b": {"c": 1}}
    with pytest.raises(TypeError):
        recipe.fields["b"]["c"] = 2


def test_recipes_travel_between_processes() -> None:
    recipe = example()
    copy = pickle.loads(pickle.dumps(recipe))
    assert copy == recipe and copy.to_json() == recipe.to_json()
