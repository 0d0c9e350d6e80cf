"""Judgements as artifacts: what a model has said about an answer is kept, and never asked again.

An artifact's recipe holds the judge's fields (kind, model, hash of the prompt, settings), the question, the accepted
answers and the answer, and nothing of the model that answered: equal answers of two states are judged once, and judging
stored answers again, by this judge or another, needs no edited model. Rules over words are not kept; they are quicker
than a look into the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from editverdict.evaluation.judging import Item, Judge, Judgement, JudgeNeeds
from editverdict.evaluation.lexical import LexicalJudge
from editverdict.evaluation.local_judge import LocalJudge
from editverdict.evaluation.openai_judge import OpenAIJudge
from editverdict.models.sources import load_model
from editverdict.pipeline.trial import NotHere, Trial
from editverdict.schema.judges import LocalJudgeSpec, OpenAIJudgeSpec
from editverdict.schema.specs import JudgeSpec
from editverdict.store import Clock, Recipe

JUDGEMENT_VERSION = 1


def judge_of(trial: Trial, judge_id: str | None = None) -> Judge:
    """The judge of a spec, by default of the profile's; kept, because a local one is a loaded model.

    A key that is missing shows only when answers are judged: the judge's id does not depend on it.
    """
    name = judge_id or trial.profile.judge
    key = ("judge", name)
    if key not in trial._memo:
        trial._memo[key] = _made(trial, trial.library.get("judges", name))
    judge: Judge = trial._memo[key]
    return judge


def _made(trial: Trial, spec: JudgeSpec) -> Judge:
    if isinstance(spec, OpenAIJudgeSpec):
        return OpenAIJudge(spec, workers=max(trial.n_workers, 1))
    if isinstance(spec, LocalJudgeSpec):
        # A copy of its own: the model on trial is changed while it answers, and makes room for the next one.
        model = trial.library.models[spec.model]
        trial.report(f"loading model {spec.model}, the judge")
        architecture = trial.library.architectures[model.architecture]
        return LocalJudge(spec, load_model(model, architecture, trial.device, lambda one: trial.library.models[one]))
    return LexicalJudge.of(spec)


def judgement_recipe(judge: Judge, item: Item, time: int = 0) -> Recipe:
    """What a judgement depends on; ``time`` tells apart the times that a judge is asked the very same."""
    return Recipe.of(
        "judgement",
        JUDGEMENT_VERSION,
        judge=judge.fields(),
        question=item.question,
        accepted=list(item.accepted),
        answer=item.answer,
        order=item.order,
        time=time,
    )


def judged(
    trial: Trial, items: Sequence[Item], judge: Judge | None = None, *, label: str = "answers", time: int = 0
) -> list[Judgement]:
    """Judgements of answers, in their order; those of a model are found in the store or made and kept there.

    Parameters
    ----------
    items
        What is judged; equal items are judged once.
    judge
        By default the profile's.
    label
        For progress lines.
    time
        Number of the time that the very same is asked; another number makes judgements anew (self-consistency).

    Raises
    ------
    NotHere
        The judge needs its key.
    JudgeError
        It cannot be asked. What was judged before is kept, and is not asked again the next time.
    """
    one = judge or judge_of(trial)
    if not one.reads:
        return one.judge_many(items)
    recipes = {item: judgement_recipe(one, item, time) for item in dict.fromkeys(items)}
    found: dict[Item, Judgement] = {}
    for item, recipe in recipes.items():
        if (artifact := trial.store.find(recipe)) is not None:
            found[item] = Judgement.of(artifact.json())
    asked = trial.offset([item for item in recipes if item not in found])
    clock, guard = Clock(f"judging, {label}", "answers", trial.report), threading.Lock()

    def keep(number: int, make: Callable[[], Judgement]) -> Judgement:
        # The store's lock of the key sees to it that of several processes only one asks.
        item = asked[number]
        made = trial.store.build(recipes[item], lambda draft: draft.write_json(make().record()))
        judgement = Judgement.of(made.json())
        with guard:
            found[item] = judgement
            clock.tick(len(found), len(recipes))
        return judgement

    try:
        one.judge_many(asked, keep)
    except JudgeNeeds as needs:
        raise NotHere(str(needs)) from None
    return [found[item] for item in items]
