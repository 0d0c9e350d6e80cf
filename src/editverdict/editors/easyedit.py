"""EasyEdit's own editors, run in EasyEdit's own Python and turned into our states.

EasyEdit pins other versions of torch and transformers than ours, so its code runs in a subprocess with the Python that
the user names (``--easyedit-python``); model, statistics and results are exchanged as safetensors and JSON in a folder
that is gone afterwards. The script at the other end is ``foreign/easyedit_worker.py``. What is handed over is the model
in its current state, so that chains build on their earlier edits; what comes back is the difference of the weights.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from editverdict.data.records import EditRecord
from editverdict.editors.base import (
    Answering,
    CannotEdit,
    EditError,
    Hyperparameters,
    Resources,
    State,
    Step,
    new_edits,
)
from editverdict.editors.deltas import delta_norm, installed
from editverdict.editors.easyedit_methods import ALGORITHMS, Algorithm, EasyEditSettings
from editverdict.editors.registry import register_editor
from editverdict.editors.tokens import subject_span
from editverdict.models.sources import LoadedModel

WORKER = Path(__file__).parent / "foreign" / "easyedit_worker.py"
VARIABLE = "EDITVERDICT_EASYEDIT_PYTHON"
"""Names the Python where no option does."""
DESCRIBE_SECONDS = 120.0
SHOWN_LINES = 12
"""So much of a crashed subprocess's standard error goes into the message."""
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
"""Relative distance of logits inside and outside that is taken for the same model; more in half precision."""


def _python(given: Path | None) -> Path:
    """The Python to run: as a path that symbolic links are left in, or a virtual environment would not be found."""
    if given is None:
        raise EditError(
            f"EasyEdit runs in a Python of its own, and none is named; pass --easyedit-python PATH or set {VARIABLE} "
            "(docs/easyedit.md says how to make one)"
        )
    path = Path(os.path.abspath(given.expanduser()))
    if not path.is_file():
        raise EditError(f"there is no file '{path}'; expected the Python of an environment that holds EasyEdit")
    return path


def _environment(settings: EasyEditSettings) -> dict[str, str]:
    """The subprocess's environment: nothing of our interpreter, one thread each, no downloads that nobody asked for."""
    ours = ("PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(settings.threads))
    offline = {} if settings.statistics == "its-own" else {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return {**kept, **threads, **offline, "TOKENIZERS_PARALLELISM": "false", "PYTHONIOENCODING": "utf-8"}


def _run(settings: EasyEditSettings, words: Sequence[str], folder: Path | None, seconds: float, what: str) -> str:
    """Run the script at the other end; its standard output, or an error that says what went wrong."""
    python = _python(settings.python)
    command = [str(python), str(WORKER), *words]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=_environment(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EditError(
            f"{what}: EasyEdit did not finish within {seconds:g} s and was ended; raise 'timeout' in the method's "
            "hyperparameters"
        ) from error
    except OSError as error:
        raise EditError(f"'{python}' cannot be run ({error.strerror}); expected a Python interpreter") from error
    answer = folder / "result.json" if folder is not None else None
    said = answer.read_text(encoding="utf-8") if answer is not None and answer.exists() else done.stdout
    refused = _refusal(said) if done.returncode else None
    if refused is not None:
        raise EditError(f"{what}: {refused} ('{python}'; see docs/easyedit.md)")
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-SHOWN_LINES:]) or "(it wrote nothing)"
        raise EditError(f"{what}: EasyEdit's process ended with code {done.returncode}; its last lines:\n{last}")
    return said


def _refusal(text: str) -> str | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return str(found["refused"]) if isinstance(found, dict) and "refused" in found else None


def describe(settings: EasyEditSettings) -> dict[str, Any]:
    """Versions in EasyEdit's environment: its commit (of a checkout), its sources' checksum, torch, transformers.

    Raises
    ------
    EditError
        There is no such Python, or it does not find EasyEdit.
    """
    said = _run(settings, ["describe"], None, DESCRIBE_SECONDS, "EasyEdit's environment")
    try:
        found: dict[str, Any] = json.loads(said)
    except ValueError as error:
        raise EditError(f"'{settings.python}' is no Python that runs our script; it said {said[:200]!r}") from error
    return found


def request_record(record: EditRecord, number: int, slot: bool) -> dict[str, Any]:
    """A record as EasyEdit takes it; its own way to find the subject replaces every occurrence, this one the last.

    Raises
    ------
    EditError
        The subject is not in the prompt, or the prompt has braces, which EasyEdit would read as places.
    """
    if record.subject not in record.prompt:
        raise EditError(f"edit '{record.id}': the subject {record.subject!r} is not in the prompt {record.prompt!r}")
    if "{" in record.prompt + record.subject or "}" in record.prompt + record.subject:
        raise EditError(f"edit '{record.id}': EasyEdit cannot take prompts with braces; found {record.prompt!r}")
    prompt = record.prompt
    if slot:
        start, stop = subject_span(prompt, record.subject)
        prompt = f"{prompt[:start]}{{}}{prompt[stop:]}"
    return {
        "case_id": number,
        "prompt": prompt,
        "subject": record.subject,
        "target_new": record.target_new.strip(),
        "ground_truth": (record.target_old or "").strip(),
    }


@register_editor
class EasyEdit:
    """The editor; see the module's docstring."""

    name: ClassVar[str] = "easyedit"
    version: ClassVar[int] = 1
    answers_itself: ClassVar[bool] = False
    hyperparameters_type: ClassVar[type[Hyperparameters]] = EasyEditSettings

    def __init__(self, hyperparameters: EasyEditSettings) -> None:
        self.hyperparameters = hyperparameters

    @property
    def algorithm(self) -> Algorithm:
        """How the method is called."""
        return ALGORITHMS[self.hyperparameters.algorithm]

    def recipe_fields(self, loaded: LoadedModel) -> dict[str, Any]:
        """EasyEdit's commit and sources and the versions around it: other code is another method."""
        return {"easyedit": describe(self.hyperparameters)}

    def layers(self, loaded: LoadedModel) -> tuple[int, ...]:
        """The edited layers."""
        settings, count = self.hyperparameters, loaded.sites.n_layers
        if settings.layers is not None:
            if wrong := [layer for layer in settings.layers if not 0 <= layer < count]:
                raise EditError(f"EasyEdit is to edit layers {wrong}, but '{loaded.spec.id}' has {count} layers")
            return settings.layers
        around = self.algorithm.layers // 2
        middle = loaded.spec.layers.edit
        return tuple(range(max(middle - around, 0), min(middle + around, count - 1) + 1))

    def _names(self, loaded: LoadedModel) -> list[str]:
        return [loaded.sites.down_proj_weight(layer) for layer in self.layers(loaded)]

    def _hparams(self, loaded: LoadedModel) -> dict[str, Any]:
        """EasyEdit's hyperparameters: what is the same for all methods, then what the user wrote."""
        settings, spec = self.hyperparameters, loaded.sites.spec
        rewrite = self.algorithm.module.format(spec.down_proj)
        filled = {
            "alg_name": settings.algorithm,
            "model_name": _kind(loaded),
            "device": loaded.device.type,
            "model_parallel": False,
            "layers": list(self.layers(loaded)),
            "layer_selection": "all",
            "fact_token": "subject_last",
            "v_loss_layer": loaded.sites.n_layers - 1,
            "rewrite_module_tmp": rewrite,
            "rewrite_module_tmps": [rewrite],
            "layer_module_tmp": f"{spec.layers}.{{}}",
            "mlp_module_tmp": spec.mlp,
            "attn_module_tmp": spec.attention,
            "ln_f_module": spec.final_norm,
            "lm_head_module": _head(loaded),
            "mom2_adjustment": True,
            "mom2_dataset": "wikipedia",
            "mom2_n_samples": 1,
            "mom2_dtype": "float32",
            "stats_dir": "statistics",
            "P_loc": "null_space_project.pt",  # where EasyEdit itself writes it
            "context_template_length_params": [[5, 10], [10, 10]],
            "batch_size": 1,
            "max_length": 40,
        }
        return {**filled, **settings.hparams, "its_own": sorted(settings.hparams)}

    def _statistics(self, loaded: LoadedModel, resources: Resources, hparams: Mapping[str, Any]) -> dict[str, Tensor]:
        """Second moments of keys by name of module [d_ff, d_ff], float64."""
        wanted = self.algorithm.statistics and hparams["mom2_adjustment"]
        if not wanted or self.hyperparameters.statistics == "its-own":
            return {}
        layers = list(hparams["layers"])
        found = {layers[0]: resources.covariance(layers[0])} if len(layers) == 1 else resources.covariances(layers)
        module: str = hparams["rewrite_module_tmp"]
        return {module.format(layer): found[layer].double().cpu().contiguous() for layer in layers}

    def _hand_over(
        self, loaded: LoadedModel, state: State, new: Sequence[EditRecord], resources: Resources, folder: Path
    ) -> None:
        """Write what the other end reads: request, model in its current state, statistics, keys of earlier edits."""
        settings, algorithm, hparams = self.hyperparameters, self.algorithm, self._hparams(loaded)
        text, names = new[0].prompt, self._names(loaded)
        ids = list(loaded.tokenizer(text)["input_ids"])
        with installed(loaded.model, state), torch.no_grad():
            _save_model(loaded, folder / _kind(loaded))
            logits = loaded.model(input_ids=torch.tensor([ids], device=loaded.device)).logits[0, -1]
        handed = {"logits": logits.float().cpu().contiguous()}
        if algorithm.history:
            # What an earlier step recorded, in the order of the steps.
            handed |= {f"{at}.{name}": step.tensors[f"{name}:keys"] for at, step in enumerate(state) for name in names}
        save_file(handed, folder / "handed.safetensors")
        if statistics := self._statistics(loaded, resources, hparams):
            save_file(statistics, folder / "statistics.safetensors")
        request = {
            "method": algorithm.model_dump(),
            "hparams": hparams,
            "records": [request_record(one, at, algorithm.slot) for at, one in enumerate(new)],
            "templates": self._templates(state),
            "edited": names if algorithm.history else [],
            "model_name": _kind(loaded),
            "device": loaded.device.type,
            "attention": loaded.spec.attention,
            "padding_side": algorithm.padding_side,
            "probe": {"text": text, "ids": ids, "tolerance": TOLERANCE.get(logits.dtype, 5e-2)},
            "seed": settings.seed,
            "threads": settings.threads,
            "calls": settings.calls,
        }
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")

    def _templates(self, state: State) -> list[str] | None:
        """Those of the settings; else those that were sampled for the chain's first edit, from the unedited model."""
        settings = self.hyperparameters
        if settings.templates is not None:
            return list(settings.templates)
        return next((list(step.info["templates"]) for step in state if step.info.get("templates")), None)

    def edit(self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources) -> Step:
        """One call of EasyEdit's editor on the model in the given state, all new records together."""
        settings, algorithm, new = self.hyperparameters, self.algorithm, new_edits(state, records)
        if loaded.sites.spec.encoder_decoder:
            raise CannotEdit(f"EasyEdit's editors are run on causal language models here; '{loaded.spec.id}' is none")
        if resources.frame:
            raise CannotEdit(
                "EasyEdit's editors edit the bare prompt, and this profile edits in the form of the question "
                "(edit_form: question); take a profile with edit_form: bare, or our own method of that name"
            )
        if len(new) > 1 and not algorithm.several:
            raise EditError(
                f"EasyEdit's {settings.algorithm} edits one fact at a time, and {len(new)} are to be edited together; "
                "use batches of 1"
            )
        if state and settings.calls > 1:
            raise EditError(
                "timing repeated calls is for first edits: EasyEdit's own caches cannot be set back in a chain"
            )
        _python(settings.python)
        what = f"easyedit:{settings.algorithm}, edit '{new[-1].id}'"
        with tempfile.TemporaryDirectory(prefix="editverdict-") as name:
            folder = Path(name)
            self._hand_over(loaded, state, new, resources, folder)
            answer = json.loads(_run(settings, ["edit", name], folder, settings.timeout, what))
            tensors = load_file(folder / "result.safetensors")
        if broken := sorted(key for key, tensor in tensors.items() if not bool(tensor.isfinite().all())):
            raise EditError(f"{what}: EasyEdit's result is not finite in {broken}; lower its learning rate")
        info = {
            "easyedit": answer["environment"],
            "templates": answer["templates"],
            "traces": answer["traces"],
            "forwards": [len(trace) for trace in answer["traces"]],
            "subprocess_cpu_seconds": answer["cpu_seconds"],
            "norm": delta_norm((Step(tensors),)),
        }
        return Step(tensors, info, len(new))

    def install(
        self, loaded: LoadedModel, state: State, records: Sequence[EditRecord], resources: Resources
    ) -> AbstractContextManager[Answering]:
        """Put the summed changes into the weights."""
        return installed(loaded.model, state)


def _save_model(loaded: LoadedModel, folder: Path) -> None:
    """The model as it stands, as a folder. (Its own ``save_pretrained`` would write into its configuration.)"""
    folder.mkdir()
    kept = loaded.model.state_dict().keys()
    tensors = [*loaded.model.named_parameters(), *((n, b) for n, b in loaded.model.named_buffers() if n in kept)]
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors}
    save_file(plain, folder / "model.safetensors", metadata={"format": "pt"})
    copy.deepcopy(loaded.model.config).save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)


def _kind(loaded: LoadedModel) -> str:
    """Name under which the model is handed over: EasyEdit reads the kind of model off names, and knows these two."""
    return "gpt2-xl" if loaded.sites.transposed(loaded.spec.layers.edit) else "llama"


def _head(loaded: LoadedModel) -> str:
    """Module of the output matrix; where it is tied, EasyEdit finds the parameter under its first name only."""
    weight = loaded.model.get_submodule(loaded.sites.spec.lm_head).weight
    name = next((name for name, own in loaded.model.named_parameters() if own is weight), loaded.sites.spec.lm_head)
    return name.removesuffix(".weight")
