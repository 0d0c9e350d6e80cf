"""What is said of a run while it goes on."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from editverdict.pipeline import watch


def test_a_run_taken_up_again_counts_its_own_cases_alone(tmp_path: Path) -> None:
    (tmp_path / "cases.json").write_text(json.dumps({"one": "a", "two": "b"}))
    rows = tmp_path / "results.jsonl"
    rows.write_text('{"case": "a"}\n{"case": "b"}\n')
    earlier = rows.stat().st_size
    with rows.open("a") as more:
        more.write('{"case": "a"}\n')
    out = io.StringIO()
    Console(file=out).print(watch._view(tmp_path, 0.0, earlier))
    assert "1 of 2 cases judged" in out.getvalue()


def test_rows_of_an_earlier_run_are_left_out_while_pytest_is_watched(tmp_path: Path) -> None:
    (tmp_path / "cases.json").write_text(json.dumps({"one": "a"}))
    (tmp_path / "results.jsonl").write_text('{"case": "a"}\n')
    out = io.StringIO()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.2)"]) as process:
        watch._watch(process, tmp_path, Console(file=out))
    assert "0 of 1 cases judged" in out.getvalue()
