"""The paper's tables as printed: its columns, its rows, its number format, for its numbers and for ours alike."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editverdict.reporting.formatting import MISSING
from editverdict.reporting.paper_rows import NAMES, Record

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_POWER = re.compile(r"(-?\d+(?:\.\d+)?)e(-?\d+)")
HEADS = {
    "edit_step": "edit step",
    "r_eff": "r_eff",
    "r_over_d_pct": "r/d (%)",
    "sigma_1": "σ₁",
    "sigma_min": "σ_min",
    "cond": "cond (σ₁/σ_min)",
    "mean": "mean ‖Δh‖",
    "ratio": "mean / RMS ‖h‖",
    "r_mean": "R_k mean",
    "r_min": "R_k min",
    "r_max": "R_k max",
    "r_std": "std",
    "num_gt1": "num R_k > 1",
    "pct_gt1": "% R_k > 1",
    "first_tenth": "mean R_k, first tenth",
    "median": "median R_k",
    "last_tenth": "mean R_k, last tenth",
    "rel": "Rel.",
    "gen": "Gen.",
    "loc": "Loc.",
    "port": "Port.",
    "avg": "Avg.",
    "l2": "L2",
    "match_ratio": "match ratio",
    "exact_match": "exact match",
    "n_edits": "edits",
    "memory_size": "texts in memory",
    "top_k": "top-k",
    "vram_mb": "memory (MB)",
    "latency_s": "seconds per query",
    "edit_time": "seconds per edit",
    "inference_time": "seconds per query",
    "logp_group": "facts",
}
_UNSHOWN = ("model", "stands_for")
"""Columns that stand in the line above a table or in its heads."""


@dataclass(frozen=True)
class Grid:
    """A table as it is shown."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_names: int
    """Leading columns that name a row; the others are numbers."""


# ------------------------------------------------------------------------------- numbers
def scientific(value: float, digits: int) -> str:
    """A number as the paper's CSV writes it, e.g. ``3.38e-6``."""
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _norm(value: float) -> str:
    """Two decimals; in powers of ten from a thousand on, as Table 12, and where two decimals would show a zero."""
    small = value != 0.0 and abs(value) < 0.005
    return scientific(value, 2) if small or abs(value) >= 1e3 else f"{value:.2f}"


def _count(value: float) -> str:
    """A count; a mean of counts with one decimal."""
    return str(round(value)) if abs(value - round(value)) < 1e-9 else f"{value:.1f}"


def _rate(value: float) -> str:
    return scientific(value, 2)


_FORMATS: dict[str, Callable[[float], str]] = {
    "d": _count,
    "identified": _count,
    "r_eff": lambda v: f"{v:.0f}",
    "r_over_d_pct": lambda v: f"{v:.1f}",
    **dict.fromkeys(("mean", "std", "min"), _norm),
    "ratio": lambda v: f"{v:.3f}" if v >= 0.0005 or v == 0.0 else scientific(v, 1),
    "cos": lambda v: f"{v:.3f}",
    **dict.fromkeys(("r_mean", "r_min", "r_max", "r_std", "first_tenth", "median", "last_tenth"), _rate),
    "num_gt1": _count,
    "pct_gt1": lambda v: f"{v:.2f}",
    **dict.fromkeys(("rel", "gen", "loc", "port", "avg", "value", "match_ratio", "exact_match"), lambda v: f"{v:.2f}"),
    "rho": lambda v: f"{v:.4f}",
    "p": lambda v: f"{v:.4f}",
}


def _formatter(table: int, column: str) -> Callable[[float], str]:
    if column in ("sigma_1", "sigma_min", "cond"):
        if table == 1:  # one digit more than Tables 5 to 8, and sigma_1 not in powers of ten
            return (lambda v: f"{v:.1f}") if column == "sigma_1" else _rate
        return lambda v: scientific(v, 1)
    if column == "max":
        return _norm if table in range(9, 13) else _rate
    return _FORMATS.get(column, lambda v: f"{v:.4g}")


def written(table: int, column: str, value: Any) -> str:
    """A cell in the paper's number format; a dash where there is no number, text as it is."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"
        value = _formatter(table, column)(value)
    found = _POWER.fullmatch(str(value))
    return f"{found[1]}×10{found[2].translate(_SUPERSCRIPTS)}" if found else str(value)


def _correlation(record: Mapping[str, Any]) -> str:
    """``-0.8645** (0.0026)``."""
    if record.get("rho") in (None, ""):
        return MISSING
    stars = record.get("stars")
    marks = "*" * int(stars) if stars not in (None, "") else ""
    p, sign = record.get("p"), "< " if record.get("p_op") == "<" else ""
    if isinstance(p, float) and p < 0.001:  # as the paper prints what is smaller
        p, sign = "0.001", "< "
    return f"{written(2, 'rho', record['rho'])}{marks} ({sign}{written(2, 'p', p)})"


# ------------------------------------------------------------------------------- layouts
def grid(table: int, records: Sequence[Record]) -> Grid:
    """Lay out records of one table, the paper's or ours, as the paper prints them."""
    if not records:
        return Grid((), (), 0)
    if "cos" in records[0]:
        return _cosines(table, records)
    if "rho" in records[0]:
        return _correlations(records)
    if "value" in records[0] and "n_edits" in records[0]:
        return _courses(table, records)
    return _plain(table, records)


def _plain(table: int, records: Sequence[Record]) -> Grid:
    several = len({record.get("model") for record in records}) > 1  # then the line above does not say whose
    columns = [name for name in records[0] if name not in _UNSHOWN or (name == "model" and several)]
    names = sum(name in NAMES for name in columns)
    rows = [tuple(written(table, name, record.get(name)) for name in columns) for record in records]
    return Grid(tuple(HEADS.get(name, name) for name in columns), tuple(_unrepeated(rows, names - 1)), names)


def _cosines(table: int, records: Sequence[Record]) -> Grid:
    """One row per layer (or module) and step, one column per k."""
    place = "module" if "module" in records[0] else "layer"
    heads = {str(record["top_k"]): _k_head(record) for record in records}
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for record in records:
        line = cells.setdefault((str(record[place]), str(record["edit_step"])), {})
        line[str(record["top_k"])] = written(table, "cos", record["cos"])
    rows = [(*names, *(line.get(k, MISSING) for k in heads)) for names, line in cells.items()]
    return Grid((place, HEADS["edit_step"], *heads.values()), tuple(_unrepeated(rows, 1)), 2)


def _k_head(record: Mapping[str, Any]) -> str:
    k, label = str(record["top_k"]), str(record.get("stands_for") or record["top_k"])
    if k == label and "/" in label:  # a row that does not say what the share of d comes to
        return f"Top {label} of d, PCs cos"
    return f"Top{k} PCs cos" if k == label else f"Top{k} PCs cos ({label} of d)"


def _correlations(records: Sequence[Record]) -> Grid:
    """One row per aggregation and metric, one column per method."""
    methods = list(dict.fromkeys(str(record["method"]) for record in records))
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for record in records:
        line = cells.setdefault((str(record["aggregation"]).capitalize(), f"{record['metric']}.".capitalize()), {})
        line[str(record["method"])] = _correlation(record)
    rows = [(*names, *(line.get(method, MISSING) for method in methods)) for names, line in cells.items()]
    return Grid(("aggregation", "metric", *methods), tuple(_unrepeated(rows, 1)), 2)


def _courses(table: int, records: Sequence[Record]) -> Grid:
    """One row per method, metric and group of facts, one column per number of edits."""
    names = [name for name in ("method", "metric", "logp_group") if name in records[0]]
    steps = list(dict.fromkeys(str(record["n_edits"]) for record in records))
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for record in records:
        line = cells.setdefault(tuple(str(record[name]) for name in names), {})
        line[str(record["n_edits"])] = written(table, "value", record["value"])
    rows = [(*key, *(line.get(step, MISSING) for step in steps)) for key, line in cells.items()]
    heads = [*names, *(f"{step} edit" if step == "1" else f"{step} edits" for step in steps)]
    return Grid(tuple(heads), tuple(_unrepeated(rows, len(names) - 1)), len(names))


def _unrepeated(rows: Sequence[tuple[str, ...]], columns: int) -> list[tuple[str, ...]]:
    """Names that repeat the row above are left blank, as in print."""
    shown, above = [], ("",) * max(columns, 0)
    for row in rows:
        names = row[: max(columns, 0)]
        kept = tuple("" if names[: i + 1] == above[: i + 1] else name for i, name in enumerate(names))
        shown.append((*kept, *row[len(names) :]))
        above = names
    return shown
