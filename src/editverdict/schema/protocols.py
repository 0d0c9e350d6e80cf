"""What makes an answer: the form of prompts, the end of answers, the marks around a thinking part."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from editverdict.schema.base import Identifier, Spec


class Thinking(Spec):
    """The marks around the thinking part of a reasoning model's answer."""

    open: Annotated[str, Field(min_length=1)] = "<think>"
    """Where the chat template writes it itself, the model starts inside the thinking part."""
    close: Annotated[str, Field(min_length=1)] = "</think>"
    """What follows its first occurrence is the answer."""

    @model_validator(mode="after")
    def _two_marks(self) -> Thinking:
        if self.open == self.close:
            raise ValueError(
                f"thinking.open and thinking.close are both {self.open!r}; expected two different marks, because the "
                "answer begins after the first 'close'"
            )
        return self


_TAKEN = frozenset(
    {"conversation", "messages", "tools", "documents", "chat_template", "add_generation_prompt", "tokenize", "padding"}
    | {"continue_final_message", "truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs"}
    | {"return_assistant_tokens_mask"}
)
"""Arguments beside a template's own options."""


class AnswerProtocol(Spec):
    """What makes an answer; its hash is the protocol id."""

    id: Identifier
    prompt_form: Literal["completion", "chat"] = "completion"
    decoding: Literal["greedy", "teacher-forced"] = "greedy"
    """Free greedy decoding, or the most probable token at each place of a given target (which reads the answer before
    it is given). A profile names the first; the second goes with it, under an id of its own."""
    max_new_tokens: Annotated[int, Field(ge=1)]
    """Tokens of an answer, the thinking part among them."""
    stop: tuple[str, ...] = ("\n",)
    """Texts that end an answer; with a thinking part they are looked for behind it and the white space that follows."""
    thinking: Thinking | None = None
    """Of reasoning models: the marks that part thinking from answer; none: everything said is the answer."""
    template_options: dict[str, bool | int | str] = {}
    """Options of the model's chat template, e.g. ``enable_thinking: true``."""

    @model_validator(mode="after")
    def _options_need_a_template(self) -> AnswerProtocol:
        if self.template_options and self.prompt_form != "chat":
            raise ValueError(
                f"protocol '{self.id}' has template_options ({', '.join(self.template_options)}) with prompt_form "
                f"'{self.prompt_form}', which uses no template; set prompt_form: chat, or leave the options out"
            )
        if taken := sorted(_TAKEN & set(self.template_options)):
            raise ValueError(
                f"template_options of protocol '{self.id}' name {', '.join(taken)}, which this library sets or which "
                "change more than the prompt's text; expected options that the template itself knows, e.g. "
                "enable_thinking"
            )
        return self

    def teacher_forced(self) -> AnswerProtocol:
        """The protocol of the same prompts by which targets are forced instead of answers decoded."""
        return self.model_copy(update={"id": f"{self.id}-teacher-forced", "decoding": "teacher-forced"})
