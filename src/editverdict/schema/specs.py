"""The typed specs: what is tried and on what (models, methods, data, judges), and the table of all kinds.

Every class is closed (an unknown key is an error) and frozen. A YAML file holds one or more top-level lists named after
the kind (``claims:``, ``models:``, ``architectures:``, ``methods:``, ``datasets:``, ``corpora:``, ``judges:``,
``capabilities:``, ``profiles:``); the loader in this room turns violations into messages that name file, line and
field.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from editverdict.schema.base import Identifier, MethodId, Spec
from editverdict.schema.capabilities import CapabilitySpec
from editverdict.schema.claims import ClaimSpec
from editverdict.schema.profiles import ProfileSpec
from editverdict.schema.sources import DatasetSource, FileSource, HubSource, ModelSource


# --------------------------------------------------------------------------- models
class ArchitectureSpec(Spec):
    """Where the parts of a model family are: module paths, with ``{}`` for the layer number."""

    id: Identifier
    model_types: tuple[str, ...]
    """Values of ``config.model_type`` that this table covers."""
    layers: str
    """Path of the ModuleList of decoder layers, e.g. ``model.layers``."""
    attention: str
    """Path of the self-attention module of layer ``{}``."""
    mlp: str
    """Path of the feed-forward module of layer ``{}``."""
    down_proj: str
    """Path of the projection that an edit changes and whose output is the hidden state, for layer ``{}``."""
    final_norm: str
    lm_head: str
    position_embedding: str | None = None
    """Path of a learned position embedding (GPT-2), which is added once, below the first layer."""
    encoder_decoder: bool = False
    """Whether prompts go to an encoder and answers come from a decoder (T5)."""
    modules: dict[Literal["Enc-wi", "Enc-wo", "Dec-wi", "Dec-wo"], str] = {}
    """Of an encoder-decoder: paths of the projections into (wi) and out of (wo) the feed-forward modules of encoder and
    decoder block ``{}``, where the paper measures T5. Gated feed-forward modules have two projections in, and no wi."""

    @model_serializer(mode="wrap")
    def _without_empty_modules(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The table's hash is part of every recipe: one without such paths is still the table it was without the field.
        found: dict[str, Any] = handler(self)
        if not self.modules:
            found.pop("modules", None)
        return found


class LayerPlan(Spec):
    """Which layers are edited and measured."""

    edit: Annotated[int, Field(ge=0)]
    measured: tuple[Annotated[int, Field(ge=0)], ...]
    inner: tuple[Annotated[int, Field(ge=0)], ...]
    """The measured layers that count as inner (the paper's tables: all but the last two)."""

    @model_validator(mode="after")
    def _consistent(self) -> LayerPlan:
        missing = sorted(({self.edit} | set(self.inner)) - set(self.measured))
        if missing:
            raise ValueError(f"layers {missing} are edited or inner but not in 'measured'")
        if list(self.measured) != sorted(set(self.measured)):
            raise ValueError("'measured' must be ascending and without repetition")
        return self


class ModelSpec(Spec):
    """A language model: where its files are, its architecture, its layers."""

    id: Identifier
    source: ModelSource
    hub: HubSource | None = None
    """The same model on a hub, for machines that reach one."""
    architecture: Identifier
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    attention: Literal["sdpa", "eager"] = "sdpa"
    layers: LayerPlan
    module_blocks: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Of an encoder-decoder: the blocks, of encoder and decoder alike, whose wi and wo are measured; none named: the
    last two of each."""
    weights: Literal["pretrained", "random"] = "pretrained"
    in_paper: bool = False
    licence: str | None = None


# --------------------------------------------------------------------------- methods
class MethodSpec(Spec):
    """An editing method: a registered editor with hyperparameters, each with its source."""

    id: MethodId
    editor: Identifier
    kind: Literal["parameter", "external-memory", "combination", "control"]
    family: Literal[
        "locate-then-edit", "meta-learning", "additional-parameters", "external-memory", "combination", "control"
    ]
    reference: str
    horizon: int | None = None
    """Number of edits from which the paper reports collapse (Table 37); none if it reports none."""
    horizon_ref: str | None = None
    hyperparameters: dict[str, Any] = {}
    """Checked against the editor's own closed schema."""
    hyperparameters_source: str
    per_model: dict[Identifier, dict[str, Any]] = {}
    """Overrides for one model."""
    in_context: bool = False
    """Whether it answers by putting texts before questions (SCR); every other method X can then be named ``X+SCR``,
    which needs no spec of its own."""
    in_paper: bool = False
    note: str | None = None


# --------------------------------------------------------------------------- data
class DatasetSpec(Spec):
    """Editing data."""

    id: Identifier
    format: Literal["worldfacts", "jsonl", "knowedit", "counterfact", "elken", "auto"]
    """``auto``: each record's shape is found by itself."""
    source: DatasetSource | None = None
    """None for data built by code."""
    seed: int = 0
    size: Annotated[int, Field(ge=1)] | None = None
    """Take only so many records, the first ones."""
    in_paper: bool = False
    licence: str | None = None

    @property
    def kind(self) -> Literal["facts", "events"] | None:
        """What its records are, as far as the format says it; None: they have to be read."""
        if self.format in ("auto", "jsonl"):
            return None
        return "events" if self.format == "elken" else "facts"


class CorpusSpec(Spec):
    """Text for hidden states and covariances, one text per line or gloss."""

    id: Identifier
    format: Literal["wordnet", "lines", "jsonl"]
    source: FileSource
    min_words: Annotated[int, Field(ge=1)] = 5
    in_paper: bool = False
    licence: str | None = None


class EncoderSpec(Spec):
    """A sentence encoder for retrieval."""

    id: Identifier
    source: FileSource
    hub: HubSource | None = None
    licence: str | None = None


class JudgeSpec(Spec):
    """What decides whether an answer is right; ``format`` says which kind of judge, and so which fields there are."""

    id: Identifier
    format: Literal["lexical", "openai", "local"]

    @classmethod
    def variants(cls) -> dict[str, type[Spec]]:
        """The class of each format."""
        from editverdict.schema.judges import LexicalJudgeSpec, LocalJudgeSpec, OpenAIJudgeSpec

        return {"lexical": LexicalJudgeSpec, "openai": OpenAIJudgeSpec, "local": LocalJudgeSpec}


# --------------------------------------------------------------------------- all of them
KINDS: dict[str, type[Spec]] = {
    "claims": ClaimSpec,
    "architectures": ArchitectureSpec,
    "models": ModelSpec,
    "methods": MethodSpec,
    "datasets": DatasetSpec,
    "corpora": CorpusSpec,
    "encoders": EncoderSpec,
    "judges": JudgeSpec,
    "capabilities": CapabilitySpec,
    "profiles": ProfileSpec,
}
"""Top-level key of a YAML file -> class of the items in its list."""
