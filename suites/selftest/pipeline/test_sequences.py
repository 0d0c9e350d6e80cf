"""Scores along chains and method against method: planted scores, and a whole table on a toy."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from scipy import stats

from editverdict.evaluation.dimensions import Scores, scores_of
from editverdict.evaluation.questions import questions_of
from editverdict.generation.in_context import answer_with_context
from editverdict.generation.protocol import ProtocolMismatch
from editverdict.pipeline import sequences
from editverdict.pipeline.answers import Answered, Asked, ask
from editverdict.pipeline.edits import steps
from editverdict.pipeline.sequences import (
    _work,
    comparisons_of,
    lines_of,
    measure,
    measure_right_after,
    right_after_lines,
)
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trajectories import RIGHT_AFTER_EACH, trajectory_of
from editverdict.reporting.sequences import sequences_markdown
from suites.selftest.pipeline.sessions import ROOT
from suites.selftest.reporting.test_methods_table import MANIFEST

MODEL, DATA = "rehearsal-llama", "worldfacts"
REL = (0.9, 0.8, 0.85, 0.95, 0.9, 0.7)
OTHER = (0.3, 0.1, 0.25, 0.3, 0.35, 0.1)


def scores(rel: float, *, port: float | None = 0.5) -> Scores:
    others = [0.4, 0.6, port]
    avg = None if port is None else (rel + sum(value for value in others if value is not None)) / 4
    return Scores(rel=rel, gen=0.4, loc=0.6, loc_eq4=0.7, port=port, avg=avg)


def test_a_line_has_the_mean_and_interval_over_chains() -> None:
    (line,) = lines_of({"A": {10: [scores(rel) for rel in REL]}})
    half = stats.t.ppf(0.995, 5) * stats.tstd(REL) / math.sqrt(6)  # above the floor of one answer in ten
    assert (line["method"], line["edits"], line["chains"]) == ("A", 10, 6)
    assert line["rel"]["value"] == pytest.approx(sum(REL) / 6)
    assert line["rel"]["interval"] == pytest.approx([sum(REL) / 6 - half, sum(REL) / 6 + half])
    assert line["rel"]["units"] == list(REL)


def test_a_dimension_that_a_chain_lacks_has_no_number() -> None:
    (line,) = lines_of({"A": {10: [scores(0.5), scores(0.5, port=None)]}})
    assert line["port"] is None and line["avg"] is None and line["gen"]["value"] == pytest.approx(0.4)


def test_methods_are_compared_chain_by_chain() -> None:
    values = {"A": {10: [scores(rel) for rel in REL]}, "B": {10: [scores(rel) for rel in OTHER]}}
    found = {one["score"]: one for one in comparisons_of(values)}
    expected = stats.ttest_rel(REL, OTHER).pvalue
    assert found["rel"]["p"] == pytest.approx(expected)
    # Holm over five: the average differs as surely (a quarter of the same differences), the other three not at all.
    assert found["avg"]["p"] == pytest.approx(expected) and found["rel"]["p_holm"] == pytest.approx(5 * expected)
    assert found["loc"]["p"] == pytest.approx(1.0) and found["loc"]["difference"] == 0.0
    # Alike on every chain is no certainty: one answer in ten is what could not be seen.
    floor = stats.t.ppf(0.995, 5) * 0.1 / math.sqrt(12) / math.sqrt(6)
    assert found["loc"]["interval"] == pytest.approx([-floor, floor])
    low, high = found["rel"]["interval"]
    assert low < found["rel"]["difference"] < high and low > 0


def test_only_common_lengths_are_compared() -> None:
    values = {"A": {1: [scores(0.5)] * 2, 10: [scores(0.5)] * 2}, "B": {1: [scores(0.5)] * 2}}
    assert {one["edits"] for one in comparisons_of(values)} == {1}


def test_the_page_shows_what_differs_and_what_failed() -> None:
    values = {"A": {10: [scores(rel) for rel in REL]}, "B": {10: [scores(rel) for rel in OTHER]}}
    text = sequences_markdown(MANIFEST, lines_of(values), comparisons_of(values), {"C": "too slow"})
    rows = [line for line in text.splitlines() if line.startswith("| A − B")]
    assert [row.split("|")[3].strip() for row in rows] == ["Rel", "Avg"]
    assert "+0.62 [" in rows[0] and "- C: too slow" in text


# --------------------------------------------------------------------------- right after each edit
def right_after(rel: list[float]) -> list[dict[str, object]]:
    """Rows of one chain: edit by edit, whether its own prompt and its rephrase were answered."""
    same = {"protocol": f"p, {RIGHT_AFTER_EACH}", "judge": "j", "kind": "own"}
    return [
        {"edit_id": f"e{i}", "dimension": name, "correct": value, **same}
        for i, value in enumerate(rel)
        for name in ("rel", "gen")
    ]


def test_what_is_written_and_then_lost_scores_right_after_each_edit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: every edit is there when it was made, and the last of them is all that is left."""
    chain = tuple(SimpleNamespace(id=f"e{i}") for i in range(4))
    rows = [Answered(right_after([1.0, 1.0, 1.0, 0.0]), [], ""), Answered(right_after([1.0, 0.0, 1.0, 1.0]), [], "")]
    way = SimpleNamespace(right_after_each=lambda: rows, chains=(chain, chain), schedule=(1, 2, 4))
    monkeypatch.setattr(sequences, "trajectory_of", lambda *_: way)
    profile = SimpleNamespace(models=("m",), datasets=("d",))
    lines = right_after_lines(SimpleNamespace(profile=profile), ["A"])  # type: ignore[arg-type]
    assert [(line["edits"], line["rel"]["units"]) for line in lines] == [
        (1, [1.0, 1.0]), (2, [1.0, 0.5]), (4, [0.75, 0.75])
    ]  # fmt: skip
    assert {line["scoring"] for line in lines} == {RIGHT_AFTER_EACH} and "loc" not in lines[0]
    kept = lines_of({"A": {4: [scores(0.25), scores(0.25)]}})
    assert kept[0]["scoring"] == "retention" and kept[0]["rel"]["value"] == 0.25
    text = sequences_markdown(MANIFEST, kept, [], {}, lines)
    (shown,) = [line for line in text.splitlines() if line.startswith("| A | 4 | 0.75")]
    assert [cell.split("[")[0].strip() for cell in shown.split("|")[3:7]] == ["0.75", "0.25", "0.75", "0.40"]
    assert "## Right after each edit" in text and "## Right after" not in sequences_markdown(MANIFEST, kept, [], {})


@pytest.mark.parametrize("method", ["ROME", "SCR"])
def test_each_edit_is_asked_in_the_state_that_it_made_and_nothing_is_edited_for_it(method: str, tmp_path: Path) -> None:
    trial = make_trial(Options(profile="smoke", store=tmp_path), ROOT / "specs")
    measure(trial, MODEL, DATA, method)
    before = {kind: counts.built for kind, counts in trial.store.ledger.snapshot().items()}
    way = trajectory_of(trial, MODEL, method, DATA)
    found = way.right_after_each()
    built = {kind: counts.built - before.get(kind, 0) for kind, counts in trial.store.ledger.snapshot().items()}
    assert {kind for kind, more in built.items() if more} == {"answers"}
    for chain, answered in zip(way.chains, found, strict=True):
        rows = iter(answered.rows)
        for t, record in enumerate(chain, start=1):
            made = chain[:t]
            own = {"method": method, "memory": made} if method == "SCR" else {}
            state = steps(trial, MODEL, method, list(made))
            (alone,) = ask(trial, MODEL, [Asked("alone", (record,), state, dimensions=("rel", "gen"), **own)])
            if method == "SCR":  # the memory is in the recipe, so the same one is found again
                assert alone.key in answered.parts
            wanted = [q.prompt for q in questions_of(record) if q.dimension in ("rel", "gen")]
            for one, question in zip(alone.rows, wanted, strict=True):
                row = next(rows)
                assert (row["edit_id"], row["prompt"]) == (record.id, question)
                assert (row["answer"], row["given"]) == (one["answer"], one["given"])
                texts = [None, *(answer_with_context(other.statement, question) for other in made)]
                assert row["given"] in texts  # of edits that are still to come none is known
        assert next(rows, None) is None
    assert measure_right_after(trial, MODEL, DATA, method)[3] == [scores_of(one.rows) for one in found]


def test_the_two_protocols_are_never_scored_together(tmp_path: Path) -> None:
    trial = make_trial(Options(profile="smoke", store=tmp_path), ROOT / "specs")
    way = trajectory_of(trial, MODEL, "no-op", DATA)
    kept, at_once = way.answers(3)[3][0], way.right_after_each()[0]
    assert {row["protocol"] for row in at_once.rows} == {f"{kept.rows[0]['protocol']}, {RIGHT_AFTER_EACH}"}
    with pytest.raises(ProtocolMismatch, match=RIGHT_AFTER_EACH):
        scores_of([*kept.rows, *at_once.rows])


def test_a_table_on_a_toy_is_made_once(tmp_path: Path) -> None:
    make = functools.partial(make_trial, Options(profile="smoke", store=tmp_path), ROOT / "specs")
    assert _work(make, MODEL, DATA, "no-op", True) == ("no-op", None)
    _, error = _work(make, MODEL, DATA, "easyedit:ROME")
    assert error is not None and "--easyedit-python" in error
    again = make()
    lines = lines_of({"no-op": measure(again, MODEL, DATA, "no-op")})
    at_once = right_after_lines(again, ["no-op"])
    assert [(line["edits"], line["chains"]) for line in lines] == [(1, 2), (2, 2), (3, 2)]
    assert [(line["edits"], line["chains"]) for line in at_once] == [(1, 2), (2, 2), (3, 2)]
    assert sum(counts.built for counts in again.store.ledger.snapshot().values()) == 0
