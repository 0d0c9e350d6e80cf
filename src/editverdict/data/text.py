"""Comparing names as words: what the validator, the loaders and the dataset builder agree on."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

Words = tuple[str, ...]

_WORD = re.compile(r"\w+")


def words(text: str) -> Words:
    """Return the words of a text, case-folded, without accents and punctuation.

    >>> words("São Paulo's U.S.")
    ('sao', 'paulo', 's', 'u', 's')
    """
    if text.isascii():  # the common case, ten times faster
        return tuple(_WORD.findall(text.lower()))
    decomposed = unicodedata.normalize("NFKD", text)
    bare = "".join(char for char in decomposed if not unicodedata.combining(char))
    return tuple(_WORD.findall(bare.casefold()))


def spans(sequence: Words, longest: int | None = None) -> Iterator[Words]:
    """Yield every run of consecutive words, up to ``longest`` words long."""
    limit = len(sequence) if longest is None else min(longest, len(sequence))
    for length in range(1, limit + 1):
        for start in range(len(sequence) - length + 1):
            yield sequence[start : start + length]


def contains(text: str, name: str) -> bool:
    """Tell whether the words of ``name`` occur in ``text`` as consecutive whole words."""
    wanted = _padded(name)
    return wanted != "  " and wanted in _padded(text)


@lru_cache(maxsize=1 << 15)
def _padded(text: str) -> str:
    return f" {' '.join(words(text))} "


def overlap(first: str, second: str) -> bool:
    """Tell whether one name equals the other or occurs in it as whole words."""
    return contains(first, second) or contains(second, first)


def any_overlap(first: Iterable[str], second: Iterable[str]) -> bool:
    """Tell whether some name of ``first`` overlaps some name of ``second``."""
    others = list(second)
    return any(overlap(a, b) for a in first for b in others)


def rank(*parts: object) -> bytes:
    """Return a sha256 digest of the parts: a deterministic stand-in for a random number, used to order and choose."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
