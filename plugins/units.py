"""Units of work: which tests stay together on a worker, and in which order units are sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

SUITES = ("hypotheses", "benchmark")
_CASE = re.compile(rf"(?:^|/)suites/(?:{'|'.join(SUITES)})/")
_TIMED = re.compile(r"(?:^|/)suites/benchmark/test_efficiency\.py$")
_RULE = re.compile(r"(?:^|/)suites/consistency/")


def is_case(nodeid: str) -> bool:
    """Whether a node id is below one of the suites that judge claims."""
    return _CASE.search(nodeid.partition("::")[0]) is not None


def is_rule(nodeid: str) -> bool:
    """Whether a node id holds a rule against the paper's tables."""
    return _RULE.search(nodeid.partition("::")[0]) is not None


def is_timed(nodeid: str) -> bool:
    """Whether a node id holds a claim about time or memory."""
    return _TIMED.search(nodeid.partition("::")[0]) is not None


def group_of(nodeid: str) -> str:
    """The work unit of a test.

    Cases that share everything inside their innermost brackets (``smollm2-135m-ROME-worldfacts``) share an edited
    model, whatever their module. Rules over tables share nothing. Any other test, timed ones too, goes with its module.
    """
    path = nodeid.partition("::")[0]
    if is_rule(nodeid):
        return nodeid
    return path if is_timed(nodeid) else _subject(nodeid) or path


def _subject(nodeid: str) -> str:
    """What a case is about, its innermost brackets; empty if it is none."""
    return nodeid.rpartition("[")[2].rstrip("]") if is_case(nodeid) and nodeid.endswith("]") and "[" in nodeid else ""


def ordered_units(collection: Sequence[str], durations: Mapping[str, float]) -> list[list[int]]:
    """Work units as lists of positions in the collection, longest first.

    The length of a unit is the sum of its tests' recorded durations, in seconds; a test without one counts as the mean
    of those recorded, and without any every test counts the same. Equal units stay in order of collection. Units of a
    model alone go before all others: what edited models are compared with is measured there; timed claims are next.
    Rules over tables come last, in order of collection.
    """
    units: dict[str, list[int]] = {}
    for index, nodeid in enumerate(collection):
        units.setdefault(group_of(nodeid), []).append(index)
    known = [durations[nodeid] for nodeid in collection if nodeid in durations]
    usual = sum(known) / len(known) if known else 1.0
    length = {name: sum(durations.get(collection[i], usual) for i in unit) for name, unit in units.items()}
    first = {name for name in units if any(other.startswith(f"{name}-") for other in units)}
    for name in filter(is_timed, units):  # one model is loaded at a time
        units[name].sort(key=lambda i: _subject(collection[i]))
    timed, rules = ({name for name in units if which(name)} for which in (is_timed, is_rule))
    length |= dict.fromkeys(rules, 0.0)

    def place(name: str) -> tuple[bool, bool, bool, float]:
        return name in rules, name not in first, name not in timed, -length[name]

    return [units[name] for name in sorted(units, key=place)]
