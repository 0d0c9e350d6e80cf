"""Tokens of an edit: where the subject ends, and the target's own tokens."""

from __future__ import annotations

from typing import Any

from editverdict.editors.base import EditError


def subject_end(tokenizer: Any, text: str, subject: str, *, where: str = "prompt") -> int:
    """Index of the last token that holds the last character of the last occurrence of ``subject`` in ``text``.

    Found by character offsets, so that it holds for subjects at the start, repeated subjects and any padding side
    (the index counts from the first real token). Byte-level tokenizers split rare characters over several tokens,
    all with the offsets of the whole character: the subject ends with the last of them.

    Raises
    ------
    EditError
        The subject does not occur in the text.
    """
    start = text.rfind(subject)
    if not subject or start < 0:
        raise EditError(f"the subject {subject!r} does not occur in the {where} {text!r}; expected it literally")
    last = start + len(subject) - 1
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    covering = [index for index, (low, high) in enumerate(offsets) if low <= last < high]
    if not covering:
        raise EditError(f"no token of {text!r} covers the last character of {subject!r}")
    return covering[-1]


def target_ids(tokenizer: Any, target: str) -> list[int]:
    """Token ids of the target with exactly one leading space and no special tokens."""
    ids = tokenizer(" " + target.strip(), add_special_tokens=False)["input_ids"]
    if not ids:
        raise EditError(f"the target {target!r} has no tokens")
    return list(ids)
