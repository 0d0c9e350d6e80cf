"""Edit sites: where in a model the parts are that editing reads and writes.

The paths come from a table in specs/ (one entry per architecture), never from substrings of names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from editverdict.models.kernels import OneDnnLinear
from editverdict.schema.specs import ArchitectureSpec

EDITABLE = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
"""Number formats that a delta can be added to; quantised ones are not among them."""
_PLAIN = (nn.Linear.forward, OneDnnLinear.forward, Conv1D.forward)
"""Forward passes in which the weight is all there is: subclasses that quantise or adapt have their own."""


class SiteError(ValueError):
    """A site of the architecture table is not there in the model at hand, or cannot be edited."""


class _NoPositions(nn.Module):
    """Zeros in place of a position embedding, in its own number format."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self._width, self._dtype = int(table.shape[1]), table.dtype

    def forward(self, positions: Tensor) -> Tensor:
        return torch.zeros(*positions.shape, self._width, device=positions.device, dtype=self._dtype)


class _Skipped(nn.Module):
    """Stands in for a decoder layer that is not run: its input is its output.

    The layers that do run keep their numbers, by which a backbone chooses each one's mask (full or sliding window).
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        if hasattr(layer, "attention_type"):
            self.attention_type = layer.attention_type

    def forward(self, hidden_states: Tensor, *_args: Any, **_options: Any) -> Tensor:
        return hidden_states


@dataclass(frozen=True)
class Sites:
    """The edit sites of one loaded model."""

    model: nn.Module
    spec: ArchitectureSpec

    def _get(self, path: str, what: str) -> nn.Module:
        try:
            return self.model.get_submodule(path)
        except AttributeError as error:
            raise SiteError(
                f"architecture '{self.spec.id}': {what} expected at '{path}', but {type(self.model).__name__} has no "
                "such module; correct the path in specs/models/architectures.yaml or name another architecture"
            ) from error

    @property
    def n_layers(self) -> int:
        """Number of decoder layers."""
        return len(list(self._get(self.spec.layers, "layers").children()))

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder layers."""
        found = self._get(self.spec.layers, "layers")
        if not isinstance(found, nn.ModuleList):
            raise SiteError(f"'{self.spec.layers}' is a {type(found).__name__}, expected a ModuleList")
        return found

    def layer(self, number: int) -> nn.Module:
        """Decoder layer ``number``."""
        return self._get(f"{self.spec.layers}.{number}", "layer")

    def layer_of(self, parameter: str) -> int | None:
        """Number of the decoder layer that a parameter belongs to; None for one outside the layers."""
        before, inside, after = parameter.partition(f"{self.spec.layers}.")
        number = after.partition(".")[0]
        return int(number) if inside and not before and number.isdigit() else None

    def mlp(self, number: int) -> nn.Module:
        """Feed-forward module of layer ``number``."""
        return self._get(self.spec.mlp.format(number), "feed-forward module")

    def attention(self, number: int) -> nn.Module:
        """Self-attention module of layer ``number``."""
        return self._get(self.spec.attention.format(number), "self-attention module")

    def down_proj(self, number: int) -> nn.Linear | Conv1D:
        """Down-projection of layer ``number``: its output is the hidden state that the paper measures.

        Raises
        ------
        SiteError
            It is no plain linear module: another kind, quantised, adapted, or computed from other parameters.
        """
        path = self.spec.down_proj.format(number)
        found = self._get(path, "down-projection")
        if not isinstance(found, nn.Linear | Conv1D) or type(found).forward not in _PLAIN:
            raise SiteError(
                f"'{path}' is a {type(found).__name__}; only nn.Linear and Conv1D can be edited: load the model "
                "without quantisation or adapters"
            )
        weight = dict(found.named_parameters(recurse=False)).get("weight")
        if weight is None or weight.dtype not in EDITABLE:
            kind = "no parameter of its own" if weight is None else f"{weight.dtype}"
            raise SiteError(
                f"the weight of '{path}' is {kind}; expected a parameter of float32, bfloat16, float16 or float64: "
                "load the model without quantisation or reparametrisation"
            )
        return found

    def transposed(self, number: int) -> bool:
        """Whether the down-projection's weight is stored as [d_ff, d] (GPT-2's Conv1D) instead of [d, d_ff]."""
        return isinstance(self.down_proj(number), Conv1D)

    def down_weight(self, number: int) -> Tensor:
        """The down-projection's weight as [d, d_ff], a view of the parameter however it is stored."""
        weight = self.down_proj(number).weight
        return weight.T if self.transposed(number) else weight

    def down_proj_weight(self, number: int) -> str:
        """Name of the down-projection's weight: [d, d_ff], or its transpose where :meth:`transposed`.

        Raises
        ------
        SiteError
            The down-projection cannot be edited, or its weight is (part of) another parameter, too.
        """
        self.down_proj(number)
        name = f"{self.spec.down_proj.format(number)}.weight"
        if shared := self._shared_with(name):
            raise SiteError(
                f"'{name}' is tied to {', '.join(repr(other) for other in shared[:3])}: an edit would change both; "
                "untie them, or edit another layer"
            )
        return name

    def _shared_with(self, name: str) -> list[str]:
        """Names of other parameters that are, or share memory with, parameter ``name``."""
        weight = self.model.get_parameter(name)

        def overlaps(other: Tensor) -> bool:
            if other.device != weight.device or not weight.data_ptr():
                return other is weight
            ends = (weight.data_ptr() + weight.nbytes, other.data_ptr() + other.nbytes)
            return other.data_ptr() < ends[0] and weight.data_ptr() < ends[1]

        everything = self.model.named_parameters(remove_duplicate=False)
        return [other for other, parameter in everything if other != name and overlaps(parameter)]

    def check(self) -> None:
        """Prove that every path of the table leads to a part of this model and that every layer can be edited.

        Raises
        ------
        SiteError
            With the path and what is wrong with it.
        """
        for number in range(len(self.layers)):
            self.mlp(number)
            self.attention(number)
            self.down_proj_weight(number)
        self._get(self.spec.final_norm, "final norm")
        self._get(self.spec.lm_head, "head")
        if self.spec.position_embedding is not None:
            self._get(self.spec.position_embedding, "position embedding")

    def _need_decoder_only(self) -> None:
        if self.spec.encoder_decoder:
            raise SiteError(
                f"architecture '{self.spec.id}' is an encoder-decoder: its decoder cannot be run by itself or in part, "
                "as this method needs it; methods that train on the whole model (FT-L, MEND) can edit it"
            )

    @property
    def backbone(self) -> nn.Module:
        """The model without its head: the parent of the decoder layers.

        Raises
        ------
        SiteError
            The model is an encoder-decoder, whose decoder says nothing by itself.
        """
        self._need_decoder_only()
        return self._get(self.spec.layers.rpartition(".")[0], "backbone")

    @property
    def width(self) -> int:
        """Width d of the hidden state."""
        return int(self.down_weight(0).shape[0])

    def logits(self, hidden: Tensor) -> Tensor:
        """Apply the head to final hidden states [..., d] -> [..., vocabulary]; for decoder-only models.

        An encoder-decoder may scale its states first (T5 does), so its logits come from its own forward pass.
        """
        self._need_decoder_only()
        result: Tensor = self._get(self.spec.lm_head, "head")(hidden)
        return result

    def window(self, start: int) -> int | None:
        """Tokens that the narrowest sliding window from layer ``start`` on can see; None where attention is full."""
        config: Any = self.model.config
        size = getattr(config, "sliding_window", None)
        kinds = getattr(config, "layer_types", None)
        # Without a list of kinds (Mistral) the window holds in every layer.
        slides = kinds is None or any(kind != "full_attention" for kind in kinds[start:])
        return int(size) if size is not None and slides else None

    def need_window(self, start: int, tokens: int) -> None:
        """Refuse texts that no longer fit into a sliding window, where a method takes attention to be full.

        Raises
        ------
        SiteError
            Some layer from ``start`` on sees fewer than so many tokens.
        """
        window = self.window(start)
        if window is not None and tokens > window:
            raise SiteError(
                f"the model's sliding attention sees {window} tokens, and a text here has up to {tokens}; this method "
                "needs texts that fit into the window: shorten the prompt, the context prefixes or the target"
            )

    @contextmanager
    def only_layers_from(self, start: int) -> Iterator[nn.Module]:
        """Let the backbone run layers ``start``, ``start + 1``, … alone, on ``inputs_embeds`` that are their input.

        Positions and masks are made by the backbone itself and the layers keep their numbers, so the result equals the
        full run from that hidden state on. Caches hold the layers that are run. The layers are put back on leaving,
        whatever happened.

        Raises
        ------
        SiteError
            The model is an encoder-decoder.
        """
        backbone, whole = self.backbone, list(self.layers)
        with self._layers_replaced([*map(_Skipped, whole[:start]), *whole[start:]]), self._without_position_embedding():
            yield backbone

    @contextmanager
    def only_layers_before(self, stop: int) -> Iterator[nn.Module]:
        """Let the backbone run layers 0 … ``stop`` - 1 alone (its final norm still follows: read layers by hooks).

        Raises
        ------
        SiteError
            The model is an encoder-decoder.
        """
        backbone = self.backbone
        with self._layers_replaced(list(self.layers)[:stop]):
            yield backbone

    @contextmanager
    def _layers_replaced(self, layers: list[nn.Module]) -> Iterator[None]:
        parent_path, _, name = self.spec.layers.rpartition(".")
        parent, whole = self.model.get_submodule(parent_path), self.layers
        setattr(parent, name, nn.ModuleList(layers))
        try:
            yield
        finally:
            setattr(parent, name, whole)

    @contextmanager
    def _without_position_embedding(self) -> Iterator[None]:
        """Learned positions (GPT-2) are in a hidden state already: the backbone must not add them again."""
        path = self.spec.position_embedding
        if path is None:
            yield
            return
        table = self._get(path, "position embedding")
        parent_path, _, name = path.rpartition(".")
        parent = self.model.get_submodule(parent_path)
        setattr(parent, name, _NoPositions(table.get_parameter("weight")))
        try:
            yield
        finally:
            setattr(parent, name, table)
