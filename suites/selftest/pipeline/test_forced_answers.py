"""What is stored of an answer suffices to redo every statistic, and teacher forcing is a protocol of its own."""

from __future__ import annotations

import dataclasses

import pytest

from editverdict.data.records import EditRecord
from editverdict.evaluation.dimensions import scores_by_kind, scores_of
from editverdict.evaluation.facts import fact_rows
from editverdict.evaluation.tokens import token_locality, token_rows
from editverdict.generation.forced import forced_targets
from editverdict.generation.protocol import ProtocolMismatch
from editverdict.inference.comparisons import ProtocolsDiffer, compare, protocol_gap
from editverdict.pipeline.answers import Answered, Asked, ask
from editverdict.pipeline.comparing import fact_outcomes, question_outcomes, subjects_of
from editverdict.pipeline.edits import singles
from editverdict.pipeline.forced import ask_forced, forced_before
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import Trial
from editverdict.schema.protocols import AnswerProtocol, Thinking
from suites.selftest.pipeline.sessions import ROOT

MODEL = "rehearsal-llama"
GROSS = 300.0
"""The toy knows nothing that an edit of the usual size could change."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("forced")), ROOT / "specs")


@pytest.fixture(scope="module")
def records(own: Trial) -> list[EditRecord]:
    return own.singles("worldfacts")


@pytest.fixture(scope="module")
def edited(own: Trial, records: list[EditRecord]) -> list[Asked]:
    states = singles(own, MODEL, "ROME", records)
    return [Asked("ROME", (record,), state, scale=GROSS) for record, state in zip(records, states, strict=True)]


@pytest.fixture(scope="module")
def before(own: Trial, records: list[EditRecord]) -> Answered:
    return ask(own, MODEL, [Asked("unedited", tuple(records))])[0]


def rows_of_all(many: list[Answered]) -> list[dict[str, object]]:
    return [row for one in many for row in one.rows]


def test_rows_hold_what_redoing_needs(own: Trial, records: list[EditRecord], before: Answered) -> None:
    tokenizer, protocol = own.model(MODEL).tokenizer, own.protocol(MODEL)
    for row in before.rows:
        assert row["protocol"] == protocol.id and row["judge"] and row["tokens"]
        said = row["tokens"][:-1] if row["stopped_by"] == "eos" else row["tokens"]
        text = tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert text.split("\n")[0] == row["answer"]
        assert "thinking" not in row
    facts = fact_rows(before.rows, subjects=subjects_of(records), before=before.rows)
    assert [fact["edit_id"] for fact in facts] == [record.id for record in records]
    assert {fact["token_exact"] for fact in facts} == {1.0}
    assert set(scores_by_kind(before.rows, "port")) == {p.kind for r in records for p in r.portability}


def test_token_locality_of_edited_states(own: Trial, edited: list[Asked], before: Answered) -> None:
    rows = rows_of_all(ask(own, MODEL, edited))
    found = token_locality(token_rows(rows, before.rows))
    assert found.n_edits == len(edited)
    assert found.exact is not None and found.ratio is not None and 0.0 <= found.exact <= found.ratio <= 1.0


def test_forcing_equals_forcing_one_by_one(own: Trial, edited: list[Asked], records: list[EditRecord]) -> None:
    """States asked in one batch, row by row, find what each finds alone with its weights installed."""
    together = ask_forced(own, MODEL, edited)
    alone = [ask_forced(own, MODEL, [one])[0] for one in edited]
    assert [one.rows for one in together] == [one.rows for one in alone]
    assert len({one.key for one in together} | {one.key for one in alone}) == 2 * len(edited)
    loaded = own.model(MODEL)
    (plain,) = ask_forced(own, MODEL, [Asked("unedited", tuple(records))])
    pairs = [(str(row["prompt"]), str(row["accepted"][0])) for row in plain.rows]
    direct = forced_targets(loaded.model, loaded.tokenizer, pairs, own.forced_protocol(MODEL))
    assert [tuple(row["tokens"]) for row in plain.rows] == [one.best for one in direct]
    assert [one.rows for one in together] != [
        [row for row in plain.rows if row["edit_id"] == record.id] for record in records
    ], "the edits changed nothing"


def test_locality_under_forcing(own: Trial, records: list[EditRecord]) -> None:
    kept = forced_before(own, MODEL, records)
    (plain,) = ask_forced(own, MODEL, [Asked("unedited", tuple(records))], before=kept)
    assert scores_of(plain.rows).loc_eq4 == 1.0


def test_protocols_are_kept_apart(own: Trial, edited: list[Asked], records: list[EditRecord]) -> None:
    free, forced = rows_of_all(ask(own, MODEL, edited)), rows_of_all(ask_forced(own, MODEL, edited))
    with pytest.raises(ProtocolMismatch, match="answers to be scored together"):
        scores_of([*free, *forced])
    one, other = fact_outcomes("ROME", free, records), fact_outcomes("ROME", forced, records)
    with pytest.raises(ProtocolsDiffer):
        compare(one, other)
    gap = protocol_gap(other, one)
    assert gap.difference.n_facts == len(records)
    assert gap.difference.value == pytest.approx(scores_of(forced).rel - scores_of(free).rel)
    asked = question_outcomes("ROME", free, records, "loc", lambda row: row["correct"])
    assert len(asked.values) == sum(len(record.locality) for record in records)
    assert set(asked.subjects.values()) == {record.subject for record in records}
    with pytest.raises(ValueError, match="carry no protocol id"):
        fact_outcomes("ROME", [{**row, "protocol": None} for row in free], records)


def test_a_reasoning_model_has_its_own_protocol(own: Trial, records: list[EditRecord], before: Answered) -> None:
    """A mark that the toy happens to say parts its answers; the protocol, the recipe and the rows know of it."""
    tokenizer = own.model(MODEL).tokenizer
    mark = next(
        text
        for row in before.rows
        if (text := tokenizer.decode(row["tokens"][1:2])).strip() and "\n" not in text and text.isascii()
    )
    spec = AnswerProtocol(id="thinks-6", max_new_tokens=6, stop=(), thinking=Thinking(open="\u00a7", close=mark))
    profile = own.profile.model_copy(update={"protocols": {MODEL: spec}})
    other = dataclasses.replace(own, profile=profile, _memo={})
    assert other.protocol(MODEL).id != own.protocol(MODEL).id
    assert other.forced_protocol(MODEL).id == own.forced_protocol(MODEL).id
    (found,) = ask(other, MODEL, [Asked("thinking", tuple(records))])
    assert found.key != before.key
    closed = [row for row in found.rows if row["thinking_closed"]]
    assert closed and all(mark not in row["thinking"] for row in closed)
    assert all(row["thinking"] is None for row in found.rows if not row["thinking_closed"])
    (again,) = ask(other, MODEL, [Asked("thinking", tuple(records))])
    assert again == found
    with pytest.raises(ProtocolMismatch):
        token_rows(found.rows, before.rows)
