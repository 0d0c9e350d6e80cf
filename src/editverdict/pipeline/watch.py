"""Running the suites in pytest from outside, with a live view of what the workers are doing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

SUITES = ("suites/hypotheses", "suites/benchmark", "suites/consistency")
EVERY = 0.5
PLAIN_EVERY = 30.0


def run_suites(home: Path, run_dir: Path, workers: int, options: Sequence[str], console: Console) -> int:
    """Run the suites that are there; return pytest's exit code (1 also where a claim or a printed table fails)."""
    run_dir.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        *(suite for suite in SUITES if (home / suite).exists()),
        "-q",
        "--no-header",
        "--tb=short",
        "--allure-no-capture",
        "--run-dir",
        str(run_dir),
        "--alluredir",
        str(run_dir / "allure-results"),
        *options,
    ]
    if workers > 0:
        command += ["-n", str(workers)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }
    log = run_dir / "pytest.log"
    console.print(
        f"results go to {run_dir}; the log of pytest to {log.name} there", soft_wrap=True, highlight=False, markup=False
    )
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            _watch(process, run_dir, console)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    if process.returncode not in (0, 1):
        console.print(log.read_text(errors="replace")[-3000:], markup=False, highlight=False)
    return process.returncode


def _watch(process: subprocess.Popen[bytes], run_dir: Path, console: Console) -> None:
    """A live view on a terminal; a line every half minute elsewhere."""
    begun, last = time.monotonic(), 0.0
    earlier = _size(run_dir / "results.jsonl")
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            while process.poll() is None:
                live.update(_view(run_dir, begun, earlier))
                time.sleep(EVERY)
        return
    while process.poll() is None:
        if time.monotonic() - last > PLAIN_EVERY:
            last = time.monotonic()
            console.print(_view(run_dir, begun, earlier))
        time.sleep(EVERY)


def _view(run_dir: Path, begun: float, earlier: int) -> Group:
    done, planned = _count(run_dir, earlier)
    minutes, seconds = divmod(int(time.monotonic() - begun), 60)
    lines = [Text(f"{minutes}:{seconds:02d}  {done} of {planned or '?'} cases judged")]
    for file in sorted((run_dir / "progress").glob("*.json")):
        try:
            now = json.loads(file.read_text())
        except (OSError, ValueError):
            continue
        lines.append(Text(f"  {file.stem}: {now['message']}", overflow="ellipsis", no_wrap=True))
    return Group(*lines)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _count(run_dir: Path, earlier: int) -> tuple[int, int]:
    """Rows written and cases planned; a run that is taken up again judges its cases anew, behind `earlier` bytes."""
    results, names = run_dir / "results.jsonl", run_dir / "cases.json"
    done = 0
    if results.exists():
        with results.open("rb") as rows:
            rows.seek(earlier)
            done = sum(1 for line in rows if line.strip())
    try:
        planned = len(json.loads(names.read_text())) if names.exists() else 0
    except ValueError:
        planned = 0
    return done, planned
