"""Devices and threads of a worker, settled before torch is imported.

One worker, one GPU. `prepare` pins it by ``CUDA_VISIBLE_DEVICES``: the worker's number indexes the list that the caller
gave, because the caller's list says which GPUs of the machine are ours, and a plain ordinal would pick others. Threads
default to one per process, waiting without spinning: two processes with two threads each on two cores are ten times
slower than with one each, and the number of threads changes the last bits of results.

Importing this module never imports torch. Under pytest the import itself calls `prepare`, since ``pytest_configure``
comes after the imports of every plugin named in the root conftest: name this one first.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, MutableMapping
from typing import Any

import psutil
import pytest

VISIBLE = "CUDA_VISIBLE_DEVICES"
WORKER = "PYTEST_XDIST_WORKER"
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def visible_gpus(visible: str | None, count: int) -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them.

    Parameters
    ----------
    visible : str, optional
        The variable's value (ordinals, or ``GPU-``/``MIG-`` ids); None if unset. CUDA ignores everything from the first
        negative entry on, and so does this.
    count : int
        Number of GPUs of the machine, used if ``visible`` is None.
    """
    if visible is None:
        return [str(i) for i in range(count)]
    named: list[str] = []
    for entry in (part.strip() for part in visible.split(",")):
        if not entry or entry.startswith("-"):
            break
        named.append(entry)
    return named


def gpu_for_worker(worker: str | None, visible: str | None, count: int) -> str | None:
    """The value of ``CUDA_VISIBLE_DEVICES`` for a worker, or None where it is to be left alone.

    More workers than GPUs share them in turn. Applied to its own result it gives the same again.

    Parameters
    ----------
    worker : str, optional
        ``gw0``, ``gw1``, ... as xdist names workers; None (or ``master``) outside xdist.
    visible : str, optional
        The caller's ``CUDA_VISIBLE_DEVICES``; None if unset.
    count : int
        Number of GPUs of the machine.
    """
    number = re.fullmatch(r"gw(\d+)", worker or "")
    gpus = visible_gpus(visible, count)
    if number is None or not gpus:
        return None
    return gpus[int(number[1]) % len(gpus)]


def worker_count(gpus: int, cores: int | None) -> int:
    """Workers for ``-n auto``: one per GPU; without GPUs two, or one on a single physical core."""
    return gpus if gpus > 0 else min(2, max(1, cores or 1))


def physical_gpus() -> int:
    """Number of GPUs that ``nvidia-smi -L`` lists; 0 without driver or tool."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    try:
        listing = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return count_listed(listing)


def count_listed(listing: str) -> int:
    """Number of GPUs in the output of ``nvidia-smi -L``; the indented MIG instances are parts of one."""
    return sum(line.startswith("GPU ") for line in listing.splitlines())


def auto_workers() -> int:
    """Workers for ``-n auto`` on this machine."""
    visible = os.environ.get(VISIBLE)
    gpus = visible_gpus(visible, physical_gpus() if visible is None else 0)
    return worker_count(len(gpus), psutil.cpu_count(logical=False))


def prepare(environ: MutableMapping[str, str], count_gpus: Callable[[], int] = physical_gpus) -> None:
    """Pin this worker's GPU and set the default of threads; may be called again without effect.

    Parameters
    ----------
    environ : MutableMapping
        ``os.environ``.
    count_gpus : Callable
        Asked only in a worker whose caller named no GPUs.
    """
    for name, value in THREADS.items():
        environ.setdefault(name, value)
    worker, visible = environ.get(WORKER), environ.get(VISIBLE)
    if worker is None:
        return
    gpu = gpu_for_worker(worker, visible, count_gpus() if visible is None else 0)
    if gpu is None or gpu == visible:
        return
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        warnings.warn(
            f"worker {worker} cannot be pinned to GPU {gpu}: CUDA was used before plugins.devices was imported; name "
            "that plugin first in the root conftest",
            stacklevel=2,
        )
        return
    environ[VISIBLE] = gpu


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Settle devices and threads where the import of this module did not."""
    prepare(os.environ)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[Any]) -> None:
    """Write each local worker's GPU into the specification it is started from (controller).

    A replacement of a crashed worker has a new number (``gw8`` on eight GPUs would share GPU 0 with ``gw0``) but is
    started from the same specification, and so inherits the GPU that became free.
    """
    visible = os.environ.get(VISIBLE)
    count = physical_gpus() if visible is None else 0
    for number, spec in enumerate(spec for spec in specs if spec.popen):
        gpu = gpu_for_worker(f"gw{number}", visible, count)
        if gpu is not None:
            spec.env.setdefault(VISIBLE, gpu)


if "PYTEST_VERSION" in os.environ or WORKER in os.environ:
    prepare(os.environ)
