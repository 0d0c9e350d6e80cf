"""EasyEdit's methods as they are called here: which of them, how each one's editor is found, and with what settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from editverdict.editors.base import Hyperparameters


class Algorithm(Hyperparameters):
    """How one of EasyEdit's methods is called."""

    package: str
    """Folder in ``easyeditor/models``."""
    main: str
    hparams: str
    """Name of its class of hyperparameters."""
    apply: str
    execute: str = ""
    """The function that returns the updates, which may come as a pair of factors."""
    several: bool = True
    """Whether it edits several facts together."""
    layers: int = 1
    """How many layers it edits where none are named, around the one that the model spec names."""
    slot: bool = True
    """Whether its prompts have ``{}`` in the subject's place."""
    nested_templates: bool = False
    statistics: bool = True
    """Whether it may ask for second moments of keys."""
    history: bool = False
    """Whether a later edit depends on the keys of earlier ones (AlphaEdit)."""
    padding_side: str = "right"
    """Its value optimisation counts positions from the left. EasyEdit itself pads PMET on the left, which gives NaN."""
    module: str = "{}"
    """Form of its ``rewrite_module_tmp``: a module, or a parameter."""


def _spread(package: str, main: str, name: str, **more: Any) -> Algorithm:
    """A method that spreads its update over several layers."""
    parts = {"apply": f"apply_{name}_to_model", "execute": f"execute_{name}", "layers": 5, "nested_templates": True}
    return Algorithm(package=package, main=main, **{**parts, **more})


ALGORITHMS: dict[str, Algorithm] = {
    "ROME": Algorithm(
        package="rome",
        main="rome_main",
        hparams="ROMEHyperParams",
        apply="apply_rome_to_model",
        execute="execute_rome",
        several=False,
    ),
    "R-ROME": Algorithm(
        package="r_rome",
        main="r_rome_main",
        hparams="R_ROMEHyperParams",
        apply="apply_r_rome_to_model",
        execute="execute_r_rome",
        several=False,
    ),
    "MEMIT": _spread("memit", "memit_main", "memit", hparams="MEMITHyperParams"),
    "EMMET": _spread("emmet", "emmet_main", "emmet", hparams="EMMETHyperParams"),
    "PMET": _spread("pmet", "pmet_main", "pmet", hparams="PMETHyperParams"),
    "AlphaEdit": _spread("alphaedit", "AlphaEdit_main", "AlphaEdit", hparams="AlphaEditHyperParams", history=True),
    "FT": Algorithm(
        package="ft",
        main="ft_main",
        hparams="FTHyperParams",
        apply="apply_ft_to_model",
        slot=False,
        statistics=False,
        module="{}.weight",
    ),
    "LoRA": Algorithm(
        package="lora",
        main="lora_main",
        hparams="LoRAHyperParams",
        apply="apply_lora_to_model",
        slot=False,
        statistics=False,
        padding_side="left",
    ),
}
"""The methods of EasyEdit whose result is a change of weights."""
HOOKS = "it answers from a codebook, a side memory or a context beside the weights, and that is no change of weights"
REFUSED = {
    "GRACE": HOOKS,
    "WISE": HOOKS,
    "MELO": HOOKS,
    "SERAC": HOOKS,
    "DEFER": HOOKS,
    "IKE": HOOKS,
    "MEND": "its hypernetwork comes from EasyEdit's own trainer and data, which are not run here",
    "MALMEN": "its hypernetwork comes from EasyEdit's own trainer and data, which are not run here",
}


class EasyEditSettings(Hyperparameters):
    """Which of EasyEdit's methods, and with what."""

    algorithm: str
    """EasyEdit's own name of the method."""
    hparams: dict[str, Any] = Field(default_factory=dict)
    """EasyEdit's own hyperparameters by its own names. Layers, names of modules, device, statistics and the like are
    filled in; what is written here has precedence."""
    layers: tuple[int, ...] | None = None
    """Edited layers; None: the layer that the model spec names, or the five around it for methods that spread."""
    templates: tuple[str, ...] | None = None
    """Context templates, '{}' first; None: EasyEdit samples its own from the unedited model."""
    statistics: str = Field(default="ours", pattern="^(ours|its-own)$")
    """Second moments of keys: those over our corpus, or those that EasyEdit finds or makes in ``hparams.stats_dir``."""
    seed: int = Field(default=0, ge=0)
    """Set before the call: sampling of templates, dropout."""
    threads: int = Field(default=1, ge=1)
    calls: int = Field(default=1, ge=1, exclude=True)
    """Make the edit so many times, each from the same weights, to time it with warm caches; the last one counts."""
    timeout: float = Field(default=3600.0, gt=0, exclude=True)
    """Seconds after which the subprocess is ended."""
    python: Path | None = Field(default=None, exclude=True)
    """The Python of EasyEdit's environment; as a path of this machine it is part of no recipe."""

    @field_validator("algorithm")
    @classmethod
    def _turns_into_weights(cls, algorithm: str) -> str:
        if algorithm in REFUSED:
            raise ValueError(f"EasyEdit's {algorithm} cannot be turned into a state: {REFUSED[algorithm]}")
        if algorithm not in ALGORITHMS:
            raise ValueError(f"expected one of {', '.join(ALGORITHMS)}")
        return algorithm

    @field_validator("hparams")
    @classmethod
    def _layers_apart(cls, hparams: dict[str, Any]) -> dict[str, Any]:
        if given := sorted({"alg_name", "layers"} & hparams.keys()):
            raise ValueError(f"{given} are settings of the adapter ('algorithm', 'layers'), not part of 'hparams'")
        return hparams
