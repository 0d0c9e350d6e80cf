"""The typed specs: what a claim, a model, a method, a dataset, a corpus, a judge and a profile may say.

Every class is closed (an unknown key is an error) and frozen. A YAML file holds one or more top-level lists named after
the kind (``claims:``, ``models:``, ``architectures:``, ``methods:``, ``datasets:``, ``corpora:``, ``judges:``,
``capabilities:``, ``profiles:``); the loader in this room turns violations into messages that name file, line and
field.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from editverdict.schema.base import Identifier as Identifier
from editverdict.schema.base import Spec as Spec
from editverdict.schema.capabilities import CapabilityGroup, CapabilitySpec

MethodId = Annotated[str, Field(pattern=r"^(easyedit:)?[A-Za-z0-9][A-Za-z0-9._+-]*$")]
"""An identifier; ``easyedit:X`` is EasyEdit's own X. (``placebo:X``, the imitation of X, is no method of its own.)"""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


# --------------------------------------------------------------------------- claims
class Source(Spec):
    """Where a claim stands in the paper."""

    paper: str
    """Title of the paper, the epic of the report."""
    hypothesis: str
    """Hypothesis, theorem or research question, the feature of the report."""
    where: str
    """Sections, tables and figures."""


class Expectation(Spec):
    """The region of the quantity in which the claim is supported, and where that region comes from."""

    op: Literal["<=", "<", ">=", ">", "within"]
    threshold: float | None = None
    low: float | None = None
    high: float | None = None
    origin: Literal["paper", "convention", "ours"]
    ref: str | None = None
    """Cell, table or sentence of the paper, or the name of the convention."""
    rationale: str | None = None
    """Why this number; required where the threshold is ours, and it cites no measurement of the default model."""

    @model_validator(mode="after")
    def _complete(self) -> Expectation:
        if self.op == "within":
            if self.low is None or self.high is None or self.threshold is not None:
                raise ValueError("op 'within' takes 'low' and 'high' and no 'threshold'")
            if self.low >= self.high:
                raise ValueError(f"'low' ({self.low}) must be below 'high' ({self.high})")
        elif self.threshold is None or self.low is not None or self.high is not None:
            raise ValueError(f"op '{self.op}' takes a 'threshold' and neither 'low' nor 'high'")
        if self.origin == "ours" and not self.rationale:
            raise ValueError("a threshold of origin 'ours' needs a 'rationale'")
        if self.origin != "ours" and not self.ref:
            raise ValueError(f"a threshold of origin '{self.origin}' needs a 'ref' (table, sentence or convention)")
        return self


class Definition(Spec):
    """One reading of the quantity that the paper's wording admits."""

    name: Identifier
    role: Literal["primary", "rival", "descriptive"]
    note: str | None = None


class Control(Spec):
    """A measurement that guards the claim; its role says what it can do to the verdict."""

    name: Identifier
    role: Literal["negative", "positive", "comparator", "baseline"]
    """negative/positive decide validity; a comparator decides ``specific``; a baseline is only shown."""
    must: Literal["show", "not_show"] | None = None
    """Whether the control must show the effect; by default: positive shows, negative does not. A smallness or
    stability claim overrides it for its positive control, which must break the claim."""
    definition: Identifier | None = None
    """The definition that the control is measured by; the primary one if absent."""
    note: str | None = None


Key = Annotated[str | int, Field(union_mode="smart")]
"""A value of a key column of a printed table, e.g. a layer or a method."""


class OtherCells(Spec):
    """Printed cells that others are compared with: what is not said is as with those."""

    table: int | None = None
    keys: dict[str, Key | tuple[Key, ...]] = {}
    """Only the keys that differ."""
    column: str | None = None
    reduce: Literal["median", "mean"] | None = None
    """How several become one before the comparison; without it they go pairwise."""


class PaperValue(Spec):
    """A number that the paper prints for this claim, with the printed cells that it comes from.

    ``keys`` and ``column`` name the cells; a key with several values names several. Then, in this order: ``minus`` or
    ``over`` other cells, ``per`` a constant, ``reduce`` several to one, ``log10``.
    """

    table: int
    row: str
    """The row in words, for display."""
    value: float
    keys: dict[str, Key | tuple[Key, ...]] = {}
    """Key column -> value, as far as they are needed to tell the row."""
    column: str | None = None
    """Column of the table; a value without it is not looked up."""
    minus: OtherCells | None = None
    over: OtherCells | None = None
    per: float = 1.0
    """What the printed number is divided by, e.g. 100 for percent."""
    reduce: Literal["median", "mean", "min", "max", "spearman"] | None = None
    """How several cells become one; ``spearman``: rank correlation with their order in ``keys``."""
    log10: bool = False
    edits: int | None = None
    """T behind the value, where no key of the table says it."""
    not_comparable: str | None = None
    """Why this value differs from the claim's quantity by its definition, if it does."""
    note: str | None = None

    @model_validator(mode="after")
    def _named(self) -> PaperValue:
        derived = self.minus or self.over or self.reduce or self.log10 or self.keys or self.per != 1.0
        if self.column is None and derived:
            raise ValueError("a value that comes from printed cells names their 'column'")
        if self.minus and self.over:
            raise ValueError("'minus' and 'over' exclude each other")
        if self.per == 0.0:
            raise ValueError("'per' must not be 0")
        return self


class ClaimSpec(Spec):
    """One claim of a paper: what is measured, what is expected, and what guards it."""

    id: Identifier
    kind: Literal["claim", "check", "identity", "survey"] = "claim"
    statement: str
    source: Source
    quantity: Identifier
    """Name of a registered measurement."""
    describes: str
    """The quantity in words, with its unit."""
    reduce: str
    """How layers, k and T collapse into one number per resampling unit, in words."""
    subject: tuple[Literal["model", "method", "dataset"], ...]
    range: tuple[float | None, float | None] = (None, None)
    """Least and largest value that the quantity can take by its definition (null: no bound): a region that holds all
    of it, or none, would make a claim that cannot fail, or cannot be won (``editverdict validate --vacuous``)."""
    unit: Literal["text_block", "edit", "chain", "seed", "prompt", "answer"]
    min_units: Annotated[int, Field(ge=2)]
    edits: int | Literal["horizon"] = 1
    """T, the number of edits in the state that is measured (0: the unedited model); 'horizon': the method's."""
    methods: tuple[Literal["parameter", "external-memory", "combination", "control"], ...] = ("parameter",)
    """Kinds of method that the claim is about; ignored where the subject has no method."""
    about: tuple[MethodId, ...] = ()
    """Methods that the claim names; empty: all of the kinds in ``methods``. Others of the profile have no case."""
    about_models: tuple[Identifier, ...] = ()
    """Models that the claim names; empty: all. Others of the profile have no case."""
    data: tuple[Literal["facts", "events"], ...] = ("facts",)
    """Kinds of editing data that the claim is about. Events have neither reliability nor generalization, and what is
    written into weights are facts drawn from them; datasets of another kind have no case."""
    definitions: tuple[Definition, ...]
    expect: Expectation
    controls: tuple[Control, ...] = ()
    checks: tuple[Identifier, ...] = ()
    """Registered validity checks; any that fails makes the case invalid."""
    quantifier: Literal["all", "exists", "most", "mean"] = "all"
    population: str
    """What the claim speaks about: models and methods of the paper."""
    family: Identifier
    """Claims that belong together."""
    severity: Literal["blocker", "critical", "normal", "minor", "trivial"] = "normal"
    paper_values: tuple[PaperValue, ...] = ()
    requires: tuple[Identifier, ...] = ()
    """Ids of checks (kind 'check') that must hold for the same subject."""
    suite: Literal["hypotheses", "benchmark"] = "hypotheses"
    timed: bool = False
    """Whether the quantity is made of times or memory: measured anew, it is never bit-equal, and a machine that others
    use spoils it."""
    not_comparable: str | None = None
    """Why the paper has no number for this quantity, or none by the same definition; the setting (model, method, data,
    T) is compared by itself, see ``editverdict.inference.replication``."""

    @model_validator(mode="after")
    def _one_primary(self) -> ClaimSpec:
        primaries = [d.name for d in self.definitions if d.role == "primary"]
        if len(primaries) != 1:
            raise ValueError(f"exactly one definition must have role 'primary', found {len(primaries)}")
        return self

    @property
    def primary(self) -> Definition:
        """The definition that decides."""
        return next(d for d in self.definitions if d.role == "primary")


# --------------------------------------------------------------------------- sources of files
class PackagedFile(Spec):
    """A file inside a pinned distribution of a package index."""

    kind: Literal["packaged"] = "packaged"
    package: str
    version: str
    archive: Literal["wheel", "sdist"]
    members: Annotated[dict[str, Sha256], Field(min_length=1)]
    """Path inside the archive -> sha256 of the file."""


class HubSource(Spec):
    """A repository on a model hub."""

    kind: Literal["hub"] = "hub"
    repo: str
    revision: str = "main"


class HubFiles(HubSource):
    """Files of a data repository on a hub; they are read in the order of their names here."""

    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """Paths inside the repository."""


class UrlFile(Spec):
    """One file on the web, for data that no hub has."""

    kind: Literal["url"] = "url"
    url: Annotated[str, Field(pattern=r"^https?://[^/\s]+/\S*[^/\s]$")]
    """Ends with the file's name; best an address that names a commit."""
    sha256: Sha256 | None = None
    """Of the file, where it is known."""


class FolderSource(Spec):
    """A folder (or file) on this machine."""

    kind: Literal["folder"] = "folder"
    path: str


class RandomSource(Spec):
    """Random weights with the configuration and tokenizer of another model: for rehearsals only."""

    kind: Literal["random"] = "random"
    like: Identifier
    """Id of the model whose tokenizer and configuration are used."""
    model_type: str | None = None
    """Another family of transformers: its default configuration with ``overrides``, the tokenizer of ``like``."""
    overrides: dict[str, bool | int | float] = {}
    seed: int = 0


FileSource = Annotated[PackagedFile | HubSource | FolderSource, Field(discriminator="kind")]
DatasetSource = Annotated[PackagedFile | HubFiles | UrlFile | FolderSource, Field(discriminator="kind")]
ModelSource = Annotated[PackagedFile | HubSource | FolderSource | RandomSource, Field(discriminator="kind")]


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


# --------------------------------------------------------------------------- profiles
class Sizes(Spec):
    """How much a profile measures."""

    single_edits: Annotated[int, Field(ge=1)]
    chains: Annotated[int, Field(ge=1)]
    chain_length: Annotated[int, Field(ge=2)]
    long_chain: Annotated[int, Field(ge=2)]
    """The first chain goes on to this length."""
    schedule: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 5, 10)
    """T at which a chain is measured on its way; values beyond a chain's length are left out."""
    base_texts: Annotated[int, Field(ge=1)]
    base_tokens: Annotated[int, Field(ge=1)]
    """At least so many samples (tokens, first tokens of texts not counted; texts where ``positions`` is last_token or
    mean_token) from at least ``base_texts`` texts."""
    norm_tokens: Annotated[int, Field(ge=1)]
    angle_tokens: Annotated[int, Field(ge=1)]
    text_blocks: Annotated[int, Field(ge=2)]
    random_seeds: Annotated[int, Field(ge=1)]
    timed_prompts: Annotated[int, Field(ge=1)] = 20
    """Queries whose latency is measured, each in the state that is timed and in the unedited model."""
    timed_repeats: Annotated[int, Field(ge=1)] = 2
    """How often each of them is timed, in alternating order."""
    timed_edits: Annotated[int, Field(ge=1)] = 20
    """Edits that are made once more, one by one, to be timed."""
    memory_sizes: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)] = (100, 1000)
    """Numbers of texts in the memories of the claims about retrieval (Tables 44-46)."""


class ProfileSpec(Spec):
    """A named choice of models, methods, claims and sizes."""

    id: Identifier
    describes: str
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    requires_cuda: bool = False
    threads: Annotated[int, Field(ge=1)] = 1
    """Torch threads per process, the same for every number of workers."""
    models: tuple[Identifier, ...]
    methods: tuple[MethodId, ...]
    datasets: tuple[Identifier, ...]
    corpus: Identifier
    encoder: Identifier
    judge: Identifier
    protocol: AnswerProtocol
    protocols: dict[Identifier, AnswerProtocol] = {}
    """Models that answer by a protocol of their own, e.g. reasoning models with their thinking part and length."""
    claims: tuple[Identifier, ...] | Literal["all"] = "all"
    left_out: tuple[Identifier, ...] = ()
    """With ``claims: all``: claims that are left to profiles with more time."""
    seed: int = 0
    sizes: Sizes
    positions: Literal["all_tokens", "last_token", "mean_token"] = "all_tokens"
    """Which tokens of a text are samples: all but the first, the last one, or the mean over all but the first."""
    memory_gib: Annotated[float, Field(gt=0)] = 6.0
    """Memory that second moments of hidden states may take while they are collected; what does not fit goes to disk,
    then into further passes. The numbers do not depend on it."""
    methods_for: dict[MethodId, tuple[Identifier, ...]] = {}
    """Methods beyond ``methods``, each on trial for the named claims only: what the profile's time allows of them."""
    chains_from: Literal["drawn", "first"] = "drawn"
    """``drawn``: chains of records drawn by seed and id; ``first``: consecutive records from the beginning of the data,
    as appendix C.1 of the paper has them. There the long chain goes on over the records of the other chains."""
    triples: Identifier | None = None
    """Judge of format ``openai`` whose model draws the facts of events; none: the rule of `editverdict.data.cloze`."""
    capabilities: dict[CapabilityGroup, Identifier] = {}
    """The suite of tasks that stands for each group of them; a group without one has no case that can be measured."""
    chain_limits: dict[MethodId, Annotated[int, Field(ge=1)]] = {}
    """Methods too slow for ``long_chain``, with the longest chain that they make in the table of methods."""

    @model_validator(mode="after")
    def _answers_are_free(self) -> ProfileSpec:
        forced = [p.id for p in (self.protocol, *self.protocols.values()) if p.decoding != "greedy"]
        if forced:
            raise ValueError(
                f"protocol {', '.join(forced)} of profile '{self.id}' has decoding 'teacher-forced', expected "
                "'greedy'; teacher forcing goes with every protocol as a second one of its own id and need not be named"
            )
        return self

    @model_validator(mode="after")
    def _methods_are_named_once(self) -> ProfileSpec:
        if both := [name for name in self.methods_for if name in self.methods]:
            raise ValueError(
                f"methods_for of profile '{self.id}' names {', '.join(both)}, which stands under methods, too, and is "
                "so on trial for every claim; expected each method in one of the two"
            )
        return self

    def methods_of(self, claim_id: str) -> tuple[str, ...]:
        """The methods on trial for a claim, in the order of the profile."""
        return (*self.methods, *(name for name, claims in self.methods_for.items() if claim_id in claims))

    @property
    def all_methods(self) -> tuple[str, ...]:
        """Every method that is on trial for some claim."""
        return (*self.methods, *self.methods_for)

    def protocol_of(self, model_id: str) -> AnswerProtocol:
        """The protocol by which a model answers: its own, or the profile's."""
        return self.protocols.get(model_id, self.protocol)


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
