"""Answers made by hand in the place of a model's: chains whose scores are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from editverdict.data.records import EditRecord, Probe
from editverdict.evaluation.questions import questions_of
from editverdict.pipeline.answers import Answered
from editverdict.pipeline.measurement import Measurement
from editverdict.pipeline.measures.answering import AskedChains, complete

Right = Callable[[int, int, str, int], bool]
"""(chain, edit, dimension, number of the question) -> whether it is answered rightly."""


def record(chain: int, edit: int) -> EditRecord:
    """A record with one question of reliability, and two of every other dimension."""
    name = f"S{chain}-{edit}"
    return EditRecord(
        id=name,
        prompt=f"The capital of {name} is",
        subject=name,
        target_new=f"new{name}",
        target_old=f"old{name}",
        rephrases=(f"{name} has as capital", f"Capital of {name}:"),
        locality=tuple(Probe(prompt=f"River {k} of {name}:", answers=(f"river{k}{name}",), kind="k") for k in (0, 1)),
        portability=tuple(
            Probe(prompt=f"Mayor {k} of {name}:", answers=(f"mayor{k}{name}",), kind="k") for k in (0, 1)
        ),
    )


def chains(count: int = 6, length: int = 10) -> tuple[list[EditRecord], ...]:
    return tuple([record(c, e) for e in range(length)] for c in range(count))


def tokens(text: str) -> list[int]:
    """Five tokens that are as good as this text's own, and the one that ended it."""
    return [*sha256(text.encode()).digest()[:5], 0]


def answered(chain: int, records: Sequence[EditRecord], right: Right, kept: Right | None = None) -> Answered:
    """Judged answers; a wrong locality answer is another one than before the edit, a right one is the same.

    ``kept``: whether the tokens are those of the right answer, where that is not as the judgement has it.
    """
    rows, probability = [], []
    for edit, one in enumerate(records):
        seen: dict[str, int] = {}
        for q in questions_of(one):
            number = seen.get(q.dimension, 0)
            seen[q.dimension] = number + 1
            correct = right(chain, edit, q.dimension, number)
            rows.append(
                {
                    "edit_id": q.edit_id,
                    "dimension": q.dimension,
                    "kind": q.kind,
                    "prompt": q.prompt,
                    "given": None,
                    "accepted": list(q.accepted),
                    "answer": q.accepted[0] if correct else "nonsense",
                    "tokens": tokens(
                        q.accepted[0] if (kept or right)(chain, edit, q.dimension, number) else "nonsense"
                    ),
                    "correct": correct,
                    "same_as_before": correct if q.dimension == "loc" else None,
                }
            )
        # The earlier an edit stands in its chain, the surer the model is of its old object.
        row = {"edit_id": one.id, "part": "efficacy", "logp_expected": -9.0, "logp_rival": -float(edit + 1)}
        probability.append({**row, "kind": "prompt", "prompt": one.prompt, "expected": "n", "rival": "o"})
    return Answered(rows, probability, f"key-{chain}")


def first(share: float) -> Callable[[int, int], bool]:
    """Right for about that share of edits, another one in each chain, so that chains differ a little."""
    return lambda chain, edit: (edit * 7 + chain) % 20 < round(20 * share)


def scored(**shares: float) -> Right:
    """Every question of a dimension right for a share of the edits; 0 where it is not named."""
    return lambda chain, edit, dimension, _: first(shares.get(dimension, 0.0))(chain, edit)


PERFECT = scored(rel=1.0, gen=1.0, loc=1.0, port=1.0)
UNEDITED = scored(loc=0.6)
GOLD = scored(rel=1.0, gen=0.9, loc=0.6, port=0.5)
NOTHING = scored()


def retrieved(one: Answered, share: float) -> Answered:
    """The same answers, given with a text before the own prompts and rephrases of a share of the edits.

    Of events, which have neither, before the questions about them.
    """
    about = ("rel", "gen") if any(row["dimension"] == "rel" for row in one.rows) else ("port",)
    edits = list(dict.fromkeys(row["edit_id"] for row in one.rows))
    found = {edit for number, edit in enumerate(edits) if number < round(share * len(edits))}
    rows = [
        {**row, "given": f"It is known that. {row['prompt']}"}
        if row["edit_id"] in found and row["dimension"] in about
        else row
        for row in one.rows
    ]
    return Answered(rows, one.probability, one.key)


@dataclass(frozen=True)
class PlantedChains(AskedChains):
    """Chains that are asked nothing: what each state answers is planted."""

    states: Mapping[str, Right] = field(default_factory=dict)
    """``single X``, ``after X``, ``ten-fold X``, ``no-op``, ``SCR``, ``irrelevant``, ``gold``, ``unedited`` -> what is
    right."""
    kept: Mapping[str, Right] = field(default_factory=dict)
    """The same names -> which tokens are as before, for states in which that is not what is right."""
    retrieves: float = 1.0
    """Share of the edits before whose own prompts and rephrases SCR puts a text."""
    edits: float = 1.0
    """Share of the edits whose own prompts a method answers otherwise than the unedited model, rightly."""

    def _given(self, name: str) -> list[Answered]:
        kept = self.kept.get(name)
        return [answered(c, records, self.states[name], kept) for c, records in enumerate(self.chains)]

    def single(self, method: str) -> list[Answered]:
        own = self._given(f"single {method}")
        return [retrieved(one, self.retrieves) for one in own] if method == "SCR" else own

    def after(self, method: str) -> list[Answered]:
        return self._given(f"after {method}")

    def single_locality(self, method: str) -> list[Answered]:
        return self._given(f"single {method}")

    def after_locality(self, method: str) -> list[Answered]:
        return self._given("SCR" if method == "SCR" else f"after {method}")

    def own_prompts(self, method: str, *, single: bool = False) -> list[Answered]:
        states = {f"own {method}": scored(rel=self.edits)}
        return replace(self, states=states)._given(f"own {method}")

    def ten_fold(self, method: str) -> list[Answered]:
        return self._given(f"ten-fold {method}")

    def no_op(self) -> list[Answered]:
        return self._given("no-op")

    no_op_single = no_op

    def scr(self) -> list[Answered]:
        return [retrieved(one, self.retrieves) for one in self._given("SCR")]

    def scr_irrelevant(self) -> list[Answered]:
        return self._given("irrelevant")

    def gold(self) -> list[Answered]:
        return self._given("gold")

    def unedited(self) -> list[Answered]:
        return self._given("unedited")

    def finished(self, made: Measurement, scores: Any, title: str, units: Any, shown: Any = ()) -> Measurement:
        made.checks |= complete("answers-complete", next(iter(scores.values())), self.chains)
        made.pictures.append({"title": title, "groups": units})
        return made
