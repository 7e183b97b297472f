"""The environment of a run, for `reporting.answers`: versions of libraries, the machine, its GPUs.

`stages.run` stores it with each run; `doctor` shows the same libraries and GPUs.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
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
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def describe_environment(settings: Settings, *, devices: bool) -> dict[str, Any]:
    """The environment as JSON values.

    Args:
        devices: examine the GPUs, which imports torch; if False, `cuda` is None.
    """
    return {
        "libraries": library_versions(),
        "cuda": asdict(examine_cuda()) if devices else None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "boot": boot_id(),
        "nightreel": __version__,
        "cpu_threads": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "free_disk_bytes": free_disk_bytes(settings.work_dir),
    }


def boot_id() -> str | None:
    """A number that changes each time this machine starts; None if the kernel has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None


def has_restarted_since(environment: Mapping[str, Any]) -> bool:
    """Whether the host of a run, described by `describe_environment`, is this host and has started again since."""
    was, now = environment.get("boot"), boot_id()
    return environment.get("host") == platform.node() and None not in (was, now) and was != now


def library_versions() -> dict[str, str]:
    """Versions of the libraries that results depend on, without those that are not installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def free_disk_bytes(directory: Path) -> int:
    """Free bytes of the disk of a directory, which need not exist yet."""
    place = directory.resolve()
    while not place.exists():
        place = place.parent
    return psutil.disk_usage(str(place)).free
