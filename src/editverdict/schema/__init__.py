"""Typed specs and their loader: every error names file, line, field and remedy."""

from editverdict.schema.base import Spec
from editverdict.schema.capabilities import CapabilityGroup, CapabilitySpec, CapabilityTask
from editverdict.schema.claims import ClaimSpec, Control, Definition, Expectation, PaperValue, Source
from editverdict.schema.errors import SpecError, SpecProblem, did_you_mean, nearest
from editverdict.schema.json_schema import json_schemas, write_json_schemas
from editverdict.schema.judges import LexicalJudgeSpec, LocalJudgeSpec, OpenAIJudgeSpec
from editverdict.schema.library import SpecLibrary, spec_hash
from editverdict.schema.profiles import ProfileSpec, Sizes
from editverdict.schema.protocols import AnswerProtocol, Thinking
from editverdict.schema.sources import (
    FileSource,
    FolderSource,
    HubFiles,
    HubSource,
    ModelSource,
    PackagedFile,
    RandomSource,
)
from editverdict.schema.specs import (
    KINDS,
    ArchitectureSpec,
    CorpusSpec,
    DatasetSpec,
    EncoderSpec,
    JudgeSpec,
    LayerPlan,
    MethodSpec,
    ModelSpec,
)

__all__ = [
    "KINDS",
    "AnswerProtocol",
    "ArchitectureSpec",
    "CapabilityGroup",
    "CapabilitySpec",
    "CapabilityTask",
    "ClaimSpec",
    "Control",
    "CorpusSpec",
    "DatasetSpec",
    "Definition",
    "EncoderSpec",
    "Expectation",
    "FileSource",
    "FolderSource",
    "HubFiles",
    "HubSource",
    "JudgeSpec",
    "LayerPlan",
    "LexicalJudgeSpec",
    "LocalJudgeSpec",
    "MethodSpec",
    "ModelSource",
    "ModelSpec",
    "OpenAIJudgeSpec",
    "PackagedFile",
    "PaperValue",
    "ProfileSpec",
    "RandomSource",
    "Sizes",
    "Source",
    "Spec",
    "SpecError",
    "SpecLibrary",
    "SpecProblem",
    "Thinking",
    "did_you_mean",
    "json_schemas",
    "nearest",
    "spec_hash",
    "write_json_schemas",
]
