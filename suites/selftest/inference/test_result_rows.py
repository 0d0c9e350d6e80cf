"""results.jsonl: written, read, torn, damaged, merged, compared, replayed."""

from __future__ import annotations

import json
import math
import multiprocessing
import warnings
from pathlib import Path
from typing import Any

import pytest

from editverdict.inference.controls import judge_comparator, judge_control
from editverdict.inference.intervals import jackknife_interval, t_interval
from editverdict.inference.results import (
    ResultsError,
    TornLineWarning,
    append_row,
    merge_rows,
    read_rows,
    rejudge,
    same_rows,
)
from editverdict.inference.rows import CheckResult, DefinitionResult, Region, Row
from editverdict.inference.verdicts import judge_definition

YES, NO, MAYBE = [0.8, 0.82, 0.81, 0.79], [0.1, 0.12, 0.11, 0.09], [0.1, 0.9, 0.5, 0.4]
HIGH = Region(op=">=", threshold=0.5)


def test_round_trip_with_nan_and_infinity(make_row: Any, tmp_path: Path) -> None:
    odd = DefinitionResult(name="d", role="descriptive", estimate=math.nan, interval=(-math.inf, math.inf))
    row = make_row(YES, definitions=[odd], describes="Anteil \u2028 größer", peak_memory_mib=math.inf)
    append_row(tmp_path / "new" / "results.jsonl", row)
    (again,) = read_rows(tmp_path / "new" / "results.jsonl")
    assert math.isnan(again.definitions[0].estimate or 0)
    assert again.definitions[0].interval == (-math.inf, math.inf)
    assert (again.peak_memory_mib, again.units, again.describes) == (math.inf, tuple(YES), row.describes)
    assert again.model_dump_json() == row.model_dump_json()
    assert same_rows([row], [again]) == []


def test_rows_keep_their_order(make_row: Any, tmp_path: Path) -> None:
    rows = [make_row(YES, model=f"m{k}") for k in range(3)]
    for row in rows:
        append_row(tmp_path / "r.jsonl", row)
    assert read_rows(tmp_path / "r.jsonl") == rows


def test_a_torn_last_line_is_reported_ignored_and_set_aside(make_row: Any, tmp_path: Path) -> None:
    path, first, second = tmp_path / "r.jsonl", make_row(YES), make_row(NO, model="m2")
    append_row(path, first)
    append_row(path, second)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.warns(TornLineWarning, match=r"r\.jsonl:2"):
        assert read_rows(path) == [first]
    append_row(path, second)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_rows(path) == [first, second]
    assert (tmp_path / "r.jsonl.torn").read_bytes().startswith(b'{"schema_version"')


def test_a_whole_last_line_without_newline_is_kept(make_row: Any, tmp_path: Path) -> None:
    path, first, second = tmp_path / "r.jsonl", make_row(YES), make_row(NO, model="m2")
    append_row(path, first)
    path.write_bytes(path.read_bytes()[:-1])
    assert read_rows(path) == [first]
    append_row(path, second)
    assert read_rows(path) == [first, second]


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda d: b"{nonsense", r"r\.jsonl:2: .*not JSON"),
        (lambda d: b"[1]", r"r\.jsonl:2: "),
        (lambda d: b"\xff\xfe", r"r\.jsonl:2: .*not JSON"),
        (lambda d: json.dumps({**d, "verdict": "won"}).encode(), r"r\.jsonl:2: .*field verdict"),
        (lambda d: json.dumps({**d, "colour": 1}).encode(), r"r\.jsonl:2: .*field colour"),
        (lambda d: json.dumps({**d, "schema_version": 99}).encode(), r"r\.jsonl:2: .*expected 1, found 99"),
        (lambda d: json.dumps({k: v for k, v in d.items() if k != "claim"}).encode(), r"r\.jsonl:2: .*field claim"),
    ],
)
def test_damage_inside_the_file_names_file_and_line(make_row: Any, tmp_path: Path, edit: Any, says: str) -> None:
    path, row = tmp_path / "r.jsonl", make_row(YES)
    line = row.model_dump_json().encode()
    path.write_bytes(b"\n".join([line, edit(json.loads(line)), line, b""]))
    with pytest.raises(ResultsError, match=says):
        read_rows(path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"none\.jsonl: cannot be read"):
        read_rows(tmp_path / "none.jsonl")


def _append_many(path: Path, row: Row, worker: int) -> None:
    for k in range(20):
        append_row(path, row.model_copy(update={"case": f"c[{worker}-{k}]"}))


def test_processes_may_append_at_the_same_time(make_row: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_append_many, args=(path, make_row([0.5] * 3000), w)) for w in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {row.case for row in read_rows(path)} == {f"c[{w}-{k}]" for w in range(3) for k in range(20)}


def test_same_rows_ignores_the_volatile_and_nothing_else(make_row: Any) -> None:
    row, other = make_row(YES), make_row(YES, seconds=3.0, host="b", worker="gw1", started="now", peak_memory_mib=1.0)
    assert same_rows([row], [other]) == []
    nudged = row.model_copy(update={"estimate": math.nextafter(row.estimate, 1)})
    (difference,) = same_rows([row], [nudged])
    assert (difference.field, difference.case) == ("estimate", row.case) and "estimate" in str(difference)
    (absent,) = same_rows([row], [])
    assert (absent.field, absent.a, absent.b) == ("row", True, False)
    two = make_row(NO, model="m2")
    assert same_rows([row, two], [two, row]) == []
    with pytest.raises(ValueError, match="twice"):
        same_rows([row, row], [row])


def test_merging(make_row: Any, tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    broken, ran, more = make_row(verdict="broken"), make_row(YES), make_row(NO, model="m2")
    for path, rows in ((a, [broken, more]), (b, [ran, more.model_copy(update={"seconds": 9.0})])):
        for row in rows:
            append_row(path, row)
    assert merge_rows([a, b]) == [ran, more]
    assert merge_rows([b, a]) == [ran, more.model_copy(update={"seconds": 9.0})]
    append_row(b, make_row(MAYBE))
    with pytest.raises(ResultsError, match=r"b\.jsonl: case .* other values of verdict"):
        merge_rows([a, b])
    assert merge_rows([a, b], on_conflict="last")[0] == make_row(MAYBE)


def _full_row(make_row: Any, units: list[float], control_units: list[float], **more: Any) -> Row:
    fields: dict[str, Any] = {
        "controls": (
            judge_control("no-op", "negative", None, t_interval(control_units), HIGH),
            judge_control("big", "positive", None, t_interval(YES), HIGH),
            judge_control("thin", "baseline", None, t_interval([0.3]), HIGH),
            judge_comparator("placebo", units, control_units, HIGH),
        ),
        "checks": (CheckResult(name="paired", ok=True, detail="ok"),),
        "definitions": (
            judge_definition("p", "primary", t_interval(units), HIGH),
            judge_definition("r", "rival", t_interval(NO), HIGH),
            judge_definition("d", "descriptive", t_interval(NO), HIGH),
        ),
        **more,
    }
    return make_row(units, **fields)  # type: ignore[no-any-return]


@pytest.mark.parametrize("units", [YES, NO, MAYBE])
@pytest.mark.parametrize("control_units", [YES, NO, MAYBE])
def test_a_replay_from_disk_gives_the_stored_row(
    make_row: Any, tmp_path: Path, units: list[float], control_units: list[float]
) -> None:
    row = _full_row(make_row, units, control_units)
    append_row(tmp_path / "r.jsonl", row)
    (again,) = read_rows(tmp_path / "r.jsonl")
    assert same_rows([row], [rejudge(again)]) == []


def test_replay_covers_jackknife_failed_checks_thin_data_and_unjudged_rows(make_row: Any) -> None:
    jackknife = jackknife_interval(0.83, [0.8, 0.82, 0.85, 0.81], bias=0.01)
    rows = [
        make_row(estimate=jackknife),
        make_row(YES, checks=(CheckResult(name="n", ok=False, detail="n < d"),)),
        make_row([0.3]),
        make_row([]),
        make_row(verdict="broken"),
        make_row(verdict="not_run"),
        make_row(YES).model_copy(update={"descriptive": {}}),
    ]
    for row in rows:
        assert same_rows([row], [rejudge(row)]) == [], row.reason


def test_replay_catches_what_was_tampered_with(make_row: Any) -> None:
    row = _full_row(make_row, YES, NO)
    for update in (
        {"verdict": "refuted"},
        {"units": tuple(NO)},
        {"interval": (0.0, 1.0)},
        {"margin_to_flip": 0.5},
        {"specific": "no"},
        {"depends_on_definition": False},
        {"expected": Region(op="<=", threshold=0.5)},
        {"checks": (CheckResult(name="n", ok=False, detail="n < d"),)},
        {"controls": (row.controls[0].model_copy(update={"interval": (0.6, 0.9)}),)},
    ):
        changed = row.model_copy(update=update)
        assert same_rows([changed], [rejudge(changed)]) != [], update


@pytest.mark.parametrize(("late", "units"), [("effect", NO), ("absence", YES)])
def test_what_has_not_come_yet_is_judged_again_from_the_row_alone(
    make_row: Any, tmp_path: Path, late: str, units: list[float]
) -> None:
    row = make_row(units, late=late, horizon=50)
    append_row(tmp_path / "r.jsonl", row)
    (again,) = read_rows(tmp_path / "r.jsonl")
    assert again.verdict == "inconclusive" and again.reason.startswith(
        "INCONCLUSIVE: T = 10 is below the horizon of 50"
    )
    assert rejudge(again) == again
    # The same numbers at the horizon, or of a claim about nothing late, do decide.
    alone = rejudge(again.model_copy(update={"late": None, "horizon": None})).verdict
    assert (
        alone == rejudge(again.model_copy(update={"horizon": 10})).verdict == make_row(units).verdict != "inconclusive"
    )
    # A row that does not say how far its chains went is not taken for one that went far enough.
    unknown = again.model_copy(update={"descriptive": {k: v for k, v in again.descriptive.items() if k != "edits"}})
    assert rejudge(unknown).verdict == "inconclusive" and "T unknown" in rejudge(unknown).reason
