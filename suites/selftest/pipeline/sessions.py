"""Pytest sessions in processes of their own, as a user would start them, and what they leave behind.

`run` starts ``python -m pytest``. `fork` runs the same session in a process forked from a server that has imported
torch and its friends already, because twenty sessions would spend their time on imports; everything that a session
keeps in memory is its own in either case.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[3]
SUITES = ("suites/hypotheses", "suites/benchmark")


@dataclass(frozen=True)
class Session:
    """A finished session."""

    code: int
    """Exit code; minus the signal's number for a killed one."""
    output: str
    run_dir: Path

    @property
    def rows(self) -> list[Any]:
        """Rows in the order in which they were written."""
        from editverdict.inference.results import read_rows

        return read_rows(self.run_dir / "results.jsonl") if (self.run_dir / "results.jsonl").exists() else []

    @property
    def verdicts(self) -> dict[str, str]:
        """Claim id -> verdict; for runs with one case per claim."""
        return {row.claim: row.verdict for row in self.rows}

    @property
    def events(self) -> list[dict[str, Any]]:
        """Events of the store, in order of time."""
        file = self.run_dir / "store-events.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return sorted((json.loads(line) for line in lines), key=lambda event: event["time"])

    def keys(self, event: str, kind: str | None = None) -> list[str]:
        """Keys of the artifacts that were ``built``, ``reused``, ..., with repetitions."""
        return [e["key"] for e in self.events if e["event"] == event and kind in (None, e["kind"])]

    def json(self, name: str) -> Any:
        """A JSON file of the run folder."""
        return json.loads((self.run_dir / name).read_text())

    @property
    def outcomes(self) -> dict[str, tuple[str, str]]:
        """Test -> (passed, failed, error or skipped; message), from the JUnit file."""
        found = {}
        for case in ElementTree.parse(self.run_dir / "junit.xml").iter("testcase"):
            parts = [part for part in case if part.tag in ("failure", "error", "skipped")]
            word = {"failure": "failed"}.get(parts[0].tag, parts[0].tag) if parts else "passed"
            found[case.attrib["name"]] = (word, parts[0].attrib.get("message", "") if parts else "")
        return found


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that all workers of this run of the tests have in common."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    folder = factory.getbasetemp().parent / f"shared-{run}" if run else factory.getbasetemp() / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def once(folder: Path, name: str, start: Callable[[Path], Session]) -> Session:
    """A session that one worker runs, below ``folder``, and all look at."""
    place = folder / name
    place.mkdir(exist_ok=True)
    record = place / "session.json"
    with FileLock(place / "session.lock"):
        if not record.exists():
            made = start(place / "run")
            record.write_text(json.dumps([made.code, made.output]))
    code, output = json.loads(record.read_text())
    return Session(code, output, place / "run")


def clean_environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without what the outer session put there."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "EDITVERDICT_RUN_DIR"))}
    own |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", "COLUMNS": "200"}
    return own | dict(changes or {})


def arguments(run_dir: Path, options: Sequence[str | Path], suites: Sequence[str | Path]) -> list[str]:
    """Arguments of pytest for a session."""
    common = ["-q", "--run-dir", run_dir, "--junitxml", run_dir / "junit.xml", "-o", "junit_logging=no"]
    common += ["-p", "no:hypothesispytest"]  # its summary imports all of hypothesis, for nothing here
    return [str(one) for one in (*suites, *common, *options)]


def run(
    run_dir: Path, *options: str | Path, suites: Sequence[str | Path] = SUITES, cwd: Path = ROOT, path: str = ""
) -> Session:
    """A session of an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments(run_dir, options, suites)],
        cwd=cwd,
        env=clean_environment({"PYTHONPATH": path} if path else None),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Session(done.returncode, plain(done.stdout), run_dir)


def fork(
    run_dir: Path,
    *options: str | Path,
    suites: Sequence[str | Path] = SUITES,
    cwd: Path = ROOT,
    path: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
) -> Session:
    """A session in a process forked from the server; ``path`` goes to the front of ``sys.path``."""
    run_dir.mkdir(parents=True, exist_ok=True)
    log = run_dir / "output.txt"
    order = {
        "arguments": [*arguments(run_dir, options, suites), "-W", "ignore::pytest.PytestAssertRewriteWarning"],
        "cwd": str(cwd),
        "path": [str(one) for one in path],
        "env": clean_environment(env),
        "log": str(log),
    }
    process = _server()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    assert answer, "the server of sessions died"
    return Session(int(answer), plain(log.read_text(errors="replace")), run_dir)


def plain(text: str) -> str:
    """Text without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@lru_cache(maxsize=1)
def _server() -> subprocess.Popen[str]:
    env = clean_environment({"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "src")))})
    process = subprocess.Popen(
        [sys.executable, __file__], env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(process.kill)
    return process


# --------------------------------------------------------------------------- the server's own process
def _serve() -> None:
    import faiss  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import scipy.stats  # noqa: F401
    import sentence_transformers  # noqa: F401
    import transformers.models.bert.modeling_bert
    import transformers.models.llama.modeling_llama  # noqa: F401

    import editverdict.pipeline.runs
    import editverdict.pipeline.setup  # noqa: F401
    from editverdict.data.worldfacts import build_worldfacts

    build_worldfacts(0)
    gc.collect()
    gc.freeze()  # children need not look through all of this again
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _session(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def _session(order: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    sys.path[:0] = order["path"]
    out = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(out, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = 70
    try:
        code = int(pytest.main(order["arguments"]))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose conftest.py is no module of ours
    _serve()
