"""A transformers model of this machine as the judge.

``text``: the model writes its verdict, which is read as that of an endpoint is. ``choice``: of the words ``yes`` and
``no`` the one that is more probable after the question decides; equal probabilities decide nothing. Both are greedy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from editverdict.evaluation.judge_prompt import (
    CHOICE,
    EARLIER,
    FORM,
    RULES,
    Undecidable,
    again,
    item_text,
    prompt_hash,
    read_reply,
)
from editverdict.evaluation.judging import Item, Judgement, Keep, make_now
from editverdict.generation.decode import greedy_answers
from editverdict.generation.protocol import Protocol
from editverdict.generation.scoring import choice_logprobs
from editverdict.models.sources import LoadedModel
from editverdict.schema.judges import LocalJudgeSpec
from editverdict.schema.protocols import AnswerProtocol

WORDS = ("yes", "no")
LOCAL_VERSION = 1
"""Raised whenever the code below would judge otherwise from the same settings."""


@dataclass
class LocalJudge:
    """Asks a model in batches.

    Parameters
    ----------
    spec : LocalJudgeSpec
        Settings.
    loaded : LoadedModel
        The model, in eval mode; it is left as it was.

    Raises
    ------
    ValueError
        The form is ``chat``, and the model's tokenizer has no chat template.
    """

    spec: LocalJudgeSpec
    loaded: LoadedModel
    reads: bool = field(default=True, init=False)
    protocol: Protocol = field(init=False)

    def __post_init__(self) -> None:
        # In completion form nothing but the line's end tells that the object is finished.
        stop = ("\n",) if self.spec.prompt_form == "completion" else ()
        form = AnswerProtocol(
            id=f"judge-{self.spec.id}",
            prompt_form=self.spec.prompt_form,
            max_new_tokens=self.spec.max_tokens,
            stop=stop,
        )
        self.protocol = Protocol.build(form, self.loaded.tokenizer)

    def fields(self) -> dict[str, Any]:
        """Model, prompt and what shapes the reply; the size of a batch changes rounding only."""
        return {
            "format": "local",
            "version": LOCAL_VERSION,
            "model": self.loaded.identity.fields(),
            "name": self.spec.model,
            "prompt": prompt_hash(),
            "reply": self.spec.reply,
            "protocol": self.protocol.id,
            "replies": self.spec.replies if self.spec.reply == "text" else 1,
        }

    @property
    def id(self) -> str:
        """16 hexadecimal digits over the fields."""
        return hashlib.sha256(json.dumps(self.fields(), sort_keys=True).encode()).hexdigest()[:16]

    def judge_many(self, items: Sequence[Item], keep: Keep = make_now) -> list[Judgement]:
        """Judge answers batch by batch; after each batch its verdicts are kept."""
        size, decide = self.spec.batch_size, self._choose if self.spec.reply == "choice" else self._read
        found: list[Judgement] = []
        for start in range(0, len(items), size):
            batch = _Once(decide, items[start : start + size])
            found += [keep(start + i, lambda i=i, batch=batch: batch[i]) for i in range(len(batch))]  # type: ignore[misc]
        return found

    # ------------------------------------------------------------------ by a written verdict
    def _read(self, items: Sequence[Item]) -> list[Judgement]:
        end = "\nReply:" if self.spec.prompt_form == "completion" else ""
        asked = [f"{RULES}\n\n{FORM}\n\n{item_text(item)}\n" for item in items]
        made: list[Judgement] = [Judgement("undecided", replies=0, tokens_in=0, tokens_out=0)] * len(items)
        following = dict.fromkeys(range(len(items)), "")
        for _ in range(self.spec.replies):
            open_ = list(following)
            prompts = [f"{asked[i]}{following[i]}{end}" for i in open_]
            answers = greedy_answers(
                self.loaded.model, self.loaded.tokenizer, prompts, self.protocol, batch_size=self.spec.batch_size
            )
            for i, tokens, answer in zip(open_, self.protocol.encode(prompts), answers, strict=True):
                before = made[i]
                spent = (before.replies + 1, (before.tokens_in or 0) + len(tokens))
                counts = (*spent, (before.tokens_out or 0) + answer.n_tokens)
                try:
                    if answer.stopped_by == "limit":
                        raise Undecidable("it was cut off for its length")
                    made[i] = read_reply(answer.text).judgement(*counts)
                    del following[i]
                except Undecidable as unread:
                    made[i] = Judgement("undecided", f"the last reply: {unread}", *counts)
                    following[i] = "\n" + EARLIER.format(reply=answer.text.strip()) + again(str(unread)) + "\n"
        return made

    # ------------------------------------------------------------------ by the more probable word
    def _choose(self, items: Sequence[Item]) -> list[Judgement]:
        completion = self.spec.prompt_form == "completion"
        asked = [f"{RULES}\n\n{CHOICE}\n\n{item_text(item)}\n" + ("\nVerdict:" if completion else "") for item in items]
        scores = choice_logprobs(
            self.loaded.model,
            self.loaded.tokenizer,
            [self.protocol.render(text) for text in asked],
            WORDS,
            batch_size=self.spec.batch_size,
            add_special_tokens=completion,
        )
        counts = [len(tokens) for tokens in self.protocol.encode(asked)]
        return [_chosen(yes, no, count) for (yes, no), count in zip(scores.tolist(), counts, strict=True)]


def _chosen(yes: float, no: float, tokens: int) -> Judgement:
    """The verdict of two log-probabilities."""
    if yes == no:
        return Judgement("undecided", "yes and no are equally probable", 1, tokens, 0)
    return Judgement("yes" if yes > no else "no", f"log P(yes) - log P(no) = {yes - no:.3f}", 1, tokens, 0)


class _Once:
    """The judgements of a batch, made when the first of them is wanted."""

    def __init__(self, decide: Callable[[Sequence[Item]], list[Judgement]], items: Sequence[Item]) -> None:
        self._decide, self._items = decide, items
        self._made: list[Judgement] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> Judgement:
        if self._made is None:
            self._made = self._decide(self._items)
        return self._made[number]
