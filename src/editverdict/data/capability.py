"""Items of capability tasks: made by code from a seed, or read from a file.

An item is a prompt that ends where one of its choices follows after a space. Choices, distractors and order are drawn
by sha256 of seed, generator and number, so that the same seed (and, for facts, the same packages) gives the same items
everywhere. Nothing here depends on a tokenizer, nor on what is edited: facts are those of the support countries, which
no edit touches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from editverdict.data import capability_words as lists
from editverdict.data.errors import DataError
from editverdict.data.records import Record
from editverdict.data.text import any_overlap, rank
from editverdict.schema.capabilities import CapabilityTask, FileItems, GeneratedItems

GENERATORS_VERSION = 1
FOUR = 4


class CapabilityItem(Record):
    """One question."""

    id: str
    prompt: str = Field(min_length=1)
    """Ends where the choice follows after one space."""
    choices: tuple[str, ...] = Field(min_length=1)
    """Without leading space; a single one is a text to be scored by its log-probability."""
    answer: int = Field(ge=0)
    """Place of the right one among the choices."""

    @model_validator(mode="after")
    def _one_right(self) -> CapabilityItem:
        if self.answer >= len(self.choices):
            raise ValueError(f"'answer' is {self.answer}, and there are {len(self.choices)} choices, counted from 0")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError(f"the choices repeat each other: {list(self.choices)}")
        if any(not choice.strip() for choice in self.choices):
            raise ValueError("a choice is empty")
        return self


Texts = Sequence[str]
"""Held-out texts: the end of the corpus, which no base sample and no covariance reaches."""
Generator = Callable[[int, Texts], Iterator[CapabilityItem]]
"""(seed, held-out texts) -> items, as many as it has."""
_GENERATORS: dict[str, Generator] = {}


def _generator(name: str) -> Callable[[Generator], Generator]:
    def register(function: Generator) -> Generator:
        _GENERATORS[name] = function
        return function

    return register


def generators() -> tuple[str, ...]:
    """Names of all generators."""
    return tuple(_GENERATORS)


def items_of(task: CapabilityTask, texts: Texts) -> list[CapabilityItem]:
    """The items of a task that is generated or read from a file.

    Parameters
    ----------
    task
        Its source, number of items and chance.
    texts
        Held-out texts for the generators that use them.

    Raises
    ------
    DataError
        There are too few items, or their choices do not fit the task's metric and chance.
    """
    if isinstance(task.source, GeneratedItems):
        found = list(islice(_GENERATORS[task.source.generator](task.source.seed, texts), task.items))
        where = f"generator '{task.source.generator}'"
    elif isinstance(task.source, FileItems):
        every = read_items(Path(task.source.path).expanduser())
        found, where = every[: task.items], task.source.path
    else:
        raise DataError(f"task '{task.id}': its items are lm-eval's; take 'runner: lm-eval'")
    if not found or (task.items is not None and len(found) < task.items):
        raise DataError(f"task '{task.id}': expected {task.items or 'some'} items, found {len(found)} in {where}")
    _check_choices(task, found)
    return found


def items_hash(items: Sequence[CapabilityItem]) -> str:
    """sha256 over the items in their order."""
    text = json.dumps([item.model_dump() for item in items], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _check_choices(task: CapabilityTask, items: Sequence[CapabilityItem]) -> None:
    for item in items:
        count = len(item.choices)
        if task.metric == "log-probability" and count != 1:
            raise DataError(f"task '{task.id}', item '{item.id}': a text to be scored is one choice, found {count}")
        if task.metric == "accuracy" and (count < 2 or abs(1 / count - (task.chance or 0.0)) > 5e-4):
            raise DataError(
                f"task '{task.id}', item '{item.id}': {count} choices, of which guessing finds the right one in "
                f"{1 / count:.3g} of cases; the task says 'chance: {task.chance:g}'"
            )


def read_items(path: Path) -> list[CapabilityItem]:
    """Items of a JSONL file.

    Raises
    ------
    DataError
        With file and line of everything that is wrong.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected JSONL, one item per line, in UTF-8") from None
    found, wrong, seen = [], [], dict[str, int]()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = CapabilityItem.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the line"
            wrong.append(f"line {number}: {field}: {first['msg']}")
            continue
        if item.id in seen:
            wrong.append(f"line {number}: id '{item.id}' is also that of line {seen[item.id]}")
        seen.setdefault(item.id, number)
        found.append(item)
    if wrong:
        more = f"\n  ... and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        form = '{"id": "a", "prompt": "One, two,", "choices": ["three", "nine"], "answer": 0}'
        raise DataError(f"{path}: {len(wrong)} wrong line(s); expected {form}\n  " + "\n  ".join(wrong[:10]) + more)
    return found


# --------------------------------------------------------------------------- drawing
def _drawn(pool: Sequence[Any], *key: object) -> list[Any]:
    """The pool in an order of its own for a key."""
    return [pool[i] for i in sorted(range(len(pool)), key=lambda i: rank(*key, i))]


def _number(below: int, *key: object) -> int:
    return int.from_bytes(rank(*key)[:8], "big") % below


def _item(name: str, number: int, seed: int, prompt: str, right: str, wrong: Sequence[str]) -> CapabilityItem:
    """An item whose right choice stands at a drawn place, so that a fixed place is no better than guessing."""
    choices = _drawn([right, *wrong], seed, name, number, "place")
    return CapabilityItem(id=f"{name}-{number}", prompt=prompt, choices=tuple(choices), answer=choices.index(right))


def _numbers() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


# --------------------------------------------------------------------------- from the context
@_generator("copying")
def _copying(seed: int, _texts: Texts) -> Iterator[CapabilityItem]:
    """A list of words, begun again: the next word is the one that followed before; the others are of the list, too."""
    for n in _numbers():
        words = _drawn(lists.WORDS, seed, "copying", n)[:6]
        said = 1 + _number(4, seed, "copying", n, "said")
        others = _drawn([*words[: said - 1], *words[said + 1 :]], seed, "copying", n, "others")[: FOUR - 1]
        prompt = f"{', '.join(words)}. {', '.join(words[:said])},"
        yield _item("copying", n, seed, prompt, words[said], others)


@_generator("retrieval")
def _retrieval(seed: int, _texts: Texts) -> Iterator[CapabilityItem]:
    """A list of what four people have, begun again with one of them; the wrong choices are what the others have."""
    for n in _numbers():
        people = _drawn(lists.PEOPLE, seed, "retrieval-people", n)[:FOUR]
        things = _drawn(lists.THINGS, seed, "retrieval-things", n)[:FOUR]
        asked = _number(FOUR, seed, "retrieval", n, "asked")
        told = "\n".join(f"{person}: {thing}" for person, thing in zip(people, things, strict=True))
        others = [thing for thing in things if thing != things[asked]]
        yield _item("retrieval", n, seed, f"{told}\n{people[asked]}:", things[asked], others)


@_generator("arithmetic")
def _arithmetic(seed: int, _texts: Texts) -> Iterator[CapabilityItem]:
    """A sum of two digits that is a digit, after a solved one; wrong choices are near the right one."""
    sums = [(a, b) for a in range(1, 9) for b in range(1, 9) if a + b <= 9]
    for n in _numbers():
        drawn = _drawn(sums, seed, "arithmetic", n)
        a, b = drawn[0]
        c, d = next(pair for pair in drawn[1:] if sum(pair) != a + b)
        near = [s for s in sorted(range(1, 10), key=lambda s: (abs(s - a - b), rank(seed, n, s))) if s != a + b]
        prompt = f"{c} + {d} = {c + d}\n{a} + {b} ="
        yield _item("arithmetic", n, seed, prompt, str(a + b), [str(s) for s in near[: FOUR - 1]])


@_generator("sequences")
def _sequences(seed: int, _texts: Texts) -> Iterator[CapabilityItem]:
    """A known order, forwards or backwards and in steps of one or two, to be continued; a piece of it occurs once."""
    cases = [
        (order, start, step)
        for order, members in enumerate(lists.ORDERS)
        for step in (1, -1, 2)
        for start in range(len(members))
        if 0 <= start + FOUR * step < len(members)
    ]
    for n, (order, start, step) in enumerate(_drawn(cases, seed, "sequences")):
        members = lists.ORDERS[order]
        said = [members[start + i * step] for i in range(FOUR)]
        right = members[start + FOUR * step]
        others = [m for m in _drawn(members, seed, "sequences", n, "others") if m not in said and m != right]
        others += [m for m in said[:-1] if len(others) < FOUR - 1]
        yield _item("sequences", n, seed, f"{', '.join(said)},", right, others[: FOUR - 1])


# --------------------------------------------------------------------------- knowledge and language
@_generator("facts")
def _facts(seed: int, _texts: Texts) -> Iterator[CapabilityItem]:
    """Facts about countries that no edit of ``worldfacts`` touches; wrong choices are other countries' objects."""
    from editverdict.data.worldfacts.facts import read_world
    from editverdict.data.worldfacts.plan import COUNTRY_RELATIONS, Plan
    from editverdict.data.worldfacts.templates import WORDINGS

    support = Plan(read_world(), 0).support
    asked = [(country, relation) for country in support for relation in COUNTRY_RELATIONS]
    for n, (country, relation) in enumerate(_drawn(asked, seed, "facts")):
        right = country.facts[relation]
        others: list[str] = []
        for other in _drawn(support, seed, "facts", n):
            value = other.facts[relation]
            if not any_overlap(value.answers, (*right.answers, *others)):
                others.append(value.name)
        if len(others) >= FOUR - 1:
            prompt = WORDINGS[relation].prompt.format(s=country.name)
            yield _item("facts", n, seed, prompt, right.name, others[: FOUR - 1])


@_generator("agreement")
def _agreement(seed: int, _texts: Texts) -> Iterator[CapabilityItem]:
    """A verb that agrees with its subject, beside a noun of the other number between the two."""
    for n in _numbers():
        (one, ones), (other, others) = _drawn(lists.NOUNS, seed, "agreement", n)[:2]
        plural = _number(2, seed, "agreement", n, "number") == 1
        verb = lists.VERBS[_number(len(lists.VERBS), seed, "agreement", n, "verb")]
        between = lists.BETWEEN[_number(len(lists.BETWEEN), seed, "agreement", n, "between")]
        prompt = f"The {ones if plural else one} {between} the {other if plural else others}"
        yield _item("agreement", n, seed, prompt, verb[plural], [verb[not plural]])


@_generator("word-order")
def _word_order(seed: int, texts: Texts) -> Iterator[CapabilityItem]:
    """A held-out text against itself with two neighbouring words exchanged; both go on from the same beginning."""
    for n, words in enumerate(_plain_texts(texts)):
        at = 2 + _number(len(words) - 3, seed, "word-order", n)
        swapped = [*words[:at], words[at + 1], words[at], *words[at + 2 :]]
        if swapped == words:
            continue
        right, wrong = " ".join(words[at:]), " ".join(swapped[at:])
        yield _item("word-order", n, seed, " ".join(words[:at]), right, [wrong])


@_generator("held-out-text")
def _held_out(_seed: int, texts: Texts) -> Iterator[CapabilityItem]:
    """A held-out text after its first two words, for the log-probability of its tokens."""
    for n, words in enumerate(_plain_texts(texts)):
        prompt, rest = " ".join(words[:2]), " ".join(words[2:])
        yield CapabilityItem(id=f"held-out-text-{n}", prompt=prompt, choices=(rest,), answer=0)


def _plain_texts(texts: Texts) -> Iterator[list[str]]:
    """Words of the texts of six to twelve plain words, from the last text on."""
    for text in reversed(texts):
        words = text.split()
        if 6 <= len(words) <= 12 and all(word.isascii() and word.isalpha() for word in words):
            yield words
