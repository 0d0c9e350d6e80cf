"""GRACE: discrete key-value adaptors (Hartvigsen et al. 2023, "Aging with GRACE", arXiv 2211.11031).

One module is wrapped by a codebook of entries (key, value, radius, label). A token whose input to the module lies
within the radius of its nearest key gets that entry's value for the module's output; every other token passes
untouched, bit by bit, and no weight changes. The query of an edit is the last token of its prompt, and only the query's
own output is replaced (the paper's choice for autoregressive models). Distances are Euclidean.

An edit (section 3, algorithm 1) looks for the key nearest to its own. Further away than that key's radius and the
initial radius together, it becomes an entry. Closer, with the same label, the old entry grows until it covers the new
key ("expand"). Closer, with another label, it becomes an entry too, and both radii become half the distance
("split"; as published, also where that is more than the old one). The value is then learnt by Adam on the target's
negative log-likelihood.

Where the paper leaves room:

* Every token is looked up with its own input. The paper looks up the last token of whatever is fed to the model, which
  depends on how a text is cut into passes: with a cache each generated token is its own query, in one pass over prompt
  and target only the very last token would be. Here one rule holds for prompts, decoding and teacher forcing. A token's
  key depends on the tokens before it alone and no replaced output reaches a key (one layer is wrapped), so cut, padding
  and what follows make no difference but rounding.
* An edit whose key *is* an old key (the prompt edited again, to another target) cannot be split from it: the old entry
  takes the new label and learns its value anew.
* Growing goes on learning the old value on the new prompt, and stops at once where the loss is low already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from editverdict.capture.passes import record
from editverdict.data.records import EditRecord
from editverdict.editors.base import (
    Answering,
    CannotEdit,
    EditError,
    Frame,
    Hyperparameters,
    Plain,
    Resources,
    State,
    Step,
    fact_of,
    the_new_edit,
)
from editverdict.editors.losses import Forced, force, logits_from, row_losses
from editverdict.editors.registry import register_editor
from editverdict.models.sources import LoadedModel

SAME_KEY = 1e-4
"""Keys nearer than this share of their norm are one key: rounding alone sets them apart."""
COVER = 1e-3
"""By how much of itself a grown radius exceeds the distance, so that rounding does not push the new key out."""
Action = Literal["add", "expand", "split", "relearn"]


class GraceSettings(Hyperparameters):
    """Hyperparameters of GRACE."""

    layer: int | None = Field(default=None, ge=0)
    """Layer whose down-projection is wrapped; None: the layer that the model spec names."""
    radius: float = Field(default=1.0, gt=0)
    """Initial deferral radius, an absolute distance between inputs of the down-projection: it belongs to a model."""
    steps: int = Field(default=100, ge=1)
    """Updates of the value at most."""
    learning_rate: float = Field(default=1.0, gt=0)
    initial: Literal["random", "output"] = "random"
    """Where a value starts: uniform in [0, 1), as published, or what the module puts out for the key."""
    early_stop: float = Field(default=0.0, ge=0)
    """Stop before the update when the loss is below this, nats per token; 0 switches it off."""
    seed: int = 0


@dataclass(frozen=True)
class Codebook:
    """Entries of n edits."""

    keys: Tensor
    """[n, d_in] inputs of the wrapped module."""
    values: Tensor
    """[n, d_out] what it puts out instead."""
    radii: Tensor
    """[n] deferral radii."""
    labels: tuple[tuple[int, ...], ...]
    """Token ids of each entry's target."""

    @classmethod
    def empty(cls, d_in: int, d_out: int) -> Codebook:
        """A codebook without entries."""
        return cls(torch.empty(0, d_in), torch.empty(0, d_out), torch.empty(0), ())

    @classmethod
    def of(cls, state: State, d_in: int, d_out: int) -> Codebook:
        """The codebook after the last step of a state: every step holds the whole of it."""
        if not state:
            return cls.empty(d_in, d_out)
        own = state[-1].tensors
        labels = tuple(tuple(token for token in row if token >= 0) for row in own["codebook.labels"].tolist())
        return cls(own["codebook.keys"], own["codebook.values"], own["codebook.radii"], labels)

    def tensors(self) -> dict[str, Tensor]:
        """As tensors of a step, float32; labels are padded with -1."""
        width = max(map(len, self.labels))
        labels = torch.tensor([[*label, *[-1] * (width - len(label))] for label in self.labels])
        floats = {"codebook.keys": self.keys, "codebook.values": self.values, "codebook.radii": self.radii}
        return {"codebook.labels": labels} | {name: t.detach().cpu().contiguous() for name, t in floats.items()}

    def to(self, device: torch.device) -> Codebook:
        """The same on a device."""
        return replace(self, keys=self.keys.to(device), values=self.values.to(device), radii=self.radii.to(device))

    @torch.no_grad()
    def nearest(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the nearest key and its distance, for inputs [..., d_in]: [...] and [...], float32."""
        flat = inputs.detach().float().reshape(-1, inputs.shape[-1])
        # The shortcut by matrix products loses distances that are small against the keys' norms.
        distances = torch.cdist(flat, self.keys.float(), compute_mode="donot_use_mm_for_euclid_dist")
        smallest, index = distances.min(dim=1)
        return index.reshape(inputs.shape[:-1]), smallest.reshape(inputs.shape[:-1])

    def look_up(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest entry of inputs [..., d_in], and whether they lie in its ball: [...] int64 and [...] bool."""
        index, distance = self.nearest(inputs)
        return index, distance <= self.radii[index]

    def learning(self, entry: int, value: Tensor) -> Codebook:
        """The same with one value [d_out] replaced, through which gradients flow."""
        chosen = torch.arange(len(self.radii), device=value.device)[:, None] == entry
        return replace(self, values=torch.where(chosen, value, self.values))


def placed(codebook: Codebook, key: Tensor, label: tuple[int, ...], radius: float) -> tuple[Codebook, int, Action]:
    """Make room for an edit with this key [d_in]: the codebook, the entry whose value is to be learnt, what was done.

    Algorithm 1; a new entry's value is zero until it is learnt.
    """
    key = key.detach().float()
    if not codebook.labels:
        return _with_entry(codebook, key, label, radius), 0, "add"
    index, distance = (float(part) for part in codebook.nearest(key))
    entry = int(index)
    last = len(codebook.labels)
    if distance > float(codebook.radii[entry]) + radius:
        return _with_entry(codebook, key, label, radius), last, "add"
    if codebook.labels[entry] == label:
        grown = max(float(codebook.radii[entry]), distance * (1 + COVER))
        return _with_radius(codebook, entry, grown), entry, "expand"
    if distance <= SAME_KEY * float(key.norm()):
        labels = (*codebook.labels[:entry], label, *codebook.labels[entry + 1 :])
        return replace(codebook, labels=labels), entry, "relearn"
    halved = _with_radius(codebook, entry, distance / 2)
    return _with_entry(halved, key, label, distance / 2), last, "split"


def _with_radius(codebook: Codebook, entry: int, radius: float) -> Codebook:
    radii = codebook.radii.clone()
    radii[entry] = radius
    return replace(codebook, radii=radii)


def _with_entry(codebook: Codebook, key: Tensor, label: tuple[int, ...], radius: float) -> Codebook:
    return Codebook(
        torch.cat([codebook.keys, key[None]]),
        torch.cat([codebook.values, codebook.values.new_zeros(1, codebook.values.shape[1])]),
        torch.cat([codebook.radii, codebook.radii.new_tensor([radius])]),
        (*codebook.labels, label),
    )


@contextmanager
def consulted(loaded: LoadedModel, layer: int, codebook: Codebook) -> Iterator[None]:
    """Let the codebook replace what a layer's down-projection puts out for tokens in its balls."""

    def replace_output(_module: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        index, inside = codebook.look_up(args[0])
        if not bool(inside.any()):
            return None
        return torch.where(inside[..., None], codebook.values[index].to(output.dtype), output)

    if not codebook.labels:
        yield
        return
    handle = loaded.sites.down_proj(layer).register_forward_hook(replace_output)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class _Lesson:
    """An edit's prompt and target, as far as the layers below the wrapped module have brought them."""

    edit: EditRecord
    forced: Forced
    below: Tensor
    """[1, t, d] input of the wrapped module's layer."""
    key: Tensor
    """[d_in] input of the wrapped module at the prompt's last token."""
    output: Tensor
    """[d_out] what it puts out there."""


@register_editor
class Grace:
    """The editor; see the module's docstring."""

    name: ClassVar[str] = "grace"
    version: ClassVar[int] = 2
    answers_itself: ClassVar[bool] = True
    reads_corpus: ClassVar[bool] = False
    hyperparameters_type: ClassVar[type[Hyperparameters]] = GraceSettings

    def __init__(self, hyperparameters: GraceSettings) -> None:
        self.hyperparameters = hyperparameters

    def layer(self, loaded: LoadedModel) -> int:
        """The wrapped layer."""
        if loaded.sites.spec.encoder_decoder:
            raise CannotEdit(
                f"GRACE looks up the tokens of a decoder-only model, and '{loaded.spec.id}' is an encoder-decoder; "
                "take FT-L or MEND for it"
            )
        chosen = self.hyperparameters.layer
        layer = loaded.spec.layers.edit if chosen is None else chosen
        if layer >= loaded.sites.n_layers:
            raise EditError(
                f"GRACE is to wrap layer {layer}, but model '{loaded.spec.id}' has {loaded.sites.n_layers} layers"
            )
        return layer

    def edit(self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources) -> Step:
        """Add an entry, grow one or split one, and learn its value; the step holds the whole codebook."""
        edit, layer, settings = the_new_edit(state, records, "GRACE"), self.layer(loaded), self.hyperparameters
        lesson = _prepare(loaded, edit, layer, resources.frame)
        before = Codebook.of(state, len(lesson.key), len(lesson.output)).to(loaded.device)
        label = tuple(lesson.forced.target.tolist())
        codebook, entry, action = placed(before, lesson.key, label, settings.radius)
        start = codebook.values[entry] if action == "expand" else self._initial(edit, lesson)
        value, trace = self._learn(loaded, layer, codebook, entry, start, lesson)
        learnt = codebook.learning(entry, value)
        info = {"trace": trace, "forwards": len(trace), "action": action, "entries": len(learnt.labels)}
        return Step(learnt.tensors(), {**info, "radius": float(learnt.radii[entry])})

    def _initial(self, edit: EditRecord, lesson: _Lesson) -> Tensor:
        """Where a new value starts [d_out]."""
        if self.hyperparameters.initial == "output":
            return lesson.output
        digest = hashlib.sha256(f"{self.hyperparameters.seed}|{fact_of(edit)}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        return torch.rand(len(lesson.output), generator=generator).to(lesson.output.device)

    def _learn(
        self, loaded: LoadedModel, layer: int, codebook: Codebook, entry: int, start: Tensor, lesson: _Lesson
    ) -> tuple[Tensor, list[dict[str, float]]]:
        """The value [d_out] that makes the target likely, and the loss before each update (nats per token)."""
        settings = self.hyperparameters
        value = start.detach().clone().requires_grad_()
        optimiser = torch.optim.Adam([value], lr=settings.learning_rate)
        trace: list[dict[str, float]] = []
        for _ in range(settings.steps):
            # The other entries are consulted too: the target's own tokens may lie in their balls.
            with (
                torch.enable_grad(),
                consulted(loaded, layer, codebook.learning(entry, value)),
                loaded.sites.only_layers_from(layer) as backbone,
            ):
                logits = logits_from(loaded, backbone, lesson.forced, {"inputs_embeds": lesson.below})
            loss = row_losses(logits, lesson.forced).mean()
            trace.append({"loss": float(loss.detach())})
            if not torch.isfinite(loss):
                raise EditError(
                    f"edit '{lesson.edit.id}': the loss is {trace[-1]['loss']} at step {len(trace)}; lower the "
                    "learning rate"
                )
            if trace[-1]["loss"] < settings.early_stop:
                break
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return value.detach(), trace

    @contextmanager
    def install(
        self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources
    ) -> Iterator[Answering]:
        """Wrap the layer; on leaving, the hook is gone."""
        layer = self.layer(loaded)
        d_out, d_in = loaded.sites.down_weight(layer).shape
        with consulted(loaded, layer, Codebook.of(state, d_in, d_out).to(loaded.device)):
            yield Plain()


@torch.no_grad()
def _prepare(loaded: LoadedModel, edit: EditRecord, layer: int, frame: Frame) -> _Lesson:
    """Run the layers up to the wrapped module once; nothing below it depends on the codebook."""
    forced = force(loaded, [frame.around(edit.prompt)], [edit.target_new])
    with (
        record(loaded, keys=[layer], outputs=[layer], layer_inputs=[layer]) as seen,
        loaded.sites.only_layers_before(layer + 1) as backbone,
    ):
        backbone(input_ids=forced.ids, attention_mask=forced.mask, use_cache=False)
    last = int(forced.first[0])
    return _Lesson(
        edit, forced, seen["in", layer], seen["key", layer][0, last].float(), seen["h", layer][0, last].float()
    )
