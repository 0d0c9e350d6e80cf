"""Items of capability tasks: the same from the same seed, and right where they say so."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import pytest

from editverdict.data import capability, capability_words
from editverdict.data.capability import CapabilityItem, generators, items_hash, items_of, read_items
from editverdict.data.errors import DataError
from editverdict.data.worldfacts import build_worldfacts
from editverdict.schema.capabilities import CapabilityTask

TEXTS = [
    f"the {age} {thing} went slowly past number {count} again"
    for age in ("old", "new", "red")
    for thing in ("cat", "bus")
    for count in ("one", "two", "six")
]
CHANCE = {"agreement": 0.5, "word-order": 0.5, "held-out-text": None}
COUNT = 16


def task(generator: str, items: int | None = COUNT, seed: int = 0, **changes: object) -> CapabilityTask:
    chance = CHANCE.get(generator, 0.25)
    fields = {
        "id": generator,
        "describes": "a test",
        "source": {"kind": "generated", "generator": generator, "seed": seed},
        "items": items,
        "metric": "accuracy" if chance else "log-probability",
        "chance": chance,
    }
    return CapabilityTask.model_validate({**fields, **changes})


@pytest.mark.parametrize("name", generators())
def test_the_same_seed_gives_the_same_items_and_another_one_others(name: str) -> None:
    one, again, other = (items_of(task(name, seed=seed), TEXTS) for seed in (0, 0, 1))
    assert items_hash(one) == items_hash(again) and len(one) == COUNT
    assert len({item.id for item in one}) == COUNT
    assert len({(item.prompt, item.choices) for item in one}) == COUNT
    if name != "held-out-text":  # which has nothing to draw
        assert items_hash(one) != items_hash(other)
    # A suite with more items begins with the same ones.
    assert items_of(task(name, 4), TEXTS) == one[:4]


@pytest.mark.parametrize("name", sorted(set(generators()) - {"held-out-text", "word-order", "sequences", "facts"}))
def test_no_place_is_better_than_guessing(name: str) -> None:
    items = items_of(task(name, 400), TEXTS)
    places = Counter(item.answer for item in items)
    size = len(items[0].choices)
    assert set(places) == set(range(size))
    assert max(abs(count - 400 / size) for count in places.values()) < 4.5 * (400 / size) ** 0.5
    # Nor is the choice that stands first (or last) in the prompt, where the choices stand in it at all.
    if name in ("copying", "retrieval"):
        first = sum(
            min(item.choices, key=lambda c, t=item.prompt: t.index(c)) == item.choices[item.answer] for item in items
        )
        assert first < 0.5 * 400


def test_right_choices_are_right() -> None:
    for item in items_of(task("copying"), TEXTS):
        head, _, tail = item.prompt.partition(". ")
        listed, said = head.split(", "), tail.rstrip(",").split(", ")
        assert listed[: len(said)] == said and item.choices[item.answer] == listed[len(said)]
        assert set(item.choices) <= set(listed)
    for item in items_of(task("retrieval"), TEXTS):
        *lines, asked = item.prompt.split("\n")
        told = dict(line.split(": ") for line in lines)
        assert told[asked.rstrip(":")] == item.choices[item.answer] and set(item.choices) == set(told.values())
    for item in items_of(task("arithmetic"), TEXTS):
        solved, asked = item.prompt.split("\n")
        c, d, s = map(int, re.findall(r"\d", solved))
        a, b = map(int, re.findall(r"\d", asked))
        assert c + d == s != a + b == int(item.choices[item.answer]), "and the sum is not given away"
    for item in items_of(task("agreement"), TEXTS):
        subject = item.prompt.split()[1]
        plural = subject in {many for _, many in capability_words.NOUNS}
        assert item.choices[item.answer] in {verb[plural] for verb in capability_words.VERBS}


def test_sequences_go_on_in_equal_steps() -> None:
    items = items_of(task("sequences", None), TEXTS)
    assert len(items) > 60
    for item in items:
        said = [*item.prompt.rstrip(",").split(", "), item.choices[item.answer]]
        (order,) = [members for members in capability_words.ORDERS if set(said) <= set(members)]
        places = [order.index(one) for one in said]
        assert len({b - a for a, b in pairwise(places)}) == 1
        assert set(item.choices) <= set(order)


def test_exchanged_words_are_neighbours() -> None:
    for item in items_of(task("word-order", 12), TEXTS):
        right, wrong = (item.choices[i].split() for i in (item.answer, 1 - item.answer))
        assert f"{item.prompt} {' '.join(right)}" in TEXTS
        assert [right[1], right[0], *right[2:]] == wrong


def test_facts_are_of_countries_that_no_edit_touches() -> None:
    items = items_of(task("facts", 100), TEXTS)
    edited = {record.subject for record in build_worldfacts(0)}
    prompts = {record.prompt for record in build_worldfacts(0)}
    asked = {word for item in items for word in re.findall(r"[A-Z][a-z]+", item.prompt)}
    assert len(asked) > 20 and not asked & edited and not prompts & {item.prompt for item in items}
    france = [item for item in items if "capital of France" in item.prompt]
    assert all(item.choices[item.answer] == "Paris" for item in france)


def test_texts_come_from_the_end_of_the_corpus() -> None:
    items = items_of(
        task("held-out-text", 3),
        ["a text that no item may take first", *TEXTS, "too short", "with, marks of any kind, no"],
    )
    assert [f"{item.prompt} {item.choices[0]}" for item in items] == TEXTS[:-4:-1]


# --------------------------------------------------------------------------- what does not fit
def test_too_few_items_are_refused() -> None:
    with pytest.raises(DataError, match="task 'sequences': expected 5000 items, found"):
        items_of(task("sequences", 5000), TEXTS)
    with pytest.raises(DataError, match="expected some items, found 0"):
        items_of(task("word-order", None), [])


def test_a_chance_that_the_choices_do_not_have_is_refused() -> None:
    with pytest.raises(DataError, match=r"4 choices, of which guessing finds the right one in 0\.25 of cases"):
        items_of(task("copying", 2, chance=0.5), TEXTS)
    with pytest.raises(DataError, match="a text to be scored is one choice, found 4"):
        items_of(task("copying", 2, chance=None, metric="log-probability"), TEXTS)


LINE = {"id": "a", "prompt": "One, two,", "choices": ["three", "nine"], "answer": 0}


def written(folder: Path, *lines: object) -> Path:
    path = folder / "items.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, LINE, "", LINE | {"id": "b", "answer": 1})
    own = CapabilityTask.model_validate(
        {"id": "mine", "describes": "d", "source": {"kind": "file", "path": str(path)}, "chance": 0.5}
    )
    assert [item.answer for item in items_of(own, [])] == [0, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: the line: Invalid JSON"),
        (LINE | {"id": "b", "answer": 2}, "line 2: the line: Value error, 'answer' is 2, and there are 2 choices"),
        (LINE | {"id": "b", "choices": ["x", "x"]}, "the choices repeat each other"),
        (LINE | {"id": "b", "choices": ["x", " "]}, "a choice is empty"),
        (LINE | {"id": "b", "prompt": ""}, "line 2: prompt: String should have at least 1 character"),
        (LINE | {"id": "b", "question": "?"}, "line 2: question: Extra inputs are not permitted"),
        (LINE, "line 2: id 'a' is also that of line 1"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: object, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as error:
        read_items(written(tmp_path, LINE, line))
    assert "items.jsonl: 1 wrong line(s); expected" in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_items(tmp_path / "none.jsonl")


def test_generators_are_lazy() -> None:
    """Those without an end give as many items as anyone takes."""
    endless = capability._GENERATORS["copying"]
    assert len(list(islice(endless(0, []), 1000))) == 1000
    assert isinstance(next(endless(0, [])), CapabilityItem)
