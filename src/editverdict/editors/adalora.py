"""AdaLoRA: low-rank adapters whose rank budget is allocated while they are trained, here on the edit alone.

Source: Zhang et al. 2023, "AdaLoRA: adaptive budget allocation for parameter-efficient fine-tuning" (arXiv 2303.10512),
through peft. Every adapted matrix gets W + P diag(l) Q (eq. 3). Triplets are scored by smoothed sensitivity times
uncertainty (eqs. 8-11), and the budget of all matrices together falls by a cubic schedule (eq. 12) from ``init_rank``
to ``target_rank`` per matrix on average; the singular values of triplets outside the budget become zero. P and Q are
kept near orthogonal by a penalty (eq. 4), taken as its authors' code has it: the Frobenius norm of P^T P - I and of
Q Q^T - I, not squared, averaged over all P and Q.

peft's modules stand in the model only while an edit is trained. What is left of them is a step of low-rank factors,
without the triplets that lost their place; the next edit of a chain starts with new adapters on the model in its state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from editverdict.data.records import EditRecord
from editverdict.editors.base import Answering, EditError, Hyperparameters, Resources, State, Step, fact_of, new_edits
from editverdict.editors.deltas import installed, low_rank
from editverdict.editors.losses import Forced, force, logits_of, row_losses
from editverdict.editors.registry import register_editor
from editverdict.models.sources import LoadedModel

ADAPTER = "edit"
FACTOR_DEVIATION = 0.02
"""Standard deviation of the factors before training; the singular values start at zero."""


class AdaLoraSettings(Hyperparameters):
    """Hyperparameters of AdaLoRA; its paper's names in brackets."""

    modules: tuple[str, ...] = ("attention", "mlp")
    """Parts of every layer whose linear maps are adapted: ``attention``, ``mlp`` or both (as in the paper)."""
    layers: tuple[int, ...] | None = None
    """Adapted layers; None: all."""
    init_rank: int = Field(default=6, ge=1)
    """Rank of every matrix at the start: the paper begins with one and a half times the final budget."""
    target_rank: int = Field(default=4, ge=1)
    """Average rank of a matrix at the end."""
    alpha: float = Field(default=32.0, gt=0)
    """The product of the factors counts ``alpha`` / ``init_rank`` times."""
    steps: int = Field(default=50, ge=3)
    """Updates in all [T]."""
    warm_up: int = Field(default=10, ge=1)
    """Updates before the budget begins to fall [t_i]."""
    final: int = Field(default=20, ge=1)
    """Updates after the budget has reached its final value [t_f]."""
    interval: int = Field(default=1, ge=1)
    """Updates between two allocations [Delta_T]."""
    sensitivity_decay: float = Field(default=0.85, gt=0, lt=1)
    """Decay of the running mean of sensitivity [beta_1]."""
    uncertainty_decay: float = Field(default=0.85, gt=0, lt=1)
    """Decay of the running mean of uncertainty [beta_2]."""
    orthogonality: float = Field(default=0.1, ge=0)
    """Weight of the penalty [gamma]."""
    learning_rate: float = Field(default=5e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's."""
    early_stop: float = Field(default=1e-2, ge=0)
    """Stop when the loss of the target is below this, but never before the budget has reached its final value."""
    seed: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> AdaLoraSettings:
        unknown = sorted(set(self.modules) - {"attention", "mlp"})
        if unknown or not self.modules:
            raise ValueError(f"modules: expected 'attention', 'mlp' or both, found {list(self.modules)}")
        if self.init_rank <= self.target_rank:
            raise ValueError(f"init_rank ({self.init_rank}) must be above target_rank ({self.target_rank})")
        if self.warm_up + self.final >= self.steps:
            raise ValueError(
                f"warm_up ({self.warm_up}) and final ({self.final}) leave none of {self.steps} steps for allocation"
            )
        return self


def adapted_paths(loaded: LoadedModel, settings: AdaLoraSettings) -> list[str]:
    """Paths of the linear maps inside the chosen parts of the chosen layers, found by the table of edit sites."""
    layers = range(loaded.sites.n_layers) if settings.layers is None else settings.layers
    if outside := [layer for layer in layers if not 0 <= layer < loaded.sites.n_layers]:
        raise EditError(
            f"AdaLoRA is to adapt layers {outside}, but model '{loaded.spec.id}' has {loaded.sites.n_layers} layers"
        )
    table = {"attention": loaded.sites.spec.attention, "mlp": loaded.sites.spec.mlp}
    found = []
    for layer in layers:
        for part in settings.modules:
            path = table[part].format(layer)
            inside = loaded.model.get_submodule(path).named_modules()
            found += [f"{path}.{name}" for name, module in inside if isinstance(module, nn.Linear | Conv1D)]
    return sorted(set(found))


def _generator(settings: AdaLoraSettings, edits: Sequence[EditRecord]) -> torch.Generator:
    """Random numbers that depend on the seed and on what is edited, and so on nothing that a recipe does not hold."""
    text = "|".join([str(settings.seed), *map(fact_of, edits)])
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    return torch.Generator().manual_seed(seed)


class _Parameters(nn.Module):
    """The adapters' parameters by name: all that the allocation looks for in a model.

    peft walks through the whole model for them, several times per update; for small edits that is a fifth of the time.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._found = [(name, p) for name, p in model.named_parameters() if p.requires_grad]

    def named_parameters(self, *_args: Any, **_options: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Name, parameter."""
        return iter(self._found)


@contextmanager
def _adapters(loaded: LoadedModel, settings: AdaLoraSettings, paths: Sequence[str]) -> Iterator[tuple[Any, list[Any]]]:
    """Put peft's adapters around the linear maps; yields its tuner and the adapted modules in the order of ``paths``.

    On leaving, the very same module objects stand where they stood, and the model's own attributes, flags and modes
    are as they were, whatever happened.
    """
    # Loading peft takes seconds, which nobody should wait for who does not use it.
    from peft import AdaLoraConfig
    from peft.tuners.adalora import AdaLoraModel

    model = loaded.model
    originals = {path: model.get_submodule(path) for path in paths}
    attributes = dict(model.__dict__)
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    config = AdaLoraConfig(
        target_modules=list(paths),
        init_r=settings.init_rank,
        target_r=settings.target_rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=0.0,
        tinit=settings.warm_up,
        tfinal=settings.final,
        deltaT=settings.interval,
        total_step=settings.steps,
        beta1=settings.sensitivity_decay,
        beta2=settings.uncertainty_decay,
        orth_reg_weight=settings.orthogonality,
        # peft would set this by itself, with a warning.
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in originals.values()),
    )
    try:
        # The adapters draw their first values from the global generator; they are drawn again by the caller's own.
        with torch.random.fork_rng(devices=[]):
            tuner = AdaLoraModel(model, config, ADAPTER)  # type: ignore[no-untyped-call]
        adapted = [model.get_submodule(path) for path in paths]
        for module in adapted:
            # peft takes the rank at the start, a constant of the forward pass, for something to be trained.
            module.ranknum.requires_grad_(False)
        tuner.model = _Parameters(model)
        yield tuner, adapted
    finally:
        for path, module in originals.items():
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, module)
        for name in set(model.__dict__) - set(attributes):
            del model.__dict__[name]
        model.__dict__.update(attributes)
        for parameter, flag in flags:
            parameter.grad = None
            parameter.requires_grad_(flag)
        for module, mode in modes:
            module.training = mode


def _factors(module: Any) -> tuple[nn.Parameter, nn.Parameter, nn.Parameter]:
    """P [d_out, r], singular values l [r, 1] and Q [r, d_in] of an adapted module."""
    return module.lora_B[ADAPTER], module.lora_E[ADAPTER], module.lora_A[ADAPTER]


def orthogonality_penalty(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean Frobenius norm of P^T P - I and Q Q^T - I over all pairs (P, Q) of one rank."""
    grams = torch.stack([gram for left, right in pairs for gram in (left.T @ left, right @ right.T)])
    identity = torch.eye(grams.shape[-1], dtype=grams.dtype, device=grams.device)
    return torch.as_tensor(torch.linalg.matrix_norm(grams - identity).mean())


def _step_of(path: str, module: Any) -> tuple[dict[str, Tensor], int]:
    """What an adapted module adds to its weight, exactly, as low-rank factors; and its rank."""
    left, values, right = (factor.detach() for factor in _factors(module))
    kept = (values[:, 0] != 0).nonzero().flatten()
    if not len(kept):
        return {}, 0
    # peft divides by the rank at the start (and a little, against division by zero).
    scale = module.scaling[ADAPTER] / (module.ranknum[ADAPTER] + 1e-5)
    left, right = left[:, kept].cpu(), (right * values * scale)[kept].cpu()
    name = f"{path}.weight"
    made = low_rank(name, right.T, left.T) if module.fan_in_fan_out else low_rank(name, left, right)
    return made, len(kept)


@register_editor
class AdaLora:
    """The editor; see the module's docstring."""

    name: ClassVar[str] = "adalora"
    version: ClassVar[int] = 1
    answers_itself: ClassVar[bool] = False
    reads_corpus: ClassVar[bool] = False
    hyperparameters_type: ClassVar[type[Hyperparameters]] = AdaLoraSettings

    def __init__(self, hyperparameters: AdaLoraSettings) -> None:
        self.hyperparameters = hyperparameters

    def edit(self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources) -> Step:
        """Train adapters on the new edits together, in the given state, and turn them into low-rank deltas."""
        settings, edits = self.hyperparameters, new_edits(state, records)
        prompts = [resources.frame.around(edit.prompt) for edit in edits]
        forced = force(loaded, prompts, [edit.target_new for edit in edits])
        paths = adapted_paths(loaded, settings)
        with installed(loaded.model, state), _adapters(loaded, settings, paths) as (tuner, modules):
            generator = _generator(settings, edits)
            with torch.no_grad():
                for module in modules:
                    for factor in _factors(module)[::2]:
                        noise = torch.randn(factor.shape, generator=generator, dtype=torch.float64)
                        factor.copy_(FACTOR_DEVIATION * noise)
            trace = self._train(loaded, tuner, modules, forced, edits)
            tensors: dict[str, Tensor] = {}
            ranks: dict[str, int] = {}
            for path, module in zip(paths, modules, strict=True):
                made, ranks[path] = _step_of(path, module)
                tensors |= made
        budget = {"start": settings.init_rank * len(paths), "final": settings.target_rank * len(paths)}
        info = {"trace": trace, "forwards": len(trace), "ranks": ranks, "rank": sum(ranks.values()), "budget": budget}
        return Step(tensors, info, len(edits))

    def _train(
        self, loaded: LoadedModel, tuner: Any, modules: Sequence[Any], forced: Forced, edits: Sequence[EditRecord]
    ) -> list[float]:
        """Train the adapters in place, allocating ranks after every update; the target's loss before each."""
        settings = self.hyperparameters
        pairs = [_factors(module)[::2] for module in modules]
        trained = [factor for module in modules for factor in _factors(module)]
        rate, decay = settings.learning_rate, settings.weight_decay
        optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=decay, fused=True)
        trace: list[float] = []
        for step in range(1, settings.steps + 1):
            optimiser.zero_grad()
            loss = row_losses(logits_of(loaded, forced), forced).mean()
            trace.append(float(loss.detach()))
            if not torch.isfinite(loss):
                names = ", ".join(f"'{edit.id}'" for edit in edits)
                raise EditError(f"edit {names}: the loss is {trace[-1]} at step {step}; lower the learning rate")
            if trace[-1] < settings.early_stop and step > settings.steps - settings.final:
                break
            total = loss + settings.orthogonality * orthogonality_penalty(pairs)
            total.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            # Reads the gradients, so it stands before they are cleared.
            tuner.update_and_allocate(step)
        return trace

    def install(
        self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources
    ) -> AbstractContextManager[Answering]:
        """Put the summed low-rank changes into the weights."""
        return installed(loaded.model, state)
