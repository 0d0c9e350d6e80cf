"""The answer protocol: everything beside the model's weights that makes an answer, under one id.

Two answers can be compared only if their protocol ids are equal. The judge is no part of it (it has an id of its own),
so that answers can be judged again without being produced again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from editverdict.generation.thinking import opens_in
from editverdict.schema.protocols import AnswerProtocol

PROTOCOL_VERSION = 1
"""Raised whenever the code below would produce other answers from the same settings."""


def tokenizer_identity(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash what the tokenizer does to a text.

    Padding and truncation are left out: they are state that callers change, and this library sets neither.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        A fast tokenizer; for one without a fast backend the vocabulary and special tokens stand in.

    Returns
    -------
    str
        sha256, 64 hexadecimal digits.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state: dict[str, Any]
    if backend is not None:
        state = json.loads(backend.to_str())
        state.pop("padding", None)
        state.pop("truncation", None)
    else:
        state = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    return _sha256({"state": state, "special": {k: str(v) for k, v in tokenizer.special_tokens_map.items()}})


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Protocol:
    """How prompts become answers; build it with `Protocol.build`."""

    spec: AnswerProtocol
    """Prompt form, decoding, token limit and stop strings."""
    tokenizer_hash: str
    """Identity of the tokenizer (sha256)."""
    chat_template: str | None
    """The template in use; None in completion form, where it has no influence."""
    eos_ids: tuple[int, ...]
    """Tokens that end an answer, ascending; they are part of the stop rule."""
    tokenizer: PreTrainedTokenizerBase = field(repr=False, compare=False)
    decoder_start: int | None = None
    """Token from which the decoder of an encoder-decoder starts, the prompt going to the encoder; None for decoder-only
    models, which continue the prompt itself."""

    @classmethod
    def build(
        cls,
        spec: AnswerProtocol,
        tokenizer: PreTrainedTokenizerBase,
        *,
        identity: str | None = None,
        extra_eos: Iterable[int] = (),
        decoder_start: int | None = None,
    ) -> Protocol:
        """Bind a protocol spec to a tokenizer.

        Parameters
        ----------
        spec : AnswerProtocol
            The settings.
        tokenizer : PreTrainedTokenizerBase
            Tokenizer of the model that answers.
        identity : str, optional
            Hash of the tokenizer's state, if the caller has one already; `tokenizer_identity` by default.
        extra_eos : iterable of int, optional
            Further end tokens, e.g. those of the model's generation configuration (chat models often have two).
        decoder_start : int, optional
            `decoder_start` of the model that answers.

        Raises
        ------
        ValueError
            If the form is ``chat`` and the tokenizer has no chat template, or if a stop string is empty.
        """
        if "" in spec.stop:
            raise ValueError(
                f"protocol '{spec.id}': a stop string is empty, which would end every answer before its first token; "
                "expected non-empty strings such as \"\\n\"; remove the empty one, or use 'stop: []' for none"
            )
        template = _template(spec, tokenizer)
        own = tokenizer.eos_token_id
        eos = {int(i) for i in extra_eos} | ({int(own)} if isinstance(own, int) else set())
        return cls(
            spec, identity or tokenizer_identity(tokenizer), template, tuple(sorted(eos)), tokenizer, decoder_start
        )

    @property
    def id(self) -> str:
        """16 hexadecimal digits over what makes an answer (decisions.md, "Protocol id").

        The spec's own name is left out: two names for the same settings give the same answers.
        """
        # Named only where there is one, so that the ids of decoder-only models are what they were.
        start = {} if self.decoder_start is None else {"decoder_start": self.decoder_start}
        thinking = (
            {} if self.spec.thinking is None else {"thinking": [self.spec.thinking.open, self.spec.thinking.close]}
        )
        options = {"template_options": self.spec.template_options} if self.spec.template_options else {}
        # A forced target ends where it ends, and nothing of it is thought.
        free = {
            "max_new_tokens": self.spec.max_new_tokens,
            "stop": sorted(set(self.spec.stop)),
            "eos": list(self.eos_ids),
            **thinking,
        }
        return _sha256(
            {
                "version": PROTOCOL_VERSION,
                "tokenizer": self.tokenizer_hash,
                "prompt_form": self.spec.prompt_form,
                "chat_template": self.chat_template,
                "decoding": self.spec.decoding,
                **(free if self.spec.decoding == "greedy" else {}),
                **options,
                **start,
            }
        )[:16]

    def teacher_forced(self) -> Protocol:
        """The protocol that forces targets after the same prompts (`generation.forced`); its id is another."""
        return replace(self, spec=self.spec.teacher_forced())

    def render(self, prompt: str) -> str:
        """Return the text that the model reads: the prompt itself, or the chat template around it."""
        if self.spec.prompt_form == "completion":
            return prompt
        messages = [{"role": "user", "content": prompt}]
        options: dict[str, Any] = dict(self.spec.template_options)
        text = self.tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=True,
            chat_template=self.chat_template,
            **options,
        )
        return str(text)

    def begins_thinking(self, prompt: str) -> bool:
        """Whether the rendered prompt itself opens the thinking part, so that the model does not."""
        return self.spec.thinking is not None and opens_in(self.render(prompt), self.spec.thinking)

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of the rendered prompts, unpadded.

        In chat form the template writes the special tokens itself, so the tokenizer adds none.

        Raises
        ------
        ValueError
            If a prompt gives no token at all: there is nothing to continue.
        """
        if not prompts:
            return []
        rendered = [self.render(prompt) for prompt in prompts]
        special = self.spec.prompt_form == "completion"
        ids = encode_texts(self.tokenizer, rendered, add_special_tokens=special)
        for i, tokens in enumerate(ids):
            if not tokens:
                raise ValueError(f"prompt {i} ({prompts[i]!r}) has no tokens; expected some text to continue")
        return ids


def decoder_start(model: Any) -> int | None:
    """Token from which the decoder of an encoder-decoder starts; None for a decoder-only model.

    Raises
    ------
    ValueError
        The model is an encoder-decoder and its configuration does not name the token.
    """
    if not getattr(model.config, "is_encoder_decoder", False):
        return None
    for settings in (model.config, getattr(model, "generation_config", None)):
        start = getattr(settings, "decoder_start_token_id", None)
        if start is not None:
            return int(start)
    raise ValueError(
        f"{type(model).__name__} is an encoder-decoder, but its configuration names no decoder_start_token_id; set it "
        "in the model's config.json (T5: the id of its padding token)"
    )


def end_tokens(model: Any) -> tuple[int, ...]:
    """Tokens that end an answer by the model's generation configuration, ascending; chat models often have several."""
    found = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    many = found if isinstance(found, list | tuple) else [] if found is None else [found]
    return tuple(sorted({int(token) for token in many}))


class ProtocolMismatch(ValueError):
    """Numbers of different protocols were about to be compared or averaged."""


def one_protocol(ids: Iterable[str | None], what: str) -> str | None:
    """The one protocol id behind several numbers; None if there are no numbers, or none of them carries an id.

    Parameters
    ----------
    ids : iterable of str or None
        Of every number that is to be put together.
    what : str
        What they are, for the message.

    Raises
    ------
    ProtocolMismatch
        The ids differ, or only some of the numbers carry one.
    """
    found = set(ids)
    if len(found) > 1:
        named = ", ".join(sorted("none" if one is None else one for one in found))
        raise ProtocolMismatch(
            f"{what} carry different protocol ids ({named}), expected one: answers made in different ways are neither "
            "compared nor averaged; ask both sides by one protocol, or state the gap between two protocols as such "
            "(inference.comparisons.protocol_gap)"
        )
    return found.pop() if found else None


def encode_texts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, add_special_tokens: bool
) -> list[list[int]]:
    """Token ids of each text, neither padded nor truncated; the tokenizer is left as it was."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=add_special_tokens, padding=False, truncation=False)
    return [list(ids) for ids in encoded["input_ids"]]


class Rendered(str):
    """A prompt as a chat template renders it: it brings its special tokens, and an answer begins right behind it."""

    __slots__ = ()

    def format(self, *args: object, **named: object) -> Rendered:
        """As of any text; what comes out is as rendered."""
        return Rendered(super().format(*args, **named))


def prompt_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a prompt, with the tokenizer's own special tokens unless a template has brought them."""
    special = {"add_special_tokens": False} if isinstance(text, Rendered) else {}
    return list(tokenizer(text, **special)["input_ids"])


def target_after(encode: Callable[[str], Sequence[int]], target: str, prompt: str) -> list[int]:
    """Token ids of a target behind a prompt: after one space, or where an answer begins, behind a rendered one.

    Parameters
    ----------
    encode : callable
        Text -> ids, without special tokens.
    target, prompt : str
        Spaces around the target do not count.
    """
    return list(encode(target.strip())) if isinstance(prompt, Rendered) else continuation_ids(encode, target)


WORD = "a"
"""Stands before a continuation while its tokens are found; no tokenizer joins it to the next word."""


def continuation_ids(encode: Callable[[str], Sequence[int]], text: str) -> list[int]:
    """Token ids of a text that continues another one after exactly one space.

    Read off behind a word, because tokenizers differ in how they begin a text: byte-level ones (GPT-2, Llama-3) write
    the space into the first token, some that mark words by ``▁`` (Llama-2, Mistral) put a mark before every text and
    would make two of a leading space, others (T5) make one of both.

    Parameters
    ----------
    encode : callable
        Text -> ids, without special tokens.
    text : str
        The continuation; spaces around it do not count.
    """
    bare = text.strip()
    head, whole = list(encode(WORD)), list(encode(f"{WORD} {bare}")) if bare else []
    if head and whole[: len(head)] == head:
        return whole[len(head) :]
    return list(encode(f" {bare}")) if bare else []


def _template(spec: AnswerProtocol, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Chat template for chat form, None for completion form."""
    if spec.prompt_form == "completion":
        return None
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise ValueError(
            f"protocol '{spec.id}': prompt_form is 'chat', but the tokenizer of this model has no (default) chat "
            "template; use prompt_form 'completion', or a model whose tokenizer brings a template"
        ) from error
