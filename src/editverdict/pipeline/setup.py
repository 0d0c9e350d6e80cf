"""Setting a trial up: spec folders, a profile, a store, a device, and a user's own model and edits."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from editverdict.data.capability import generators
from editverdict.data.sources import local_files
from editverdict.editors.easyedit import VARIABLE
from editverdict.editors.registry import editor_names, make_editor
from editverdict.ledger.quoted import check_claims
from editverdict.ledger.tables import INDEX, Ledger, read_ledger
from editverdict.pipeline.matrix import planned_claims
from editverdict.pipeline.measurement import checks, measures
from editverdict.pipeline.randoms import jobs_ahead
from editverdict.pipeline.trial import Trial
from editverdict.schema.errors import SpecError, SpecProblem
from editverdict.schema.library import SpecLibrary
from editverdict.schema.profiles import ProfileSpec
from editverdict.schema.sources import FolderSource, HubFiles, HubSource
from editverdict.schema.specs import DatasetSpec, LayerPlan, ModelSpec
from editverdict.store import Store

OWN_MODEL = "own-model"
OWN_EDITS = "own-edits"
RELATIVE_DEPTH = 8 / 30
"""Where a model without a spec is edited: the relative depth of the default model's edited layer."""


TWINNED = {"effective_rank_ratio", "rank_below_random"}
"""Quantities that random twins stand beside."""


class UsageError(ValueError):
    """A user's option does not fit; the message says what was expected."""


@dataclass(frozen=True)
class Options:
    """What a user may set on the command line."""

    profile: str = "laptop"
    models: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    device: str = "auto"
    store: Path | None = None
    specs: tuple[Path, ...] = ()
    model: str | None = None
    edits: Path | None = None
    easyedit_python: Path | None = None
    judge: str | None = None
    datasets: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    """``ID=WHERE``, see `given_data`."""
    triples: str | None = None


def printed_tables(folders: Sequence[Path]) -> Ledger | None:
    """The paper's tables, from the first spec folder that has a folder ``paper`` with an index; None where none has.

    Raises
    ------
    SpecError
        The tables cannot be read.
    """
    held = [folder / "paper" for folder in folders if (folder / "paper" / INDEX).is_file()]
    return read_ledger(held[0]) if held else None


def labelled_answers(folders: Sequence[Path]) -> Path | None:
    """The labelled answers of the last spec folder that has any; None where none has."""
    held = [folder / "judges" / "labelled.jsonl" for folder in folders]
    return next((file for file in reversed(held) if file.is_file()), None)


def load_library(folders: Sequence[Path]) -> SpecLibrary:
    """Read all specs and check names against what is registered, hyperparameters against their editors, and numbers
    that are quoted from the paper against its printed tables.

    Raises
    ------
    SpecError
        With every problem of every file.
    """
    registries = {
        "quantities": set(measures()),
        "checks": set(checks()),
        "editors": set(editor_names()),
        "generators": set(generators()),
    }
    library = SpecLibrary.load(*folders, registries=registries)
    problems = []
    for method in library.methods.values():
        settings = [method.hyperparameters, *({**method.hyperparameters, **own} for own in method.per_model.values())]
        if method.editor == "placebo":
            settings = [{**one, "like": "ROME"} for one in settings]
        for one in settings:
            try:
                make_editor(method.editor, one)
            except ValueError as error:
                file, _, line = library.places["methods", method.id].rpartition(":")
                problems.append(
                    SpecProblem(
                        file,
                        int(line),
                        f"methods[{method.id}].hyperparameters",
                        "hyperparameters of the editor",
                        str(error),
                    )
                )
    tables = printed_tables(folders)
    if tables is not None:
        problems += check_claims(library.claims.values(), tables, library.places)
    if problems:
        raise SpecError(problems)
    return library


def choose_device(wanted: str, profile: ProfileSpec) -> torch.device:
    """``auto``: CUDA if it is there and the profile does not insist on the CPU, else the CPU."""
    if wanted not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device: expected auto, cpu or cuda, found '{wanted}'")
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise UsageError("--device cuda: this machine has no CUDA device that torch can use; take --device cpu or auto")
    if wanted == "auto":
        wanted = "cuda" if available and profile.device != "cpu" else "cpu"
    return torch.device(wanted)


def _pick(kind: str, wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise UsageError(f"--{kind}: unknown {kind.rstrip('s')} '{name}'; expected one of {', '.join(known)}{hint}")
    return tuple(wanted)


def own_model(library: SpecLibrary, where: str) -> ModelSpec:
    """A spec for ``--model PATH_OR_ID``: architecture from its config, edited at the usual relative depth."""
    from transformers import AutoConfig

    path = Path(where).expanduser()
    looks_like_path = path.exists() or where.startswith((".", "/", "~"))
    if looks_like_path and not path.is_dir():
        raise UsageError(
            f"--model: no folder '{where}'; expected a folder with config.json and *.safetensors, or a hub id"
        )
    if looks_like_path and not (path / "config.json").exists():
        raise UsageError(
            f"--model: folder '{where}' has no config.json; found {sorted(p.name for p in path.iterdir())[:8]}"
        )
    try:
        config = AutoConfig.from_pretrained(where)
    except Exception as error:
        raise UsageError(
            f"--model: '{where}' is neither a folder here nor a model that the hub gives now "
            f"({type(error).__name__}); check the spelling and the network, or pass a folder"
        ) from error
    fitting = [a for a in library.architectures.values() if config.model_type in a.model_types]
    if not fitting:
        known = sorted(t for a in library.architectures.values() for t in a.model_types)
        raise UsageError(
            f"--model: '{where}' is of type '{config.model_type}', which no architecture in specs/models "
            f"covers; known: {known}"
        )
    # Of an encoder-decoder the decoder is edited, which may be deeper or shallower than its encoder.
    depth = int(getattr(config, "num_decoder_layers", None) or config.num_hidden_layers)
    edit = min(max(round(RELATIVE_DEPTH * depth), 0), depth - 1)
    grid = sorted({edit, depth - 1, depth - 2, *range(depth // 6, depth, max(depth // 6, 1))} - {-1})
    inner = [layer for layer in grid if layer < depth - 2] or grid[:1]
    source = FolderSource(path=str(path.resolve())) if looks_like_path else HubSource(repo=where)
    plan = LayerPlan(edit=edit, measured=tuple(grid), inner=tuple(inner))
    return ModelSpec(id=OWN_MODEL, source=source, architecture=fitting[0].id, layers=plan)


def own_edits(file: Path) -> DatasetSpec:
    """A spec for ``--edits FILE``: its shape is found record by record."""
    if not file.is_file():
        raise UsageError(f"--edits: no file '{file}'; expected JSONL, one edit per line (see docs/data.md)")
    return DatasetSpec(id=OWN_EDITS, format="auto", source=FolderSource(path=str(file.resolve())))


HUB = "hub:"
"""What stands before a data repository of a hub in ``--data``."""


def given_data(library: SpecLibrary, texts: Sequence[str]) -> dict[str, DatasetSpec]:
    """Specs for ``--data ID=WHERE``: the dataset of that id, read from another place.

    WHERE is a file, a folder (all its ``.json`` and ``.jsonl`` files), or ``hub:OWNER/NAME[@REVISION]:FILE[,FILE]``;
    without files those that the spec names.

    Raises
    ------
    UsageError
        The option has another form, or names no dataset.
    DataError
        There is no such file, or none in the folder.
    """
    found = {}
    for text in texts:
        name, sign, where = text.partition("=")
        if not sign or not where.strip():
            raise UsageError(f"--data: expected ID=FILE_OR_FOLDER or ID=hub:OWNER/NAME:FILE, found '{text}'")
        _pick("data", [name], list(library.datasets))
        source = _hub_files(library.datasets[name], where) if where.startswith(HUB) else _own_files(where)
        found[name] = library.datasets[name].model_copy(update={"source": source})
    return found


def _own_files(where: str) -> FolderSource:
    path = Path(where).expanduser()
    local_files(path)
    return FolderSource(path=str(path.resolve()))


def _hub_files(spec: DatasetSpec, where: str) -> HubFiles:
    place, _, files = where.removeprefix(HUB).partition(":")
    repo, _, revision = place.partition("@")
    own = spec.source.files if isinstance(spec.source, HubFiles) else ()
    named = tuple(name for name in files.split(",") if name) or own
    if repo.count("/") != 1 or not named:
        raise UsageError(
            f"--data {spec.id}: expected hub:OWNER/NAME[@REVISION]:FILE[,FILE], found '{where}'; the spec of "
            f"'{spec.id}' names {'the files ' + ', '.join(own) if own else 'no files of a hub'}"
        )
    return HubFiles(repo=repo, revision=revision or "main", files=named)


def easyedit_python(given: Path | None) -> Path | None:
    """The Python of EasyEdit's environment, from the option or the environment variable; None where none is named."""
    named = given or (Path(text) if (text := os.environ.get(VARIABLE)) else None)
    if named is None:
        return None
    # Symbolic links stay: a virtual environment's Python is one, and is known by where it stands.
    path = Path(os.path.abspath(named.expanduser()))
    if not path.is_file():
        raise UsageError(
            f"--easyedit-python: no file '{path}'; expected the Python of an environment that holds EasyEdit, such as "
            "the one that `make easyeditor-env` builds (docs/easyedit.md)"
        )
    return path


def make_trial(options: Options, default_specs: Path) -> Trial:
    """A trial from a user's options.

    Raises
    ------
    SpecError
        A spec is wrong.
    UsageError
        An option does not fit.
    DataError
        Data that an option names are not there.
    """
    folders = [default_specs, *options.specs]
    library = load_library(folders)
    _pick("profile", [options.profile], list(library.profiles))
    profile = library.profiles[options.profile]
    changes: dict[str, Any] = {}
    if options.model:
        models = {**library.models, OWN_MODEL: own_model(library, options.model)}
        library = dataclasses.replace(library, models=models)
        changes["models"] = (OWN_MODEL,)
    if options.edits:
        datasets = {**library.datasets, OWN_EDITS: own_edits(options.edits)}
        library = dataclasses.replace(library, datasets=datasets)
        changes["datasets"] = (OWN_EDITS,)
    if options.data:
        library = dataclasses.replace(library, datasets={**library.datasets, **given_data(library, options.data)})
    if options.datasets:
        changes["datasets"] = _pick("datasets", options.datasets, list(library.datasets))
    if options.models:
        changes["models"] = _pick("models", options.models, list(library.models))
    if options.methods:
        changes["methods"] = _pick("methods", options.methods, list(library.methods))
        changes["methods_for"] = {}
    if options.claims:
        changes["claims"] = _pick("claims", options.claims, list(library.claims))
    if options.judge:
        (changes["judge"],) = _pick("judge", [options.judge], list(library.judges))
    if options.triples:
        (changes["triples"],) = _pick("triples", [options.triples], list(library.judges))
    profile = profile.model_copy(update=changes)
    device = choose_device(options.device, profile)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    asked = {claim.quantity for claim in planned_claims(library, profile)}
    return Trial(
        library=library,
        profile=profile,
        store=Store(options.store),
        device=device,
        worker=int(worker) if worker.isdigit() else 0,
        n_workers=int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
        paper=printed_tables(folders),
        labelled=labelled_answers(folders),
        easyedit_python=easyedit_python(options.easyedit_python),
        # On an accelerator a second model beside the first may not fit: there they wait for the claims that need them.
        ahead=jobs_ahead if asked & TWINNED and device.type == "cpu" else (lambda _trial, _model: ()),
    )
