"""The spec of a claim: what is measured, what is expected, and what guards it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from editverdict.schema.base import Identifier, MethodId, Spec


class Source(Spec):
    """Where a claim stands in the paper."""

    paper: str
    """Title of the paper, the epic of the report."""
    hypothesis: str
    """Hypothesis, theorem or research question, the feature of the report."""
    where: str
    """Sections, tables and figures."""


class Expectation(Spec):
    """The region of the quantity in which the claim is supported, and where that region comes from."""

    op: Literal["<=", "<", ">=", ">", "within"]
    threshold: float | None = None
    low: float | None = None
    high: float | None = None
    origin: Literal["paper", "convention", "ours"]
    ref: str | None = None
    """Cell, table or sentence of the paper, or the name of the convention."""
    rationale: str | None = None
    """Why this number; required where the threshold is ours, and it cites no measurement of the default model."""

    @model_validator(mode="after")
    def _complete(self) -> Expectation:
        if self.op == "within":
            if self.low is None or self.high is None or self.threshold is not None:
                raise ValueError("op 'within' takes 'low' and 'high' and no 'threshold'")
            if self.low >= self.high:
                raise ValueError(f"'low' ({self.low}) must be below 'high' ({self.high})")
        elif self.threshold is None or self.low is not None or self.high is not None:
            raise ValueError(f"op '{self.op}' takes a 'threshold' and neither 'low' nor 'high'")
        if self.origin == "ours" and not self.rationale:
            raise ValueError("a threshold of origin 'ours' needs a 'rationale'")
        if self.origin != "ours" and not self.ref:
            raise ValueError(f"a threshold of origin '{self.origin}' needs a 'ref' (table, sentence or convention)")
        return self


class Definition(Spec):
    """One reading of the quantity that the paper's wording admits."""

    name: Identifier
    role: Literal["primary", "rival", "descriptive"]
    note: str | None = None


class Control(Spec):
    """A measurement that guards the claim; its role says what it can do to the verdict."""

    name: Identifier
    role: Literal["negative", "positive", "comparator", "baseline"]
    """negative/positive decide validity; a comparator decides ``specific``; a baseline is only shown."""
    must: Literal["show", "not_show"] | None = None
    """Whether the control must show the effect; by default: positive shows, negative does not. A smallness or
    stability claim overrides it for its positive control, which must break the claim."""
    definition: Identifier | None = None
    """The definition that the control is measured by; the primary one if absent."""
    note: str | None = None


Key = Annotated[str | int, Field(union_mode="smart")]
"""A value of a key column of a printed table, e.g. a layer or a method."""


class OtherCells(Spec):
    """Printed cells that others are compared with: what is not said is as with those."""

    table: int | None = None
    keys: dict[str, Key | tuple[Key, ...]] = {}
    """Only the keys that differ."""
    column: str | None = None
    reduce: Literal["median", "mean"] | None = None
    """How several become one before the comparison; without it they go pairwise."""


class PaperValue(Spec):
    """A number that the paper prints for this claim, with the printed cells that it comes from.

    ``keys`` and ``column`` name the cells; a key with several values names several. Then, in this order: ``minus`` or
    ``over`` other cells, ``per`` a constant, ``reduce`` several to one, ``log10``.
    """

    table: int
    row: str
    """The row in words, for display."""
    value: float
    keys: dict[str, Key | tuple[Key, ...]] = {}
    """Key column -> value, as far as they are needed to tell the row."""
    column: str | None = None
    """Column of the table; a value without it is not looked up."""
    minus: OtherCells | None = None
    over: OtherCells | None = None
    per: float = 1.0
    """What the printed number is divided by, e.g. 100 for percent."""
    reduce: Literal["median", "mean", "min", "max", "spearman"] | None = None
    """How several cells become one; ``spearman``: rank correlation with their order in ``keys``."""
    log10: bool = False
    edits: int | None = None
    """T behind the value, where no key of the table says it."""
    not_comparable: str | None = None
    """Why this value differs from the claim's quantity by its definition, if it does."""
    note: str | None = None

    @model_validator(mode="after")
    def _named(self) -> PaperValue:
        derived = self.minus or self.over or self.reduce or self.log10 or self.keys or self.per != 1.0
        if self.column is None and derived:
            raise ValueError("a value that comes from printed cells names their 'column'")
        if self.minus and self.over:
            raise ValueError("'minus' and 'over' exclude each other")
        if self.per == 0.0:
            raise ValueError("'per' must not be 0")
        return self


class ClaimSpec(Spec):
    """One claim of a paper: what is measured, what is expected, and what guards it."""

    id: Identifier
    kind: Literal["claim", "check", "identity", "survey"] = "claim"
    statement: str
    source: Source
    quantity: Identifier
    """Name of a registered measurement."""
    describes: str
    """The quantity in words, with its unit."""
    reduce: str
    """How layers, k and T collapse into one number per resampling unit, in words."""
    subject: tuple[Literal["model", "method", "dataset"], ...]
    range: tuple[float | None, float | None] = (None, None)
    """Least and largest value that the quantity can take by its definition (null: no bound): a region that holds all
    of it, or none, would make a claim that cannot fail, or cannot be won (``editverdict validate --vacuous``)."""
    unit: Literal["text_block", "edit", "chain", "seed", "prompt", "answer"]
    min_units: Annotated[int, Field(ge=2)]
    edits: int | Literal["horizon"] = 1
    """T, the number of edits in the state that is measured (0: the unedited model); 'horizon': the method's."""
    late: Literal["effect", "absence"] | None = None
    """Whether the claim is about something that may come late in a sequence of edits: an ``effect``, or the ``absence``
    of one. At a T below the horizon an effect that was not seen, or an absence that was, decides nothing."""
    late_from: Annotated[int, Field(ge=1)] | None = None
    """T from which it does decide; by default the method's horizon, and the paper's whole sequence where the paper
    reports none."""
    methods: tuple[Literal["parameter", "external-memory", "combination", "control"], ...] = ("parameter",)
    """Kinds of method that the claim is about; ignored where the subject has no method."""
    about: tuple[MethodId, ...] = ()
    """Methods that the claim names; empty: all of the kinds in ``methods``. Others of the profile have no case."""
    about_models: tuple[Identifier, ...] = ()
    """Models that the claim names; empty: all. Others of the profile have no case."""
    data: tuple[Literal["facts", "events"], ...] = ("facts",)
    """Kinds of editing data that the claim is about. Events have neither reliability nor generalization, and what is
    written into weights are facts drawn from them; datasets of another kind have no case."""
    definitions: tuple[Definition, ...]
    expect: Expectation
    controls: tuple[Control, ...] = ()
    checks: tuple[Identifier, ...] = ()
    """Registered validity checks; any that fails makes the case invalid."""
    quantifier: Literal["all", "exists", "at_least_two", "most", "mean"] = "all"
    """How cases make a claim; ``at_least_two`` counts methods, out of those of ``about``."""
    ranges_over: tuple[Literal["model", "family", "method"], ...] = ()
    """What the claim's own words say it holds for every one of: below two of them it is not supported, whatever their
    cases say (one counterexample refutes it all the same)."""
    population: str
    """What the claim speaks about: models and methods of the paper."""
    family: Identifier
    """Claims that belong together."""
    severity: Literal["blocker", "critical", "normal", "minor", "trivial"] = "normal"
    paper_values: tuple[PaperValue, ...] = ()
    requires: tuple[Identifier, ...] = ()
    """Ids of checks (kind 'check') that must hold for the same subject."""
    suite: Literal["hypotheses", "benchmark"] = "hypotheses"
    timed: bool = False
    """Whether the quantity is made of times or memory: measured anew, it is never bit-equal, and a machine that others
    use spoils it."""
    not_comparable: str | None = None
    """Why the paper has no number for this quantity, or none by the same definition; the setting (model, method, data,
    T) is compared by itself, see ``editverdict.inference.replication``."""

    @model_validator(mode="after")
    def _one_primary(self) -> ClaimSpec:
        primaries = [d.name for d in self.definitions if d.role == "primary"]
        if len(primaries) != 1:
            raise ValueError(f"exactly one definition must have role 'primary', found {len(primaries)}")
        return self

    @model_validator(mode="after")
    def _said_of_what(self) -> ClaimSpec:
        if self.late_from is not None and self.late is None:
            raise ValueError("'late_from' is of a claim that is 'late': effect or absence")
        if self.quantifier == "at_least_two" and len(self.about) < 2:
            raise ValueError("quantifier 'at_least_two' counts methods: name two or more of them in 'about'")
        return self

    @model_validator(mode="after")
    def _ranges(self) -> ClaimSpec:
        if self.ranges_over and self.quantifier == "exists":
            raise ValueError("'ranges_over' says \"every\", and quantifier 'exists' says \"some\": give one of them")
        return self

    @property
    def primary(self) -> Definition:
        """The definition that decides."""
        return next(d for d in self.definitions if d.role == "primary")
