"""The table of a run's methods against each other: as a section of the summary, as Markdown, as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from editverdict.inference.contests import Contest, ContestLine
from editverdict.reporting.formatting import MISSING, number, percent
from editverdict.reporting.markup import Html, anchor, code, fold, join, small, table, tag

TITLE = "Methods against each other"
FILE = "comparisons.json"
BY_ANOTHER = "comparisons-by-*.json"
"""What ``editverdict judge RUN --answers --judge NAME`` leaves in a run folder."""
_SHOWN = 40
"""Lines that a page shows before it folds the others."""
_HEADS = ("edits", "score", "methods", "scores", "difference", "over chains", "p (Holm)", "McNemar", "facts", "differ")


def read_contests(run_dir: Path) -> tuple[tuple[Contest, ...], tuple[Contest, ...], list[str]]:
    """The tables of a run folder, those by other judges, and notes instead of what cannot be read or is stale.

    Every table says by its id whose verdicts are in it.
    """
    others: list[Contest] = []
    own, facts, notes = _read(run_dir / FILE, "run `editverdict report` again")
    for path in sorted(run_dir.glob(BY_ANOTHER)):
        again = f"run `editverdict judge --answers --judge {path.stem.removeprefix('comparisons-by-')}` again"
        found, theirs, unread = _read(path, again)
        notes += unread
        if facts and theirs and facts != theirs:
            notes.append(f"{path.name} is of other facts than this run's and is left out; {again}.")
            continue
        others += found
    return tuple(own), tuple(others), notes


def _read(path: Path, remedy: str) -> tuple[list[Contest], str | None, list[str]]:
    """Tables of a file, key of the facts that they are of, notes; nothing of a file that is not there."""
    if not path.is_file():
        return [], None, []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        by = found.get("judge")
        remark = [f"By judge {by['name']}, not the run's own"] if by else []
        tables = [Contest.model_validate(one) for one in found["tables"]]
        return [one.model_copy(update={"remarks": (*remark, *one.remarks)}) for one in tables], found.get("facts"), []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [], None, [f"{path.name} cannot be read and is left out: {type(error).__name__}; {remedy}."]


def lead(one: Contest) -> str:
    """What a table says and what it does not."""
    apart = sum(line.differs for line in one.lines)
    return (
        f"{len(one.lines)} comparisons of two methods on the same facts, {apart} of which show a difference. "
        f"Differences are means over facts with {percent(one.level)} intervals by a bootstrap over subjects; p by "
        "flipping the signs of subjects, after Holm over the whole table. Facts of one chain share a state, so after "
        "chains the larger p counts, of subjects and of chains (t, each chain one number), and a difference only where "
        "six chains and more see it. McNemar's test "
        "(questions that the first alone has right, and the second alone) takes questions for independent and decides "
        "nothing. No claim is judged here."
    )


def _methods(line: ContestLine) -> str:
    return f"{line.first} − {line.second}"


def _bounds(ends: tuple[float, float] | None) -> str:
    return MISSING if ends is None else f"[{ends[0]:.2f}, {ends[1]:.2f}]"


def _mcnemar(line: ContestLine) -> str:
    if line.only_first is None:
        return MISSING
    return f"{line.only_first} : {line.only_second}, p {number(line.p_mcnemar, 2)}"


def _cells(line: ContestLine) -> tuple[str, ...]:
    return (
        line.schedule,
        line.dimension.capitalize(),
        _methods(line),
        f"{line.score_first:.2f}, {line.score_second:.2f}",
        f"{line.difference:+.2f} {_bounds(line.interval)}",
        MISSING if line.chains_interval is None else f"{_bounds(line.chains_interval)} of {line.n_chains}",
        number(line.p_holm, 2),
        _mcnemar(line),
        str(line.n_facts),
        "yes" if line.differs else "not shown",
    )


def ordered(one: Contest) -> list[ContestLine]:
    """Lines that show a difference first, each group in the table's own order."""
    return [*(line for line in one.lines if line.differs), *(line for line in one.lines if not line.differs)]


# ------------------------------------------------------------------------------- HTML
def _grid(lines: Sequence[ContestLine]) -> Html:
    cells = [
        [tag("b", cell) if line.differs and place in (2, 9) else cell for place, cell in enumerate(_cells(line))]
        for line in lines
    ]
    return table(_HEADS, cells, numeric=(3, 4, 5, 6, 7, 8))


def contests_html(many: Sequence[Contest]) -> Html:
    """The section; empty if the run compares nothing."""
    if not many:
        return Html("")
    parts: list[Any] = [tag("h2", TITLE, id=anchor("part", "methods"))]
    for one in many:
        lines = ordered(one)
        about = join([code(f"{one.model} · {one.dataset}"), " ", small(f"protocol and judge {one.score_id}")])
        body = [tag("p", about), tag("p", lead(one)), *(tag("p", f"{told}.") for told in one.remarks)]
        body.append(_grid(lines[:_SHOWN]))
        body.append(fold(f"{len(lines) - _SHOWN} more comparisons", _grid(lines[_SHOWN:])))
        body.append(tag("ul", join(tag("li", f"not compared: {why}") for why in one.left_out), css="missing"))
        parts.append(tag("div", join(body), css="panel", style="padding:6px 18px 14px"))
    return join(parts)


# ------------------------------------------------------------------------------- Markdown and CSV
def contests_markdown(many: Sequence[Contest], line: Callable[[str], str]) -> list[str]:
    """The section for findings.md; ``line`` makes a text safe on one line of Markdown."""
    text: list[str] = []
    for one in many:
        text += [f"## {TITLE}", "", line(f"{one.model}, {one.dataset}, protocol and judge {one.score_id}."), ""]
        text += [line(lead(one)), "", *(entry for told in one.remarks for entry in (line(f"{told}."), ""))]
        if one.lines:
            text += [f"| {' | '.join(_HEADS)} |", f"|{'---|' * len(_HEADS)}"]
            text += [f"| {' | '.join(line(cell) for cell in _cells(own))} |" for own in ordered(one)] + [""]
        text += [f"- not compared: {line(why)}" for why in one.left_out] + ([""] if one.left_out else [])
    return text


_COLUMNS = ("model", "dataset", "score_id", "level", "schedule", "dimension", "first", "second", "n_facts",
            "n_subjects", "n_chains", "score_first", "score_second", "difference", "low", "high", "chains_low",
            "chains_high", "p", "p_chains", "p_holm", "only_first", "only_second", "p_mcnemar", "p_mcnemar_mid",
            "differs")  # fmt: skip


def contests_csv(many: Sequence[Contest]) -> str:
    """One line per comparison; numbers in full precision, absent ones empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in many:
        for line in one.lines:
            values: dict[str, Any] = line.model_dump() | one.model_dump(
                include={"model", "dataset", "score_id", "level"}
            )
            values["low"], values["high"] = line.interval or (None, None)
            values["chains_low"], values["chains_high"] = line.chains_interval or (None, None)
            writer.writerow(["" if values[name] is None else values[name] for name in _COLUMNS])
    return buffer.getvalue()
