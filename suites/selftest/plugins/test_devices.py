"""Pinning of GPUs and threads: pure functions, and one real process."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from plugins import devices

ROOT = Path(devices.__file__).parents[1]


@pytest.mark.parametrize(
    ("worker", "visible", "count", "expected"),
    [
        ("gw0", None, 4, "0"),
        ("gw3", None, 4, "3"),
        ("gw5", None, 4, "1"),  # more workers than GPUs
        ("gw0", "2,3", 8, "2"),  # the caller's list, never a plain ordinal
        ("gw1", "2,3", 8, "3"),
        ("gw1", " 5 , 7 ", 8, "7"),
        ("gw1", "GPU-aaa,GPU-bbb", 0, "GPU-bbb"),
        ("gw12", "4,5,6", 8, "4"),
        ("gw1", "3", 8, "3"),  # its own result again
        ("gw0", "", 8, None),  # the caller hid all GPUs
        ("gw0", "-1", 8, None),
        ("gw1", "6,-1,7", 8, "6"),  # CUDA stops reading at -1
        ("gw0", None, 0, None),
        (None, "2,3", 8, None),
        ("master", "2,3", 8, None),
    ],
)
def test_gpu_for_worker(worker: str | None, visible: str | None, count: int, expected: str | None) -> None:
    assert devices.gpu_for_worker(worker, visible, count) == expected


@pytest.mark.parametrize(
    ("gpus", "cores", "expected"), [(8, 4, 8), (1, 64, 1), (0, 64, 2), (0, 2, 2), (0, 1, 1), (0, None, 1)]
)
def test_worker_count(gpus: int, cores: int | None, expected: int) -> None:
    assert devices.worker_count(gpus, cores) == expected


def test_listed_gpus_are_counted_without_their_parts() -> None:
    listing = "GPU 0: A100 (UUID: GPU-1)\n  MIG 1g.5gb Device 0: (UUID: MIG-1)\nGPU 1: A100 (UUID: GPU-2)\n"
    assert devices.count_listed(listing) == 2
    assert devices.count_listed("No devices found.\n") == 0


def test_prepare_sets_only_what_is_unset_and_is_idempotent() -> None:
    environ = {"PYTEST_XDIST_WORKER": "gw1", "CUDA_VISIBLE_DEVICES": "4,6", "OMP_NUM_THREADS": "3"}
    devices.prepare(environ, count_gpus=lambda: pytest.fail("the caller's list is enough"))
    expected = {
        "PYTEST_XDIST_WORKER": "gw1",
        "CUDA_VISIBLE_DEVICES": "6",
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    assert environ == expected
    devices.prepare(environ, count_gpus=lambda: 8)
    assert environ == expected


def test_prepare_counts_gpus_where_none_are_named() -> None:
    environ = {"PYTEST_XDIST_WORKER": "gw5"}
    devices.prepare(environ, count_gpus=lambda: 4)
    assert environ["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.parametrize("environ", [{}, {"CUDA_VISIBLE_DEVICES": "4,6"}])
def test_prepare_pins_nothing_outside_xdist(environ: dict[str, str]) -> None:
    before = environ.get("CUDA_VISIBLE_DEVICES")
    devices.prepare(environ, count_gpus=lambda: 8)
    assert environ.get("CUDA_VISIBLE_DEVICES") == before


def test_prepare_says_when_it_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    started = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", started)
    environ = {"PYTEST_XDIST_WORKER": "gw1", "CUDA_VISIBLE_DEVICES": "4,6"}
    with pytest.warns(UserWarning, match="cannot be pinned to GPU 6"):
        devices.prepare(environ)
    assert environ["CUDA_VISIBLE_DEVICES"] == "4,6"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        devices.prepare({"PYTEST_XDIST_WORKER": "gw1", "CUDA_VISIBLE_DEVICES": "6"})  # nothing to change: no warning


def test_a_replacement_inherits_the_gpu_of_the_worker_it_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    execnet = pytest.importorskip("execnet")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6,7")
    specs = [execnet.XSpec("popen") for _ in range(3)] + [execnet.XSpec("ssh=elsewhere")]
    devices.pytest_xdist_setupnodes(specs)
    assert [spec.env.get("CUDA_VISIBLE_DEVICES") for spec in specs] == ["5", "6", "7", None]
    # A replacement for the second would be called gw3; started from its specification it keeps GPU 6.
    environ = {"PYTEST_XDIST_WORKER": "gw3", **specs[1].env}
    devices.prepare(environ)
    assert environ["CUDA_VISIBLE_DEVICES"] == "6"


def test_importing_settles_the_environment_and_leaves_torch_alone() -> None:
    code = (
        "import sys, os; import plugins.devices; assert 'torch' not in sys.modules;"
        "print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['OMP_NUM_THREADS'])"
    )
    env = {name: value for name, value in os.environ.items() if name not in devices.THREADS}
    env |= {"PYTEST_XDIST_WORKER": "gw1", "CUDA_VISIBLE_DEVICES": "2,9", "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.split() == ["9", "1"]
