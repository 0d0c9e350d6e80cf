"""Making one record out of facts, and keeping names apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from editverdict.data.kinds import missing_kinds
from editverdict.data.records import EditRecord, Fact, Probe
from editverdict.data.text import Words, any_overlap, contains, rank, spans, words
from editverdict.data.worldfacts.facts import Value
from editverdict.data.worldfacts.templates import WORDINGS

TUNE_SHARE = 0.2
"""Share of the subjects that go to the ``tune`` split."""


@dataclass(frozen=True)
class Item:
    """A subject with its true object under one relation."""

    subject: str
    value: Value
    relation: str

    @property
    def fact(self) -> Fact:
        """The identity of the fact."""
        return Fact(subject=self.subject, relation=self.relation)

    @property
    def prompt(self) -> str:
        """The question for the object."""
        return WORDINGS[self.relation].prompt.format(s=self.subject)


class Names:
    """Names that must stay apart: none may occur in another as whole words."""

    def __init__(self) -> None:
        self._names: set[Words] = set()
        self._parts: set[Words] = set()

    def reserve(self, *names: str) -> None:
        """Take names without asking whether they are free."""
        for name in map(words, names):
            self._names.add(name)
            self._parts.update(spans(name))

    def accept(self, *names: str) -> bool:
        """Take the names of one thing if all are free."""
        if any(words(n) in self._parts or any(span in self._names for span in spans(words(n))) for n in names):
            return False
        self.reserve(*names)
        return True


def split_of(seed: int, relation: str, subject: str) -> str:
    """Return the split of a subject, the same wherever it is asked for."""
    return "tune" if rank(seed, "split", relation, subject)[0] < 256 * TUNE_SHARE else "test"


def identifier(relation: str, subject: str) -> str:
    """Return the record's id, e.g. ``city-country.lyon``."""
    return f"{relation}.{'-'.join(re.findall('[a-z0-9]+', subject.lower()))}"


def leaks(answers: Iterable[str], prompts: Iterable[str]) -> bool:
    """Tell whether an answer occurs in a prompt."""
    texts = list(prompts)
    return any(contains(prompt, answer) for answer in answers for prompt in texts)


def wordings(item: Item) -> tuple[str, ...]:
    """Return the prompt and the rephrases of an item."""
    wording = WORDINGS[item.relation]
    return tuple(text.format(s=item.subject) for text in (wording.prompt, *wording.rephrases))


def is_sound(item: Item, new: Value) -> bool:
    """Tell whether the old and the new object can be told apart, and no prompt gives either away."""
    texts = wordings(item)
    return (
        not any_overlap(item.value.answers, new.answers)
        and not leaks((*item.value.answers, *new.answers), texts)
        and all(text.count(item.subject) == 1 for text in texts)
    )


def same_relation(item: Item, new: Value, pool: Sequence[Item], seed: int, number: int = 2) -> list[Probe]:
    """Return locality probes about subjects of the pool, whose objects are not the new one."""
    ordered = sorted(pool, key=lambda other: rank(seed, "locality", item.relation, item.subject, other.subject))
    fitting = (other for other in ordered if not any_overlap(other.value.answers, new.answers))
    return [locality(other, "same-relation") for other in islice(fitting, number)]


def locality(item: Item, kind: str) -> Probe:
    """Return the probe that asks for a fact that must stay."""
    return Probe(prompt=item.prompt, answers=item.value.answers, kind=kind, facts=(item.fact,))


def inverse(item: Item, new: Value, answers: tuple[str, ...]) -> list[Probe]:
    """Return the inverse probe of a functional relation, unless its prompt gives the answer away."""
    template = WORDINGS[item.relation].inverse
    if template is None:
        return []
    prompt = template.format(o=new.name)
    return [] if leaks(answers, [prompt]) else [Probe(prompt=prompt, answers=answers, kind="inverse")]


def alias(item: Item, new: Value, other_name: str | None) -> list[Probe]:
    """Return the probe that uses the subject's other name, unless its prompt gives the answer away."""
    if other_name is None:
        return []
    prompt = WORDINGS[item.relation].prompt.format(s=other_name)
    if leaks((*new.answers, *item.value.answers), [prompt]) or contains(prompt, item.subject):
        return []
    return [Probe(prompt=prompt, answers=new.answers, kind="alias")]


def record(
    item: Item, new: Value, seed: int, source: str, locality: Sequence[Probe], portability: Sequence[Probe]
) -> EditRecord:
    """Assemble a record; ``lacks`` follows from what it has."""
    prompt, *rephrases = wordings(item)
    return EditRecord(
        id=identifier(item.relation, item.subject),
        prompt=prompt,
        subject=item.subject,
        target_new=new.name,
        target_new_aliases=new.aliases,
        target_old=item.value.name,
        target_old_aliases=item.value.aliases,
        relation=item.relation,
        rephrases=tuple(rephrases),
        locality=tuple(locality),
        portability=tuple(portability),
        lacks=missing_kinds(rephrases, locality, portability),
        split=split_of(seed, item.relation, item.subject),
        source=source,
    )


def rotated(items: Sequence[Item], seed: int) -> list[tuple[Item, Value]]:
    """Give each item the object of the next one of its split, so that every new object occurs once.

    The objects of a functional relation stay one to one: the inverse has a single answer in any chain.
    """
    pairs = []
    for split in ("test", "tune"):
        group = [item for item in items if split_of(seed, item.relation, item.subject) == split]
        group.sort(key=lambda item: rank(seed, "rotate", item.relation, item.subject))
        pairs += [
            (item, group[(i + 1) % len(group)].value)
            for i, item in enumerate(group)
            if is_sound(item, group[(i + 1) % len(group)].value)
        ]
    return pairs
