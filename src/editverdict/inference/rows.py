"""The row of a case, the one truth that pytest, Allure and every report render.

``results.jsonl`` holds one row per line (schema version in each). Every field has its own docstring; the published
description is docs/results-schema.md.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1

CaseVerdict = Literal["supported", "refuted", "inconclusive", "invalid", "broken", "not_run"]
Interval = tuple[float, float]


class RowPart(BaseModel):
    """Base of everything that reaches disk: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Region(RowPart):
    """The expected region of a quantity."""

    op: Literal["<=", "<", ">=", ">", "within"]
    threshold: float | None = None
    low: float | None = None
    high: float | None = None
    origin: str = "convention"
    ref: str | None = None
    rationale: str | None = None

    def describe(self) -> str:
        """The region in one short phrase, e.g. ``<= 0.85`` or ``within [-0.25, 0.25]``."""
        if self.op == "within":
            return f"within [{self.low:g}, {self.high:g}]"
        return f"{self.op} {self.threshold:g}"


class ControlResult(RowPart):
    """A control as measured and judged."""

    name: str
    role: Literal["negative", "positive", "comparator", "baseline"]
    must: Literal["show", "not_show"] | None = None
    estimate: float | None = None
    interval: Interval | None = None
    n_units: int | None = None
    outcome: Literal["ok", "failed", "undecided", "shown"]
    """ok/failed/undecided for negative and positive controls; ``shown`` for comparators and baselines."""
    contrast: float | None = None
    """Comparators: mean paired difference, subject minus comparator."""
    contrast_interval: Interval | None = None
    specific: Literal["yes", "no", "undecided"] | None = None
    note: str | None = None


class CheckResult(RowPart):
    """A validity check: looks only at arrays, counts and hashes."""

    name: str
    ok: bool
    detail: str


class DefinitionResult(RowPart):
    """The quantity under one definition."""

    name: str
    role: Literal["primary", "rival", "descriptive"]
    estimate: float | None
    interval: Interval | None = None
    verdict: Literal["supported", "refuted", "inconclusive"] | None = None
    note: str | None = None


class PaperNumber(RowPart):
    """What the paper prints."""

    table: int
    row: str
    value: float
    note: str | None = None
    low: float | None = None
    """Least number that the printed digits may stand for."""
    high: float | None = None
    """Largest."""
    model: str | None = None
    """Of the printed row, in the paper's spelling, as far as the table names it; so are the next two."""
    method: str | None = None
    dataset: str | None = None
    edits: int | None = None
    """T behind the number."""
    not_comparable: str | None = None
    """Why this number differs from the quantity by its definition."""
    cells: tuple[str, ...] = ()
    """The printed cells, in words."""


class Row(RowPart):
    """One case: a claim applied to one subject."""

    schema_version: int = SCHEMA_VERSION
    case: str
    """Readable, stable id, e.g. ``amp-c-comparable[smollm2-135m-ROME-worldfacts]``."""
    claim: str
    kind: Literal["claim", "check", "identity", "survey"] = "claim"
    statement: str
    paper: str
    hypothesis: str
    where: str
    severity: str = "normal"
    family: str = ""
    timed: bool = False
    """Whether the numbers are times or memory: bit-equal only where they come from the same store."""
    quantifier: Literal["all", "exists", "at_least_two", "most", "mean"] = "all"
    model: str | None = None
    method: str | None = None
    dataset: str | None = None
    profile: str
    verdict: CaseVerdict
    reason: str
    """One sentence; starts with the verdict word in capitals and carries the numbers."""
    quantity: str
    describes: str = ""
    reduce: str = ""
    estimate: float | None = None
    interval: Interval | None = None
    level: float = 0.99
    unit: str = ""
    n_units: int = 0
    min_units: int = 0
    units: tuple[float, ...] = ()
    """The one number per resampling unit (jackknife: pseudo-values), so that a verdict can be replayed."""
    expected: Region
    late: Literal["effect", "absence"] | None = None
    """Whether the claim is about an effect that may come late in a sequence of edits, or about its absence."""
    horizon: int | None = None
    """T from which such a claim is decided both ways; T itself is ``descriptive["edits"]``."""
    margin_to_flip: float | None = None
    """How far the threshold would have to move for the verdict to change (in units of the quantity)."""
    controls: tuple[ControlResult, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    definitions: tuple[DefinitionResult, ...] = ()
    depends_on_definition: bool = False
    specific: Literal["yes", "no", "undecided"] | None = None
    scope: Literal["replication", "extension", "rehearsal"] = "extension"
    scope_reason: str = ""
    stands_on: str = ""
    """What the verdict stands on: model, method, T, data, tokens."""
    descriptive: dict[str, Any] = {}
    paper_values: tuple[PaperNumber, ...] = ()
    not_comparable: str | None = None
    """Why the paper has no number for this quantity, or none by the same definition; see replication.py."""
    evidence: str | None = None
    """File with the arrays behind the pictures, relative to the run folder."""
    hashes: dict[str, str] = {}
    """spec, recipe, model, data, protocol, judge."""
    traceback: str | None = None
    """For broken cases."""
    # What may differ between two runs of the same thing:
    started: str = ""
    seconds: float = 0.0
    host: str = ""
    worker: str = ""
    peak_memory_mib: float = 0.0


VOLATILE_FIELDS = frozenset({"started", "seconds", "host", "worker", "peak_memory_mib"})
"""Columns that may differ between two runs of the same case; all others must be bit-equal."""
MEASURED_FIELDS = frozenset(
    {
        "verdict",
        "reason",
        "estimate",
        "interval",
        "n_units",
        "units",
        "margin_to_flip",
        "controls",
        "checks",
        "definitions",
        "depends_on_definition",
        "specific",
        "stands_on",
        "descriptive",
        "hashes",
    }
)
"""Columns of a ``timed`` case that may differ between two stores: a time measured again is another time."""


class ClaimVerdict(RowPart):
    """A claim over the cases that the profile plans."""

    claim: str
    kind: str = "claim"
    statement: str
    hypothesis: str
    verdict: Literal["supported", "refuted", "inconclusive", "invalid", "broken", "not_run", "incomplete"]
    reason: str
    stands_on: str
    generality: str = ""
    """E.g. ``1 of 4 models of the claim's population``."""
    cases: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    depends_on_definition: bool = False
    specific: str | None = None
