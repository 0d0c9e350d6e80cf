"""The lexical judge: whether a text gives one of the accepted answers.

Both sides are normalised alike and compared word by word, so that ``Rome`` is not found in ``Romeo``, nor ``Guinea`` in
``Guinea-Bissau``.

Limitations, by design of a judge that reads words and not meaning:

- negations and quotations count as answers (``not Paris`` under ``contains``; ``Paris is wrong`` under both rules);
- under ``contains`` a longer name holds a shorter one (``New York`` holds ``York``), and a repetition of the prompt
  counts if the prompt holds the answer (the dataset validator proves that it does not);
- number words and digits differ (``seven``, ``7``), and scripts without spaces are matched by whole runs of letters.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from editverdict.evaluation.judging import Item, Judgement, Keep, make_now
from editverdict.schema.judges import LexicalJudgeSpec
from editverdict.schema.specs import JudgeSpec

JUDGE_VERSION = 1
"""Raised whenever a change below may change a judgement."""

ARTICLES = frozenset({"a", "an", "the"})

_FOLD = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i"}
    | dict.fromkeys("\u2010\u2011\u2012\u2212", "-")
    | dict.fromkeys("\u2018\u2019\u02bc\u02bb`", "'")
)
"""Letters that Unicode does not decompose; hyphens and apostrophes in one form."""

_ACRONYM = re.compile(r"(?<![^\W_])(?:[^\W\d_]\.){2,}(?:[^\W\d_](?![^\W_]))?")
_POSSESSIVE = re.compile(r"(?<=[^\W_])'s(?![^\W_])")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_WORD = re.compile(r"(?:(?<![^\W_])-(?=\d))?(?:\d+(?:\.\d+)+|[^\W_]+[+#]*)")
_HYPHENATED = re.compile(r"-[^\W_]")


@dataclass(frozen=True)
class _Word:
    text: str
    glued: bool
    """A hyphen joins it to the next word."""


def normalise(text: str) -> str:
    """Words of a text in normal form, separated by single spaces.

    NFKC, case folded, without accents, punctuation and English articles; dotted acronyms closed up (``U.S.`` is
    ``us``), possessive ``'s`` dropped, thousands separators dropped, decimal points and leading minus signs kept.
    """
    return " ".join(word.text for word in _words(text))


def _words(text: str) -> list[_Word]:
    """Words without articles; if nothing else is left, with them (the vitamin ``A``)."""
    words = _all_words(text)
    return [w for w in words if w.text not in ARTICLES] or words


def _all_words(text: str) -> list[_Word]:
    folded = unicodedata.normalize("NFKC", text).translate(_FOLD).casefold()
    # Only the marks of alphabetic scripts: elsewhere (Hindi, Japanese) marks tell letters apart.
    decomposed = unicodedata.normalize("NFD", folded)
    folded = unicodedata.normalize("NFC", "".join(c for c in decomposed if not "\u0300" <= c <= "\u036f"))
    folded = _ACRONYM.sub(lambda found: found.group().replace(".", ""), folded.translate(_FOLD))
    folded = _THOUSANDS.sub("", _POSSESSIVE.sub("", folded)).replace("'", "")
    found = list(_WORD.finditer(folded))
    return [_Word(m.group(), _HYPHENATED.match(folded, m.end()) is not None) for m in found]


def _matches_at(answer: list[_Word], accepted: list[_Word], at: int) -> bool:
    """Whether the accepted words stand at this place, cut out at word boundaries."""
    part = answer[at : at + len(accepted)]
    if [w.text for w in part] != [w.text for w in accepted]:
        return False
    return not part[-1].glued and not (at > 0 and answer[at - 1].glued)


def _bare(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()


@dataclass(frozen=True)
class LexicalJudge:
    """Decides by normalised words."""

    rule: Literal["starts-with", "contains"] = "starts-with"
    """Where the accepted answer must stand: at the beginning, or anywhere."""

    @classmethod
    def of(cls, spec: JudgeSpec) -> LexicalJudge:
        """Return the judge that a spec describes.

        Raises
        ------
        ValueError
            The spec is that of a judge of another format.
        """
        if not isinstance(spec, LexicalJudgeSpec):
            raise ValueError(f"judge '{spec.id}': expected format 'lexical', found '{spec.format}'")
        return cls(spec.rule)

    def fields(self) -> dict[str, Any]:
        """The rule and the version of the normalisation."""
        return {"format": "lexical", "rule": self.rule, "version": JUDGE_VERSION}

    @property
    def id(self) -> str:
        """16 hexadecimal digits over the fields."""
        return hashlib.sha256(json.dumps(self.fields(), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def reads(self) -> bool:
        """False: judging again takes less than looking it up."""
        return False

    def judge_many(self, items: Sequence[Item], keep: Keep = make_now) -> list[Judgement]:
        """Judge answers; the question and the order of the accepted answers have no influence."""
        return [keep(number, lambda item=item: self._judgement(item)) for number, item in enumerate(items)]  # type: ignore[misc]

    def _judgement(self, item: Item) -> Judgement:
        given = next((one for one in item.accepted if one.strip() and self._gives(item.answer, one)), None)
        where = "begins with" if self.rule == "starts-with" else "contains"
        if given is None:
            return Judgement("no", f"{where} none of the accepted answers")
        return Judgement("yes", f"{where} {given!r}")

    def judge(self, answer: str, accepted: Iterable[str]) -> bool:
        """Whether the answer gives one of the accepted ones; an empty answer gives none.

        Raises
        ------
        ValueError
            If no accepted answer has any text: then nothing could be right, and False would be a false score.
        """
        known = [a for a in accepted if a.strip()]
        if not known:
            raise ValueError("no accepted answer to judge against; expected at least one non-empty text")
        return any(self._gives(answer, one) for one in known)

    def _gives(self, answer: str, accepted: str) -> bool:
        wanted = _words(accepted)
        if not wanted:  # signs only, such as a currency sign
            said, sign = _bare(answer), _bare(accepted)
            return said.startswith(sign) if self.rule == "starts-with" else sign in said
        # An accepted answer that is nothing but an article must be found among the articles.
        only_articles = all(w.text in ARTICLES for w in wanted)
        said_words = _all_words(answer) if only_articles else _words(answer)
        last = 1 if self.rule == "starts-with" else max(0, len(said_words) - len(wanted) + 1)
        return any(_matches_at(said_words, wanted, at) for at in range(last))
