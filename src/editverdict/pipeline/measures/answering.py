"""What claims about answers have in common: which states are asked about which edits, and what is told of it.

The same states are asked in the same groups by every claim, so that each answer is given once and found in the store by
all the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from editverdict.data.records import EditRecord, kind_of
from editverdict.evaluation.dimensions import undecided
from editverdict.evaluation.probability import probability_scores
from editverdict.evaluation.questions import DIMENSIONS, Dimension, questions_of
from editverdict.inference.contests import SINGLE
from editverdict.inference.forms import FORMS_KEY
from editverdict.inference.intervals import MIN_SEEDS, missing
from editverdict.pipeline.answers import Answered, Asked, answers_before, ask, in_state, known_edits, unedited
from editverdict.pipeline.comparing import facts_kept
from editverdict.pipeline.edits import editor_of
from editverdict.pipeline.event_facts import drawn, state_after, states_alone, told
from editverdict.pipeline.forms import forms_of
from editverdict.pipeline.lengths import chain_length
from editverdict.pipeline.measurement import Case, Measurement, Unmeasurable, passed
from editverdict.pipeline.measures.perturbation import units_picture
from editverdict.pipeline.measures.scores import EVENT_DIMENSIONS, examples, score_table
from editverdict.pipeline.scr_grid import scr_settings
from editverdict.pipeline.trial import NotHere, Trial

HEADROOM = 0.2
TEN = 10.0
UNDECIDED = 0.02
"""Most of a state's answers that may be left without a verdict: what is left out of scores may be of one kind."""
SHARED = 10
"""Edits of a chain whose single edits the claims at T = 10 ask about; claims at T = 1 take the same ones."""
Chain = list[EditRecord]


def dimensions_of(chains: Sequence[Chain]) -> tuple[Dimension, ...]:
    """The dimensions that an average is made of: all four, of events locality and portability."""
    return EVENT_DIMENSIONS if kind_of(everything(chains)) == "events" else DIMENSIONS


def chains_of(trial: Trial, case: Case, length: int) -> list[Chain]:
    """The first ``length`` edits of every chain of the profile that is so long."""
    return [chain[:length] for chain in trial.chains(str(case.dataset)) if len(chain) >= length]


def everything(chains: Sequence[Chain]) -> list[EditRecord]:
    """The edits of all chains, chain by chain."""
    return [record for chain in chains for record in chain]


def single_answers(
    trial: Trial, case: Case, method: str, chains: Sequence[Chain], before: dict[str, str], **options: Any
) -> list[Answered]:
    """Per chain: each of its records edited alone on the clean model and asked; rows put together."""
    records = everything(chains)
    states = states_alone(trial, case.model, method, records)
    asked = [
        in_state(trial, case.model, method, f"{method} single edits", [r], s, **options)
        for r, s in zip(records, states, strict=True)
    ]
    found = iter(ask(trial, case.model, asked, before=before))
    together = []
    for chain in chains:
        parts = [next(found) for _ in chain]
        rows, probability = [row for p in parts for row in p.rows], [row for p in parts for row in p.probability]
        together.append(Answered(rows, probability, parts[0].key, parts=tuple(p.key for p in parts)))
    return together


def chain_answers(
    trial: Trial, case: Case, method: str, chains: Sequence[Chain], before: dict[str, str], **options: Any
) -> list[Answered]:
    """Per chain: the state after its last edit, asked about all its edits (retention)."""
    states = [state_after(trial, case.model, method, chain) for chain in chains]
    asked = [
        in_state(trial, case.model, method, f"{method} chains", c, s, **options)
        for c, s in zip(chains, states, strict=True)
    ]
    return ask(trial, case.model, asked, before=before)


def unanswerable(case: Case, chains: Sequence[Chain]) -> Measurement | None:
    """A measurement that is invalid because some chain has no question of some dimension, if so."""
    lacking, wanted = [], dimensions_of(chains)
    for number, chain in enumerate(chains):
        present = {q.dimension for record in chain for q in questions_of(record)}
        lacking += [f"chain {number + 1} has no {name} question" for name in wanted if name not in present]
    if chains and not lacking:
        return None
    made = Measurement({d.name: missing(note="a dimension has no question") for d in case.claim.definitions})
    made.checks |= passed("answers-complete", False, "; ".join(lacking[:4]) or "no chain is long enough")
    made.stands_on = case.subject
    made.pictures.append(units_picture(case, "No data", {"no data": []}))
    return made


def complete(
    name: str,
    answered: Sequence[Answered],
    chains: Sequence[Chain],
    states: Mapping[str, Sequence[Answered]] | None = None,
) -> dict[str, Any]:
    """The check that every question of every edit has one answer, and nearly every answer of every state a verdict."""
    wanted = sum(len(questions_of(record)) for record in everything(chains))
    return judged_enough(name, answered, wanted, states or {"answers": answered})


def judged_enough(
    name: str, answered: Sequence[Answered], wanted: int, states: Mapping[str, Sequence[Answered]]
) -> dict[str, Any]:
    """The check that there are so many answers, and that in no state the judge left more than a few undecided."""
    found = sum(len(one.rows) for one in answered)
    open_ = {state: (undecided(rows), len(rows)) for state, many in states.items() if (rows := _rows(many))}
    bad = [
        f"{state}: the judge left {left} of {count} answers undecided, at most {UNDECIDED:.0%} may be"
        for state, (left, count) in open_.items()
        if left > UNDECIDED * count
    ]
    return passed(name, wanted == found and not bad, "; ".join([f"{found} answers to {wanted} questions", *bad[:3]]))


def _rows(answered: Sequence[Answered]) -> list[dict[str, Any]]:
    return [row for one in answered for row in one.rows]


def headroom(name: str, value: float, what: str) -> dict[str, Any]:
    """The check that there is something to lose."""
    return passed(name, value >= HEADROOM, f"{what} = {value:.3f}, at least {HEADROOM} needed to show a loss")


def seeds_of(trial: Trial) -> range:
    """The seeds of a random control: the profile's, and never fewer than such a control needs."""
    return range(max(MIN_SEEDS, trial.profile.sizes.random_seeds))


def primary_and_controls(made: Measurement, case: Case, subject: str) -> dict[str, Sequence[float]]:
    """The primary definition's units under the subject's name, and those of the controls with their roles."""
    role = {control.name: control.role for control in case.claim.controls}
    shown: dict[str, Sequence[float]] = {subject: made.definitions[case.claim.primary.name].units}
    return shown | {f"{name} ({role[name]})": c.units for name, c in made.controls.items() if name in role}


def describe(trial: Trial, case: Case, made: Measurement, chains: Sequence[Chain], length: int) -> None:
    """Add what the measurement stands on: T, protocol, judge, and what the unedited model gets right."""
    made.edits = length
    made.descriptive[FORMS_KEY] = forms_of(trial, case)
    made.resolution = 1 / (len(dimensions_of(chains)) * length)
    how = f"protocol {trial.profile.protocol_of(case.model).id}, judge {trial.profile.judge}"
    made.stands_on = f"{case.subject}, {len(chains)} chains of {length} edits, {how}"
    if facts := drawn(trial, everything(chains)):
        made.descriptive["facts_of_events"] = facts
        made.stands_on += f", {told(facts)}"
    base = unedited(trial, case.model, everything(chains))
    made.descriptive["scores"] = score_table(unedited=[base]) | made.descriptive.get("scores", {})
    known = {r["edit_id"] + r["prompt"]: r["correct"] for r in base.rows if r["dimension"] == "loc"}
    made.descriptive["headroom"] = {
        "locality_questions_right_before": sum(right is True for right in known.values()),
        "locality_questions": len(known),
        "efficacy_before": probability_scores(base.probability).efficacy,
        "edits_whose_old_object_is_known": sorted(known_edits(trial, base, everything(chains))),
    }


def require_deltas(trial: Trial, case: Case, method: str) -> None:
    """Refuse methods whose state cannot be scaled tenfold: the positive control would be no control."""
    if editor_of(trial, method, case.model).answers_itself:
        raise NotHere(f"needs the control of ten ΔW, and the state of {method} is more than weight deltas")


def kept(method: str, chains: Sequence[Chain], answered: Sequence[Answered], length: int | None) -> dict[str, Any]:
    """What a method's states came to fact by fact, after chains of that length (None: single edits)."""
    schedule = SINGLE if length is None else f"after {length}"
    return facts_kept(method, schedule, chains, [one.rows for one in answered], [one.keys for one in answered])


# --------------------------------------------------------------------------- retrieval with in-context answering
SCR = "SCR"


def scr_threshold(trial: Trial, case: Case) -> None:
    """Refuse a model for which SCR's rule of confirmation is not settled, or on which it selects nothing."""
    scr_settings(trial, case.model)


def scr_answers(
    trial: Trial,
    case: Case,
    chains: Sequence[Chain],
    memories: Sequence[Chain],
    before: dict[str, str],
    label: str = SCR,
) -> list[Answered]:
    """Per chain: SCR asked about its edits, with the memory at the same place of ``memories``."""
    asked = [Asked(label, tuple(c), method=SCR, memory=tuple(m)) for c, m in zip(chains, memories, strict=True)]
    return ask(trial, case.model, asked, before=before)


def irrelevant(chains: Sequence[Chain]) -> list[Chain]:
    """For each chain another one: a memory of other facts."""
    return [*chains[1:], chains[0]]


def gold_answers(trial: Trial, case: Case, chains: Sequence[Chain], before: dict[str, str]) -> list[Answered]:
    """Per chain: the unedited model with the right statement before every question that is about the edit."""
    return ask(trial, case.model, [Asked("gold context", tuple(c), gold=True) for c in chains], before=before)


# --------------------------------------------------------------------------- one claim's chains, asked in every way
@dataclass(frozen=True)
class AskedChains:
    """The chains of a case and every state that claims ask about them; lists have one entry per chain."""

    trial: Trial
    case: Case
    length: int
    """T."""
    chains: tuple[Chain, ...]
    before: dict[str, str]
    """Prompt -> answer of the unedited model."""
    facts: list[dict[str, Any]] = field(default_factory=list)
    """What was found of methods fact by fact, for the table of methods against each other."""

    def told(self, method: str, answered: list[Answered], *, single: bool = False) -> list[Answered]:
        """Keep what a method's states came to, and hand the answers on."""
        self.facts.append(kept(method, self.chains, answered, None if single else self.length))
        return answered

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """What an average is made of."""
        return dimensions_of(self.chains)

    def single(self, method: str) -> list[Answered]:
        """Each edit alone on the clean model."""
        found = single_answers(self.trial, self.case, method, self.chains, self.before)
        return self.told(method, found, single=True)

    def after(self, method: str) -> list[Answered]:
        """After the last edit of the chain."""
        found = chain_answers(self.trial, self.case, method, self.chains, self.before, probabilities=True)
        return self.told(method, found)

    def ten_fold(self, method: str) -> list[Answered]:
        """After the chain's ΔW ten times as large.

        Raises
        ------
        NotHere
            The method's state is more than weight deltas.
        """
        require_deltas(self.trial, self.case, method)
        return chain_answers(self.trial, self.case, method, self.chains, self.before, scale=TEN)

    def no_op(self) -> list[Answered]:
        """After a chain of edits that change nothing."""
        return chain_answers(self.trial, self.case, "no-op", self.chains, self.before)

    def no_op_single(self) -> list[Answered]:
        """Each edit that changes nothing alone."""
        return single_answers(self.trial, self.case, "no-op", self.chains, self.before)

    def scr(self) -> list[Answered]:
        """SCR with the chain in its memory."""
        return self.told(SCR, scr_answers(self.trial, self.case, self.chains, self.chains, self.before))

    def scr_irrelevant(self) -> list[Answered]:
        """SCR with another chain in its memory."""
        return scr_answers(self.trial, self.case, self.chains, irrelevant(self.chains), self.before)

    def single_locality(self, method: str) -> list[Answered]:
        """Each edit alone, locality questions at least: all of them where RQ1 asks for them anyway."""
        return single_answers(self.trial, self.case, method, self.chains, self.before, **self._locality(method))

    def after_locality(self, method: str) -> list[Answered]:
        """After the last edit of the chain, locality questions at least: all where others ask for them anyway."""
        if method == SCR:
            return self.scr()
        if self._locality(method):
            return chain_answers(self.trial, self.case, method, self.chains, self.before, **self._locality(method))
        return self.after(method)

    def own_prompts(self, method: str, *, single: bool = False) -> list[Answered]:
        """What the edits are about at least, of single edits or after the chain: whether they are in force.

        Events have no prompt of their own; of them it is what they are asked about.
        """
        if not self._locality(method):
            return self.single_locality(method) if single else self.after_locality(method)
        about: dict[str, Any] = {"dimensions": ("rel",) if "rel" in self.dimensions else ("port",)}
        way = single_answers if single else chain_answers
        return way(self.trial, self.case, method, self.chains, self.before, **about)

    def _locality(self, method: str) -> dict[str, Any]:
        """Options of a question that nobody but the claims on token-level locality asks."""
        shared = self.trial.library.methods[method].kind == "parameter"
        return {} if shared else {"dimensions": ("loc",)}

    def gold(self) -> list[Answered]:
        """The unedited model with the right statement before every question about the edit."""
        return gold_answers(self.trial, self.case, self.chains, self.before)

    def unedited(self) -> list[Answered]:
        """The unedited model, with the probabilities of old and new objects."""
        whole = unedited(self.trial, self.case.model, everything(self.chains))
        return [_of_edits(whole, {record.id for record in chain}) for chain in self.chains]

    def finished(
        self,
        made: Measurement,
        scores: Mapping[str, list[Answered]],
        title: str,
        units: Mapping[str, Sequence[float]],
        shown: Sequence[str] = (),
    ) -> Measurement:
        """Add scores, evidence and pictures to a measurement; ``shown`` names the states whose answers are printed."""
        asked = next(iter(scores.values()))
        made.checks |= complete("answers-complete", asked, self.chains, scores)
        made.descriptive["scores"] = score_table(**{name.replace(" ", "_"): many for name, many in scores.items()})
        describe(self.trial, self.case, made, self.chains, self.length)
        made.recipes = [one.key for many in scores.values() for one in many]
        made.facts += self.facts
        made.pictures.append(units_picture(self.case, title, dict(units)))
        first = {name: scores[name][0] for name in shown or list(scores)[:3]}
        made.pictures.append(examples("Answers, first chain", 12, **first))
        return made


def begin(trial: Trial, case: Case, length: int | None = None) -> AskedChains:
    """The chains of a claim, all of its T (or of a given length).

    Raises
    ------
    NotHere
        The profile's chains are too short.
    Unmeasurable
        A chain has no question of some dimension.
    """
    wanted = chain_length(trial, case) if length is None else length
    chains = chains_of(trial, case, wanted)
    if (lacking := unanswerable(case, chains)) is not None:
        raise Unmeasurable(lacking)
    before = answers_before(trial, case.model, everything(chains))
    return AskedChains(trial, case, wanted, tuple(chains), before)


def _of_edits(answered: Answered, ids: set[str]) -> Answered:
    return Answered(
        [row for row in answered.rows if row["edit_id"] in ids],
        [row for row in answered.probability if row["edit_id"] in ids],
        answered.key,
    )
