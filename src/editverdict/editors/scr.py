"""SCR: knowledge kept as text, retrieved, confirmed by the model itself, and answered from the context.

Source: He, Song and Sun 2025 (arXiv 2503.05212), written from the method's description: (1) semantic filtering finds
the top-k stored texts for a query, (2) the language model confirms which of them bears on it, (3) in scope, the
confirmed text goes into the context; out of scope, the query is answered directly. The weights never change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import faiss
import numpy as np
from pydantic import Field

from editverdict.data.records import EditRecord
from editverdict.editors.base import Answering, Hyperparameters, Plain, Resources, State, Step, new_edits
from editverdict.editors.registry import register_editor
from editverdict.generation.in_context import IN_CONTEXT_VERSION, THRESHOLDS, answer_with_context, confirmation_scores
from editverdict.models.sources import LoadedModel


class ScrSettings(Hyperparameters):
    """Hyperparameters of SCR."""

    top_k: int = Field(default=3, ge=1)
    """Stored texts that semantic filtering proposes (the paper's Table 43: 3)."""
    confirmation: str = Field(default="query-lift", pattern="^(query-lift|yes-no)$")
    """How the model confirms a text; see generation/in_context.py."""
    threshold: float | None = None
    """Score above which a text is confirmed; None: that of the rule."""
    wording: int = IN_CONTEXT_VERSION
    """Version of the prompt wordings, so that stored answers follow them."""


class Memory:
    """Texts with their embeddings in an exact inner-product index (cosine, embeddings being normalised)."""

    def __init__(self, texts: Sequence[str], encoder: Any) -> None:
        self.texts = list(texts)
        self._encoder = encoder
        if self.texts:
            embedded = self._embed(self.texts)
            self._index = faiss.IndexFlatIP(embedded.shape[1])
            self._index.add(embedded)

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        found = self._encoder.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.ascontiguousarray(found, dtype=np.float32)

    def nearest(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The k nearest texts of each query, best first; an empty memory has none."""
        if not self.texts or not queries:
            return [[] for _ in queries]
        _scores, found = self._index.search(self._embed(queries), min(k, len(self.texts)))
        return [[self.texts[i] for i in row] for row in found]


class Confirmed:
    """Answering from the memory: retrieve, let the model confirm, put the best confirmed text before the question."""

    def __init__(self, loaded: LoadedModel, memory: Memory, settings: ScrSettings) -> None:
        self._loaded = loaded
        self._memory = memory
        self._settings = settings

    def prompts(self, questions: Sequence[str]) -> list[str]:
        """The questions, each with its confirmed text (if any) in the context."""
        settings, loaded = self._settings, self._loaded
        proposed = self._memory.nearest(questions, settings.top_k)
        pairs = [(text, question) for question, texts in zip(questions, proposed, strict=True) for text in texts]
        if not pairs:
            return Plain().prompts(questions)
        rule: Any = settings.confirmation
        limit = THRESHOLDS[rule] if settings.threshold is None else settings.threshold
        scores = iter(confirmation_scores(loaded.model, loaded.tokenizer, pairs, rule=rule).tolist())
        given = []
        for question, texts in zip(questions, proposed, strict=True):
            scored = [(next(scores), text) for text in texts]
            best = max(scored, default=(limit, ""))
            given.append(answer_with_context(best[1] if best[0] > limit else "", question))
        return given


@register_editor
class Scr:
    """The editor; see the module's docstring."""

    name: ClassVar[str] = "scr"
    version: ClassVar[int] = 2
    answers_itself: ClassVar[bool] = True
    hyperparameters_type: ClassVar[type[Hyperparameters]] = ScrSettings

    def __init__(self, hyperparameters: ScrSettings) -> None:
        self.hyperparameters = hyperparameters

    def edit(self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources) -> Step:
        """Nothing to compute: the statement is stored as it is, and embedded when the memory is put to use."""
        new = new_edits(state, records, events=True)
        return Step(info={"statements": [record.statement for record in new]}, edits=len(new))

    @contextmanager
    def install(
        self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources
    ) -> Iterator[Answering]:
        """Answer from a memory of all edits so far."""
        memory = Memory([record.statement for record in records], resources.encoder())
        yield Confirmed(loaded, memory, self.hyperparameters)
