"""SCR: knowledge kept as text, retrieved, confirmed by the model itself, and answered from the context.

Source: He, Song and Sun 2025 (arXiv 2503.05212), written from the method's description: (1) semantic filtering finds
the top-k stored texts for a query, (2) the language model confirms which of them bears on it, (3) in scope, the
confirmed text goes into the context; out of scope, the query is answered directly. The weights never change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
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

    @property
    def limit(self) -> float:
        """The threshold in force."""
        rule: Any = self.confirmation
        return THRESHOLDS[rule] if self.threshold is None else self.threshold


INDEX, TEXTS = "index.faiss", "texts.json"
"""Files of a saved memory."""


class MemoryFileError(ValueError):
    """A saved memory cannot be used; the message names the file, what was expected and what was found."""


class Memory:
    """Texts with their embeddings in an exact inner-product index (cosine, embeddings being normalised)."""

    def __init__(self, texts: Sequence[str], encoder: Any) -> None:
        self.texts: list[str] = []
        self._encoder = encoder
        self._index: Any = None
        self.add(texts)

    def add(self, texts: Sequence[str]) -> None:
        """Embed further texts and put them into the index: what an edit costs that is kept as text."""
        if not texts:
            return
        embedded = self._embed(list(texts))
        if self._index is None:
            self._index = faiss.IndexFlatIP(embedded.shape[1])
        self._index.add(embedded)
        self.texts += texts

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        found = self._encoder.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return np.ascontiguousarray(found, dtype=np.float32)

    def nearest(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The k nearest texts of each query, best first; an empty memory has none."""
        if not self.texts or not queries:
            return [[] for _ in queries]
        _scores, found = self._index.search(self._embed(queries), min(k, len(self.texts)))
        return [[self.texts[i] for i in row] for row in found]

    def copy(self) -> Memory:
        """A memory of its own with the same texts and embeddings; nothing is embedded again."""
        other = Memory([], self._encoder)
        other.texts = list(self.texts)
        other._index = None if self._index is None else faiss.clone_index(self._index)
        return other

    def save(self, folder: Path, encoder_key: str) -> None:
        """Write index and texts into a folder; ``encoder_key`` says whose embeddings they are.

        An empty memory has texts (none) and no index.
        """
        if self._index is not None:
            faiss.write_index(self._index, str(folder / INDEX))
        said = {"encoder": encoder_key, "texts": self.texts}
        (folder / TEXTS).write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, encoder: Any, encoder_key: str) -> Memory:
        """The memory that :meth:`save` wrote; it answers as the one that was saved.

        Raises
        ------
        MemoryFileError
            A file is missing or damaged, the embeddings are another encoder's, or index and texts are not of one size.
        """
        said = _texts_of(folder / TEXTS)
        if said["encoder"] != encoder_key:
            raise MemoryFileError(
                f"{folder / TEXTS}: embedded by encoder {said['encoder']}, expected {encoder_key}; embeddings of two "
                "encoders cannot be compared: embed the texts again"
            )
        made = cls([], encoder)
        if not said["texts"]:
            return made
        path = folder / INDEX
        if not path.is_file():
            raise MemoryFileError(f"{path}: no such file beside {len(said['texts'])} texts; embed them again")
        try:
            made._index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise MemoryFileError(f"{path}: no index that faiss can read; embed the texts again") from error
        if made._index.ntotal != len(said["texts"]):
            raise MemoryFileError(
                f"{path}: {made._index.ntotal} embeddings, expected one for each of the {len(said['texts'])} texts of "
                f"{TEXTS}; the two files are of different memories"
            )
        made.texts = list(said["texts"])
        return made


def _texts_of(path: Path) -> dict[str, Any]:
    """The texts file of a saved memory, its form checked."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MemoryFileError(f"{path}: no such file; expected the texts of a saved memory") from error
    except ValueError as error:
        raise MemoryFileError(f"{path}: not JSON ({error}); expected 'encoder' and 'texts'") from error
    texts = said.get("texts") if isinstance(said, dict) else None
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts) or "encoder" not in said:
        raise MemoryFileError(f"{path}: expected an object with 'encoder' and a list of strings 'texts'")
    return dict(said)


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
        limit = settings.limit
        rule: Any = settings.confirmation
        scores = iter(confirmation_scores(loaded.model, loaded.tokenizer, pairs, rule=rule).tolist())
        return [
            answer_with_context(best_confirmed([(next(scores), text) for text in texts], limit), question)
            for question, texts in zip(questions, proposed, strict=True)
        ]


def best_confirmed(scored: Sequence[tuple[float, str]], limit: float) -> str:
    """Of (score, text) the text that is confirmed most strongly; empty where none scores above the limit."""
    best = max(scored, default=(limit, ""))
    return best[1] if best[0] > limit else ""


@register_editor
class Scr:
    """The editor; see the module's docstring."""

    name: ClassVar[str] = "scr"
    version: ClassVar[int] = 2
    answers_itself: ClassVar[bool] = True
    reads_corpus: ClassVar[bool] = False
    keeps_texts: ClassVar[bool] = True
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
