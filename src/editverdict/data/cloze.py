"""Facts of an event by rule: each name, title, date or field of study, with the sentence before it as its prompt.

No model and no question of the dataset takes part. A prompt is the event's own words up to the name, so that nothing is
put into it that the event does not say; but later prompts contain earlier answers, relations are not put into other
words, and a sentence with one name alone gives its predicate as one target. It is the named stand-in for a model
(:mod:`editverdict.data.triples`), not its equal. The rules were written in sight of a hundred events of ELKEN (not of
their questions), so what they find there says little about other sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from editverdict.data.text import contains

_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DATE = rf"{_MONTH}\s+\d{{1,2}},?\s+\d{{4}}|\d{{1,2}}\s+{_MONTH},?\s+\d{{4}}|{_MONTH},?\s+\d{{4}}|\b\d{{4}}\b"
_CAPITAL = r"(?:[^\W\d_a-z][\w.&/–’'-]*|\d+[A-Z][\w-]*)"
_QUOTED = r"[\"“][^\"”]+[\"”]"
_JOINT = re.compile(r"\s+(?:(?:of|de|la|del|da|di|dos|van|von|der|den|bin|al|y)\s+(?:the\s+)?)?")
_AND = re.compile(r"\s+(?:and|&)\s+")
_COMMA = re.compile(r",\s+")
_POSSESSIVE = re.compile(r"['’]s?$")
_SCHOOL = re.compile(r"\b(?:University|College|Institute|School)\b")
_FIRM = re.compile(r"(?:Company|Co|Sons|Partners|Associates|Technology)\b")
_MARRIED = re.compile(
    r"\b(?:marry|married|marriage|matrimony|weds?|wedded|wedding|husband and wife|tied the knot|nuptials)\b", re.I
)
_STUDIED = re.compile(
    r"\b(?:study|studying|pursuing|studies in|degree in|enrolled in|majoring in|focusing on)\s+"
    r"(?P<field>[a-z]+(?: [a-z]+){0,2})(?=\s+(?:at|from)\b|$)"
)
_AUXILIARY = re.compile(r"\b(?:has|have|had|is|are|was|were|will)\b")
_NO_NAME = frozenset({"The", "A", "An", "In", "On", "At", "After", "Before", "Following", "His", "Her", "Its", "Their"})
_PART = re.compile(rf"(?P<quoted>{_QUOTED})|(?P<date>{_DATE})|(?P<name>(?<!\w){_CAPITAL})|(?:{_STUDIED.pattern})")
_ROLE = re.compile(
    r"\b(?:star|player|actor|actress|artist|singer|rapper|musician|director|producer|writer|author|novelist|poet|coach|"
    r"footballer|golfer|boxer|wrestler|racer|driver|swimmer|athlete|model|comedian|politician|activist|composer|"
    r"businessman|businesswoman|entrepreneur|executive|scientist|physicist|economist|journalist|legend|icon)\s*$"
)


@dataclass(frozen=True)
class _Span:
    """A name, title, date or field of study in a text: what it says and where it stands, with quotation marks."""

    text: str
    start: int
    stop: int
    date: bool


def cloze_triples(event: str) -> list[tuple[str, str, str]]:
    """Return (subject, prompt, target) of an event in its order; empty where it names nothing.

    >>> cloze_triples("Marta Lindqvist opened Harbour Books in Bergen.")
    [('Marta Lindqvist', 'Marta Lindqvist opened', 'Harbour Books'),
     ('Marta Lindqvist', 'Marta Lindqvist opened Harbour Books in', 'Bergen')]
    """
    text = _without_stop(" ".join(event.split()))
    spans = _spans(text)
    first = _subject(text, spans)
    if first is None:
        return []
    found = []
    for span in (span for span in spans if span.start >= first.stop):
        prompt = text[: span.start].rstrip()
        if prompt.endswith(" and") and text[first.stop : span.start].strip() == "and" and _MARRIED.search(text):
            prompt = f"{first.text} is married to"
        if not contains(prompt, span.text) and first.text in prompt:
            found.append((first.text, prompt, span.text))
    return found or _predicate(text, first)


def _without_stop(text: str) -> str:
    """Return a sentence without its full stop, which an abbreviation at its end keeps."""
    return text[:-1] if text.endswith(".") and not re.search(r"\.\w\.$", text) else text


def _spans(text: str) -> list[_Span]:
    return list(_found(text))


def _found(text: str) -> Iterator[_Span]:
    at = 0
    while (match := _PART.search(text, at)) is not None:
        start, stop = match.span()
        if match["quoted"]:
            yield _Span(match[0][1:-1].strip(" ,."), start, stop, False)
        elif match["date"]:
            yield _Span(match[0], start, stop, True)
        elif match["field"]:
            yield _Span(match["field"], match.start("field"), match.end("field"), False)
        elif match["name"] not in _NO_NAME:
            stop = _run(text, start, stop)
            name = _POSSESSIVE.sub("", text[start:stop].rstrip(",;:"))
            yield _Span(name, start, start + len(name), False)
        at = stop


def _run(text: str, start: int, stop: int) -> int:
    """Return where the name ends that begins with a capitalised word: capitalised words, and what joins them."""
    while not _POSSESSIVE.search(text[start:stop]):
        for joint in (_JOINT, _AND, _COMMA):
            gap = joint.match(text, stop)
            following = _PART.match(text, gap.end()) if gap else None
            if following is not None and following["name"] and _joins(joint, text, start, stop, following.start()):
                stop = following.end()
                break
        else:
            return stop
    return stop


def _joins(joint: re.Pattern[str], text: str, start: int, stop: int, onward: int) -> bool:
    """Whether a name goes on after "and" or a comma: in firms' and institutions' names."""
    if joint is _AND:
        return " of " in text[start:stop] or _FIRM.match(text, onward) is not None
    if joint is _COMMA:
        return _SCHOOL.search(text[start:stop]) is not None or _SCHOOL.match(text, onward) is not None
    return True


def _subject(text: str, spans: list[_Span]) -> _Span | None:
    """Return the first name or title; after a role ("Basketball star X") the name that follows it."""
    named = [span for span in spans if not span.date]
    if not named:
        return None
    if len(named) > 1 and " " not in named[0].text and _ROLE.search(text[named[0].start : named[1].start]):
        return named[1]
    return named[0]


def _predicate(text: str, subject: _Span) -> list[tuple[str, str, str]]:
    """Return what is said of the only name: what follows the auxiliary, or everything after the name."""
    auxiliary = _AUXILIARY.search(text, subject.stop)
    stop = auxiliary.end() if auxiliary else subject.stop
    target = text[stop:].lstrip(" ,;:'’s") if stop == subject.stop else text[stop:].strip()
    return [(subject.text, text[:stop].strip(), target)] if target else []
