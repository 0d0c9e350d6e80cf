"""Scores along sequences of edits, and method against method, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from editverdict.reporting.methods_table import row, stands_on

HEADS = (("rel", "Rel"), ("gen", "Gen"), ("loc", "Loc"), ("loc_eq4", "Loc (Eq. 4)"), ("port", "Port"), ("avg", "Avg"))
NAMES = dict(HEADS)
AT_ONCE = ("rel", "gen")
ALPHA = 0.01
LEGEND = (
    "After its last edit each state is asked about all edits of its chain (retention; right after each edit is another "
    "protocol, `--right-after-each`). Means over chains with a 99% t interval whose unit is the chain; an interval may "
    "leave 0 to 1 where chains differ much."
)
RIGHT_AFTER = (
    "A second protocol, right-after-each: each edit's own prompt and rephrases in the state that this edit has just "
    "made, mean over the first T edits of a chain. Beside it retention, from the table above: the same edits after the "
    "last of them. At T = 1 both ask the same. Numbers of the two are not averaged, and no test sets one against the "
    "other."
)
COMPARED = (
    "The same chains under both methods: mean difference, 99% interval over chains, paired t test with Holm over all "
    "rows of this table. Rows are those whose p after Holm is at most .01; beside them, every pair's average."
)


def _number(shown: Mapping[str, Any] | None) -> str:
    if shown is None:
        return "–"
    bounds = shown["interval"]
    return f"{shown['value']:.2f}" + (f" [{bounds[0]:.2f}, {bounds[1]:.2f}]" if bounds else "")


def _line(line: Mapping[str, Any]) -> str:
    return row([line["method"], str(line["edits"]), *(_number(line[name]) for name, _ in HEADS)])


def _p(value: float | None) -> str:
    return "–" if value is None else "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0")


def _comparison(one: Mapping[str, Any]) -> str:
    low, high = one["interval"] or (None, None)
    shown = f"{one['difference']:+.2f}" + (f" [{low:+.2f}, {high:+.2f}]" if low is not None else "")
    names = f"{one['first']} − {one['second']}"
    return row([names, str(one["edits"]), NAMES[one["score"]], shown, _p(one["p"]), _p(one["p_holm"])])


def _both_protocols(lines: Sequence[Mapping[str, Any]], right_after: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per method and T: right after each edit, and retention beside it."""
    kept = {(line["method"], line["edits"]): line for line in lines}
    heads = ["method", "T", *(f"{NAMES[name]}, {when}" for name in AT_ONCE for when in ("right after", "retention"))]
    text = ["", "## Right after each edit", "", RIGHT_AFTER, "", row(heads), row(["---"] * len(heads))]
    for line in right_after:
        beside = kept.get((line["method"], line["edits"]), {})
        numbers = [_number(one.get(name)) for name in AT_ONCE for one in (line, beside)]
        text.append(row([line["method"], str(line["edits"]), *numbers]))
    return text


def sequences_markdown(
    manifest: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    failed: Mapping[str, str],
    right_after: Sequence[Mapping[str, Any]] = (),
) -> str:
    """What the tables stand on (the manifest), the scores along the chains, the comparisons, and what is missing."""
    chains = lines[0]["chains"] if lines else 0
    heads = ["method", "T", *(head for _, head in HEADS)]
    text = ["# Sequences of edits on one model", "", *stands_on(manifest), f"{chains} disjoint chains.", "", LEGEND, ""]
    text += [row(heads), row(["---"] * len(heads)), *map(_line, lines)]
    if right_after:
        text += _both_protocols(lines, right_after)
    shown = [c for c in comparisons if c["score"] == "avg" or (c["p_holm"] is not None and c["p_holm"] <= ALPHA)]
    if shown:
        heads = ["first − second", "T", "score", "difference [99%]", "p", "p, Holm"]
        text += ["", "## Method against method", "", COMPARED, "", row(heads), row(["---"] * len(heads))]
        text += map(_comparison, shown)
    if failed:
        text += ["", "Not in the tables:", *(f"- {name}: {why}" for name, why in failed.items())]
    return "\n".join(text) + "\n"
