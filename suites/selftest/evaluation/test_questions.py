"""From records to questions."""

from __future__ import annotations

from editverdict.data.records import EditRecord, Probe
from editverdict.evaluation.questions import Question, questions_of, questions_of_all

FULL = EditRecord(
    id="e1",
    prompt="The capital of Karvonia is",
    subject="Karvonia",
    target_new="Tarsk",
    target_new_aliases=("Tarsk City",),
    rephrases=("Karvonia's seat of government is", "Karvonia is governed from"),
    locality=(
        Probe(prompt="The capital of Tumbria is", answers=("Merrow", "Old Merrow"), kind="same-relation"),
        Probe(prompt="Karvonia lies in", answers=("Asia",), kind="other-relation"),
    ),
    portability=(Probe(prompt="Tarsk is the capital of", answers=("Karvonia",), kind="inverse"),),
)


def test_every_part_in_the_order_of_the_record():
    new = ("Tarsk", "Tarsk City")
    assert questions_of(FULL) == [
        Question("e1", "rel", "prompt", "The capital of Karvonia is", new),
        Question("e1", "gen", "rephrase", "Karvonia's seat of government is", new),
        Question("e1", "gen", "rephrase", "Karvonia is governed from", new),
        Question("e1", "loc", "same-relation", "The capital of Tumbria is", ("Merrow", "Old Merrow")),
        Question("e1", "loc", "other-relation", "Karvonia lies in", ("Asia",)),
        Question("e1", "port", "inverse", "Tarsk is the capital of", ("Karvonia",)),
    ]


def test_what_a_record_lacks_is_not_asked():
    bare = EditRecord(id="e2", prompt="A is", subject="A", target_new="B")
    assert [q.dimension for q in questions_of(bare)] == ["rel"]
    assert questions_of_all([bare, FULL]) == questions_of(bare) + questions_of(FULL)
    assert questions_of_all([]) == []
