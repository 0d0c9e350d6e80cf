"""The kinds of probe that a complete record has."""

from __future__ import annotations

from collections.abc import Sequence

from editverdict.data.records import Probe

PROBE_KINDS = (
    "rephrase",
    "locality/same-relation",
    "locality/other-relation",
    "portability/alias",
    "portability/inverse",
    "portability/two-hop",
)
"""What ``EditRecord.lacks`` names when a record has none of it."""


def missing_kinds(rephrases: Sequence[str], locality: Sequence[Probe], portability: Sequence[Probe]) -> tuple[str, ...]:
    """Return the kinds of :data:`PROBE_KINDS` that are not there."""
    present = {f"locality/{probe.kind}" for probe in locality} | {f"portability/{probe.kind}" for probe in portability}
    if rephrases:
        present.add("rephrase")
    return tuple(kind for kind in PROBE_KINDS if kind not in present)
