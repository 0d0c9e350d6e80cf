"""What all judges have in common: answers in, ``yes``, ``no`` or ``undecided`` out, many at once.

A judge knows nothing of stores. It is handed a function that keeps each judgement (`Keep`): it may find one that was
made before, or call what makes it and write that down, so that an interrupted judging repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

Verdict = Literal["yes", "no", "undecided"]
Order = Literal["usual", "turned"]
"""How a question is put to a judge that reads it: ``turned`` lists its parts, and the accepted answers, the other way
round. The verdict should not depend on it."""


class JudgeError(RuntimeError):
    """A judge could not be asked (endpoint, settings); says nothing about any answer, and holds no key."""


class JudgeNeeds(JudgeError):
    """The judge needs something that is not here, such as its key in the environment."""


@dataclass(frozen=True)
class Item:
    """An answer to be judged."""

    question: str
    """The prompt that was answered: a question, or a sentence to be completed."""
    accepted: tuple[str, ...]
    """Answers that count as right, the canonical one first."""
    answer: str
    """As generated."""
    order: Order = "usual"

    def __post_init__(self) -> None:
        if not any(one.strip() for one in self.accepted):
            raise ValueError(
                f"no accepted answer to judge against, for the question {self.question!r}; expected at least one "
                "non-empty text"
            )


@dataclass(frozen=True)
class Judgement:
    """What a judge said about an answer."""

    verdict: Verdict
    """``undecided`` is no ``no``: the judge gave nothing that can be read as either."""
    reason: str = ""
    """In the judge's own words; why it is undecided."""
    replies: int = 0
    """How often a model was asked."""
    tokens_in: int | None = None
    """Tokens that were read, over all replies; None where they were not counted."""
    tokens_out: int | None = None
    """Tokens that were written."""

    @property
    def correct(self) -> bool | None:
        """Whether the answer is right; None where it is undecided."""
        return None if self.verdict == "undecided" else self.verdict == "yes"

    def record(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Judgement:
        """The judgement of a record."""
        return cls(**record)


Keep = Callable[[int, Callable[[], Judgement]], Judgement]
"""(number of the item, what makes its judgement) -> its judgement, kept from before or made now. A judge may call it
from several threads."""


def make_now(_number: int, make: Callable[[], Judgement]) -> Judgement:
    """A `Keep` that keeps nothing."""
    return make()


class Judge(Protocol):
    """Decides about answers."""

    @property
    def id(self) -> str:
        """16 hexadecimal digits over `fields`: two judges with one id give the same verdicts."""
        ...

    @property
    def reads(self) -> bool:
        """Whether a model reads the answers, so that verdicts cost something and are worth keeping."""
        ...

    def fields(self) -> dict[str, Any]:
        """Everything a verdict depends on beside the item: kind of judge, model, hash of the prompt, settings."""
        ...

    def judge_many(self, items: Sequence[Item], keep: Keep = make_now) -> list[Judgement]:
        """Judgements in the order of the items.

        Raises
        ------
        JudgeError
            The judge could not be asked. Judgements made before were handed to ``keep``.
        """
        ...


@dataclass(frozen=True)
class Cost:
    """What judging has cost."""

    judged: int = 0
    undecided: int = 0
    replies: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    uncounted: int = 0
    """Judgements whose endpoint did not say how many tokens it took: the sums are too small."""

    def __str__(self) -> str:
        text = f"{self.judged} answers judged, {self.undecided} undecided"
        if self.replies:
            text += f", {self.replies} replies, {self.tokens_in} tokens read and {self.tokens_out} written"
        return text + (f" (tokens of {self.uncounted} unknown)" if self.uncounted else "")


def cost_of(judgements: Sequence[Judgement]) -> Cost:
    """Counts over judgements; of one that was kept from before, what it cost then."""
    return Cost(
        len(judgements),
        sum(one.verdict == "undecided" for one in judgements),
        sum(one.replies for one in judgements),
        sum(one.tokens_in or 0 for one in judgements),
        sum(one.tokens_out or 0 for one in judgements),
        sum(one.replies > 0 and one.tokens_in is None for one in judgements),
    )
