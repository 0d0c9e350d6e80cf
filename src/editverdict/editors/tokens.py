"""Tokens of an edit: where the subject ends, and the target's own tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from editverdict.editors.base import EditError
from editverdict.generation.protocol import Rendered, target_after


def subject_end(
    tokenizer: Any,
    text: str,
    subject: str,
    *,
    prompt: str | None = None,
    add_special_tokens: bool = True,
    where: str = "prompt",
) -> int:
    """Index of the last token that holds the last character of the last occurrence of ``subject`` in ``text``.

    Found by character offsets, so that it holds for subjects at the start, repeated subjects and any padding side
    (the index counts from the first real token). Of several occurrences the last one counts that is a word of its own
    (``Rome`` in "Rome, near Romeville"), or the last of all where none is. Byte-level tokenizers split rare characters
    over several tokens, all with the offsets of the whole character: the subject ends with the last of them.

    Parameters
    ----------
    tokenizer
        A fast tokenizer.
    text, subject
        The text that the model reads, and the subject, which must be in it literally.
    prompt
        The part of ``text`` in which the subject is looked for, if text around it might name it, too: a prompt within a
        chat template ("user", "assistant"). None: the whole text.
    add_special_tokens
        As in the call that makes the model's input: False where the text brings its own. A text that is known to be
        rendered (`generation.protocol.Rendered`) does so anyway.
    where
        What the text is called in a message.

    Raises
    ------
    EditError
        The subject does not occur in the text, or the tokenizer cannot tell what its tokens stand for.
    """
    first, stop = subject_span(text, subject, prompt=prompt, where=where)
    offsets = _offsets(tokenizer, text, add_special_tokens and not isinstance(text, Rendered))
    # A tokenizer that composes or drops accents may have no token for an accent that is a character of its own.
    for position in range(stop - 1, first - 1, -1):
        covering = [index for index, (low, high) in enumerate(offsets) if low <= position < high]
        if covering:
            return covering[-1]
    raise EditError(f"no token of {text!r} covers a character of {subject!r}")


def _offsets(tokenizer: Any, text: str, add_special_tokens: bool) -> list[tuple[int, int]]:
    """First character of each token and the one after its last."""
    settings = {} if add_special_tokens else {"add_special_tokens": False}
    try:
        found = tokenizer(text, return_offsets_mapping=True, **settings).get("offset_mapping")
    except NotImplementedError:  # what transformers raises for its slow tokenizers
        found = None
    if found is None:
        raise EditError(
            f"{type(tokenizer).__name__} does not tell which characters its tokens stand for; edits need a fast "
            "tokenizer (a tokenizer.json beside the model)"
        )
    return list(found)


def subject_span(text: str, subject: str, *, prompt: str | None = None, where: str = "prompt") -> tuple[int, int]:
    """Where the occurrence that counts begins and ends (the position behind it); arguments as :func:`subject_end`."""
    name = subject.strip()
    begin, end = 0, len(text)
    if prompt is not None:
        begin = text.rfind(prompt.strip())
        if begin < 0:
            raise EditError(f"the prompt {prompt!r} is not part of the text {text!r}; expected it literally")
        end = begin + len(prompt.strip())
    found = list(_occurrences(text, name, begin, end)) if name else []
    if not found:
        raise EditError(f"the subject {subject!r} does not occur in the {where} {text!r}; expected it literally")
    whole = [start for start in found if _is_whole(text, start, start + len(name))]
    start = (whole or found)[-1]
    return start, start + len(name)


def _occurrences(text: str, name: str, begin: int, end: int) -> Iterator[int]:
    """Starts of all occurrences, overlapping ones, too."""
    at = text.find(name, begin, end)
    while at >= 0:
        yield at
        at = text.find(name, at + 1, end)


def _is_whole(text: str, start: int, stop: int) -> bool:
    """Whether neither end of a stretch of text is within a word."""
    before, after = text[start - 1 : start] + text[start], text[stop - 1] + text[stop : stop + 1]
    return not any(len(pair) == 2 and pair.isalnum() for pair in (before, after))


def target_ids(tokenizer: Any, target: str, *, after: str = "") -> list[int]:
    """Token ids of the target with exactly one leading space and no special tokens.

    Behind a prompt that a chat template has rendered (``after``) it begins without one, as an answer does there.

    Raises
    ------
    EditError
        The target has no tokens.
    """

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    ids = target_after(encode, target, after)
    if not ids:
        raise EditError(f"the target {target!r} has no tokens")
    return ids
