"""What a row's times, memory and scores of SCR say in the columns of the paper's tables 42 and 44 to 46."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from editverdict.inference.rows import Row
from editverdict.reporting.paper_rows import Record

_CONFIGURATION = re.compile(r"(\d+) texts, top-(\d+)")
_METRICS = ("rel", "gen", "loc", "port")


def _at(row: Row, *path: str) -> Mapping[str, Any]:
    value: Any = row.descriptive
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _by_configuration(row: Row, key: str) -> list[tuple[Record, Any]]:
    """(Memory size and top-k as the paper has them, number) of every configuration of a row."""
    found = []
    for name, value in _at(row, key).items():
        if (match := _CONFIGURATION.fullmatch(str(name))) is not None:
            found.append(({"method": "SCR", "memory_size": int(match[1]), "top_k": int(match[2])}, value))
    return found


def time_and_quality(row: Row) -> list[Record]:
    """Table 42: one line for SCR and one for the method."""
    seconds, queries, scores = (_at(row, key) for key in ("seconds_per_edit", "seconds_per_query", "scores"))
    return [
        {
            "method": method,
            "n_edits": row.descriptive.get("edits"),
            "edit_time": seconds.get(method),
            "inference_time": queries.get(method),
            "rel": _percent(_at(row, "scores", method).get("rel")),
            "loc": _percent(_at(row, "scores", method).get("loc")),
        }
        for method in scores
    ]


def _percent(value: Any) -> float | None:
    return 100.0 * value if isinstance(value, int | float) else None


def memory_in_use(row: Row) -> list[Record]:
    """Table 44; ``vram_mb`` holds what the mapping above the table says."""
    return [names | {"vram_mb": value} for names, value in _by_configuration(row, "peak_mib")]


def latency(row: Row) -> list[Record]:
    """Table 45."""
    return [names | {"latency_s": value} for names, value in _by_configuration(row, "seconds_per_query")]


def scores(row: Row) -> list[Record]:
    """Table 46: one line per configuration and metric, shares as printed there."""
    return [
        names | {"metric": metric, "value": value.get(metric)}
        for names, value in _by_configuration(row, "scores")
        if isinstance(value, Mapping)
        for metric in _METRICS
    ]
