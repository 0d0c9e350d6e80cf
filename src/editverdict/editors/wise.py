"""WISE: a side memory beside the main one, and a router between them (Wang et al. 2024, arXiv 2405.14768).

The side memory W_v' is a copy of one layer's down-projection W_v (d_ff -> d), and only it is edited (section 2.3.1).
The routing activation of a token is Delta_act = |A(x) (W_v' - W_v)| (eq. 3), A(x) being the down-projection's input.
Edits are trained on the target's negative log-likelihood plus a margin loss (eq. 5) that lifts the activation of edits
above beta, keeps that of irrelevant texts below alpha, and the two gamma apart. A text whose activation is above the
smallest of any edit goes through the side memory, any other through the main one, untouched bit by bit (eq. 6).

Knowledge is sharded (section 2.3.2): a run of edits is trained into one copy of W_v, in the random subspace of its
gradient mask (share ``mask_ratio``, eq. 7), the next run into another copy; the copies are merged by TIES (eq. 8). This
is WISE-Merge, with one side memory. A step of the state holds its shard as it is after the edit: the numbers in the
mask, which follows from the seed. All else is computed from the steps, so a chain resumes exactly.

Where the paper leaves room:

* A text's activation is taken over its tokens by ``over_tokens``, padding left out. When the decision is made, and for
  how long it holds: ``wise_routing.py``.
* The threshold is a little below the smallest activation of any edit in any of its contexts (``threshold_ratio``): eq.
  6 has a strict inequality, which the edit with the smallest activation would fail.
* Shards that are not full when the state is put in force are merged as they are. After a merge new shards start from
  W_v, with new masks, and are merged with the memory so far, which weighs ``kept_weight``.
* The irrelevant texts are texts of the corpus and the prompts of ``tune`` records, so many of each as the settings say;
  texts that name the edit's subject are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from editverdict.capture.passes import record
from editverdict.data.records import EditRecord
from editverdict.editors.base import (
    Answering,
    CannotEdit,
    EditError,
    Hyperparameters,
    Plain,
    Resources,
    State,
    Step,
    fact_of,
    the_new_edit,
)
from editverdict.editors.contexts import ContextSettings, context_templates
from editverdict.editors.losses import Forced, force, logits_from, padded, row_losses
from editverdict.editors.registry import register_editor
from editverdict.editors.tails import passage
from editverdict.editors.wise_routing import Over, routed, text_activation
from editverdict.models.sources import LoadedModel

CORPUS_TEXTS = 2000
"""Texts of the corpus from which irrelevant ones are drawn."""
IRRELEVANT_TOKENS = 32
"""An irrelevant text is cut to this many tokens, a rendered prompt is not (`tails.passage`)."""


class WiseSettings(ContextSettings):
    """Hyperparameters of WISE; names in brackets are the paper's."""

    layer: int | None = Field(default=None, ge=0)
    """Layer whose down-projection has a side memory; None: the layer that the model spec names."""
    mask_ratio: float = Field(default=0.2, gt=0, le=1)
    """Share of a shard's weights that may change [rho]."""
    shards: int = Field(default=2, ge=1)
    """Shards that are merged together [k]."""
    edits_per_shard: int = Field(default=5, ge=1)
    learning_rate: float = Field(default=1.0, gt=0)
    """Of plain gradient descent [eta]."""
    steps: int = Field(default=70, ge=1)
    early_stop: float = Field(default=0.02, ge=0)
    """Stop before the update when the loss is below this; 0 switches it off."""
    alpha: float = Field(default=5.0, ge=0)
    """Activation that irrelevant texts are to stay below."""
    beta: float = Field(default=20.0, gt=0)
    """Activation that edits are to exceed."""
    gamma: float = Field(default=10.0, ge=0)
    """Distance between the two."""
    over_tokens: Over = "mean"
    """How a text's activation comes from those of its tokens."""
    threshold_ratio: float = Field(default=0.88, gt=0, le=1)
    """Threshold over the smallest activation of any edit [epsilon]."""
    irrelevant_corpus: int = Field(default=4, ge=0)
    """Irrelevant texts from the corpus, drawn for each edit."""
    irrelevant_prompts: int = Field(default=4, ge=0)
    """Irrelevant prompts from the ``tune`` split, drawn for each edit."""
    density: float = Field(default=0.53, gt=0, le=1)
    """Share of each vector's entries that TIES keeps."""
    kept_weight: float = Field(default=0.6, gt=0, lt=1)
    """Weight of the memory merged earlier when new shards are merged into it."""
    seed: int = 0


# ---------------------------------------------------------------------------------------------------- the equations
def margin_loss(edits: Tensor, irrelevant: Tensor, alpha: float, beta: float, gamma: float) -> Tensor:
    """Eq. 5 averaged over all pairs of an edit's activation [e] and an irrelevant text's [i]."""
    below = functional.relu(irrelevant - alpha).mean()
    above = functional.relu(beta - edits).mean()
    apart = functional.relu(gamma - (edits[:, None] - irrelevant[None])).mean()
    return below + above + apart


def shard_places(size: int, ratio: float, seed: str) -> Tensor:
    """Places of a random gradient mask that lets a share ``ratio`` of ``size`` weights change: ascending, int64."""
    generator = torch.Generator().manual_seed(_seed(seed))
    count = max(1, round(ratio * size))
    return torch.randperm(size, generator=generator)[:count].sort().values


def ties_merge(vectors: Tensor, weights: Tensor, density: float) -> Tensor:
    """Merge task vectors [n, size] into one [size] (eq. 8; Yadav et al. 2023): trim, elect signs, disjoint mean.

    Of each vector the share ``density`` with the largest magnitudes is kept; each entry's sign is that of the weighted
    sum; the weighted mean is over the vectors that have this sign there.
    """
    kept = torch.stack([_trimmed(vector, density) for vector in vectors])
    weighted = kept * weights[:, None]
    elected = torch.where(weighted.sum(0) >= 0, 1.0, -1.0).to(kept)
    agreeing = kept.sign() == elected
    divisor = (agreeing * weights[:, None]).sum(0)
    total = torch.where(agreeing, weighted, torch.zeros_like(weighted)).sum(0)
    return torch.where(divisor > 0, total / divisor.clamp(min=1e-300), torch.zeros_like(total))


def _trimmed(vector: Tensor, density: float) -> Tensor:
    drop = len(vector) - max(1, round(density * len(vector)))
    magnitude = vector.abs()
    # Vectors of one shard are mostly zeros: then nothing that is not zero is dropped.
    if drop <= int((vector == 0).sum()):
        return vector
    limit = magnitude.kthvalue(drop).values
    return torch.where(magnitude > limit, vector, torch.zeros_like(vector))


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


# ------------------------------------------------------------------------------------------------------- the shards
@dataclass(frozen=True)
class _Shard:
    """The shard that an edit belongs to."""

    name: str
    """Seed of its mask."""
    started: bool
    """Whether an earlier edit is in it."""


def shard_of(settings: WiseSettings, number: int) -> _Shard:
    """Shard of edit ``number``, counted from 0."""
    per_round = settings.shards * settings.edits_per_shard
    place = f"round {number // per_round} shard {number % per_round // settings.edits_per_shard}"
    return _Shard(f"{settings.seed}|{place}", number % settings.edits_per_shard > 0)


def shard_vector(settings: WiseSettings, number: int, step: Step, size: int) -> Tensor:
    """W_v^i - W_v of the shard as step ``number`` left it [size], float64."""
    places = shard_places(size, settings.mask_ratio, shard_of(settings, number).name)
    return torch.zeros(size, dtype=torch.float64).index_copy(0, places, step.tensors["side.values"].double())


def side_memory(settings: WiseSettings, state: State, size: int) -> Tensor:
    """W_v' - W_v [size], float64: the shards of each round merged, with what was merged before."""
    per_round, per_shard = settings.shards * settings.edits_per_shard, settings.edits_per_shard
    merged: Tensor | None = None
    for start in range(0, len(state), per_round):
        stop = min(start + per_round, len(state))
        last = [min(first + per_shard, stop) - 1 for first in range(start, stop, per_shard)]
        vectors = [shard_vector(settings, number, state[number], size) for number in last]
        weights = [1 / len(vectors)] * len(vectors)
        if merged is not None:
            weights = [(1 - settings.kept_weight) / len(vectors)] * len(vectors) + [settings.kept_weight]
            vectors.append(merged)
        merged = ties_merge(torch.stack(vectors), torch.tensor(weights, dtype=torch.float64), settings.density)
    return torch.zeros(size, dtype=torch.float64) if merged is None else merged


def threshold(settings: WiseSettings, state: State) -> float:
    """Activation above which a text goes through the side memory."""
    return settings.threshold_ratio * min(float(step.tensors["side.activation"]) for step in state)


# ------------------------------------------------------------------------------------------------------- the editor
@dataclass(frozen=True)
class _Texts:
    """Texts as far as the main model brings them: one layer is edited, so this does not change while it is."""

    keys: Tensor
    """[b, t, d_ff] input of the down-projection, A(x)."""
    below: Tensor
    """[b, t, d] input of the layer."""
    mask: Tensor
    """[b, t] 1 for the tokens over which the activation is taken."""


@torch.no_grad()
def _read(loaded: LoadedModel, layer: int, ids: Tensor, mask: Tensor, counted: Tensor) -> _Texts:
    with (
        record(loaded, keys=[layer], layer_inputs=[layer]) as seen,
        loaded.sites.only_layers_before(layer + 1) as backbone,
    ):
        backbone(input_ids=ids, attention_mask=mask, use_cache=False)
    return _Texts(seen["key", layer], seen["in", layer], counted)


@contextmanager
def _shifted(loaded: LoadedModel, layer: int, shift: Tensor) -> Iterator[None]:
    """Add ``shift`` [b, t, d] to what a down-projection puts out."""
    handle = loaded.sites.down_proj(layer).register_forward_hook(lambda _module, _args, output: output + shift)
    try:
        yield
    finally:
        handle.remove()


@register_editor
class Wise:
    """The editor; see the module's docstring."""

    name: ClassVar[str] = "wise"
    version: ClassVar[int] = 2
    answers_itself: ClassVar[bool] = True
    hyperparameters_type: ClassVar[type[Hyperparameters]] = WiseSettings

    def __init__(self, hyperparameters: WiseSettings) -> None:
        self.hyperparameters = hyperparameters

    def layer(self, loaded: LoadedModel) -> int:
        """The layer with the side memory."""
        if loaded.sites.spec.encoder_decoder:
            raise CannotEdit(
                f"WISE routes the prompts of a decoder-only model, and '{loaded.spec.id}' is an encoder-decoder; take "
                "FT-L or MEND for it"
            )
        chosen = self.hyperparameters.layer
        layer = loaded.spec.layers.edit if chosen is None else chosen
        if layer >= loaded.sites.n_layers:
            raise EditError(
                f"WISE is to edit layer {layer}, but model '{loaded.spec.id}' has {loaded.sites.n_layers} layers"
            )
        return layer

    def edit(self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources) -> Step:
        """Train the edit into its shard, in the shard's subspace."""
        edit, layer, settings = the_new_edit(state, records, "WISE"), self.layer(loaded), self.hyperparameters
        shard, size = shard_of(settings, len(state)), loaded.sites.down_weight(layer).numel()
        places = shard_places(size, settings.mask_ratio, shard.name)
        start = state[-1].tensors["side.values"] if shard.started else torch.zeros(len(places))
        prompts = [template.format(edit.prompt) for template in context_templates(settings, resources)]
        forced = force(loaded, prompts, [edit.target_new] * len(prompts))
        firsts = torch.zeros(forced.count, dtype=torch.long, device=loaded.device)
        firsts[forced.row] = forced.first
        columns = torch.arange(forced.ids.shape[1], device=loaded.device)
        texts = _read(loaded, layer, forced.ids, forced.mask, columns <= firsts[:, None])
        irrelevant = self._irrelevant(loaded, layer, edit, resources)
        training = _Training(loaded, layer, edit, forced, texts, irrelevant, settings, places.to(loaded.device))
        values, trace = training.run(start.to(loaded.device))
        activation = training.activation(values)
        tensors = {"side.values": values.cpu(), "side.activation": torch.tensor([activation], dtype=torch.float64)}
        return Step(tensors, {"trace": trace, "forwards": len(trace), "shard": shard.name, "activation": activation})

    def training_fields(self, loaded: LoadedModel, resources: Resources) -> dict[str, Any]:
        """What a step depends on beside model, corpus and edits: the prompts that stand for irrelevant ones."""
        if not self.hyperparameters.irrelevant_prompts:
            return {}
        prompts = "\n".join(map(resources.frame.around, _tune_prompts(resources)))
        return {"irrelevant": hashlib.sha256(prompts.encode()).hexdigest()}

    def _irrelevant(self, loaded: LoadedModel, layer: int, edit: EditRecord, resources: Resources) -> _Texts:
        """Irrelevant texts of an edit, drawn by a seed of its own."""
        settings = self.hyperparameters
        texts: list[str] = []
        if settings.irrelevant_corpus:
            corpus = resources.texts(CORPUS_TEXTS)
            texts += _drawn(corpus, settings.irrelevant_corpus, edit, f"{settings.seed}|corpus|{fact_of(edit)}")
        if settings.irrelevant_prompts:
            seed = f"{settings.seed}|prompts|{fact_of(edit)}"
            prompts = _drawn(_tune_prompts(resources), settings.irrelevant_prompts, edit, seed)
            texts += map(resources.frame.around, prompts)
        if not texts:
            raise EditError(
                f"edit '{edit.id}': WISE found no irrelevant texts for its router; raise 'irrelevant_corpus' or "
                "'irrelevant_prompts', or supply a corpus or a tune split"
            )
        rows = [passage(loaded, text, max_length=IRRELEVANT_TOKENS).ids for text in texts]
        ids, mask = padded(loaded, rows)
        return _read(loaded, layer, ids, mask, mask)

    @contextmanager
    def install(
        self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources
    ) -> Iterator[Answering]:
        """Merge the shards and route; on leaving, the hooks are gone."""
        layer, settings = self.layer(loaded), self.hyperparameters
        if not state:
            yield Plain()
            return
        shape = loaded.sites.down_weight(layer).shape
        delta = side_memory(settings, state, shape.numel()).reshape(shape)
        with routed(loaded, layer, delta, threshold(settings, state), settings.over_tokens):
            yield Plain()


def _tune_prompts(resources: Resources) -> list[str]:
    """Prompts of the ``tune`` split; not its locality probes, of which verdicts may ask the very same ones."""
    return list(dict.fromkeys(record.prompt for record in resources.train_edits()))


def _drawn(pool: Sequence[str], count: int, edit: EditRecord, seed: str) -> list[str]:
    """Some texts of a pool, none of which names the edit's subject."""
    fitting = [text for text in pool if text.strip() and edit.subject not in text]
    order = torch.randperm(len(fitting), generator=torch.Generator().manual_seed(_seed(seed)))
    return [fitting[number] for number in order[:count].tolist()]


@dataclass(frozen=True)
class _Training:
    """Gradient descent on one edit: eq. 7 with the loss of eq. 5 and the target's negative log-likelihood."""

    loaded: LoadedModel
    layer: int
    edit: EditRecord
    forced: Forced
    texts: _Texts
    """The edit's prompt in its contexts, the bare one first."""
    irrelevant: _Texts
    settings: WiseSettings
    places: Tensor
    """[m] where the shard's mask lets weights change."""

    def _delta(self, values: Tensor) -> Tensor:
        """W_v^i - W_v [d, d_ff]; the gradient reaches what the mask lets through."""
        weight = self.loaded.sites.down_weight(self.layer)
        return (
            weight.new_zeros(weight.numel()).index_copy(0, self.places, values.to(weight.dtype)).reshape(weight.shape)
        )

    def _activation(self, texts: _Texts, delta: Tensor) -> tuple[Tensor, Tensor]:
        """A(x) (W_v' - W_v) [b, t, d], and the texts' activations [b]."""
        shift = texts.keys @ delta.T
        return shift, text_activation(shift, texts.mask, self.settings.over_tokens)

    @torch.no_grad()
    def activation(self, values: Tensor) -> float:
        """Smallest routing activation of the edit's prompt in any of its contexts."""
        return float(self._activation(self.texts, self._delta(values))[1].min())

    def run(self, start: Tensor) -> tuple[Tensor, list[dict[str, float]]]:
        """The shard's values [m] afterwards, and the losses before each update."""
        settings = self.settings
        values = start.detach().clone().requires_grad_()
        optimiser = torch.optim.SGD([values], lr=settings.learning_rate)
        trace: list[dict[str, float]] = []
        for _ in range(settings.steps):
            with torch.enable_grad():
                loss, terms = self._loss(values)
            trace.append(terms)
            if not torch.isfinite(loss):
                raise EditError(
                    f"edit '{self.edit.id}': the loss is {terms['loss']} at step {len(trace)}; lower the learning rate"
                )
            if terms["loss"] < settings.early_stop:
                break
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return values.detach(), trace

    def _loss(self, values: Tensor) -> tuple[Tensor, dict[str, float]]:
        settings, delta = self.settings, self._delta(values)
        shift, edits = self._activation(self.texts, delta)
        _, irrelevant = self._activation(self.irrelevant, delta)
        margin = margin_loss(edits, irrelevant, settings.alpha, settings.beta, settings.gamma)
        with (
            _shifted(self.loaded, self.layer, shift),
            self.loaded.sites.only_layers_from(self.layer) as backbone,
        ):
            logits = logits_from(self.loaded, backbone, self.forced, {"inputs_embeds": self.texts.below})
        nll = row_losses(logits, self.forced).mean()
        loss = nll + margin
        terms = {"loss": loss, "nll": nll, "margin": margin, "edit": edits.min(), "irrelevant": irrelevant.max()}
        return loss, {name: float(term.detach()) for name, term in terms.items()}
