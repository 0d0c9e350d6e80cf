"""Edits that reach the first token and not the answer (§5.2, appendix C.4), told from stored answers.

A free answer that begins with the target begins with its first token, so the gaps here are hardly ever below zero: what
is judged is whether they are more than a margin, and more than chance gives the unedited model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from editverdict.evaluation.dimensions import mean_over_kinds
from editverdict.evaluation.failures import (
    begins_with_first_word,
    failure_examples,
    failure_rates,
    failure_rows,
    turns_against,
)
from editverdict.evaluation.judging import Item
from editverdict.evaluation.lexical import ARTICLES
from editverdict.generation.forced import target_ids
from editverdict.inference.agreement import Share
from editverdict.inference.comparisons import mcnemar
from editverdict.inference.intervals import Estimate, missing, t_interval
from editverdict.pipeline.answers import Answered
from editverdict.pipeline.judging import judged
from editverdict.pipeline.measurement import Case, Measurement, declare_checks, measure
from editverdict.pipeline.measures.answering import SHARED, AskedChains, begin, everything, headroom
from editverdict.pipeline.measures.forcing import (
    answers_finished,
    ended,
    one_edit_each,
    protocols_agree,
    sentences,
    single_forced,
    unfinished_in,
)
from editverdict.pipeline.measures.perturbation import method_of
from editverdict.pipeline.measures.scores import mean
from editverdict.pipeline.trial import NotHere, Trial

Row = Mapping[str, Any]
MODES = ("conflict", "other-answer", "lost-focus")
"""The modes of Table 39; its hallucinations are among the other answers."""
UNKNOWN = "something else"
"""Stands for the old object in planted answers where the data name none."""

declare_checks(
    headroom_first_token="edits reach the first token in a fifth of the prompts: there is something to fall short of",
    headroom_opening="reasoning begins with the target in a fifth of the edits: there is something to take back",
)


# --------------------------------------------------------------------------- what an answer begins with
@dataclass(frozen=True)
class Beginnings:
    """Beginnings of targets by a tokenizer, and whether answers have them."""

    encode: Callable[[str], Sequence[int]]
    """Token ids of a target where an answer begins."""
    decode: Callable[[Sequence[int]], str]

    def of(self, target: str) -> list[int]:
        """Token ids up to the first one that tells something: more than white space (before digits) and an article."""
        ids = list(self.encode(target))
        return next((ids[:n] for n in range(1, len(ids) + 1) if self._tells(ids[:n])), ids)

    def _tells(self, ids: Sequence[int]) -> bool:
        return any(word not in ARTICLES for word in self.decode(ids).casefold().split())

    def text(self, target: str) -> str:
        """What a target begins with, as text."""
        return self.decode(self.of(target))

    def begun(self, row: Row) -> bool:
        """Whether an answer begins with the first token of one of its accepted answers; by words, where it thinks."""
        if row.get("thinking") is not None:
            return begins_with_first_word(row["thinking"], row["accepted"])
        said = list(row["tokens"])
        return any(said[: len(own)] == own for own in map(self.of, row["accepted"]))


def beginnings_of(trial: Trial, model_id: str) -> Beginnings:
    """Of a model's tokenizer, by the protocol that it answers by."""
    tokenizer, protocol = trial.model(model_id).tokenizer, trial.protocol(model_id)
    return Beginnings(
        lambda text: target_ids(tokenizer, text, protocol),
        lambda ids: str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)),
    )


def rows_in(answered: Sequence[Answered], dimension: str) -> list[dict[str, Any]]:
    """Decided answers to questions of one dimension that came to an end, edit by edit.

    Where reasoning goes on beyond the limit there is no answer, which is not the same as a wrong one.
    """
    rows = [row for one in answered for row in one.rows if row["dimension"] == dimension]
    return [row for row in rows if row["correct"] is not None and ended(row)]


def per_edit(rows: Sequence[Row], value: Callable[[Row], float]) -> dict[str, float]:
    """Edit -> mean of a value over its questions, within kinds first."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(row["edit_id"]), []).append(row)
    means = {edit: mean_over_kinds(own, value) for edit, own in found.items()}
    return {edit: one for edit, one in means.items() if one is not None}


def verdicts(trial: Trial, rows: Sequence[Row], say: Callable[[Row], str]) -> list[bool | None]:
    """What the profile's judge says of planted answers to the same questions."""
    items = [Item(row["prompt"], tuple(row["accepted"]), say(row)) for row in rows]
    return [one.correct for one in judged(trial, items, label="planted answers")]


def interval(values: Sequence[float], resolution: float = 0.0) -> Estimate:
    """Of at least one number; missing where there is none."""
    return t_interval(values, resolution=resolution) if values else missing()


def old_objects(asked: AskedChains) -> dict[str, str]:
    """Edit -> its old object, or words for one."""
    return {record.id: record.target_old or UNKNOWN for record in everything(asked.chains)}


# --------------------------------------------------------------------------- the first token and the answer
@measure("first_token_gap")
def first_token_gap(trial: Trial, case: Case) -> Measurement:
    """First token right minus final answer right, own prompts of single edits, per edit."""
    method = method_of(case)
    asked = begin(trial, case, min(SHARED, trial.profile.sizes.chain_length))
    alone, base, gold = asked.single(method), asked.unedited(), asked.gold()
    at = beginnings_of(trial, case.model)
    own, rephrased = rows_in(alone, "rel"), rows_in(alone, "gen")

    def gap(row: Row) -> float:
        return float(at.begun(row)) - float(row["correct"])

    def stands(row: Row) -> bool:
        return bool(row["correct"]) and not turns_against(row["answer"], row["accepted"])

    gaps = per_edit(own, gap)
    made = Measurement({"own-prompt": interval(list(gaps.values()), 1.0)})
    others = list(per_edit(rephrased, gap).values())
    made.definitions["rephrases"] = interval(others, len(others) / max(1, len(rephrased)))
    back = list(per_edit(own, lambda row: float(at.begun(row)) - float(stands(row))).values())
    made.definitions["not-taken-back"] = interval(back, 1.0)
    # No floor of granularity: controls that are exactly zero, or planted, do not show the effect.
    made.controls["unedited"] = interval(list(per_edit(rows_in(base, "rel"), gap).values()))
    _planted_beginnings(asked, made, own, at)
    beside = per_edit(rows_in(gold, "rel"), gap)
    paired = [edit for edit in gaps if edit in beside]
    made.comparators["gold-context"] = [beside[edit] for edit in paired]
    made.comparator_subject["gold-context"] = [gaps[edit] for edit in paired]
    first = mean([float(at.begun(row)) for row in own]) if own else 0.0
    made.checks |= headroom("headroom-first-token", first, "first token right after single edits")
    forced = single_forced(asked, method)
    made.checks |= protocols_agree(trial, case, alone, forced) | answers_finished(alone, ("rel",))
    units = {method: made.definitions["own-prompt"].units, "rephrases": made.definitions["rephrases"].units}
    units |= {f"{name} (control)": control.units for name, control in made.controls.items()}
    scores = {"single": alone, "unedited": base, "gold": gold}
    made = asked.finished(made, scores, f"First token minus answer, single {method} edits", units)
    made.descriptive["counts"] = {"own prompts": _counted(own, at.begun), "rephrases": _counted(rephrased, at.begun)}
    made.descriptive["unfinished"] = {"own prompts": unfinished_in(alone, ("rel",))}
    made.descriptive["unedited"] = {"own prompts": _counted(rows_in(base, "rel"), at.begun)}
    return one_edit_each(asked, made, len(gaps), 1.0)


def _planted_beginnings(asked: AskedChains, made: Measurement, rows: Sequence[Row], at: Beginnings) -> None:
    """Controls with the right first token and planted answers: right, bare or in a sentence; lost; taken back."""
    trial, old = asked.trial, old_objects(asked)

    def target(row: Row) -> str:
        return str(row["accepted"][0])

    def other(row: Row) -> str:
        return old[str(row["edit_id"])]

    def lost(row: Row) -> str:
        # A reasoning model says its answer behind the reasoning, which is where the first token stands.
        return other(row) if row.get("thinking") is not None else f"{at.text(target(row))} {other(row)}"

    planted: dict[str, Callable[[Row], str]] = {
        "right-answers": target,
        "in-a-sentence": sentences(trial, asked.case.model),
        "first-token-alone": lost,
        "taken-back": lambda row: f"{target(row)}? No, that is wrong: it is {other(row)}.",
    }
    for name, say in planted.items():
        made.controls[name] = interval([_shortfall(one) for one in verdicts(trial, rows, say) if one is not None])
    made.notes["taken-back"] = "1: the judge sees that the answer takes the target back; 0: it does not"


def _shortfall(correct: bool) -> float:
    """First token right (planted) minus answer right."""
    return 1.0 - float(correct)


def _counted(rows: Sequence[Row], begun: Callable[[Row], bool]) -> dict[str, Any]:
    """Questions by first token and answer, with McNemar's test over questions, which decides nothing."""
    first, final = [float(begun(row)) for row in rows], [float(row["correct"]) for row in rows]
    test = mcnemar(first, final)
    return {
        "questions": len(rows),
        "first_token_right": int(sum(first)),
        "answer_right": int(sum(final)),
        "first_token_alone": test.only_first,
        "answer_alone": test.only_second,
        "mcnemar_exact_p": test.p_exact,
    }


# --------------------------------------------------------------------------- reasoning that takes the target back
def need_thinking(trial: Trial, case: Case) -> None:
    """Refuse a model whose protocol parts no reasoning from the answer.

    Raises
    ------
    NotHere
        It does not.
    """
    spec = trial.profile.protocol_of(case.model)
    if spec.thinking is None:
        raise NotHere(
            f"needs a reasoning model: protocol '{spec.id}', by which {case.model} answers, parts no thinking from the "
            f"answer (protocols.{case.model}.thinking of profile '{trial.profile.id}')"
        )


@measure("target_taken_back")
def target_taken_back(trial: Trial, case: Case) -> Measurement:
    """Reasoning begins with the target minus final answer right, own prompts of single edits, per edit (Table 39)."""
    need_thinking(trial, case)
    method = method_of(case)
    asked = begin(trial, case, min(SHARED, trial.profile.sizes.chain_length))
    alone, base, gold = asked.single(method), asked.unedited(), asked.gold()
    records = everything(asked.chains)
    about: dict[str, Any] = {
        "subjects": {record.id: record.subject for record in records},
        "old": {r.id: [t for t in (r.target_old, *r.target_old_aliases) if t] for r in records},
    }
    told = {
        name: failure_rows([_as_ended(row) for one in many for row in one.rows], **about)
        for name, many in (("edited", alone), ("unedited", base), ("gold", gold))
    }
    kept = {name: [row for row in rows if not row["unfinished"]] for name, rows in told.items()}
    made = Measurement(_readings(kept["edited"]))
    made.controls["unedited"] = interval([_taken(row, "opening") for row in kept["unedited"]])
    _planted_reasoning(trial, made, [row for one in alone for row in one.rows if row["dimension"] == "rel"], about)
    beside = {row["edit_id"]: _taken(row, "opening") for row in kept["gold"]}
    paired = [row for row in kept["edited"] if row["edit_id"] in beside]
    made.comparators["gold-context"] = [beside[row["edit_id"]] for row in paired]
    made.comparator_subject["gold-context"] = [_taken(row, "opening") for row in paired]
    made.checks |= answers_finished(alone, ("rel",))
    opened = mean([float(row["opening"]) for row in kept["edited"]]) if kept["edited"] else 0.0
    made.checks |= headroom("headroom-opening", opened, "reasoning begins with the target")
    made = asked.finished(
        made,
        {"single": alone, "unedited": base, "gold": gold},
        f"Reasoning begins with the target minus answer right, single {method} edits",
        {method: made.definitions["opening"].units, "unedited (negative)": made.controls["unedited"].units},
    )
    made.descriptive["failures"] = {name: _rates(rows) for name, rows in told.items()}
    flags = [[float(row[name]) for row in kept["edited"]] for name in ("opening", "correct")]
    made.descriptive["mcnemar"] = asdict(mcnemar(*flags))
    if (shown := failure_examples(told["edited"])) is not None:
        made.pictures.append(shown)
    return one_edit_each(asked, made, len(kept["edited"]), 1.0)


def _as_ended(row: Row) -> Row:
    """A row that says it is unfinished where the limit left nothing to be said behind the reasoning."""
    return row if ended(row) else {**row, "thinking_closed": False}


def _taken(row: Row, reading: str) -> float:
    return float(row[reading]) - float(row["correct"])


def _readings(rows: Sequence[Row]) -> dict[str, Any]:
    """The quantity by each definition, over answers that came to an end."""
    if not rows:
        names = ("opening", "mentioned", "first-word", "modes")
        return {name: missing(note="no answer came to an end") for name in names}
    found = {
        name: t_interval([_taken(row, reading) for row in rows], resolution=1.0)
        for name, reading in (("opening", "opening"), ("mentioned", "mentioned"), ("first-word", "first_token"))
    }
    return found | {"modes": t_interval([float(row["mode"] in MODES) for row in rows], resolution=1.0)}


def _planted_reasoning(
    trial: Trial, made: Measurement, rows: Sequence[dict[str, Any]], about: Mapping[str, Any]
) -> None:
    """Controls whose reasoning begins with the target and whose answers keep to it, or do not, in sentences."""
    old = {edit: (known[0] if known else UNKNOWN) for edit, known in about["old"].items()}

    def planted(think: Callable[[str, str], str], answer: Callable[[str, str], str]) -> list[float]:
        said = []
        for row in rows:
            target, other = str(row["accepted"][0]), old[str(row["edit_id"])]
            text = {"thinking": think(target, other), "answer": answer(target, other), "thinking_closed": True}
            said.append({**row, **text})
        correct = verdicts(trial, said, lambda row: str(row["answer"]))
        full = [{**row, "correct": one} for row, one in zip(said, correct, strict=True)]
        return [_taken(row, "opening") for row in failure_rows(full, **about)]

    made.controls["kept"] = t_interval(
        planted(lambda t, _: f"{t}. Yes, it is {t}.", lambda t, _: f"The answer to this question is {t}.")
    )
    made.controls["taken-back"] = t_interval(
        planted(
            lambda t, o: f"{t}? Wait, no, that is not right. It was {o}, as I recall. So it should be {o}.",
            lambda t, o: f"It is {o}. {t} is something else.",
        )
    )


def _rates(rows: Sequence[Row]) -> dict[str, Any]:
    """Counted rates with exact intervals, for the record."""
    return {
        name: {"count": rate.count, "of": rate.of, "interval": Share(rate.count, rate.of).interval}
        for name, rate in failure_rates(rows).items()
    }
