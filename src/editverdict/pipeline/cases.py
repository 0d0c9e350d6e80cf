"""From a case to its row: measure, judge the controls, decide, and write down what the verdict stands on."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import platform
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from editverdict.data.errors import DataError
from editverdict.data.records import kind_of
from editverdict.editors.base import CannotEdit, EditError
from editverdict.inference.claims import FAMILY_KEY
from editverdict.inference.controls import judge_comparator, judge_control
from editverdict.inference.forms import apart
from editverdict.inference.intervals import ESTIMATION_KEY, Estimate, missing
from editverdict.inference.rows import CaseVerdict, CheckResult, ControlResult, PaperNumber, Region, Row
from editverdict.inference.verdicts import EDITS_KEY, PART_KEY, CaseDecision, Late, decide_case, judge_definition
from editverdict.ledger.quoted import resolve, setting
from editverdict.ledger.tables import Ledger
from editverdict.pipeline.judging import judge_of
from editverdict.pipeline.measurement import Case, Measurement, Unmeasurable, measures
from editverdict.pipeline.scopes import scope_of
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.schema.claims import ClaimSpec, Control, PaperValue
from editverdict.schema.library import SpecLibrary, spec_hash

PAPER_EDITS = 1_301
"""The paper's longest sequence (ZsRE, Table 37): as far as it followed a method whose collapse it does not report."""

__all__ = ["Judged", "Ruling", "blank_row", "judge_case", "rule"]


@dataclass(frozen=True)
class Judged:
    """A row and the pictures that belong to it."""

    row: Row
    pictures: list[dict[str, Any]]
    facts: list[dict[str, Any]] = field(default_factory=list)
    """What methods' states came to fact by fact, for the table of methods against each other."""


def region_of(claim: ClaimSpec) -> Region:
    """The claim's expected region."""
    return Region(**claim.expect.model_dump())


def horizon_of(library: SpecLibrary, case: Case) -> int | None:
    """T from which a claim about what may come late is decided both ways; None where the claim is about no such thing.

    The claim's own, else the method's (Table 37), else the whole of the paper's longest sequence.
    """
    if case.claim.late is None:
        return None
    own = None if case.method is None else library.methods[case.method].horizon
    return case.claim.late_from or own or PAPER_EDITS


def judge_case(trial: Trial, case: Case) -> Judged:
    """Measure and judge one case; whatever goes wrong becomes a row, too."""
    started, clock = dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), time.monotonic()
    try:
        trial.need_device()
        _need_its_data(trial, case)
        judged = _judged(trial, case)
    except (NotHere, CannotEdit) as reason:
        judged = Judged(blank_row(trial, case, "not_run", f"NOT_RUN: {reason}"), [])
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a row must exist for every planned case, and say what broke
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        row = blank_row(trial, case, "broken", f"BROKEN: {type(error).__name__}: {text}")
        known = isinstance(error, EditError | DataError)
        judged = Judged(row.model_copy(update={"traceback": None if known else traceback.format_exc()}), [])
    spent = {
        "started": started,
        "seconds": round(time.monotonic() - clock, 3),
        "host": platform.node(),
        "worker": str(trial.worker),
        "peak_memory_mib": peak_memory_mib(),
    }
    return Judged(judged.row.model_copy(update=spent), judged.pictures, judged.facts)


def _need_its_data(trial: Trial, case: Case) -> None:
    """Refuse data of a kind that the claim is not about, where only the records say of what kind they are."""
    if case.dataset is None or trial.library.datasets[case.dataset].kind is not None:
        return
    found = kind_of(trial.records(case.dataset))
    if found == "mixed":
        raise NotHere(f"dataset '{case.dataset}' holds facts and bare events; put them into two files")
    if found not in case.claim.data:
        raise NotHere(f"is about {' and '.join(case.claim.data)}, and dataset '{case.dataset}' holds {found}")


def peak_memory_mib() -> float:
    """Largest resident size of this process so far, in MiB (now, where the system does not say)."""
    with contextlib.suppress(ImportError):
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
    return round(psutil.Process().memory_info().rss / 2**20, 1)


@dataclass(frozen=True)
class Ruling:
    """A measurement judged by its claim alone: what the row of a case states beside where it comes from."""

    decision: CaseDecision
    primary: Estimate
    controls: tuple[ControlResult, ...]
    checks: tuple[CheckResult, ...]


def rule(
    claim: ClaimSpec,
    made: Measurement,
    required_checks: Sequence[CheckResult] = (),
    required_controls: Sequence[ControlResult] = (),
    horizon: int | None = None,
) -> Ruling:
    """Judge a measurement; no model is needed for that, so synthetic measurements come this way, too.

    Parameters
    ----------
    claim
        The claim.
    made
        Its measurement.
    required_checks, required_controls
        What the checks that the claim requires came to, where they are decided and where they are left open.
    horizon
        T from which a claim about what may come late is decided both ways (:func:`horizon_of`).

    Raises
    ------
    KeyError
        The measurement lacks one of the claim's definitions.
    """
    region = region_of(claim)
    missing_definitions = [d.name for d in claim.definitions if d.name not in made.definitions]
    if missing_definitions:
        raise KeyError(
            f"measurement '{claim.quantity}' gave no value for the definitions {missing_definitions} of '{claim.id}'"
        )
    primary = made.definitions[claim.primary.name]
    controls = (*(_control(control, made, primary, region) for control in claim.controls), *required_controls)
    checks = (*(_check(name, made) for name in claim.checks), *required_checks)
    decision = decide_case(
        describes=claim.describes,
        unit=claim.unit,
        region=region,
        primary=primary,
        min_units=claim.min_units,
        definitions=[
            judge_definition(d.name, d.role, made.definitions[d.name], region, d.note) for d in claim.definitions
        ],
        controls=controls,
        checks=checks,
        late=None if claim.late is None or horizon is None else Late(claim.late, horizon, made.edits),
        part=made.descriptive.get(PART_KEY),
    )
    return Ruling(decision, primary, controls, checks)


def _judged(trial: Trial, case: Case) -> Judged:
    made = _measured(trial, case)
    ruling = rule(case.claim, made, *_required(trial, case), horizon_of(trial.library, case))
    decision, primary = ruling.decision, ruling.primary
    scope, why = scope_of(trial, case, made.edits, primary.n_units)
    row = blank_row(trial, case, decision.verdict, decision.reason)
    row = row.model_copy(
        update={
            "estimate": primary.value,
            "interval": primary.interval,
            "level": primary.level,
            "n_units": primary.n_units,
            "units": primary.units,
            "margin_to_flip": decision.margin_to_flip,
            "controls": ruling.controls,
            "checks": ruling.checks,
            "definitions": decision.definitions,
            "depends_on_definition": decision.depends_on_definition,
            "specific": decision.specific,
            "scope": scope,
            "scope_reason": why,
            "stands_on": ", ".join(part for part in (made.stands_on, apart(made.descriptive)) if part),
            "descriptive": {
                **_plain(made.descriptive),
                ESTIMATION_KEY: primary.record(),
                EDITS_KEY: made.edits,
                FAMILY_KEY: str(trial.model(case.model).model.config.model_type),
            },
            "hashes": {**row.hashes, **_hashes(trial, case, made)},
        }
    )
    return Judged(row, made.pictures, [one for one in made.facts if one])


def _measured(trial: Trial, case: Case) -> Measurement:
    try:
        return measures()[case.claim.quantity](trial, case)
    except Unmeasurable as stop:
        made = stop.measurement
        made.definitions = {d.name: missing(note="not measured") for d in case.claim.definitions}
        return made


def _plain(value: Any) -> Any:
    """Only JSON types, so that a row reads back equal to what was written."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value != value:
        return None
    return value


def _control(control: Control, made: Measurement, primary: Estimate, region: Region) -> ControlResult:
    note = "; ".join(text for text in (control.note, made.notes.get(control.name)) if text) or None
    if control.role == "comparator":
        return judge_comparator(
            control.name,
            made.comparator_subject.get(control.name, primary.units),
            made.comparators.get(control.name, ()),
            region,
            resolution=made.resolution,
            note=note,
            contrast=made.contrasts.get(control.name),
        )
    found = made.controls.get(control.name, missing(note="not measured"))
    return judge_control(control.name, control.role, control.must, found, region, note=note)


def _check(name: str, made: Measurement) -> CheckResult:
    return made.checks.get(name, CheckResult(name=name, ok=False, detail="the measurement did not report this check"))


def _required(trial: Trial, case: Case) -> tuple[list[CheckResult], list[ControlResult]]:
    """Checks that the claim requires, judged for the same model: refuted or invalid fails, inconclusive leaves open."""
    checks, controls = [], []
    for name in case.claim.requires:
        memo = ("required", name, case.model)
        if memo not in trial._memo:
            trial._memo[memo] = _judged(trial, Case(trial.library.claims[name], case.model)).row
        row: Row = trial._memo[memo]
        if row.verdict == "inconclusive":
            # Without the check's numbers: they are of another quantity, and judging the row again would hold them
            # against this claim's region.
            controls.append(
                ControlResult(
                    name=f"requires:{name}",
                    role="positive",
                    must="show",
                    n_units=row.n_units,
                    outcome="undecided",
                    note=row.reason,
                )
            )
        else:
            checks.append(CheckResult(name=f"requires:{name}", ok=row.verdict == "supported", detail=row.reason))
    return checks, controls


def _hashes(trial: Trial, case: Case, made: Measurement) -> dict[str, str]:
    identity, library = trial.model(case.model).identity, trial.library
    found = {
        "model": identity.weights,
        "tokenizer": identity.tokenizer,
        "architecture": identity.architecture,
        "corpus": str(trial.corpus_key(case.model)["tokens"]),
        "evidence": hashlib.sha256("".join(made.recipes).encode()).hexdigest(),
        "protocol": trial.protocol(case.model).id,
        "judge": judge_of(trial).id,
        "encoder": trial.encoder_key,
    }
    if case.method:
        found["method"] = spec_hash(library.methods[case.method])
    if case.dataset:
        found["data"] = trial.data_key(case.dataset)
    return found


def paper_number(value: PaperValue, ledger: Ledger | None) -> PaperNumber:
    """A quoted value as a row keeps it: with its setting and, where the paper's tables are here, its rounding."""
    found = resolve(value, ledger) if ledger is not None else None
    span = found.range if found is not None else None
    return PaperNumber(
        table=value.table,
        row=value.row,
        value=value.value,
        note=value.note,
        low=span.low if span else None,
        high=span.high if span else None,
        **setting(value)._asdict(),
        not_comparable=value.not_comparable,
        cells=tuple(str(cell) for cell in found.cells) if found is not None else (),
    )


def blank_row(trial: Trial, case: Case, verdict: CaseVerdict, reason: str) -> Row:
    """A row with everything that the spec alone decides."""
    claim = case.claim
    scope, why = scope_of(trial, case)
    return Row(
        case=case.id,
        claim=claim.id,
        kind=claim.kind,
        statement=claim.statement,
        paper=claim.source.paper,
        hypothesis=claim.source.hypothesis,
        where=claim.source.where,
        severity=claim.severity,
        family=claim.family,
        timed=claim.timed,
        quantifier=claim.quantifier,
        model=case.model,
        method=case.method,
        dataset=case.dataset,
        profile=trial.profile.id,
        verdict=verdict,
        reason=reason,
        quantity=claim.quantity,
        describes=claim.describes,
        reduce=claim.reduce,
        unit=claim.unit,
        min_units=claim.min_units,
        expected=region_of(claim),
        late=claim.late,
        horizon=horizon_of(trial.library, case),
        scope=scope,
        scope_reason=why,
        stands_on=case.subject,
        paper_values=tuple(paper_number(value, trial.paper) for value in claim.paper_values),
        not_comparable=claim.not_comparable,
        hashes={"spec": spec_hash(claim), "profile": spec_hash(trial.profile)},
    )
