"""What a method's chains look like on their way: states, changes of hidden states and answers at the T of the schedule.

Claims about what happens with T measure the same states; they meet here, and nothing is computed before it is asked
for: changes alone cost no answers, one T alone no other. Everything is an artifact of the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from editverdict.data.records import EditRecord
from editverdict.data.schedules import Scoring, readings
from editverdict.editors.base import State
from editverdict.evaluation.dimensions import Scores, scores_of
from editverdict.pipeline.answers import Answered, answers_before, ask, in_state, questions_asked
from editverdict.pipeline.changes import Change, changes
from editverdict.pipeline.edits import singles, steps
from editverdict.pipeline.measurement import Case
from editverdict.pipeline.trial import Trial

RIGHT_AFTER_EACH: Scoring = "right-after-each"
"""The second protocol of `data.schedules`; its name stands in the protocol id of its rows, so that they are scored with
no others."""


@dataclass
class Trajectory:
    """One method's chains on one dataset at the T of the profile's schedule.

    Every list has one entry per chain, in the order of the profile's chains.
    """

    trial: Trial
    model: str
    method: str
    """May be ``placebo:METHOD``."""
    chains: tuple[tuple[EditRecord, ...], ...]
    """The profile's disjoint chains, all of one length."""
    long_chain: tuple[EditRecord, ...]
    """The first chain, and how it goes on."""
    schedule: tuple[int, ...]
    """T that every chain reaches, ascending."""
    long_schedule: tuple[int, ...]
    """T that the long chain reaches; begins with ``schedule``."""
    _changes: dict[int, list[Change]] = field(default_factory=dict)
    _answers: dict[int, list[Answered]] = field(default_factory=dict)

    def states(self, t: int) -> list[State]:
        """The state of every chain after its first ``t`` edits (beyond the chains' length: of the long chain alone)."""
        return [steps(self.trial, self.model, self.method, list(chain)) for chain in self._upto(t)]

    def changes(self, *at: int) -> dict[int, list[Change]]:
        """What the states do to hidden states, per T and chain.

        Parameters
        ----------
        *at
            T; the whole schedule if there are none. Beyond the chains' length there is the long chain alone.

        Raises
        ------
        NotHere
            The method's states are none that hidden states are measured for. Told from the first of them.
        """
        wanted = at or self.schedule
        lacking = [t for t in wanted if t not in self._changes]
        if lacking and not self._changes:
            first = steps(self.trial, self.model, self.method, list(self.chains[0][: min(lacking)]))
            changes(self.trial, self.model, [first], what=f"{self.method}, T = {min(lacking)}")
        by_t = {t: self.states(t) for t in lacking}
        measured = iter(
            changes(
                self.trial, self.model, [s for many in by_t.values() for s in many], what=f"{self.method} on its way"
            )
            if lacking
            else ()
        )
        self._changes |= {t: [next(measured) for _ in many] for t, many in by_t.items()}
        return {t: self._changes[t] for t in wanted}

    def answers(self, *at: int) -> dict[int, list[Answered]]:
        """Answers about the edits made so far, per T and chain; ``at`` as in :meth:`changes`."""
        wanted = at or self.schedule
        before = answers_before(self.trial, self.model, self.records())
        for t in wanted:
            if t not in self._answers:
                # With probabilities, as the claims about whole chains ask, so that both find the same artifacts.
                asked = [
                    in_state(self.trial, self.model, self.method, f"{self.method}, T = {t}", c, s, probabilities=True)
                    for c, s in zip(self._upto(t), self.states(t), strict=True)
                ]
                self._answers[t] = ask(self.trial, self.model, asked, before=before)
        return {t: self._answers[t] for t in wanted}

    def scores(self, *at: int) -> dict[int, list[Scores]]:
        """The four dimensions about the edits made so far, per T and chain; ``at`` as in :meth:`changes`."""
        return {t: [scores_of(one.rows) for one in many] for t, many in self.answers(*at).items()}

    def right_after_each(self) -> list[Answered]:
        """Per chain: each edit's own prompt and rephrases, asked in the state that this edit has just made.

        Up to the last T of the schedule. The states are beginnings of the chain's own, so that nothing is edited for
        it. A protocol of its own: rows carry another protocol id than those of :meth:`answers`, and scores over both
        raise `ProtocolMismatch`.
        """
        asked, owners = [], []
        for number, chain in enumerate(self._upto(self.schedule[-1])):
            state = steps(self.trial, self.model, self.method, list(chain))
            for reading in readings(chain, RIGHT_AFTER_EACH):
                # A chain makes one edit a step.
                so_far = state[: len(reading.made)]
                one = in_state(
                    self.trial, self.model, self.method, f"{self.method}, right after each edit", reading.asked, so_far,
                    made=reading.made, dimensions=("rel", "gen"),
                )  # fmt: skip
                if questions_asked(one):  # events have neither
                    asked.append(one)
                    owners.append(number)
        found: list[list[Answered]] = [[] for _ in self.chains]
        for number, answered in zip(owners, ask(self.trial, self.model, asked), strict=True):
            found[number].append(answered)
        return [_marked(own) for own in found]

    def single_answers(self, length: int) -> list[Answered]:
        """Answers about the first ``length`` edits of every chain, each alone on the clean model, chain by chain."""
        records = self.records(length)
        states = singles(self.trial, self.model, self.method, records)
        asked = [
            in_state(self.trial, self.model, self.method, f"{self.method} single edits", [r], s)
            for r, s in zip(records, states, strict=True)
        ]
        return ask(self.trial, self.model, asked, before=answers_before(self.trial, self.model, records))

    def records(self, length: int | None = None) -> list[EditRecord]:
        """The first ``length`` edits (default: all) of the chains, without what the long chain goes on with."""
        return [record for chain in self.chains for record in chain[:length]]

    def _upto(self, t: int) -> Sequence[Sequence[EditRecord]]:
        known = {*self.schedule, *self.long_schedule}
        if t not in known:
            raise ValueError(f"T = {t} is not on the schedule of profile '{self.trial.profile.id}': {sorted(known)}")
        if t in self.schedule:
            return [chain[:t] for chain in self.chains]
        return [self.long_chain[:t]]


def _marked(parts: Sequence[Answered]) -> Answered:
    """Rows of several states put together, with the protocol that they were asked by."""
    rows = [{**row, "protocol": f"{row['protocol']}, {RIGHT_AFTER_EACH}"} for one in parts for row in one.rows]
    return Answered(rows, [], parts[0].key if parts else "", parts=tuple(one.key for one in parts))


def trajectory(trial: Trial, case: Case, method: str | None = None) -> Trajectory:
    """The trajectory of a case's method, or of another one on the same dataset (``placebo:METHOD``); kept in memory.

    Raises
    ------
    NotHere
        The dataset has not even one chain.
    ValueError
        The case has no method or no dataset.
    """
    if case.dataset is None or (method or case.method) is None:
        raise ValueError(f"claim '{case.claim.id}' is about a method on a dataset; its subject is {case.claim.subject}")
    return trajectory_of(trial, case.model, str(method or case.method), case.dataset)


def trajectory_of(trial: Trial, model_id: str, method_id: str, dataset_id: str) -> Trajectory:
    """The trajectory of a model, method and dataset; as :func:`trajectory`."""
    memo = ("trajectory", model_id, method_id, dataset_id)
    if memo not in trial._memo:
        whole, length = trial.chains(dataset_id), trial.profile.sizes.chain_length
        schedule = sorted(set(trial.profile.sizes.schedule))
        trial._memo[memo] = Trajectory(
            trial,
            model_id,
            method_id,
            tuple(tuple(chain[:length]) for chain in whole),
            tuple(whole[0]),
            tuple(t for t in schedule if t <= length),
            tuple(t for t in schedule if t <= len(whole[0])),
        )
    found: Trajectory = trial._memo[memo]
    return found
