"""The card of a judge as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from editverdict.reporting.cards import code, flatten, table, text
from editverdict.reporting.formatting import interval, number, percent

OUTCOMES = {
    "ok": "holds: the judge looks at the question",
    "failed": "FAILED: nothing that this judge says is evidence",
    "undecided": "undecided: too few answers, or verdicts, to tell",
}
SHOWN = 20


def judge_card_markdown(card: Mapping[str, Any]) -> str:
    """The card of `editverdict.pipeline.judge_cards.judge_card` for readers."""
    found, labelled = card["agreement"], card["labelled"]
    control, cost = card["shuffled"], card["cost"]
    level = percent(card["levels"]["interval"])
    about = f"{labelled['items']} labelled answers to {labelled['questions']} questions"
    parts = [
        f"# Judge {text(card['judge'])}",
        f"{about} (set `{labelled['hash'][:12]}`); intervals at {level}.",
        table(["", ""], [(text(name), code(value)) for name, value in flatten(_identity(card))]),
        "## Agreement with the labels",
        table(
            ["", "value", f"{level} interval", "of"],
            [
                _line("accuracy (undecided counts as wrong)", found["accuracy"]),
                _line("accuracy of what was decided", found["accuracy_of_decided"]),
                _kappa(found["kappa"]),
            ],
        ),
        table(
            ["label", "judged yes", "judged no", "undecided"],
            [(label, *(str(found["table"][label][v]) for v in ("yes", "no", "undecided"))) for label in ("yes", "no")],
        ),
        table(
            ["label: kind of answer", "accuracy", f"{level} interval", "of"],
            [_line(kind, share) for kind, share in card["kinds"].items()],
        ),
        "## Consistency with itself",
        table(
            ["", "same verdict", f"{level} interval", "of"],
            [
                _line("asked the very same again", card["consistency"]["again"]),
                _line("parts and accepted answers the other way round", card["consistency"]["turned"]),
            ],
        ),
        "## Control: right answers dealt to other questions",
        f"{OUTCOMES[control['outcome']]} (at most {number(card['levels']['lenient'])} may be accepted).",
        table(
            ["", "share", f"{level} interval", "of"],
            [_line("accepted, of what was decided", control["accepted"])],
        ),
        _examples(control["examples"], ("question", "accepted", "answer", "reason")),
        "## Where it disagrees with the labels" if card["disagreements"] else "",
        _examples(card["disagreements"], ("question", "accepted", "answer", "kind", "label", "verdict", "reason")),
        "## Cost",
        f"{cost['judged']} judgements, {cost['undecided']} undecided, {cost['replies']} replies, {cost['tokens_in']} "
        f"tokens read, {cost['tokens_out']} written; {cost['uncounted']} without a count.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _identity(card: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": card["id"], **card["fields"]}


def _line(name: str, share: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return text(name), number(share["value"]), interval(share["interval"]), f"{share['count']} of {share['total']}"


def _kappa(kappa: Mapping[str, Any]) -> tuple[str, str, str, str]:
    clusters = f"{kappa['n_items']} in {kappa['n_clusters']} questions"
    return "Cohen's kappa", number(kappa["value"]), interval(kappa["interval"]), clusters


def _examples(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    shown = [[text(_words(row[name])) for name in columns] for row in rows[:SHOWN]]
    left = f"\n\n… and {len(rows) - SHOWN} more." if len(rows) > SHOWN else ""
    return table(columns, shown) + left


def _words(value: Any) -> str:
    return " / ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
