"""Contexts: the sentences in which an edit's prompt is read, first without one (ROME, section 3.1; MEMIT, 4.3)."""

from __future__ import annotations

from pydantic import Field, field_validator

from editverdict.editors.base import Hyperparameters, Resources


class ContextSettings(Hyperparameters):
    """In which contexts keys and values are found."""

    prefixes: int = Field(default=3, ge=0)
    """Context prefixes beside the bare prompt."""
    prefix_tokens: int = Field(default=6, ge=1)
    templates: tuple[str, ...] | None = None
    """Fixed templates in place of sampled prefixes; the first must be '{}'."""

    @field_validator("templates")
    @classmethod
    def _each_with_one_place(cls, templates: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if templates is None:
            return None
        if templates[:1] != ("{}",):
            raise ValueError("the first template must be '{}', the bare prompt")
        for template in templates:
            if template.count("{}") != 1 or template.count("{") + template.count("}") != 2:
                raise ValueError(f"template {template!r} must have '{{}}' once, for the prompt, and no other braces")
        return templates


def context_templates(settings: ContextSettings, resources: Resources) -> tuple[str, ...]:
    """Context templates within the frame of prompts, the one without a context first."""
    contexts = settings.templates
    if contexts is None:
        prefixes = resources.prefixes(settings.prefixes, settings.prefix_tokens)
        contexts = ("{}", *(f"{prefix}. {{}}" for prefix in prefixes))
    return tuple(map(resources.frame.template, contexts))
