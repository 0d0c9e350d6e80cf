"""The Allure generator: found, installed once into the user's cache folder, and run.

The folder is keyed by the lockfile, so that a checkout is not littered, versions do not mix, and after the first
installation no network is needed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

MIN_NODE = 20
_INSTALL_SECONDS = 300
_ENTRY = Path("node_modules") / "allure" / "cli.js"


class ReportToolError(RuntimeError):
    """The Allure report cannot be built here; the message says why and what would help."""


def find_node() -> str:
    """Path of a Node that is new enough.

    Raises
    ------
    ReportToolError
        If there is no ``node`` on the PATH, or it is older than 20.
    """
    node = shutil.which("node")
    if node is None:
        raise ReportToolError(f"Node is not on the PATH; install Node {MIN_NODE} or newer")
    version = run([node, "--version"], timeout=30).strip()
    found = re.match(r"v?(\d+)", version)
    if found is None or int(found[1]) < MIN_NODE:
        raise ReportToolError(f"{node} is version {version or 'unknown'}; install Node {MIN_NODE} or newer")
    return node


def run(command: Sequence[str], timeout: float, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a program and return what it printed; nothing is read from the terminal.

    Raises
    ------
    ReportToolError
        If it cannot be started, takes longer than ``timeout`` seconds (it is then ended with its children), or fails.
    """
    name = Path(command[0]).name
    try:
        process = subprocess.Popen(
            list(command), cwd=cwd, env=dict(env) if env is not None else None, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ReportToolError(f"{name} could not be started: {error}") from error
    try:
        output, _ = process.communicate(timeout=timeout)
    except BaseException as error:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise ReportToolError(f"{name} took longer than {timeout:g} s and was stopped") from error
        raise
    if process.returncode != 0:
        tail = " / ".join(line.strip() for line in output.strip().splitlines()[-4:]) or "it printed nothing"
        raise ReportToolError(f"{name} ended with code {process.returncode}: {tail[:600]}")
    return output


def _key(assets_dir: Path) -> str:
    digest = hashlib.sha256()
    for name in ("package.json", "package-lock.json"):
        path = assets_dir / name
        if not path.is_file():
            raise ReportToolError(f"{path}: no such file; the report's assets are incomplete")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def ensure_allure(assets_dir: Path, cache_dir: Path | None = None, timeout: float = _INSTALL_SECONDS) -> Path:
    """Path of Allure's ``cli.js``; installed with ``npm ci`` from the lockfile if it is not there yet.

    Raises
    ------
    ReportToolError
        If npm is missing, the installation fails (no network) or another process holds the lock for too long.
    """
    root = cache_dir or Path(platformdirs.user_cache_dir("editverdict", appauthor=False)) / "report-tools"
    target = root / _key(assets_dir)
    if (target / _ENTRY).is_file():
        return target / _ENTRY
    npm = shutil.which("npm")
    if npm is None:
        raise ReportToolError("npm is not on the PATH, and the Allure generator is not installed yet")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(str(root / ".lock"), timeout=timeout):
            if not (target / _ENTRY).is_file():
                _install(npm, assets_dir, root, target, timeout)
    except Timeout as error:
        raise ReportToolError(f"another process holds {root / '.lock'} for more than {timeout:g} s") from error
    except OSError as error:
        raise ReportToolError(f"{root}: the Allure generator could not be stored: {error}") from error
    return target / _ENTRY


def _install(npm: str, assets_dir: Path, root: Path, target: Path, timeout: float) -> None:
    """Install beside the target and rename: a killed installation leaves nothing that looks finished."""
    with tempfile.TemporaryDirectory(prefix=".installing-", dir=root) as scratch:
        folder = Path(scratch) / "tool"
        folder.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(assets_dir / name, folder / name)
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"]
        run([npm, "ci", *options], timeout=timeout, cwd=folder)
        if not (folder / _ENTRY).is_file():
            raise ReportToolError("npm ci succeeded, but node_modules/allure/cli.js is not there")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(folder, target)
