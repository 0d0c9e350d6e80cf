"""Whether a model that is asked in words which texts bear on a query (SCR's ``yes-no``) selects at all.

A model that says yes to everything puts a text before every question, one that says no to everything puts none: what
claims about SCR would then judge is our rule of confirmation, not SCR. So the model is asked about invented facts
first, whose right answers are known and which no verdict rests on. The lift of a query has a threshold that was
settled for its model (``specs/methods/scr.yaml``), and is not asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from editverdict.editors.scr import ScrSettings
from editverdict.generation.in_context import confirmation_scores
from editverdict.pipeline.edits import answering_fields, editor_of
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.store import Draft, Recipe

SELECTION_VERSION = 1
HALF = 0.5
"""Least share of the pairs of every group in scope that is confirmed, largest one of every group out of scope: a rule
that is wrong about more than half of a kind of question does not select among them."""


@dataclass(frozen=True)
class Relation:
    """Invented facts of one relation, in three wordings with a place for the subject."""

    own: str
    rephrase: str
    question: str
    facts: tuple[tuple[str, str], ...]
    """Subject, object."""


RELATIONS = (
    Relation(
        "The painter {} was born in the town of",
        "The birthplace of the painter {} is",
        "Where was the painter {} born?",
        (("Orsa Vellin", "Tarnby"), ("Imre Dolan", "Quistow"), ("Pell Marrow", "Havern"), ("Runa Kell", "Ostrel")),
    ),
    Relation(
        "The company {} was founded by",
        "The founder of the company {} is",
        "Who founded the company {}?",
        (("Brindlow", "Tam Achery"), ("Norvex", "Lise Ombry"), ("Callowhide", "Jon Petrash"), ("Zemtech", "Ada Wrenn")),
    ),
    Relation(
        "The official language of {} is",
        "In {} the official language is",
        "What is the official language of {}?",
        (("Keslan", "Varric"), ("Ombrovia", "Old Teshi"), ("the Marl Islands", "Pinnish"), ("Dravenia", "Soltan")),
    ),
)
IN_SCOPE = ("own prompt", "rephrase", "question")
OUT_OF_SCOPE = ("prompt about another subject", "question about another subject", "prompt of another relation")


def selection_pairs() -> dict[str, list[tuple[str, str]]]:
    """Kind of query -> (text, query) of every fact: those that its text bears on, and those that it does not."""
    made: dict[str, list[tuple[str, str]]] = {kind: [] for kind in (*IN_SCOPE, *OUT_OF_SCOPE)}
    for number, relation in enumerate(RELATIONS):
        other = RELATIONS[(number + 1) % len(RELATIONS)]
        for place, (subject, target) in enumerate(relation.facts):
            text = f"{relation.own.format(subject)} {target}."
            stranger, _ = relation.facts[(place + 1) % len(relation.facts)]
            queries = [wording.format(subject) for wording in (relation.own, relation.rephrase, relation.question)]
            queries += [relation.own.format(stranger), relation.question.format(stranger)]
            queries.append(other.own.format(other.facts[place][0]))
            for kind, query in zip(made, queries, strict=True):
                made[kind].append((text, query))
    return made


def confirmed_shares(trial: Trial, method_id: str, model_id: str) -> dict[str, float]:
    """Kind of query -> share of its pairs that the unedited model confirms; out of the store."""
    settings, loaded = editor_of(trial, method_id, model_id).hyperparameters, trial.model(model_id)
    assert isinstance(settings, ScrSettings)
    pairs, rule = selection_pairs(), settings.confirmation
    recipe = Recipe.of(
        "scr-selection",
        SELECTION_VERSION,
        model=loaded.identity.fields(),
        editor=answering_fields(trial, method_id, model_id),
        pairs=pairs,
    )

    def produce(draft: Draft) -> None:
        trial.report("SCR: what the model confirms of invented facts")
        every = [pair for own in pairs.values() for pair in own]
        scores = iter(confirmation_scores(loaded.model, loaded.tokenizer, every, rule=rule).tolist())  # type: ignore[arg-type]
        draft.write_json({kind: [next(scores) for _ in own] for kind, own in pairs.items()})

    stored: dict[str, Sequence[float]] = trial.store.build(recipe, produce).json()
    return {kind: sum(score > settings.limit for score in own) / len(own) for kind, own in stored.items()}


def require_selection(trial: Trial, method_id: str, model_id: str) -> None:
    """Refuse a model whose own yes and no do not select; toys with random weights, which decide nothing, may pass.

    Raises
    ------
    NotHere
        It confirms fewer than half of some kind of query in scope, or more than half of some kind out of scope.
    """
    settings = editor_of(trial, method_id, model_id).hyperparameters
    if getattr(settings, "confirmation", None) != "yes-no" or trial.library.models[model_id].weights == "random":
        return
    shares = confirmed_shares(trial, method_id, model_id)
    wrong = [kind for kind in IN_SCOPE if shares[kind] < HALF] + [kind for kind in OUT_OF_SCOPE if shares[kind] > HALF]
    if wrong:
        told = ", ".join(f"{kind} {shares[kind]:.2f}" for kind in (*IN_SCOPE, *OUT_OF_SCOPE))
        raise NotHere(
            f"needs a confirmation that selects: asked in words about invented facts, {model_id} confirms ({told}), "
            f"where the first {len(IN_SCOPE)} should be 1 and the others 0; a threshold of query-lift that is settled "
            f"for this model goes into methods[{method_id}].per_model.{model_id}"
        )
