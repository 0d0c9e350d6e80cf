"""Thinking and answer of a reasoning model, parted by its marks: text in, text out."""

from __future__ import annotations

from dataclasses import dataclass

from editverdict.schema.protocols import Thinking


@dataclass(frozen=True)
class Parts:
    """What was said, in two parts."""

    thinking: str | None
    """None: nothing was thought between marks."""
    answer: str
    """Empty as long as the thinking part goes on."""
    closed: bool | None
    """Whether the thinking part was brought to its end; None: there is none."""


def opens_in(rendered: str, marks: Thinking) -> bool:
    """Whether a rendered prompt ends inside the thinking part: the last mark in it is the opening one."""
    return rendered.rfind(marks.open) > rendered.rfind(marks.close)


def part(text: str, marks: Thinking, *, opened: bool = False) -> Parts:
    """Part what a model said.

    The answer is what follows the first closing mark, whether or not the opening one was said, because some templates
    write it themselves. Without a closing mark all of it is thinking if the part was opened, by the prompt
    (``opened``) or as the first thing said; else all of it is the answer. Marks elsewhere are text.
    """
    inner = text.lstrip()
    begun = inner.startswith(marks.open)
    rest = inner[len(marks.open) :] if begun else text
    at = rest.find(marks.close)
    if at >= 0:
        return Parts(rest[:at], rest[at + len(marks.close) :], True)
    if begun or opened:
        return Parts(rest, "", False)
    return Parts(None, text, None)
