"""Answering from a text in the context, and the model's own confirmation that the text bears on the query.

For methods that keep knowledge outside the weights (SCR: He, Song and Sun 2025, arXiv 2503.05212): a retriever proposes
stored texts, the language model itself confirms which of them are in scope, and answers from those. Prompts are short
and in completion form, so that a model of 135M parameters can follow them.

Two rules of confirmation, both the model's own:

``query-lift`` (default)
    How much more probable the text makes the query: the mean over the query's tokens of log p(token | stored text)
    minus log p(token | a text that says nothing), in nats per token; confirmed if it is above a threshold. A text
    about the queried subject makes the subject's name and the relation's words expected; one about another does not.
``yes-no``
    The model is asked, after eight solved examples, whether the fact finishes the sentence; confirmed if `` yes`` is
    more probable than `` no`` by more than a threshold (0 by default).

Measured on SmolLM2-135M-Instruct with invented facts: 30 facts of five relations, on which wording, rule and threshold
were chosen, and in brackets 15 facts of five other relations that were set aside. Share of stored texts confirmed, by
query; the first two should be 1, the others 0:

=====================================  ==================  ==================
query                                  query-lift > 2.0    yes-no > 0
=====================================  ==================  ==================
the fact's own prompt                  1.00 (1.00)         1.00 (1.00)
a rephrase of it                       .93 (1.00)          1.00 (.87)
same relation, another subject         .03 (.00)           .77 (.73)
rephrase of that                       .00 (.00)           .97 (.80)
unrelated                              .00 (.00)           .87 (1.00)
same subject, another relation         .73 (.87)           .87 (.80)
=====================================  ==================  ==================

So this model cannot say in words whether a text is in scope: ``yes-no`` confirms nearly everything. Seven wordings,
with no, four or eight examples, were tried on the 30 facts, most of them also with the log-odds for a text that
says nothing subtracted: none both confirmed what is in scope and rejected what is not. The rule is that of the paper's
models (``specs/methods/scr.yaml``), on which it was not measured; ``pipeline/confirming.py`` asks each of them about
invented facts before anything rests on it. The lift ranks own prompts and rephrases above other subjects (area under
the curve .99 to 1.00), but does *not* tell another relation of the same subject from the edited one (.46 to .66): such
a query is mostly answered with the text in context. The threshold is in nats per token of this model's tokenizer; for
another model choose it anew, on data that no verdict rests on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from editverdict.generation.prefixed import continuation_logprobs
from editverdict.generation.scoring import choice_logprobs

IN_CONTEXT_VERSION = 1
"""Raised whenever a wording or a rule below changes; part of the key of whatever is built with them."""

Rule = Literal["query-lift", "yes-no"]
THRESHOLDS: dict[Rule, float] = {"query-lift": 2.0, "yes-no": 0.0}
"""Nats per query token; nats. Settled on invented facts (see above), never on data under test."""

NEUTRAL = "It is known."
"""A text that bears on no query: the reference of ``query-lift``."""

_EXAMPLES = (
    ("The river Orla flows into the Sea of Marn.", "The river Orla ends in", "yes"),
    ("The river Orla flows into the Sea of Marn.", "The river Dane flows into", "no"),
    ("Dan Pruitt works as a baker.", "Dan Pruitt works as a", "yes"),
    ("Dan Pruitt works as a baker.", "Dan Pruitt is married to", "no"),
    ("The currency of Velda is the crown.", "In Velda people pay with the", "yes"),
    ("The currency of Velda is the crown.", "The currency of Norn is the", "no"),
    ("Mount Ilk is 4000 metres high.", "Bees make", "no"),
    ("Mount Ilk is 4000 metres high.", "The height of Mount Ilk is", "yes"),
)
"""Invented, so that they hold no fact of any dataset."""


def answer_with_context(context: str, prompt: str) -> str:
    """Put knowledge before a prompt so that the completion still continues the prompt.

    An empty context leaves the prompt as it is: out of scope, the query is answered directly. The wording was chosen
    among five on the 30 invented facts of the module: with it SmolLM2-135M names the stored object for .90 of the own
    prompts and .60 of the rephrases (on the 15 facts set aside .87 and .80), with the bare text on a line of its own
    for .90 and .17 (.93 and .40). The price: where the text is about another subject of the same relation, its
    object is named for .77 of the prompts (.80; bare .53 and .27), so that the confirmation has to keep it out.
    """
    knowledge = context.strip()
    return f"It is known that {knowledge}\nTherefore, {prompt}" if knowledge else prompt


def confirmation_prompt(context: str, prompt: str) -> str:
    """Text after which the model says `` yes`` if the context tells how the prompt goes on, else `` no``."""
    solved = "".join(f"{_case(fact, text)} {verdict}\n\n" for fact, text, verdict in _EXAMPLES)
    return solved + _case(context.strip(), prompt)


def _case(context: str, prompt: str) -> str:
    return f"Fact: {context}\nUnfinished: {prompt}\nDoes the fact finish it?"


def confirmation_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    *,
    rule: Rule = "query-lift",
    batch_size: int = 32,
) -> torch.Tensor:
    """How strongly the model holds that a stored text bears on a query.

    Parameters
    ----------
    model, tokenizer
        A decoder-only model in eval mode, and its tokenizer.
    pairs : sequence of (str, str)
        Stored text and query; neither may be empty.
    rule : {"query-lift", "yes-no"}, optional
    batch_size : int, optional
        Rows per forward pass.

    Returns
    -------
    Tensor [n], float64
        Nats per query token (``query-lift``) or nats (``yes-no``).

    Raises
    ------
    ValueError
        If the rule is unknown, or a text or query is empty.
    """
    if rule not in THRESHOLDS:
        raise ValueError(f"unknown rule of confirmation {rule!r}; expected one of {', '.join(THRESHOLDS)}")
    for i, (context, query) in enumerate(pairs):
        if not context.strip() or not query.strip():
            raise ValueError(f"pair {i}: stored text {context!r} and query {query!r} must both have text")
    if rule == "yes-no":
        prompts = [confirmation_prompt(context, query) for context, query in pairs]
        table = choice_logprobs(model, tokenizer, prompts, ("yes", "no"), batch_size=batch_size)
        return table[:, 0] - table[:, 1]
    return _query_lift(model, tokenizer, pairs, batch_size)


def _query_lift(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], batch_size: int
) -> torch.Tensor:
    """Mean log-probability of the query's tokens after the text, minus that after the neutral text."""
    queries = list(dict.fromkeys(query for _, query in pairs))
    scored = [(context.strip(), query) for context, query in pairs] + [(NEUTRAL, query) for query in queries]
    means = [row.mean() for row in continuation_logprobs(model, tokenizer, scored, batch_size=batch_size)]
    neutral = dict(zip(queries, means[len(pairs) :], strict=True))
    lifts = [float(means[i] - neutral[query]) for i, (_, query) in enumerate(pairs)]
    return torch.tensor(lifts, dtype=torch.float64)


def confirm(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    *,
    rule: Rule = "query-lift",
    threshold: float | None = None,
    batch_size: int = 32,
) -> list[bool]:
    """Whether each stored text bears on its query, by the model's own probabilities.

    Confirmed if the score of `confirmation_scores` is above ``threshold`` (by default that of the rule in
    `THRESHOLDS`); arguments and errors are those of `confirmation_scores`.
    """
    scores = confirmation_scores(model, tokenizer, pairs, rule=rule, batch_size=batch_size)
    limit = THRESHOLDS[rule] if threshold is None else threshold
    return [score > limit for score in scores.tolist()]
