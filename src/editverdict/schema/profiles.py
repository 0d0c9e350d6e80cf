"""The spec of a profile: which models, methods and claims are on trial, and how much is measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from editverdict.schema.base import Identifier, MethodId, Spec
from editverdict.schema.capabilities import CapabilityGroup
from editverdict.schema.protocols import AnswerProtocol


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
    angle_states: Annotated[int, Field(ge=2)] = 6
    """Where ``angle_tokens`` are fewer than ten per dimension: states of a claim that are measured again on so many."""
    angle_chains: Annotated[int, Field(ge=0)] = 0
    """As ``angle_states``, of claims on deep angles along chains: chains that are measured again; without them such a
    claim decides nothing."""
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
    """With ``claims: all``: claims left to profiles with more time, but for what ``methods_for`` takes back."""
    seed: int = 0
    sizes: Sizes
    positions: Literal["all_tokens", "last_token", "mean_token"] = "all_tokens"
    """Which tokens of a text are samples: all but the first, the last one, or the mean over all but the first."""
    memory_gib: Annotated[float, Field(gt=0)] = 6.0
    """Memory that second moments of hidden states may take while they are collected; what does not fit goes to disk,
    then into further passes. The numbers do not depend on it."""
    methods_for: dict[MethodId, tuple[Identifier, ...]] = {}
    """What time allows of more methods, or of claims in ``left_out``: method -> claims that it is on trial
    for, besides those that all ``methods`` are."""
    edit_form: Literal["bare", "question"] = "bare"
    """In which form methods that write an edit from its prompt see it: as it is, or as the model is asked, within the
    chat template where its protocol is in chat form (docs/decisions.md). Methods that keep texts have none."""
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
        for name in (name for name in self.methods_for if name in self.methods):
            if twice := [claim for claim in self.methods_for[name] if claim not in self._left_out]:
                raise ValueError(
                    f"methods_for of profile '{self.id}' names {name} for {', '.join(twice)}; {name} stands under "
                    "methods, too, and is so on trial for every claim that is not in left_out; expected it in one of "
                    "the two"
                )
        return self

    @property
    def _left_out(self) -> tuple[str, ...]:
        """Claims that no method is on trial for unless ``methods_for`` names it."""
        return self.left_out if self.claims == "all" else ()

    @property
    def claims_elsewhere(self) -> tuple[str, ...]:
        """Claims that are left to other profiles altogether."""
        here = {claim for claims in self.methods_for.values() for claim in claims}
        return tuple(claim for claim in self._left_out if claim not in here)

    @property
    def claims_in_part(self) -> dict[str, tuple[str, ...]]:
        """Claims that are left to other profiles but for these methods."""
        elsewhere = self.claims_elsewhere
        return {claim: self.methods_of(claim) for claim in self._left_out if claim not in elsewhere}

    def methods_of(self, claim_id: str) -> tuple[str, ...]:
        """The methods on trial for a claim, in the order of the profile."""
        everywhere = () if claim_id in self._left_out else self.methods
        return (*everywhere, *(name for name, claims in self.methods_for.items() if claim_id in claims))

    @property
    def all_methods(self) -> tuple[str, ...]:
        """Every method that is on trial for some claim."""
        return tuple(dict.fromkeys((*self.methods, *self.methods_for)))

    def protocol_of(self, model_id: str) -> AnswerProtocol:
        """The protocol by which a model answers: its own, or the profile's."""
        return self.protocols.get(model_id, self.protocol)
