"""Token-level locality (appendix C.5 of the paper): what is said after the edit against before it, token by token.

The paper gives no formula for its two columns (Table 40), nor the length of the outputs, the model or the dataset.
Here, with b the tokens of the unedited model's answer and a those of the edited model's, both free greedy answers to
one locality prompt by one protocol, each with the token that ended it (so that an answer differs from a longer one that
begins with it):

match ratio (primary)
    share of places at which both have the same token, of max(|a|, |b|) places: a place that only one of them has
    does not match. 1 exactly if all is the same.
match ratio, over the answer before (rival)
    the same number of places, of |b|: a longer answer after the edit costs nothing.
common beginning (rival)
    length of the longest common beginning, of max(|a|, |b|). Greedy answers that differ at one place go on from
    different texts, and agreement after it is by chance, or lost by a mere shift; this reading counts none of it.
exact match
    1 if a and b are equal, else 0. It implies a match ratio of 1 under every definition, an Eq. 4 locality of 1, and a
    locality by accuracy equal to the unedited model's.

Of encoder-decoders, the decoder's tokens are compared; of reasoning models, all that was said, thinking included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editverdict.evaluation.dimensions import mean_of, mean_over_kinds, require_one_score_id


@dataclass(frozen=True)
class TokenMatch:
    """Two answers compared token by token; shares in [0, 1]."""

    ratio: float
    """Same token at the same place, of the longer answer."""
    over_before: float
    """Same token at the same place, of the answer before the edit."""
    beginning: float
    """Longest common beginning, of the longer answer."""
    exact: bool


def token_match(before: Sequence[int], after: Sequence[int]) -> TokenMatch:
    """Compare two answers.

    Parameters
    ----------
    before, after : sequence of int
        Token ids by the same tokenizer.

    Raises
    ------
    ValueError
        If one of them is empty: an answer has at least the token that ended it.
    """
    if not before or not after:
        raise ValueError(
            f"expected at least one token on both sides, found {len(before)} before and {len(after)} after the edit; "
            "an answer keeps the token that ended it"
        )
    same = [a == b for a, b in zip(before, after, strict=False)]
    begun = same.index(False) if False in same else len(same)
    longest = max(len(before), len(after))
    return TokenMatch(sum(same) / longest, sum(same) / len(before), begun / longest, list(before) == list(after))


def token_rows(
    rows: Iterable[Mapping[str, Any]], before: Iterable[Mapping[str, Any]], *, dimension: str = "loc"
) -> list[dict[str, Any]]:
    """Compare the answers of an edited state with those of the unedited model, question by question.

    Parameters
    ----------
    rows, before : iterable of mapping
        Answer rows with ``tokens``; ``before`` may hold more prompts than are asked about.
    dimension : str, optional
        Which questions are compared.

    Returns
    -------
    list of dict
        Keys: ``edit_id``, ``kind``, ``prompt``, ``protocol``, and the fields of `TokenMatch`.

    Raises
    ------
    ProtocolMismatch
        If the answers were given by different protocols.
    ValueError
        If a row has no tokens, or a prompt has no answer from before the edit.
    """
    chosen = [row for row in rows if row["dimension"] == dimension]
    known = {str(row["prompt"]): row for row in before}
    require_one_score_id([*chosen, *known.values()], "answers before and after the edit", judged=False)
    found = []
    for row in chosen:
        if row["prompt"] not in known:
            raise ValueError(
                f"edit {row['edit_id']}: no answer of the unedited model to {row['prompt']!r}; ask it that, too"
            )
        match = token_match(_tokens(known[row["prompt"]]), _tokens(row))
        where = {key: row.get(key) for key in ("edit_id", "kind", "prompt", "protocol")}
        found.append({**where, **vars(match)})
    return found


def _tokens(row: Mapping[str, Any]) -> Sequence[int]:
    tokens: Sequence[int] | None = row.get("tokens")
    if tokens is None:
        raise ValueError(
            f"edit {row['edit_id']}: the answer to {row['prompt']!r} was stored without its tokens; answer it again"
        )
    return tokens


@dataclass(frozen=True)
class TokenLocality:
    """Token-level locality over edits; None without data."""

    ratio: float | None
    over_before: float | None
    beginning: float | None
    exact: float | None
    n_edits: int


def token_locality(rows: Sequence[Mapping[str, Any]]) -> TokenLocality:
    """Mean within a kind, over the kinds of an edit, over edits, as all dimensions are put together.

    Parameters
    ----------
    rows : sequence of mapping
        From `token_rows`.

    Raises
    ------
    ProtocolMismatch
        If the rows are of different protocols.
    """
    edits = list(per_edit_token_locality(rows).values())
    means = {name: mean_of(edit[name] for edit in edits) for name in ("ratio", "over_before", "beginning", "exact")}
    return TokenLocality(**means, n_edits=len(edits))


def per_edit_token_locality(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """The same per edit, in order of first appearance: edit id -> definition -> share."""
    require_one_score_id(rows, "token-level rows", judged=False)
    by_edit: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_edit.setdefault(str(row["edit_id"]), []).append(row)
    names = ("ratio", "over_before", "beginning", "exact")
    return {
        edit: {name: mean_over_kinds(own, lambda row, name=name: row[name]) for name in names}  # type: ignore[misc]
        for edit, own in by_edit.items()
    }
