"""Claims on first tokens, reasoning and teacher forcing, judged on planted answers whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from editverdict.evaluation.judging import Item, Judgement
from editverdict.evaluation.lexical import LexicalJudge
from editverdict.pipeline.answers import Answered
from editverdict.pipeline.cases import Ruling, rule
from editverdict.pipeline.measurement import Case, Measurement, measures
from editverdict.pipeline.measures import failure_modes, forcing, scores
from editverdict.pipeline.measures.failure_modes import Beginnings
from editverdict.pipeline.setup import Options, make_trial
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.schema.protocols import AnswerProtocol, Thinking
from suites.selftest.pipeline.planted_answers import NOTHING, PlantedChains, answered, chains
from suites.selftest.pipeline.sessions import ROOT

MODEL, DATA = "rehearsal-llama", "worldfacts"
PIECE = 3
Kind = Callable[[int, int, str], str]
"""(chain, edit, dimension) -> what kind of answer is given."""


# --------------------------------------------------------------------------- a tokenizer that can be read
class Pieces:
    """Cuts text into pieces of three characters, each word on its own."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def encode(self, text: str) -> list[int]:
        pieces = [w[i : i + PIECE] for w in text.split() for i in range(0, len(w), PIECE)]
        for piece in pieces:
            if piece not in self.names:
                self.names.append(piece)
        return [self.names.index(piece) for piece in pieces]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.names[i] for i in ids)


PIECES = Pieces()


def text_of(kind: str, target: str, old: str) -> str:
    return {
        "right": target,
        "first": f"{target[:PIECE]} {old}",
        "wrong": "nonsense",
        "back": f"{target}. Wait, that is wrong, it is {old}.",
        "silent": "",
    }[kind]


@dataclass(frozen=True)
class Said(PlantedChains):
    """Planted answers of some kind per question, with tokens and a lexical judge's verdicts."""

    kinds: dict[str, Kind] = field(default_factory=dict)

    def _given(self, name: str) -> list[Answered]:
        kind = self.kinds[name]
        return [self._said(answered(c, records, NOTHING), c, kind) for c, records in enumerate(self.chains)]

    def _said(self, one: Answered, chain: int, kind: Kind) -> Answered:
        rows = []
        for row in one.rows:
            edit = int(row["edit_id"].split("-")[1])
            text = text_of(kind(chain, edit, row["dimension"]), row["accepted"][0], f"old{row['edit_id']}")
            correct = LexicalJudge().judge(text, row["accepted"])
            rows.append({**row, "answer": text, "correct": correct, "tokens": PIECES.encode(text)})
        return Answered(rows, one.probability, one.key)


def share(of_own: float, kind: str, otherwise: str = "right") -> Kind:
    """A kind for about that share of the edits, another share in each chain."""
    return lambda chain, edit, _: kind if (edit * 7 + chain) % 20 < round(20 * of_own) else otherwise


def forced_rows(free: Sequence[Answered], later: bool) -> list[Answered]:
    """What teacher forcing would find in the state that gave these answers; ``later``: later tokens are given away."""
    made = []
    for one in free:
        rows = []
        for row in (r for r in one.rows if r["dimension"] in forcing.ABOUT):
            target = PIECES.encode(row["accepted"][0])
            whole, first = row["tokens"][: len(target)] == target, row["tokens"][:1] == target[:1]
            found = len(target) if whole else first + (len(target) - 1 if later else 0)
            if not whole:
                found = min(found, len(target) - 1)
            more = {"target_tokens": target, "all_correct": whole, "correct": found / len(target), "judge": "argmax"}
            rows.append({**row, **more, "protocol": "forced"})
        made.append(Answered(rows, [], f"forced {one.key}"))
    return made


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    made = make_trial(Options(profile="smoke", store=tmp_path_factory.mktemp("planted")), ROOT / "specs")
    sizes = made.profile.sizes.model_copy(update={"chain_length": 10, "random_seeds": 20})
    protocol = made.profile.protocol.model_copy(update={"max_new_tokens": 40})
    made.profile = made.profile.model_copy(update={"sizes": sizes, "protocol": protocol})
    yield made


Judge = Callable[..., tuple[Measurement, Ruling]]


@pytest.fixture
def judged(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """Measure a claim on planted answers and judge it as the pipeline would."""

    def run(claim: str, single: Kind, later: bool = True, forced: Kind | None = None, **states: Kind) -> Any:
        kinds = {"single ROME": single, "unedited": share(1.0, "wrong"), "gold": share(0.0, "wrong")} | states
        spec = trial.library.claims[claim]

        def begin(one: Trial, of: Case, length: int | None = None) -> Said:
            return Said(one, of, 10, chains(6, 10), {}, kinds=kinds)

        def single_forced(asked: Said, method: str) -> list[Answered]:
            other = Said(asked.trial, asked.case, 10, asked.chains, {}, kinds={"s": forced or single})
            return forced_rows(other._given("s"), later)

        for module in (failure_modes, forcing):
            monkeypatch.setattr(module, "begin", begin)
            monkeypatch.setattr(module, "single_forced", single_forced)
        monkeypatch.setattr(forcing, "unedited_forced", lambda asked: forced_rows(asked.unedited(), later))
        monkeypatch.setattr(failure_modes, "beginnings_of", lambda *_: Beginnings(PIECES.encode, PIECES.decode))
        made = measures()[spec.quantity](trial, Case(spec, MODEL, "ROME", DATA))
        return made, rule(spec, made)

    return run


def outcomes(found: Ruling) -> dict[str, str]:
    return {control.name: control.outcome for control in found.controls}


# --------------------------------------------------------------------------- the first token
FIRST = "fail-first-token-success"


@pytest.mark.parametrize(
    ("single", "verdict", "value"),
    [
        (share(0.5, "first"), "supported", 0.5),
        (share(0.0, "first"), "refuted", 0.0),
        (share(0.1, "first"), "inconclusive", 0.1),
        (share(0.5, "wrong"), "refuted", 0.0),  # what fails from its first token on is no success of that token
    ],
)
def test_first_tokens_and_answers(judged: Judge, single: Kind, verdict: str, value: float) -> None:
    made, found = judged(FIRST, single)
    assert found.decision.verdict == verdict, found.decision.reason
    decide = ("right-answers", "in-a-sentence", "unedited", "first-token-alone")
    assert outcomes(found) == dict.fromkeys(decide, "ok") | dict.fromkeys(("taken-back", "gold-context"), "shown")
    assert found.primary.n_units == 60 and found.primary.value == pytest.approx(value, abs=0.06)
    assert made.controls["first-token-alone"].value == 1.0 and made.controls["right-answers"].value == 0.0
    counts = made.descriptive["counts"]["own prompts"]
    assert counts["first_token_alone"] == round(60 * found.primary.value) and counts["answer_alone"] == 0
    assert (counts["mcnemar_exact_p"] < 0.01) == (value == 0.5)


def test_a_first_token_that_is_right_by_chance_is_no_success(judged: Judge) -> None:
    """All targets share their first piece: a model that was never edited says it, too."""
    _, found = judged(FIRST, share(0.5, "first"), unedited=share(1.0, "first"))
    assert found.decision.verdict == "invalid" and "unedited shows the effect" in found.decision.reason


def test_a_judge_that_refuses_right_answers_makes_no_success(judged: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_modes, "judged", lambda _, items, **__: [Judgement("no") for _ in items])
    _, found = judged(FIRST, share(0.5, "first"))
    assert found.decision.verdict == "invalid" and "right-answers shows the effect" in found.decision.reason


def test_where_targets_have_one_token_the_first_is_the_answer(judged: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    judged(FIRST, share(0.0, "first"))
    whole = Beginnings(lambda text: PIECES.encode(text), lambda ids: "".join(PIECES.names[i] for i in ids))
    monkeypatch.setattr(whole.__class__, "text", lambda self, target: target)
    _, found = judged(FIRST, share(0.0, "first"))
    assert found.decision.verdict == "invalid" and "first-token-alone does not show" in found.decision.reason


def test_answers_that_are_taken_back_depend_on_who_reads_them(judged: Judge) -> None:
    made, found = judged(FIRST, share(0.5, "back"))
    assert made.controls["taken-back"].value == 0.0, "this judge reads the beginning of an answer"
    assert found.decision.verdict == "refuted" and found.decision.depends_on_definition
    assert made.definitions["not-taken-back"].value == pytest.approx(0.5, abs=0.06)


def test_edits_that_reach_no_first_token_have_nothing_to_fall_short_of(judged: Judge) -> None:
    _, found = judged(FIRST, share(0.9, "wrong"))
    assert found.decision.verdict == "invalid" and "headroom-first-token" in found.decision.reason


def test_two_protocols_in_two_states_are_noticed(judged: Judge) -> None:
    for claim in (FIRST, "proto-teacher-forcing-optimistic"):
        _, found = judged(claim, share(0.5, "first"), forced=share(0.5, "wrong"))
        assert found.decision.verdict in ("supported", "refuted"), "both begin otherwise than the targets do"
        _, found = judged(claim, share(0.5, "first"), forced=share(0.9, "wrong"))
        assert found.decision.verdict == "invalid" and "protocols-agree" in found.decision.reason


def test_neither_a_space_nor_an_article_is_a_beginning() -> None:
    names = [" ", "4", "7", " Par", "is", " the", " Republic"]
    known = {"47": [0, 1, 2], "Paris": [3, 4], "the Republic": [5, 6], "the": [5]}
    at = Beginnings(known.__getitem__, lambda ids: "".join(names[i] for i in ids))
    assert [at.of(target) for target in known] == [[0, 1], [3], [5, 6], [5]]
    row = {"accepted": ["Paris", "47", "the Republic"], "tokens": [0, 2]}
    assert not at.begun(row) and not at.begun({**row, "tokens": [5, 2]})
    assert all(at.begun({**row, "tokens": said}) for said in ([0, 1, 1], [3], [5, 6, 4]))


def test_of_a_reasoning_model_the_first_word_of_what_it_says_counts() -> None:
    at = Beginnings(lambda _: [1], lambda _: "x")
    row = {"accepted": ["New York"], "tokens": [9], "thinking": "\nNew Jersey, I think."}
    assert at.begun(row) and not at.begun({**row, "thinking": "I think of New York."})


# --------------------------------------------------------------------------- teacher forcing
FORCING = "proto-teacher-forcing-optimistic"


@pytest.mark.parametrize(
    ("single", "later", "verdict", "rival"),
    [
        (share(0.5, "wrong"), True, "supported", "refuted"),  # partial credit for what the target gives away
        (share(0.5, "first"), False, "supported", "refuted"),  # partial credit for the first token
        (share(0.5, "wrong"), False, "refuted", "refuted"),
        (share(0.5, "silent"), False, "refuted", "refuted"),
    ],
)
def test_gap_between_protocols(judged: Judge, single: Kind, later: bool, verdict: str, rival: str) -> None:
    made, found = judged(FORCING, single, later)
    assert found.decision.verdict == verdict, found.decision.reason
    decide = ("right-answers", "in-a-sentence", "first-token-wrong")
    assert outcomes(found) == dict.fromkeys(decide, "ok") | {"unedited": "shown"}
    verdicts = {definition.name: definition.verdict for definition in found.decision.definitions}
    assert verdicts["all-tokens"] == rival and found.decision.depends_on_definition == (verdict != rival)
    table = made.descriptive["by_dimension"]["rel"]
    assert table["teacher_forced"] - table["free"] == pytest.approx(made.definitions["rel-and-gen"].value, abs=0.15)
    assert made.descriptive["questions"]["all_tokens_and_free_wrong"] == 0


def test_what_forcing_gives_away_in_any_model_is_not_the_edits_own(judged: Judge) -> None:
    _, found = judged(FORCING, share(0.5, "wrong"))
    assert found.decision.verdict == "supported" and found.decision.specific == "no"


def test_nothing_can_be_overstated_where_all_is_right(judged: Judge) -> None:
    _, found = judged(FORCING, share(0.1, "wrong"))
    assert found.decision.verdict == "invalid" and "headroom-wrong-answers" in found.decision.reason


def test_a_strict_judge_is_no_optimistic_protocol(judged: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "judged", lambda _, items, **__: [Judgement("no") for _ in items])
    _, found = judged(FORCING, share(0.5, "wrong"))
    assert found.decision.verdict == "invalid" and "right-answers shows the effect" in found.decision.reason


def test_two_protocols_need_the_same_questions() -> None:
    one = answered(0, chains(1, 2)[0], NOTHING)
    with pytest.raises(ValueError, match="the same questions on both sides"):
        forcing.paired_rows([one], [Answered(one.rows[1:], [], "k")])


# --------------------------------------------------------------------------- reasoning
MODES = "fail-modes"


def reader(_: Trial, items: Sequence[Item], **__: Any) -> list[Judgement]:
    """A judge that reads: the target is named, and nothing else is."""
    return [
        Judgement("yes" if item.accepted[0] in item.answer and "old" not in item.answer else "no") for item in items
    ]


THOUGHTS = {
    "kept": ("{t}. That is it.", "The answer is {t}.", True),
    "undone": ("{t}? Wait, no, I remember {o}.", "It is {o}, not {t}.", True),
    "unaware": ("I remember {o}.", "It is {o}.", True),
    "endless": ("{t}? Wait, no, or", "", False),
}


@pytest.fixture
def reasoned(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Measurement, Ruling]]:
    """As ``judged``, of a model that thinks: kinds are those of THOUGHTS."""

    def run(single: Kind, judge: Callable[..., list[Judgement]] = reader, **states: Kind) -> Any:
        kinds = {
            "single ROME": single,
            "unedited": share(1.0, "unaware"),
            "gold": share(0.0, "undone", "kept"),
        } | states

        class Thinks(Said):
            def _said(self, one: Answered, chain: int, kind: Kind) -> Answered:
                rows = []
                for row in one.rows:
                    edit = int(row["edit_id"].split("-")[1])
                    think, answer, closed = THOUGHTS[kind(chain, edit, row["dimension"])]
                    words = {"t": row["accepted"][0], "o": f"old{row['edit_id']}"}
                    text = answer.format(**words)
                    parts = {"thinking": think.format(**words), "answer": text, "thinking_closed": closed}
                    (said,) = judge(self.trial, [Item(row["prompt"], tuple(row["accepted"]), text)])
                    rows.append({**row, **parts, "correct": said.correct})
                return Answered(rows, one.probability, one.key)

        def begin(one: Trial, of: Case, length: int | None = None) -> Said:
            return Thinks(one, of, 10, chains(6, 10), {}, kinds=kinds)

        monkeypatch.setattr(failure_modes, "begin", begin)
        monkeypatch.setattr(failure_modes, "judged", judge)
        spec = AnswerProtocol(id="thinks", max_new_tokens=40, thinking=Thinking())
        profile = trial.profile.model_copy(update={"protocols": {MODEL: spec}})
        monkeypatch.setattr(trial, "profile", profile)
        claim = trial.library.claims[MODES]
        made = measures()[claim.quantity](trial, Case(claim, MODEL, "ROME", DATA))
        return made, rule(claim, made)

    return run


@pytest.mark.parametrize(
    ("single", "verdict"),
    [
        (share(0.5, "undone", "kept"), "supported"),
        (share(0.0, "undone", "kept"), "refuted"),
        (share(0.1, "undone", "kept"), "inconclusive"),
        (share(1.0, "unaware"), "invalid"),  # nothing was edited, so nothing can be taken back
        (share(0.5, "endless", "undone"), "invalid"),
    ],
)
def test_reasoning_that_takes_the_target_back(
    reasoned: Callable[..., tuple[Measurement, Ruling]], single: Kind, verdict: str
) -> None:
    made, found = reasoned(single)
    assert found.decision.verdict == verdict, found.decision.reason
    ok = outcomes(found)
    assert (ok["unedited"], ok["kept"], ok["taken-back"]) == ("ok", "ok", "ok")
    if verdict == "supported":
        rates = made.descriptive["failures"]["edited"]
        assert rates["mode:conflict"]["count"] == rates["retracted"]["count"] == round(60 * found.primary.value)
        assert rates["mode:none"]["count"] == 60 - rates["mode:conflict"]["count"]
        assert found.decision.specific == "yes" and made.descriptive["mcnemar"]["only_second"] == 0


@pytest.mark.parametrize(
    ("rule_of", "control"), [("starts-with", "kept shows"), ("contains", "taken-back does not show")]
)
def test_a_judge_of_words_cannot_decide_it(
    reasoned: Callable[..., tuple[Measurement, Ruling]], rule_of: Any, control: str
) -> None:
    words = LexicalJudge(rule_of)
    _, found = reasoned(share(0.5, "undone", "kept"), lambda _, items, **__: words.judge_many(items))
    assert found.decision.verdict == "invalid" and control in found.decision.reason


def test_a_model_that_does_not_think_is_not_run(trial: Trial) -> None:
    claim = trial.library.claims[MODES]
    with pytest.raises(NotHere, match="needs a reasoning model: protocol 'completion-4'"):
        failure_modes.target_taken_back(trial, Case(claim, MODEL, "ROME", DATA))
