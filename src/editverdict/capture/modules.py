"""Hidden states of an encoder-decoder: what the feed-forward projections wi and wo put out, in encoder and decoder.

What the decoder reads. The paper feeds texts to T5 and does not say what its decoder is given. Here it copies: the
decoder reads the text that the encoder has read, moved one place to the right behind the decoder's start token, as in
teacher forcing with the text itself as the target. The alternative, an empty target, would leave one position per text,
and that one is the start token's, which is left out as the first token of a text is everywhere. So each text gives the
encoder and the decoder equally many samples, at the same places, and base and edited model read the very same tokens.

What is recorded. ``wi`` is the output of the projection into the feed-forward module, before the activation: the paper
names "input projections". Such an output has at most d_model dimensions out of d_ff, and three of the four ranks that
the paper's Table 8 gives for wi are larger than T5-3B's d_model, so that its authors may have read the states *after*
the activation. These are recorded, too, as ``act``: the input of wo. ``wo`` is that projection's output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from editverdict.capture.texts import TokenBatch
from editverdict.models.sites import SiteError
from editverdict.models.sources import LoadedModel

Part = Literal["wi", "act", "wo"]
PARTS: tuple[Part, ...] = get_args(Part)
SIDES = ("Enc", "Dec")


@dataclass(frozen=True)
class ModuleSite:
    """A place at which an encoder-decoder's states are recorded."""

    name: str
    """As the paper prints it: ``Dec23-FFN-wi``; ``Dec23-FFN-act`` is wo's input."""
    part: Part
    module: nn.Linear
    """wi, or wo, of which ``act`` is the input."""

    @property
    def width(self) -> int:
        """Dimension of the states: d_ff for wi and act, d_model for wo."""
        return self.module.in_features if self.part == "act" else self.module.out_features

    @property
    def rank(self) -> int:
        """Directions that the centred states can have: of a linear map's output, no more than its input has."""
        return self.width if self.part == "act" else min(self.module.in_features, self.module.out_features)


def measured_blocks(loaded: LoadedModel) -> tuple[int, ...]:
    """Blocks whose modules are measured: those that the model's spec names, or the last two."""
    depth = loaded.sites.n_layers
    return loaded.spec.module_blocks or tuple(range(max(depth - 2, 0), depth))


def module_sites(loaded: LoadedModel, blocks: Sequence[int]) -> dict[str, ModuleSite]:
    """Sites by name: of the encoder, then of the decoder, blocks in the order given, ``PARTS`` in theirs.

    Raises
    ------
    SiteError
        The model is decoder-only, its table names no modules, or a module is not there (gated feed-forward modules have
        two projections in place of wi; a block beyond the last).
    """
    spec = loaded.sites.spec
    if not spec.encoder_decoder:
        raise SiteError(f"needs an encoder-decoder; {loaded.spec.id} is decoder-only")
    found: dict[str, ModuleSite] = {}
    for side in SIDES:
        for block in blocks:
            for part in PARTS:
                module = _module(loaded, f"{side}-{'wi' if part == 'wi' else 'wo'}", block)
                name = f"{side}{block}-FFN-{part}"
                found[name] = ModuleSite(name, part, module)
    return found


def _module(loaded: LoadedModel, entry: str, block: int) -> nn.Linear:
    spec = loaded.sites.spec
    path = {str(name): where for name, where in spec.modules.items()}.get(entry)
    if path is None:
        raise SiteError(
            f"architecture '{spec.id}' has no path for '{entry}' under 'modules'; name it in "
            "specs/models/architectures.yaml"
        )
    path = path.format(block)
    try:
        module = loaded.model.get_submodule(path)
    except AttributeError as error:
        raise SiteError(
            f"'{loaded.spec.id}' has no module '{path}' ({entry} of block {block}); {_instead(loaded.model, path)}"
        ) from error
    if not isinstance(module, nn.Linear):
        raise SiteError(f"'{path}' is a {type(module).__name__}, expected nn.Linear")
    return module


def _instead(model: nn.Module, path: str) -> str:
    """What is found in its place: gated feed-forward modules are told by name, others by what their parent holds."""
    parent, _, name = path.rpartition(".")
    try:
        held = [child for child, _ in model.get_submodule(parent).named_children()]
    except AttributeError:
        return f"there is no '{parent}' either: name blocks that the model has under 'module_blocks'"
    if {f"{name}_0", f"{name}_1"} <= set(held):
        return (
            f"its feed-forward modules are gated ({name}_0 and {name}_1, as in T5 v1.1), so there is no one {name} to "
            "measure: take a model whose feed-forward modules are not gated"
        )
    return f"'{parent}' holds {', '.join(held) or 'nothing'}: correct the path in specs/models/architectures.yaml"


def shifted(ids: Tensor, start: int) -> Tensor:
    """What the decoder reads [b, t]: ``start`` and all of the text [b, t] but its last token (see the module)."""
    return torch.cat([torch.full_like(ids[:, :1], start), ids[:, :-1]], dim=1)


@contextmanager
def record_modules(sites: Mapping[str, ModuleSite]) -> Iterator[dict[str, Tensor]]:
    """Record, for every forward pass inside the block, what each site saw last: name -> [b, t, width]."""
    seen: dict[str, Tensor] = {}
    handles = []

    def hook(site: ModuleSite) -> Callable[[Any, Any, Tensor], None]:
        def keep(_module: Any, args: Any, output: Tensor) -> None:
            seen[site.name] = (args[0] if site.part == "act" else output).detach()

        return keep

    try:
        for site in sites.values():
            handles.append(site.module.register_forward_hook(hook(site)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def module_pass(
    loaded: LoadedModel,
    batches: Sequence[TokenBatch],
    sites: Mapping[str, ModuleSite],
    visit: Callable[[TokenBatch, dict[str, Tensor]], None],
) -> None:
    """Run encoder and decoder (without the head) over all batches; ``visit`` gets each batch's states.

    Rows of ``states[name][batch.keep]`` are samples: every place of a text but its first, of encoder and decoder alike.

    Raises
    ------
    SiteError
        The model's configuration does not name the token from which its decoder starts.
    """
    start = getattr(loaded.model.config, "decoder_start_token_id", None)
    if start is None:
        raise SiteError(f"the configuration of '{loaded.spec.id}' names no decoder_start_token_id; set it there")
    encoder, decoder = loaded.model.get_encoder(), loaded.model.get_decoder()
    with record_modules(sites) as seen:
        for batch in batches:
            encoded = encoder(input_ids=batch.ids, attention_mask=batch.mask).last_hidden_state
            decoder(
                input_ids=shifted(batch.ids, int(start)),
                attention_mask=batch.mask,
                encoder_hidden_states=encoded,
                encoder_attention_mask=batch.mask,
                use_cache=False,
            )
            visit(batch, seen)


def module_rows(
    loaded: LoadedModel, batches: Sequence[TokenBatch], sites: Mapping[str, ModuleSite]
) -> dict[str, Tensor]:
    """Samples of each site over the batches, one after the other: name -> [m, width], on the CPU."""
    rows: dict[str, list[Tensor]] = {name: [] for name in sites}

    def visit(batch: TokenBatch, seen: dict[str, Tensor]) -> None:
        for name, kept in rows.items():
            kept.append(batch.samples(seen[name]).cpu())

    module_pass(loaded, batches, sites, visit)
    return {name: torch.cat(kept) for name, kept in rows.items()}
