"""Whether two models of a profile are asked in one way, so that what they answer can be set side by side."""

from __future__ import annotations

from collections.abc import Sequence

from editverdict.pipeline.trial import Trial
from editverdict.schema.protocols import AnswerProtocol

PUT = ("prompt_form", "decoding", "stop")
"""How a question is put, an answer decoded, and what ends it: the same for any two models that are compared."""
ALL = (*PUT, "max_new_tokens", "thinking", "template_options")
"""Everything that a protocol fixes but the model's own template and tokenizer."""


def unlike(trial: Trial, model: str, other: str, fields: Sequence[str] = ALL) -> str | None:
    """In which of these fields the protocols of two models differ, in words; None if in none.

    The judge is one for all models of a profile, and so is not compared.
    """
    one, two = (trial.profile.protocol_of(name) for name in (model, other))
    differing = [f"{field} {_said(one, field)} and {_said(two, field)}" for field in fields if _differ(one, two, field)]
    if not differing:
        return None
    return f"{model} is asked by protocol '{one.id}' and {other} by '{two.id}': {'; '.join(differing)}"


def _differ(one: AnswerProtocol, two: AnswerProtocol, field: str) -> bool:
    return bool(getattr(one, field) != getattr(two, field))


def _said(protocol: AnswerProtocol, field: str) -> str:
    value = getattr(protocol, field)
    if field == "thinking":
        return "parted" if value is not None else "not parted"
    return str(value) if not isinstance(value, tuple) else str(list(value))
