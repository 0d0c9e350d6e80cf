"""Labelled answers: what a judge is held against, one question per line of a JSONL file.

A line has ``id``, ``question``, ``accepted`` (a list, the canonical answer first) and ``answers``, a list of objects
with ``text``, ``label`` ("yes" or "no") and ``kind`` (what makes the answer easy or hard). Nothing of a file is
skipped: it is an instrument, and one with a faulty part is not used.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from editverdict.data.errors import DataError
from editverdict.evaluation.judging import Item
from editverdict.evaluation.lexical import LexicalJudge

DEALT = 3
"""Answers to other questions that a question gets per right answer: so many that a judge without a fault is told from
one that accepts a tenth."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    text: str
    label: Literal["yes", "no"]
    kind: str = Field(min_length=1)


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    accepted: list[str] = Field(min_length=1)
    answers: list[_Answer] = Field(min_length=1)


@dataclass(frozen=True)
class Labelled:
    """An answer with its label."""

    question_id: str
    """Answers of one question are no independent items."""
    kind: str
    item: Item
    label: Literal["yes", "no"]


def read_labelled(path: Path) -> list[Labelled]:
    """Labelled answers of a file, in its order.

    Raises
    ------
    DataError
        Names file, line and field, and what was expected there.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}); expected a JSONL file") from error
    found: list[Labelled] = []
    seen: dict[str, int] = {}
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        line = _line(path, number, text)
        if line.id in seen:
            raise DataError(
                f"{path}:{number}: id: '{line.id}' stands in line {seen[line.id]} already; expected each once"
            )
        seen[line.id] = number
        if not all(one.strip() for one in line.accepted):
            raise DataError(f"{path}:{number}: accepted: found an empty text; expected answers, or remove it")
        said = [answer.text for answer in line.answers]
        if len(set(said)) < len(said):
            raise DataError(f"{path}:{number}: answers: found the same text twice; expected each once")
        accepted = tuple(line.accepted)
        found += [Labelled(line.id, a.kind, Item(line.question, accepted, a.text), a.label) for a in line.answers]
    if not found:
        raise DataError(f"{path}: no labelled answer in it; expected one question per line")
    return found


def _line(path: Path, number: int, text: str) -> _Line:
    try:
        return _Line.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{number}: expected one JSON object per line, found {error.msg}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the line"
        shown = repr(first["input"])[:60]
        message = f"{path}:{number}: {where}: {first['msg']}; found {shown}"
        raise DataError(
            f"{message}; expected id, question, accepted and answers (text, label yes or no, kind)"
        ) from None


def labelled_hash(labelled: Sequence[Labelled]) -> str:
    """64 hexadecimal digits over questions, accepted answers, answers and labels."""
    rows: list[Any] = [[a.item.question, list(a.item.accepted), a.item.answer, a.label] for a in labelled]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def shuffled(labelled: Sequence[Labelled], seed: int = 0) -> list[Item]:
    """Right answers dealt to other questions, where they are wrong: a judge that looks must say no to all of them.

    For every right answer its question gets `DEALT` answers to other questions, as far as there are that many. An
    answer is dealt to a question only if none of that question's accepted answers is among its words.
    """
    right = [one for one in labelled if one.label == "yes"]
    order = list(right)
    random.Random(seed).shuffle(order)
    words = LexicalJudge("contains")
    dealt: dict[Item, None] = {}
    for place, one in enumerate(right):
        strange = (
            replace(one.item, answer=other.item.answer)
            for other in [*order[place:], *order[:place]]
            if other.question_id != one.question_id and not words.judge(other.item.answer, one.item.accepted)
        )
        fresh = (item for item in strange if item not in dealt)
        for item in list(itertools.islice(fresh, DEALT)):
            dealt[item] = None
    return list(dealt)
