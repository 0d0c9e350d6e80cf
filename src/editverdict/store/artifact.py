"""What an entry of the store holds: drafts while it is written, artifacts once it is finished.

An entry is a folder of JSON, safetensors and Parquet files, and a ``meta.json`` with the size and SHA-256 of each of
them and a checksum of its own. ``meta.json`` is written last.

Non-finite numbers: JSON has none, so ``nan``, ``inf`` and ``-inf`` are written as ``{"$float": "nan"}`` (``"inf"``,
``"-inf"``) and read back as floats. Parquet tells NaN (a number that is not one) from null (nothing was measured).
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from editverdict.store.recipe import Recipe, canonical_json

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
    from torch import Tensor

META = "meta.json"
META_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FLOAT = "$float"


class DamagedEntryError(Exception):
    """An entry of the store is not what its ``meta.json`` says."""


class Draft:
    """The folder that a producer writes into; it becomes an artifact when the producer returns.

    Files written by other means than the methods below (under ``path``) become part of the artifact, too.

    Parameters
    ----------
    path : Path
        An existing, empty folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write_json(self, obj: Any, name: str = "data") -> None:
        """Write ``obj`` as ``<name>.json``.

        Tuples become lists, numpy numbers plain ones, non-finite floats ``{"$float": ...}``.

        Raises
        ------
        TypeError
            If a value has no JSON form; the message says where it is.
        ValueError
            If the name is taken or not a file name, or a mapping uses the reserved key ``$float``.
        """
        text = json.dumps(_encode(obj, name), ensure_ascii=False, allow_nan=False)
        self._new_file(name, "json").write_text(text, encoding="utf-8")

    def write_tensors(self, tensors: Mapping[str, Tensor], name: str = "tensors") -> None:
        """Write tensors of any shape and dtype as ``<name>.safetensors``, made contiguous and moved to the CPU.

        Raises
        ------
        TypeError
            If a value is not a dense tensor or a name not a string.
        ValueError
            If the name is taken or not a file name.
        """
        import torch
        from safetensors.torch import save_file

        ready: dict[str, Tensor] = {}
        storages: set[int] = set()
        for key, tensor in tensors.items():
            if not isinstance(key, str) or not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
                raise TypeError(
                    f"write_tensors({name!r}): {key!r} is a {type(tensor).__name__}, expected a dense tensor"
                )
            dense = tensor.detach().cpu().contiguous()
            # The format refuses two names for one piece of memory (tied weights, views of one another).
            pointer = dense.untyped_storage().data_ptr()
            ready[key] = dense.clone() if pointer in storages else dense
            storages.add(pointer)
        save_file(ready, self._new_file(name, "safetensors"))

    def write_table(self, rows: Sequence[Mapping[str, Any]] | pa.Table, name: str = "rows") -> None:
        """Write rows as ``<name>.parquet``.

        The columns are the union of the rows' keys, in order of appearance; a key that a row lacks is null there.

        Raises
        ------
        pyarrow.ArrowInvalid, pyarrow.ArrowTypeError
            If a column mixes types.
        ValueError
            If the name is taken or not a file name.
        """
        import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
        import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

        if isinstance(rows, pa.Table):
            table = rows
        else:
            # pyarrow.Table.from_pylist takes its columns from the first row alone and drops the others in silence.
            columns = list(dict.fromkeys(column for row in rows for column in row))
            table = pa.table({column: [row.get(column) for row in rows] for column in columns})
        pq.write_table(table, self._new_file(name, "parquet"))

    def _new_file(self, name: str, suffix: str) -> Path:
        file = self.path / f"{name}.{suffix}"
        if not _NAME.fullmatch(name) or file.name == META:
            raise ValueError(f"{name!r} cannot name a file of an artifact")
        if file.exists():
            raise ValueError(f"{file.name} was already written")
        return file


class Artifact:
    """A finished entry, read-only.

    Parameters
    ----------
    path : Path
        Its folder.
    key : str
        Key of its recipe.
    meta : Mapping
        Content of ``meta.json``: ``recipe``, ``created`` (UTC), ``seconds`` (producing), ``libraries``, ``host``,
        ``provenance`` (given by the caller: commit, ...), ``files`` (name -> ``sha256``, ``size`` in bytes).
    """

    def __init__(self, path: Path, key: str, meta: Mapping[str, Any]) -> None:
        self.path = path
        self.key = key
        self.meta: Mapping[str, Any] = MappingProxyType(dict(meta))

    def __repr__(self) -> str:
        return f"Artifact({self.meta['recipe']['kind']}/{self.key[:12]}, {', '.join(self.meta['files'])})"

    def json(self, name: str = "data") -> Any:
        """The content of ``<name>.json``, with non-finite floats as floats."""
        return _decode(json.loads(self.file(f"{name}.json").read_text(encoding="utf-8")))

    def tensors(self, name: str = "tensors") -> dict[str, Tensor]:
        """The tensors of ``<name>.safetensors``, on the CPU."""
        from safetensors.torch import load_file

        loaded: dict[str, Tensor] = load_file(self.file(f"{name}.safetensors"))
        return loaded

    def table(self, name: str = "rows") -> pa.Table:
        """The rows of ``<name>.parquet``."""
        import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

        # partitioning=None: the folders above the file say nothing about its columns.
        return pq.read_table(self.file(f"{name}.parquet"), partitioning=None)

    def file(self, name: str) -> Path:
        """Path of a file of this artifact.

        Raises
        ------
        KeyError
            If it has no such file; the message lists those it has.
        """
        if name not in self.meta["files"]:
            raise KeyError(f"{self!r} has no file {name!r}")
        return self.path / name


def seal(draft: Draft, recipe: Recipe, facts: Mapping[str, Any]) -> Artifact:
    """Write ``meta.json`` and force everything to disk; the draft is complete afterwards.

    Raises
    ------
    ValueError
        If the producer wrote nothing, or a ``meta.json`` of its own.
    OSError
        If the disk is full.
    """
    files = {}
    for file in _walk(draft.path):
        _sync(file)
        files[file.relative_to(draft.path).as_posix()] = {"sha256": file_sha256(file), "size": file.stat().st_size}
    if not files:
        raise ValueError(f"the producer of {recipe} wrote nothing")
    if META in files:
        raise ValueError(f"the producer of {recipe} wrote a {META}; that name belongs to the store")
    meta: dict[str, Any] = {"format": META_FORMAT, "recipe": recipe.to_json(), **facts, "files": files}
    meta["checksum"] = _checksum(meta)
    path = draft.path / META
    path.write_text(json.dumps(meta, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    _sync(path)
    for folder in sorted(p for p in draft.path.rglob("*") if p.is_dir()):
        _sync(folder)
    _sync(draft.path)
    return Artifact(draft.path, recipe.key, meta)


def load(folder: Path, recipe: Recipe) -> Artifact:
    """Open a finished entry after comparing every file with ``meta.json``.

    Raises
    ------
    DamagedEntryError
        If ``meta.json`` is missing, torn, altered or about another recipe, or a file is missing or differs.
    """
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        checksum = meta.pop("checksum")
        if checksum != _checksum(meta) or meta["recipe"]["key"] != recipe.key:
            raise DamagedEntryError(f"{META} was altered or belongs to another recipe")
        for name, entry in meta["files"].items():
            file = folder / name
            if file.stat().st_size != entry["size"] or file_sha256(file) != entry["sha256"]:
                raise DamagedEntryError(f"{name} is not the file that was written ({META} has another size or SHA-256)")
    except OSError as error:
        raise DamagedEntryError(f"{Path(error.filename or folder).name} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedEntryError(f"{META} is torn: {error}") from error
    return Artifact(folder, recipe.key, meta)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(path: Path) -> None:
    """Force a folder's list of names to disk, so that a rename in it outlives a power cut."""
    _sync(path)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # folders cannot be opened there
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _checksum(meta: Mapping[str, Any]) -> str:
    content = {name: value for name, value in meta.items() if name != "checksum"}
    return hashlib.sha256(canonical_json(content).encode("ascii")).hexdigest()


def _encode(value: Any, where: str) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if math.isfinite(number) else {_FLOAT: repr(number)}
    if isinstance(value, Mapping):
        if _FLOAT in value:
            raise ValueError(f"{where} uses the key {_FLOAT!r}, which is reserved for non-finite numbers")
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"{where} has the key {name!r}; JSON keys are strings")
        return {name: _encode(item, f"{where}.{name}") for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise TypeError(f"{where} is a {type(value).__name__}, which has no JSON form (arrays go to write_tensors)")


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if _FLOAT in value:
            return float(value[_FLOAT])
        return {name: _decode(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return value
