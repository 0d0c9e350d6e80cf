"""Probability-based scores: efficacy, paraphrase, specificity (Meng et al. 2022, section 3.4 on CounterFact).

They compare two given objects by teacher forcing, and so read the answer before it is given: reported beside the scores
from free answers, never in their place. Probabilities are of the *whole* object (the product over its tokens), which
favours objects of fewer tokens; some published code takes the mean per token instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from editverdict.data.records import EditRecord
from editverdict.evaluation.dimensions import mean_of, mean_over_kinds

Part = Literal["efficacy", "paraphrase", "specificity"]
PARTS: tuple[Part, ...] = ("efficacy", "paraphrase", "specificity")
SAME_RELATION = ("same-relation",)
"""Kinds of locality probe that ask the edited relation of another subject, where the new object is a wrong answer."""


@dataclass(frozen=True)
class Comparison:
    """Two objects after one prompt, to see which of them is more probable."""

    edit_id: str
    part: Part
    kind: str
    prompt: str
    expected: str
    """The object that should win: the new one (efficacy, paraphrase) or the true answer (specificity)."""
    rival: str
    """The object that should lose: the old one (efficacy, paraphrase) or the new one (specificity)."""


@dataclass(frozen=True)
class ProbabilityScores:
    """Shares in [0, 1] of comparisons won; magnitudes in [-1, 1], mean P(expected) - P(rival); None without data."""

    efficacy: float | None = None
    paraphrase: float | None = None
    specificity: float | None = None
    efficacy_magnitude: float | None = None
    paraphrase_magnitude: float | None = None
    specificity_magnitude: float | None = None
    score: float | None = None
    """Harmonic mean of the three shares (0 if one is 0); None unless all three exist."""


def comparisons_of(record: EditRecord, *, specificity_kinds: Sequence[str] = SAME_RELATION) -> list[Comparison]:
    """Comparisons of one edit, in the record's order.

    Without an old object there is no efficacy and no paraphrase; a comparison of an object with itself is left out, and
    a bare event has no object to compare.
    """
    new = record.target_new
    found: list[Comparison] = []
    if record.bare_event:
        return found
    if record.target_old is not None:
        found.append(Comparison(record.id, "efficacy", "prompt", record.prompt, new, record.target_old))
        found += [
            Comparison(record.id, "paraphrase", "rephrase", text, new, record.target_old) for text in record.rephrases
        ]
    found += [
        Comparison(record.id, "specificity", probe.kind, probe.prompt, probe.answers[0], new)
        for probe in record.locality
        if probe.kind in specificity_kinds
    ]
    return [c for c in found if c.expected.strip() != c.rival.strip()]


def pairs_of(comparisons: Iterable[Comparison]) -> list[tuple[str, str]]:
    """(prompt, target) pairs to be scored: for each comparison the expected object, then the rival."""
    return [(c.prompt, target) for c in comparisons for target in (c.expected, c.rival)]


def probability_rows(comparisons: Sequence[Comparison], logprobs: Iterable[float]) -> list[dict[str, Any]]:
    """Join comparisons with the log-probabilities of their pairs.

    Parameters
    ----------
    comparisons : sequence of Comparison
    logprobs : iterable of float
        Natural logarithms in the order of `pairs_of` (a tensor of twice the length will do).

    Returns
    -------
    list of dict
        Keys: the fields of `Comparison`, ``logp_expected``, ``logp_rival``.

    Raises
    ------
    ValueError
        If the number of log-probabilities is not twice that of the comparisons, or one of them is not a number.
    """
    values = [float(value) for value in logprobs]
    if len(values) != 2 * len(comparisons):
        raise ValueError(f"expected {2 * len(comparisons)} log-probabilities (two per comparison), found {len(values)}")
    for i, value in enumerate(values):
        if math.isnan(value):
            raise ValueError(f"edit {comparisons[i // 2].edit_id}: a log-probability is not a number (NaN)")
    return [
        {**vars(c), "logp_expected": values[2 * i], "logp_rival": values[2 * i + 1]} for i, c in enumerate(comparisons)
    ]


def probability_scores(rows: Iterable[dict[str, Any]]) -> ProbabilityScores:
    """Scores over edits: mean over an edit's prompts (within a kind, then over kinds), then over edits."""
    by_edit: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_edit.setdefault(str(row["edit_id"]), []).append(row)
    shares: dict[str, float | None] = {}
    sizes: dict[str, float | None] = {}
    for part in PARTS:
        own = [[r for r in edit if r["part"] == part] for edit in by_edit.values()]
        shares[part] = mean_of(mean_over_kinds(e, lambda r: r["logp_expected"] > r["logp_rival"]) for e in own)
        sizes[part] = mean_of(
            mean_over_kinds(e, lambda r: math.exp(r["logp_expected"]) - math.exp(r["logp_rival"])) for e in own
        )
    return ProbabilityScores(
        **shares, **{f"{part}_magnitude": size for part, size in sizes.items()}, score=_harmonic(list(shares.values()))
    )


def _harmonic(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    if len(present) < len(values):
        return None
    return 0.0 if min(present) == 0 else len(present) / sum(1 / value for value in present)
