"""A judge behind ``transformers serve``: a server that is not ours, with a model that writes what it can."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from editverdict.evaluation.judging import JudgeError
from editverdict.evaluation.openai_judge import OpenAIJudge
from editverdict.pipeline.judging import judged
from suites.selftest.conftest import absent
from suites.selftest.evaluation.endpoint import RIGHT, WRONG, Endpoint, free_port
from suites.selftest.models.toys import toy
from suites.selftest.pipeline.judged import trial_with

START = "import sys; from transformers.cli.transformers import main; sys.exit(main())"
TEMPLATE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}assistant:"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy with random weights and a chat template, as files."""
    loaded, place = toy("rehearsal-llama"), tmp_path_factory.mktemp("served") / "toy"
    loaded.model.save_pretrained(place)
    loaded.tokenizer.save_pretrained(place)
    (place / "chat_template.jinja").write_text(TEMPLATE)
    return place


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Endpoint]:
    """``transformers serve`` as a process, offline."""
    for name in ("fastapi", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            absent(f"transformers serve needs {name}, which is not installed")
    port = free_port()
    log = folder.parent / "log.txt"
    command = [sys.executable, "-c", START, "serve", folder, "--host", "127.0.0.1", "--port", str(port)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    with log.open("w") as out:
        process = subprocess.Popen(
            [*map(str, command), "--device", "cpu"], stdout=out, stderr=out, env={**os.environ, **offline}
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}/health", log)
            yield Endpoint(port)
        finally:
            process.terminate()
            process.wait(30)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        assert process.poll() is None, f"the server ended: {log.read_text()[-2000:]}"
        try:
            with opener.open(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the server does not answer: {log.read_text()[-2000:]}")


def test_a_model_that_writes_nonsense_is_asked_again_and_then_undecided(
    served: Endpoint, folder: Path, tmp_path: Path
) -> None:
    settings = {"key_env": None, "structured": "none", "max_tokens": 16, "replies": 2, "timeout_seconds": 60.0}
    spec = served.spec(str(folder), **settings)
    said = judged(trial_with(tmp_path / "store", spec), [RIGHT, WRONG])
    for one in said:
        assert one.verdict == "undecided" and one.replies == 2 and one.reason.startswith("the last reply: ")
        assert one.tokens_in is not None and one.tokens_in > 400 and one.tokens_out == 2 * 16
    assert judged(trial_with(tmp_path / "store", spec), [WRONG, RIGHT]) == said[::-1]


def test_a_form_that_the_server_passes_over_is_checked_all_the_same(served: Endpoint, folder: Path) -> None:
    """It takes ``response_format`` and does nothing with it: what comes back is as free as before."""
    spec = served.spec(str(folder), key_env=None, max_tokens=16, replies=1, timeout_seconds=60.0)
    assert spec.structured == "json_schema"
    (said,) = OpenAIJudge(spec).judge_many([RIGHT])
    assert said.verdict == "undecided" and said.replies == 1


def test_a_model_that_the_server_does_not_have_is_an_error(served: Endpoint) -> None:
    spec = served.spec("no/such-model", key_env=None, attempts=2, timeout_seconds=60.0)
    with pytest.raises(JudgeError, match="no/such-model"):
        OpenAIJudge(spec).judge_many([RIGHT])
