"""The store: every expensive result is made once, by whichever process comes first, and found by all others.

Layout below the root::

    <kind>/<key[:2]>/<key>/     finished entries, never changed afterwards
    .tmp/<key>.<random>/        drafts; those of dead processes are removed
    .locks/<key>.lock           one lock per key; the files stay (removing a lock file that others wait for is a race)
    damaged/<key>-<time>/       entries that failed their checksums

An entry appears by a rename of a complete, synced folder, so that a process killed at any moment leaves either nothing
or all of it. The locks belong to the operating system, which frees them when their holder dies.

Caveats: for one machine and a local disk. Over NFS, file locks, rename and append are only as good as the server's; on
a file system without ``flock`` the locks are emulated and can outlive a killed holder. A producer that forks a child
which outlives it hands that child the lock.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import shutil
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from editverdict.store import artifact as entries
from editverdict.store.artifact import Artifact, DamagedEntryError, Draft
from editverdict.store.ledger import EventName, Ledger
from editverdict.store.recipe import Recipe

Producer = Callable[[Draft], None]
Progress = Callable[[int, int], None]
"""Called with (finished, total) after every finished job."""

_LOG = logging.getLogger("editverdict.store")
_LIBRARIES = ("editverdict", "filelock", "numpy", "pyarrow", "safetensors", "torch", "transformers")
_POLL_FIRST, _POLL_LAST = 0.02, 0.25  # seconds between two looks at what another process is producing


class DamagedEntryWarning(UserWarning):
    """An entry failed its checksums; it was set aside and counts as missing."""


@dataclass(frozen=True)
class Job:
    """An artifact that is wanted, and how to make it."""

    recipe: Recipe
    producer: Producer


class _Local(threading.local):
    """What each thread is doing: its stages, the keys it is producing, and the time their nested producers took."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.producing: list[str] = []
        self.nested: list[float] = []


def default_root() -> Path:
    """The store in the user's cache folder (``$XDG_CACHE_HOME`` is honoured)."""
    return platformdirs.user_cache_path("editverdict") / "store"


class Store:
    """Content-addressed artifacts in a folder, shared by processes and threads.

    Parameters
    ----------
    root : Path or str, optional
        The folder; the default is `default_root()`.
    provenance : Mapping, optional
        JSON values recorded in every entry this store builds (commit, dirty flag, ...); they do not enter keys.
    events : Path, optional
        A file of JSON lines for the ledger's events; several processes may share it.
    """

    def __init__(
        self,
        root: Path | str | None = None,
        *,
        provenance: Mapping[str, Any] | None = None,
        events: Path | None = None,
    ) -> None:
        self.root = Path(root).expanduser().absolute() if root is not None else default_root()
        self.ledger = Ledger(events)
        self._provenance = dict(provenance or {})
        self._loaded: dict[str, Artifact] = {}
        self._local = _Local()
        self._swept = False

    # ------------------------------------------------------------------ public
    def find(self, recipe: Recipe) -> Artifact | None:
        """The finished entry of a recipe, or None.

        Checksums are compared the first time that this store object meets the entry. A damaged entry is moved to
        ``damaged/`` with a `DamagedEntryWarning` and counts as missing.
        """
        try:
            found = self._load(recipe)
        except DamagedEntryError:
            try:
                # Again under the lock: another process may just have replaced it by a good one.
                with self._lock(recipe):
                    found = self._load_or_set_aside(recipe)
            except OSError as error:
                self._warn(f"damaged entry {recipe} cannot be set aside ({error}); it counts as missing")
                return None
        if found is not None:
            self._note("reused", recipe)
        return found

    def build(self, recipe: Recipe, producer: Producer) -> Artifact:
        """The entry of a recipe: found, or produced by exactly one of all processes that ask for it.

        Parameters
        ----------
        recipe : Recipe
            What is wanted.
        producer : Callable[[Draft], None]
            Writes the files; called under the lock of the key. Whatever it raises is logged and passed on, and leaves
            nothing behind. It may build other recipes.

        Raises
        ------
        RuntimeError
            If a producer asks for the very recipe that it is producing.
        """
        return self.build_many([Job(recipe, producer)])[0]

    def build_many(self, jobs: Sequence[Job], progress: Progress | None = None) -> list[Artifact]:
        """Entries of many recipes, in the order of ``jobs``; processes that want the same ones share the work.

        First every job that is missing and that nobody else is producing is produced here. Then the others are awaited;
        if the process that was producing one dies, it is produced here.

        Parameters
        ----------
        jobs : Sequence[Job]
            What is wanted; a recipe may occur more than once.
        progress : Callable[[int, int], None], optional
            Called with (finished, total) after every distinct recipe.
        """
        wanted = {job.recipe.key: job for job in jobs}
        done: dict[str, Artifact] = {}
        pause = _POLL_FIRST
        while len(done) < len(wanted):
            before = len(done)
            for key, job in wanted.items():
                if key in done:
                    continue
                made = self._try(job)
                if made is None:
                    continue
                done[key] = made
                if progress is not None:
                    progress(len(done), len(wanted))
            if len(done) == before:
                time.sleep(pause)
                pause = min(2 * pause, _POLL_LAST)
            else:
                pause = _POLL_FIRST
        return [done[job.recipe.key] for job in jobs]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tag the ledger's events of this thread with a stage's name."""
        self._local.stages.append(name)
        try:
            yield
        finally:
            self._local.stages.pop()

    def path_of(self, recipe: Recipe) -> Path:
        """Folder of a recipe's entry, whether it exists or not."""
        return self.root / recipe.kind / recipe.key[:2] / recipe.key

    # ------------------------------------------------------------------ reading
    def _load(self, recipe: Recipe) -> Artifact | None:
        folder = self.path_of(recipe)
        known = self._loaded.get(recipe.key)
        if known is not None and (folder / entries.META).is_file():
            return known
        self._loaded.pop(recipe.key, None)
        if not folder.exists():
            return None
        self._loaded[recipe.key] = entries.load(folder, recipe)
        return self._loaded[recipe.key]

    def _load_or_set_aside(self, recipe: Recipe) -> Artifact | None:
        """Like `_load`, for the holder of the key's lock, who may move a damaged entry out of the way."""
        try:
            return self._load(recipe)
        except DamagedEntryError as damage:
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            aside = self.root / "damaged" / f"{recipe.key}-{stamp}"
            aside.parent.mkdir(parents=True, exist_ok=True)
            self.path_of(recipe).rename(aside)
            self._note("damaged", recipe)
            self._warn(f"damaged entry {recipe}: {damage}. It was moved to {aside} and will be built again")
            return None

    # ------------------------------------------------------------------ producing
    def _try(self, job: Job) -> Artifact | None:
        """The artifact, found or produced; None while another process (or thread) holds its lock."""
        found = self.find(job.recipe)
        if found is not None:
            return found
        if job.recipe.key in self._local.producing:
            raise RuntimeError(f"the producer of {job.recipe} asks for {job.recipe}: a recipe cannot contain itself")
        self._sweep()
        lock = self._lock(job.recipe)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
        try:
            found = self._load_or_set_aside(job.recipe)
            if found is None:
                return self._produce(job)
        finally:
            lock.release()
        self._note("reused", job.recipe)
        return found

    def _produce(self, job: Job) -> Artifact:
        recipe, local = job.recipe, self._local
        folder = self.root / ".tmp" / f"{recipe.key}.{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
        local.producing.append(recipe.key)
        local.nested.append(0.0)
        start = time.perf_counter()
        own = 0.0
        try:
            job.producer(Draft(folder))
            own = time.perf_counter() - start - local.nested[-1]
            made = self._publish(Draft(folder), recipe, own)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            _LOG.error("producing %s failed: %s: %s", recipe, type(error).__name__, error)
            own = time.perf_counter() - start - local.nested[-1]
            self._note("failed", recipe, own)
            raise
        finally:
            local.producing.pop()
            local.nested.pop()
            if local.nested:
                local.nested[-1] += time.perf_counter() - start
        self._note("built", recipe, own)
        return made

    def _publish(self, draft: Draft, recipe: Recipe, seconds: float) -> Artifact:
        facts = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "libraries": _versions(),
            "host": platform.node(),
            "provenance": self._provenance,
        }
        sealed = entries.seal(draft, recipe, facts)
        target = self.path_of(recipe)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(draft.path, target)
        for folder in (target.parent, target.parent.parent, self.root):
            entries.sync_folder(folder)
        made = Artifact(target, recipe.key, {k: v for k, v in sealed.meta.items() if k != "checksum"})
        self._loaded[recipe.key] = made
        return made

    # ------------------------------------------------------------------ locks and litter
    def _lock(self, recipe: Recipe) -> FileLock:
        return self._key_lock(recipe.key)

    def _key_lock(self, key: str) -> FileLock:
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{key}.lock")

    def _sweep(self) -> None:
        """Remove the drafts of dead processes, once per store object: those whose key nobody holds the lock of."""
        if self._swept:
            return
        self._swept = True
        with suppress(FileNotFoundError):
            for draft in sorted((self.root / ".tmp").iterdir()):
                with suppress(Timeout), self._key_lock(draft.name.split(".")[0]).acquire(blocking=False):
                    _LOG.info("removing the draft %s of a process that died", draft.name)
                    shutil.rmtree(draft, ignore_errors=True)

    # ------------------------------------------------------------------ notes
    def _note(self, event: EventName, recipe: Recipe, seconds: float = 0.0) -> None:
        stage = self._local.stages[-1] if self._local.stages else ""
        self.ledger.record(event, recipe.kind, recipe.key, stage, seconds)

    def _warn(self, message: str) -> None:
        _LOG.warning(message)
        warnings.warn(message, DamagedEntryWarning, stacklevel=4)


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
