"""Teacher forcing beside free answers (appendix C.1): the same questions, the same states, two protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from editverdict.evaluation.dimensions import mean_of, per_edit_scores
from editverdict.evaluation.questions import Dimension
from editverdict.inference.intervals import Estimate, missing, t_interval
from editverdict.inference.rows import CheckResult
from editverdict.pipeline.answers import Answered, Asked, in_state
from editverdict.pipeline.edits import singles
from editverdict.pipeline.forced import ask_forced
from editverdict.pipeline.measurement import Case, Measurement, declare_checks, measure, passed
from editverdict.pipeline.measures.answering import HEADROOM, SHARED, AskedChains, begin, everything
from editverdict.pipeline.measures.perturbation import method_of
from editverdict.pipeline.measures.scores import said_instead
from editverdict.pipeline.trial import Trial

Row = dict[str, Any]
ABOUT: tuple[Dimension, ...] = ("rel", "gen", "port")
"""Dimensions whose references are forced. Locality is another quantity there: tokens before and after the edit."""
AGREE = 0.98
"""Share of questions in which both protocols must find the same; rounding may part equal logits."""
FINISHED = 0.8
"""Share of answers that must have come to an end."""
Scores = Mapping[str, dict[str, float]]
"""Edit -> dimension -> score."""

declare_checks(
    headroom_wrong_answers="a fifth of the free answers is wrong: there is something to overstate",
    protocols_agree="teacher forcing finds all tokens of a target where the free answer begins with them, and only so",
    answers_finished="at least four of five answers came to the end of their reasoning within the token limit",
)


# --------------------------------------------------------------------------- answers, as their protocol has them
def ended(row: Mapping[str, Any]) -> bool:
    """Whether an answer came to an end: its reasoning did, and the token limit left something to be said behind it.

    Without a thinking part all answers have: what is said is the answer from its first token on.
    """
    if row.get("thinking_closed") is False:
        return False
    cut_off = row.get("thinking") is not None and row.get("stopped_by") == "limit"
    return not cut_off or bool(row["answer"].strip())


def answers_finished(answered: Sequence[Answered], dimensions: Sequence[str]) -> dict[str, CheckResult]:
    """The check that most answers came to an end; those that did not are in no number."""
    count = sum(row["dimension"] in dimensions for one in answered for row in one.rows)
    done = count - unfinished_in(answered, dimensions)
    detail = f"{done} of {count} answers ended, at least {FINISHED:.0%} needed"
    return passed("answers-finished", count > 0 and done >= FINISHED * count, detail)


def unfinished_in(answered: Sequence[Answered], dimensions: Sequence[str]) -> int:
    """How many answers to questions of these dimensions never came to an end."""
    return sum(row["dimension"] in dimensions and not ended(row) for one in answered for row in one.rows)


def sentences(trial: Trial, model_id: str) -> Callable[[Mapping[str, Any]], str]:
    """The right answer to a question in a sentence, as the model's protocol invites it.

    A prompt in completion form is the beginning of the sentence, and the answer goes on from it. In chat form, behind a
    thinking part, and where the prompt is a question, the sentence is one of its own.
    """
    spec = trial.profile.protocol_of(model_id)

    def say(row: Mapping[str, Any]) -> str:
        target = str(row["accepted"][0])
        goes_on = spec.prompt_form == "completion" and spec.thinking is None and "?" not in row["prompt"]
        return f"{target}, as far as is known." if goes_on else f"The answer to this question is {target}."

    return say


def single_forced(asked: AskedChains, method: str) -> list[Answered]:
    """Each edit alone on the clean model, its references forced: one entry per edit, chain by chain."""
    trial, case, records = asked.trial, asked.case, everything(asked.chains)
    states = singles(trial, case.model, method, records)
    many = [
        in_state(trial, case.model, method, f"{method} single edits", [record], state, dimensions=ABOUT)
        for record, state in zip(records, states, strict=True)
    ]
    return ask_forced(trial, case.model, many)


def unedited_forced(asked: AskedChains) -> list[Answered]:
    """The unedited model, the references of all edits forced."""
    records = tuple(everything(asked.chains))
    return ask_forced(asked.trial, asked.case.model, [Asked("unedited model", records, dimensions=ABOUT)])


def paired_rows(free: Sequence[Answered], forced: Sequence[Answered]) -> list[tuple[Row, Row]]:
    """(free, forced) rows of the same questions about the same edits; free ones that are undecided are left out.

    Raises
    ------
    ValueError
        The two sides were asked about different questions.
    """
    one = [row for answered in free for row in answered.rows if row["dimension"] in ABOUT]
    other = [row for answered in forced for row in answered.rows if row["dimension"] in ABOUT]
    names = ("edit_id", "dimension", "kind", "prompt")
    if [[row[name] for name in names] for row in one] != [[row[name] for name in names] for row in other]:
        raise ValueError(
            f"free answers to {len(one)} questions and forced targets of {len(other)}, or not in the same order: a gap "
            "between protocols needs the same questions on both sides"
        )
    return [pair for pair in zip(one, other, strict=True) if pair[0]["correct"] is not None]


def protocols_agree(
    trial: Trial, case: Case, free: Sequence[Answered], forced: Sequence[Answered]
) -> dict[str, CheckResult]:
    """The check that a target's tokens are all most probable iff the free answer begins with them.

    Targets longer than an answer may be are left out. What it proves is that both protocols met one state.
    """
    limit = trial.profile.protocol_of(case.model).max_new_tokens
    pairs = [(a, b) for a, b in paired_rows(free, forced) if len(b["target_tokens"]) <= limit]
    same = [
        (list(a["tokens"])[: len(b["target_tokens"])] == list(b["target_tokens"])) == bool(b["all_correct"])
        for a, b in pairs
    ]
    share = sum(same) / len(same) if same else 0.0
    detail = f"{sum(same)} of {len(same)} questions, at least {AGREE:.0%} needed"
    return passed("protocols-agree", share >= AGREE, detail)


def one_edit_each(asked: AskedChains, made: Measurement, count: int, step: float) -> Measurement:
    """State that the measurement is of edits made singly."""
    made.edits, made.resolution = 1, step
    trial, case = asked.trial, asked.case
    how = f"protocol {trial.profile.protocol_of(case.model).id}, judge {trial.profile.judge}"
    made.stands_on = f"{case.subject}, {count} single edits, {how}"
    return made


# --------------------------------------------------------------------------- the gap
def scores_by(rows: Sequence[Row], value: Callable[[Row], float]) -> Scores:
    """Scores of each edit under another reading of ``correct``."""
    read = [{**row, "correct": value(row)} for row in rows]
    return {
        edit: {name: score for name in ABOUT if (score := getattr(scores, name)) is not None}
        for edit, scores in per_edit_scores(read, parts=ABOUT).items()
    }


def gaps(forced: Scores, free: Scores, dimensions: Sequence[str] = ABOUT) -> dict[str, float]:
    """Edit -> mean over its dimensions of forced minus free."""
    found = {
        edit: mean_of(forced[edit][name] - score for name, score in own.items() if name in dimensions)
        for edit, own in free.items()
    }
    return {edit: one for edit, one in found.items() if one is not None}


def _interval(values: Mapping[str, float], step: float) -> Estimate:
    return t_interval(list(values.values()), resolution=step) if values else missing()


def _share(row: Row) -> float:
    return float(row["correct"])


@measure("teacher_forcing_gap")
def teacher_forcing_gap(trial: Trial, case: Case) -> Measurement:
    """Share of the target's tokens found under teacher forcing minus free answers judged right, per single edit."""
    method = method_of(case)
    asked = begin(trial, case, min(SHARED, trial.profile.sizes.chain_length))
    alone, base, forced = asked.single(method), asked.unedited(), single_forced(asked, method)
    pairs = [pair for pair in paired_rows(alone, forced) if ended(pair[0])]
    free_rows, forced_rows = [a for a, _ in pairs], [b for _, b in pairs]
    free, tokens = scores_by(free_rows, _share), scores_by(forced_rows, _share)
    own = gaps(tokens, free)
    step = len(own) / max(1, len(pairs))
    made = Measurement({"token-share": _interval(own, step)})
    exact = gaps(scores_by(forced_rows, lambda row: float(row["all_correct"])), free)
    made.definitions["all-tokens"] = _interval(exact, step)
    about = len(own) / max(1, sum(row["dimension"] != "port" for row in free_rows))
    made.definitions["rel-and-gen"] = _interval(gaps(tokens, free, ("rel", "gen")), about)
    _planted(asked, made, alone, forced)
    _beside_unedited(made, own, paired_rows(base, unedited_forced(asked)))
    wrong = 1.0 - (mean_of(mean_of(scores.values()) for scores in free.values()) or 0.0)
    detail = f"{wrong:.3f} of free answers wrong, at least {HEADROOM} needed for something to be overstated"
    made.checks |= passed("headroom-wrong-answers", bool(own) and wrong >= HEADROOM, detail)
    made.checks |= protocols_agree(trial, case, alone, forced) | answers_finished(alone, ABOUT)
    units = {method: made.definitions["token-share"].units, "unedited (comparator)": made.comparators["unedited"]}
    units |= {f"{name} (control)": control.units for name, control in made.controls.items()}
    made = asked.finished(made, {"single": alone, "unedited": base}, f"Teacher forcing minus free, {method}", units)
    made.descriptive["by_dimension"] = _by_dimension(tokens, free)
    made.descriptive["questions"] = _counts(pairs) | {"unfinished": unfinished_in(alone, ABOUT)}
    made.recipes += [one.key for one in forced]
    return one_edit_each(asked, made, len(own), step)


def _beside_unedited(made: Measurement, own: Mapping[str, float], before: Sequence[tuple[Row, Row]]) -> None:
    """The comparator: the same questions in the unedited model, edit by edit."""
    before = [pair for pair in before if ended(pair[0])]
    known = gaps(scores_by([b for _, b in before], _share), scores_by([a for a, _ in before], _share))
    both = [edit for edit in own if edit in known]
    made.comparators["unedited"] = [known[edit] for edit in both]
    made.comparator_subject["unedited"] = [own[edit] for edit in both]


def _planted(asked: AskedChains, made: Measurement, alone: Sequence[Answered], forced: Sequence[Answered]) -> None:
    """Controls with planted answers: all right, bare or in a sentence; nothing said, only first tokens not found."""
    sentence = sentences(asked.trial, asked.case.model)

    def said(say: Callable[[int, Row], str]) -> list[Answered]:
        return [said_instead(asked.trial, one, say) for one in alone]

    def whole(_: Row) -> float:
        return 1.0

    def later(row: Row) -> float:
        return 1.0 - 1.0 / len(row["target_tokens"])

    for name, planted_answers, found in (
        ("right-answers", said(lambda _, row: str(row["accepted"][0])), whole),
        ("in-a-sentence", said(lambda _, row: sentence(row)), whole),
        ("first-token-wrong", said(lambda *_: ""), later),
    ):
        pairs = paired_rows(planted_answers, forced)
        planted = gaps(scores_by([b for _, b in pairs], found), scores_by([a for a, _ in pairs], _share))
        # No floor of granularity: what is planted is known.
        made.controls[name] = _interval(planted, 0.0)


def _by_dimension(forced: Scores, free: Scores) -> dict[str, dict[str, float | None]]:
    return {
        name: {
            "teacher_forced": mean_of(one.get(name) for one in forced.values()),
            "free": mean_of(one.get(name) for one in free.values()),
        }
        for name in ABOUT
    }


def _counts(pairs: Sequence[tuple[Row, Row]]) -> dict[str, int]:
    """Questions by what either protocol says of them."""
    return {
        "asked": len(pairs),
        "free_right": sum(bool(a["correct"]) for a, _ in pairs),
        "all_tokens": sum(bool(b["all_correct"]) for _, b in pairs),
        "all_tokens_and_free_wrong": sum(bool(b["all_correct"]) and not a["correct"] for a, b in pairs),
        "free_right_and_not_all_tokens": sum(bool(a["correct"]) and not b["all_correct"] for a, b in pairs),
        "some_tokens_and_free_wrong": sum(b["correct"] > 0 and not a["correct"] for a, b in pairs),
    }
