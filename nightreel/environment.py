"""The surroundings of a run, as `reporting.answers` traces them: versions of libraries, the machine, its GPUs.

`stages.run` stores them with each run; `doctor` shows the same libraries and GPUs.
"""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from nightreel import __version__
from nightreel.gpu import examine_cuda
from nightreel.settings import Settings

LIBRARIES = ("prefect", "torch", "torchvision", "transformers", "decord", "av", "pyarrow", "s3fs", "sqlalchemy",
             "psycopg", "numpy")  # fmt: skip


def describe_environment(settings: Settings, *, devices: bool) -> dict[str, Any]:
    """The surroundings as JSON values.

    Args:
        devices: look at the GPUs, which imports torch; without, `cuda` is None.
    """
    return {
        "libraries": library_versions(),
        "cuda": asdict(examine_cuda()) if devices else None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "nightreel": __version__,
        "cpu_threads": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "free_disk_bytes": free_disk_bytes(settings.work_dir),
    }


def library_versions() -> dict[str, str]:
    """Versions of the libraries that results depend on; those that are not installed are missing."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def free_disk_bytes(directory: Path) -> int:
    """Free bytes of the disk that a directory is on, or will be on once it is made."""
    place = directory.resolve()
    while not place.exists():
        place = place.parent
    return psutil.disk_usage(str(place)).free
