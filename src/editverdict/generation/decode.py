"""Batched greedy decoding.

An own loop of some forty lines instead of ``model.generate``, for two reasons. There, every field that the caller's
``GenerationConfig`` leaves unset is filled from the model's own (repetition penalty, suppressed tokens, ...), so that a
file beside the weights could change an answer without changing the protocol. And there, rows that have finished keep
being computed until the last row of the batch has finished; here they leave the batch.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from typing import Protocol as Protocol_

import torch
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

from editverdict.generation.protocol import Protocol, decoder_start
from editverdict.generation.thinking import Parts, part

StoppedBy = Literal["stop", "eos", "limit"]
Progress = Callable[[int], object]
"""Called with the number of prompts that were finished since the last call (as ``tqdm.update`` is)."""

SHRINK_AT = 0.125
"""Share of finished rows at which a batch is made smaller (copying the cache costs, so not at each row)."""


@dataclass(frozen=True)
class Answer:
    """What the model said."""

    text: str
    """Text before the stop string, without special tokens; leading space kept, nothing normalised."""
    raw: str
    """Everything that was generated, with stop string and special tokens."""
    tokens: tuple[int, ...]
    """Generated token ids, with the one that ended the answer."""
    stopped_by: StoppedBy
    """``stop`` (a stop string was completed), ``eos`` (end token) or ``limit`` (token limit of the protocol)."""
    thinking: str | None = None
    """What was said between the protocol's marks of thinking, without special tokens; it is no part of ``text``. None:
    the protocol names no marks, or nothing was thought."""
    thinking_closed: bool | None = None
    """Whether the thinking part came to its end; where it did not, there is no answer, and ``text`` is empty."""

    @property
    def n_tokens(self) -> int:
        """Number of generated tokens, with the one that ended the answer."""
        return len(self.tokens)


@dataclass
class _Row:
    """A prompt being answered."""

    prompt: list[int]
    tokens: list[int] = field(default_factory=list)
    stopped_by: StoppedBy | None = None
    owner: int = 0
    thinks: bool = False
    """The prompt itself opens the thinking part."""


class ByRow(Protocol_):
    """Something that must know which of several states each row of the next forward pass is in."""

    def use(self, owners: Sequence[int]) -> None:
        """Name the state of each row."""
        ...


def greedy_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    protocol: Protocol,
    *,
    batch_size: int = 128,
    progress: Progress | None = None,
    owners: Sequence[int] | None = None,
    by_row: ByRow | None = None,
) -> list[Answer]:
    """Answer prompts by greedy autoregressive decoding.

    Prompts are taken shortest first in batches that depend on the list of prompts alone, so that the same call on the
    same machine gives the same bits; equal prompts are answered once. Rows are padded on the left and masked: a
    row's companions change its logits by rounding only. An encoder-decoder reads the prompt with its encoder (padded on
    the right) and answers with its decoder. The tokenizer and the model are left as they were.

    Parameters
    ----------
    model : PreTrainedModel
        A model in eval mode; of its generation configuration no more is read than the protocol names.
    tokenizer : PreTrainedTokenizerBase
        The model's tokenizer, the same that the protocol was built with.
    prompts : sequence of str
        Prompts before rendering.
    protocol : Protocol
        Prompt form, token limit and stop rule.
    batch_size : int, optional
        Rows per batch. It is not part of the protocol id: it changes rounding only.
    progress : callable, optional
        Called with the number of newly answered prompts.
    owners, by_row : optional
        The state of each prompt, and what puts several states in force row by row; without them all are in one state.

    Returns
    -------
    list of Answer
        One per prompt, in the order given.

    Raises
    ------
    ValueError
        If a prompt is empty, or is too long for the model's positions, if ``batch_size`` is below 1, or if the protocol
        was built for a model of the other kind (decoder-only or encoder-decoder) or for forced targets.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, found {batch_size}")
    if protocol.spec.decoding != "greedy":
        raise ValueError(
            f"protocol '{protocol.spec.id}' has decoding {protocol.spec.decoding!r}, and greedy_answers needs "
            "'greedy'; force targets by generation.forced.forced_targets"
        )
    if protocol.decoder_start != decoder_start(model):
        raise ValueError(
            f"the protocol says that answers start from decoder token {protocol.decoder_start}, the model from "
            f"{decoder_start(model)}; build the protocol with decoder_start(model)"
        )
    asked = list(zip(prompts, owners or [0] * len(prompts), strict=True))
    counts = Counter(asked)
    distinct = list(counts)
    encoded = protocol.encode([prompt for prompt, _ in distinct])
    _check_lengths(model, [prompt for prompt, _ in distinct], encoded, protocol.spec.max_new_tokens)
    answers: dict[tuple[str, int], Answer] = {}
    for chosen in batches([len(ids) for ids in encoded], batch_size):
        rows = [_Row(encoded[i], owner=distinct[i][1], thinks=protocol.begins_thinking(distinct[i][0])) for i in chosen]
        _decode(model, tokenizer, rows, protocol, by_row)
        for i, row in zip(chosen, rows, strict=True):
            answers[distinct[i]] = _answer(tokenizer, row, protocol)
        if progress is not None:
            progress(sum(counts[distinct[i]] for i in chosen))
    return [answers[one] for one in asked]


def _check_lengths(model: PreTrainedModel, prompts: list[str], encoded: list[list[int]], limit: int) -> None:
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is None:
        return
    # An encoder-decoder counts the positions of prompt and answer apart.
    apart = decoder_start(model) is not None
    for prompt, ids in zip(prompts, encoded, strict=True):
        if (max(len(ids), limit) if apart else len(ids) + limit) > positions:
            raise ValueError(
                f"the prompt {prompt[:60]!r}... has {len(ids)} tokens; with up to {limit} tokens of answer that is "
                f"more than the {positions} positions of the model; shorten it, or lower max_new_tokens"
            )


class _Continued:
    """Next-token logits of a decoder-only model that continues its prompts."""

    def __init__(self, model: PreTrainedModel, prompts: list[list[int]], protocol: Protocol) -> None:
        self._model = model
        pad = protocol.eos_ids[0] if protocol.eos_ids else 0  # masked everywhere, so any id will do
        self._ids, self._mask = padded(prompts, pad, model.device, left=True)
        self._cache = DynamicCache(config=model.config)
        self._extra = _last_logits_only(model)

    def logits(self) -> torch.Tensor:
        """After what has been said so far [rows, vocabulary]."""
        positions = (self._mask.cumsum(-1) - 1).clamp(min=0)[:, -self._ids.shape[1] :]
        out = self._model(
            input_ids=self._ids,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            **self._extra,
        )
        return torch.as_tensor(out.logits[:, -1])

    def keep(self, index: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self._cache.batch_select_indices(index)
        self._mask = self._mask[index]

    def say(self, tokens: torch.Tensor) -> None:
        """Append one token [rows] to each row."""
        self._ids = tokens[:, None]
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)


class _Decoded:
    """Next-token logits of an encoder-decoder that has read its prompts."""

    def __init__(self, model: PreTrainedModel, prompts: list[list[int]], start: int) -> None:
        self._model = model
        ids, self._mask = padded(prompts, 0, model.device)
        self._read = model.get_encoder()(input_ids=ids, attention_mask=self._mask).last_hidden_state
        self._ids = torch.full((len(prompts), 1), start, device=model.device)
        self._cache = EncoderDecoderCache(DynamicCache(), DynamicCache())

    def logits(self) -> torch.Tensor:
        """After what has been said so far [rows, vocabulary]."""
        out = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self._read),
            attention_mask=self._mask,
            decoder_input_ids=self._ids,
            past_key_values=self._cache,
            use_cache=True,
        )
        return torch.as_tensor(out.logits[:, -1])

    def keep(self, index: torch.Tensor) -> None:
        """Go on with these rows alone."""
        self._cache.batch_select_indices(index)
        self._read, self._mask = self._read[index], self._mask[index]

    def say(self, tokens: torch.Tensor) -> None:
        """Append one token [rows] to each row."""
        self._ids = tokens[:, None]


@torch.no_grad()
def _decode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[_Row],
    protocol: Protocol,
    by_row: ByRow | None = None,
) -> None:
    """Fill ``tokens`` and ``stopped_by`` of each row; the batch shrinks as rows finish."""
    prompts, start = [row.prompt for row in rows], protocol.decoder_start
    if by_row is not None:
        by_row.use([row.owner for row in rows])
    speaker = _Continued(model, prompts, protocol) if start is None else _Decoded(model, prompts, start)
    running = rows
    while True:
        chosen = speaker.logits().argmax(-1)
        _take(tokenizer, running, chosen.tolist(), protocol)
        keep = [i for i, row in enumerate(running) if row.stopped_by is None]
        if not keep:
            return
        if len(running) - len(keep) >= SHRINK_AT * len(running):
            index = torch.tensor(keep, device=model.device)
            speaker.keep(index)
            chosen = chosen[index]
            running = [running[i] for i in keep]
            if by_row is not None:
                by_row.use([row.owner for row in running])
        speaker.say(chosen)


def _take(tokenizer: PreTrainedTokenizerBase, rows: list[_Row], chosen: list[int], protocol: Protocol) -> None:
    """Append one token to each unfinished row and apply the stop rule; finished rows stay as they are."""
    open_rows = []
    for row, token in zip(rows, chosen, strict=True):
        if row.stopped_by is None:
            row.tokens.append(token)
            if token in protocol.eos_ids:
                row.stopped_by = "eos"
            else:
                open_rows.append(row)
    if protocol.spec.stop:
        # Text, not token ids: a stop string may begin or end inside a token, or span several.
        for row in open_rows:
            if _cut(_answer_so_far(tokenizer, row, protocol), protocol.spec.stop) is not None:
                row.stopped_by = "stop"
    for row in open_rows:
        if row.stopped_by is None and len(row.tokens) >= protocol.spec.max_new_tokens:
            row.stopped_by = "limit"


def _text(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int], *, special: bool = False) -> str:
    text = tokenizer.decode(list(tokens), skip_special_tokens=not special, clean_up_tokenization_spaces=False)
    return str(text)


def _cut(text: str, stops: Sequence[str]) -> int | None:
    """Position of the earliest stop string, or None."""
    found = [at for at in (text.find(stop) for stop in stops) if at >= 0]
    return min(found) if found else None


def _parts(tokenizer: PreTrainedTokenizerBase, row: _Row, protocol: Protocol, tokens: Sequence[int]) -> Parts:
    """Thinking and answer among these tokens; only the answer where the protocol names no marks."""
    marks = protocol.spec.thinking
    if marks is None:
        return Parts(None, _text(tokenizer, tokens), None)
    # The marks may be special tokens, so they are looked for before those are left out.
    parts = part(_text(tokenizer, tokens, special=True), marks, opened=row.thinks)
    special = tokenizer.all_special_tokens
    thinking = None if parts.thinking is None else _without(parts.thinking, special)
    return Parts(thinking, _without(parts.answer, special), parts.closed)


def _without(text: str, tokens: Sequence[str]) -> str:
    for token in tokens:
        text = text.replace(token, "")
    return text


def _answer_so_far(tokenizer: PreTrainedTokenizerBase, row: _Row, protocol: Protocol) -> str:
    """The text in which stop strings count: all of it, or what follows the thinking part and its white space."""
    parts = _parts(tokenizer, row, protocol, row.tokens)
    return parts.answer if protocol.spec.thinking is None else parts.answer.lstrip()


def _answer(tokenizer: PreTrainedTokenizerBase, row: _Row, protocol: Protocol) -> Answer:
    if row.stopped_by is None:
        raise RuntimeError("a row left the decoding loop unfinished")
    parts = _parts(tokenizer, row, protocol, row.tokens[:-1] if row.stopped_by == "eos" else row.tokens)
    said = parts.answer if protocol.spec.thinking is None else parts.answer.lstrip()
    raw = _text(tokenizer, row.tokens, special=True)
    text = said[: _cut(said, protocol.spec.stop)]
    return Answer(text, raw, tuple(row.tokens), row.stopped_by, parts.thinking, parts.closed)


def padded(
    rows: list[list[int]], pad: int, device: torch.device, *, left: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, both [rows, longest], int64; padded on the right, or on the left."""
    width = max(map(len, rows))
    short = [width - len(row) for row in rows]
    if left:
        ids = [[pad] * gap + row for row, gap in zip(rows, short, strict=True)]
        mask = [[0] * gap + [1] * len(row) for row, gap in zip(rows, short, strict=True)]
    else:
        ids = [row + [pad] * gap for row, gap in zip(rows, short, strict=True)]
        mask = [[1] * len(row) + [0] * gap for row, gap in zip(rows, short, strict=True)]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _last_logits_only(model: PreTrainedModel) -> dict[str, Any]:
    """Return the argument that spares the head at all but the last position, where the model knows it."""
    return {"logits_to_keep": 1} if accepts_logits_to_keep(model) else {}


def accepts_logits_to_keep(model: PreTrainedModel) -> bool:
    """Whether the model can be asked for the logits of chosen positions only."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield indices in batches, shortest first, ties in the order given."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
