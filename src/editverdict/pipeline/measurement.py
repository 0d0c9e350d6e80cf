"""What a measurement hands to the judge, and the registry of measurements and checks by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from editverdict.inference.intervals import Estimate
from editverdict.inference.rows import CheckResult
from editverdict.pipeline.trial import Trial
from editverdict.schema.claims import ClaimSpec


@dataclass(frozen=True)
class Case:
    """A claim applied to one subject."""

    claim: ClaimSpec
    model: str
    method: str | None = None
    dataset: str | None = None

    @property
    def subject(self) -> str:
        """Model, method and dataset joined by hyphens: the part of the id that groups cases on a worker."""
        return "-".join(part for part in (self.model, self.method, self.dataset) if part)

    @property
    def id(self) -> str:
        """Readable, stable id."""
        return f"{self.claim.id}[{self.subject}]"

    @property
    def slug(self) -> str:
        """The id as a file name."""
        return f"{self.claim.id}__{self.subject}".replace(":", ".")


@dataclass
class Measurement:
    """Numbers of one case before judgement."""

    definitions: dict[str, Estimate]
    controls: dict[str, Estimate] = field(default_factory=dict)
    """Negative, positive and baseline controls, in the claim's quantity."""
    comparators: dict[str, Sequence[float]] = field(default_factory=dict)
    """Comparators: one number per unit of the primary definition (or per seed, see ``comparator_subject``)."""
    comparator_subject: dict[str, Sequence[float]] = field(default_factory=dict)
    """What a comparator is paired with, where that is not the primary definition's units."""
    contrasts: dict[str, Estimate] = field(default_factory=dict)
    """Comparator -> subject minus comparator in the claim's quantity, where pairing their units would leave out a bias,
    or an error that all of them have in common; ``comparators`` then only shows the comparator itself."""
    notes: dict[str, str] = field(default_factory=dict)
    """Control name -> note."""
    checks: dict[str, CheckResult] = field(default_factory=dict)
    descriptive: dict[str, Any] = field(default_factory=dict)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    stands_on: str = ""
    edits: int = 0
    n_samples: int | None = None
    resolution: float = 0.0
    """Granularity of one unit's value, for comparators."""
    recipes: list[str] = field(default_factory=list)
    """Keys of the artifacts that the numbers come from."""
    facts: list[dict[str, Any]] = field(default_factory=list)
    """What methods' states came to fact by fact (`pipeline.comparing.facts_kept`)."""


class Unmeasurable(Exception):
    """A validity check failed so that nothing is left to compute; carries the measurement with its checks."""

    def __init__(self, measurement: Measurement) -> None:
        super().__init__("; ".join(check.detail for check in measurement.checks.values() if not check.ok))
        self.measurement = measurement


Measure = Callable[[Trial, Case], Measurement]
_MEASURES: dict[str, Measure] = {}
_CHECKS: dict[str, str] = {}


def measure(name: str) -> Callable[[Measure], Measure]:
    """Decorator: register a measurement under the ``quantity`` that claims name."""

    def register(function: Measure) -> Measure:
        if name in _MEASURES:
            raise ValueError(f"two measurements are called '{name}'")
        _MEASURES[name] = function
        return function

    return register


def declare_checks(**checks: str) -> None:
    """Make names of validity checks known, with what they look at."""
    _CHECKS.update({name.replace("_", "-"): text for name, text in checks.items()})


def measures() -> dict[str, Measure]:
    """All registered measurements."""
    import editverdict.pipeline.measures  # noqa: F401  registers on import

    return dict(_MEASURES)


def checks() -> dict[str, str]:
    """All declared checks."""
    measures()
    return dict(_CHECKS)


declare_checks(
    enough_samples="more texts and tokens than the profile asks for, and more samples than dimensions",
    enough_tokens="as enough-samples, on the subset that edited states are measured on",
    centred_over_samples="hidden states centred over samples, not over features",
    above_resolution="every direction used lies above the resolution limit",
    samples_paired="base and edited states are of the same tokens, told from the arrays alone",
    no_op_zero="an edit that does nothing changes nothing",
    states_reproduced="hidden states are those of the hashed model and of their layer: some texts are run again alone",
    texts_distinct="texts and samples do not repeat each other",
    spectrum_recomputed="singular values and directions agree with float64 sums over the same states",
    change_recomputed="norms of the change, found again from the two samples",
    components_recomputed="components along the unedited model's directions, and R_k, found again from the change",
    angles_recomputed="principal angles found again from the two bases; the largest has the least cosine",
    headroom_single_rel="single edits reach a reliability of 0.2: there is something to lose",
    headroom_single_avg="single edits reach an average of 0.2: there is something to lose",
    headroom_gold="with the right fact in the context the average reaches 0.2: the model can use a context at all",
    headroom_single_scores="single edits reach 0.2 in reliability at least; other dimensions below it are left out",
    headroom_loc="the unedited model reaches a locality of 0.2: there is something to lose",
    headroom_scr="retrieval with in-context answering reaches an average of 0.2: there is something to compare with",
    half_lost="in half of the chains some method has lost half of its edits: otherwise there is no order to see",
    collapsed="the edited model alone has at most a tenth of SCR's average left",
    answers_complete="every question of every edit has one answer, and in no state are over 2% of them left undecided",
    same_tokens_same_verdict="an answer with the tokens that it had before the edit is judged as it was then",
)


def passed(name: str, ok: bool, detail: str) -> dict[str, CheckResult]:
    """One check result, keyed by its name."""
    return {name: CheckResult(name=name, ok=bool(ok), detail=detail)}
