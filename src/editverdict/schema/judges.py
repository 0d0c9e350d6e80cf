"""The specs of judges, one class per format."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from editverdict.schema.base import Identifier
from editverdict.schema.specs import JudgeSpec


class LexicalJudgeSpec(JudgeSpec):
    """A judge that compares words."""

    format: Literal["lexical"]
    rule: Literal["starts-with", "contains"] = "starts-with"


class OpenAIJudgeSpec(JudgeSpec):
    """A model behind an OpenAI-compatible endpoint (chat completions) as the judge, at temperature 0."""

    format: Literal["openai"]
    model: Annotated[str, Field(min_length=1)]
    """Name of the model, as the endpoint knows it."""
    base_url: str | None = None
    """Address of the endpoint, e.g. ``http://localhost:8000/v1``; none: the environment variable OPENAI_BASE_URL, or
    OpenAI's own. It holds neither user nor key."""
    weights: str | None = None
    """What the endpoint serves under the model's name (checkpoint, revision, quantisation). Where it is given, verdicts
    are kept under it and no longer under the address, which may then change."""
    key_env: Identifier | None = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key (never the key); null: the endpoint takes none."""
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    """How the reply's form is asked for beside the prompt (``response_format``); none for servers that know neither.
    The reply is checked in any case."""
    max_tokens: Annotated[int, Field(ge=16)] = 200
    """Longest reply, in tokens; thinking models need more."""
    limit_as: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Name of the limit in the request; newer models of OpenAI know only the second."""
    replies: Annotated[int, Field(ge=1)] = 3
    """How often the model is asked until its reply can be read as yes or no; then the answer stays undecided."""
    concurrency: Annotated[int, Field(ge=1)] = 8
    """Requests under way at once, over all workers together."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Longest silence of the endpoint within a request."""
    attempts: Annotated[int, Field(ge=1)] = 6
    """How often one request is sent if the endpoint cannot be reached, is overloaded, or fails."""
    backoff_seconds: Annotated[float, Field(gt=0)] = 1.0
    """Pause before the second attempt; it doubles with each further one. A longer ``Retry-After`` wins."""
    backoff_max_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Longest pause; an endpoint that asks for more gets no further attempt."""

    @model_validator(mode="after")
    def _no_secret(self) -> OpenAIJudgeSpec:
        if self.base_url is None:
            return self
        # Not urllib's: this must refuse what it cannot take apart, and never print what may be a key.
        scheme, _, rest = self.base_url.partition("://")
        host = rest.partition("/")[0]
        if scheme not in ("http", "https") or not host:
            raise ValueError("'base_url' must be like http://host:port/v1")
        if "@" in rest or "?" in rest or "#" in rest:
            raise ValueError("'base_url' holds no user, key or query: name the key's variable in 'key_env'")
        return self


class LocalJudgeSpec(JudgeSpec):
    """A model of specs/models as the judge, run here; another copy than the one that is edited."""

    format: Literal["local"]
    model: Identifier
    """Id of a model spec."""
    reply: Literal["text", "choice"] = "text"
    """text: the model writes its verdict, as behind an endpoint; choice: whether ``yes`` or ``no`` is more probable as
    the next word, which always decides, and suits small models that cannot keep to a form."""
    prompt_form: Literal["completion", "chat"] = "chat"
    max_tokens: Annotated[int, Field(ge=16)] = 200
    """Longest reply, in tokens (text)."""
    replies: Annotated[int, Field(ge=1)] = 2
    """How often the model is asked until its reply can be read as yes or no (text)."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Answers that are judged together; verdicts are kept after each batch."""
