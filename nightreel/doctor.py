"""Is everything there that a run needs? The same look at the machine is stored with each run.

A run looks at no services, since it has opened them, and at the GPUs when it loads its model. `nightreel doctor` looks
at everything.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from nightreel import __version__
from nightreel.errors import NightreelError
from nightreel.gpu import Cuda, examine_cuda
from nightreel.models.loading import describe_model
from nightreel.prompts.loading import load_prompt_sets
from nightreel.services import status
from nightreel.settings import Settings
from nightreel.storage import open_storage

LIBRARIES = ("prefect", "torch", "torchvision", "transformers", "decord", "av", "pyarrow", "s3fs", "sqlalchemy",
             "psycopg", "numpy")  # fmt: skip
_LOW_DISK_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, what was found, what to do if it is a problem."""

    name: str
    ok: bool
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All checks, and the versions and devices that answers are traced to."""

    checks: tuple[Check, ...]
    libraries: dict[str, str]
    cuda: Cuda | None

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "checks": [asdict(check) for check in self.checks],
            "libraries": self.libraries,
            "cuda": asdict(self.cuda) if self.cuda else None,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "host": platform.node(),
            "nightreel": __version__,
        }


def examine(settings: Settings, *, devices: bool = True, services: bool = False) -> Report:
    """Look at libraries, disk, prompts and model.

    Args:
        devices: look at the GPUs, for which torch is imported: seconds, where it is not yet.
        services: ask Postgres, Prefect, storage and cache.
    """
    libraries, missing = _libraries()
    cuda = examine_cuda() if devices else None
    checks = [
        Check("libraries", not missing, ", ".join(f"{name} {found}" for name, found in libraries.items()), missing),
        *(_cuda_checks(cuda, settings) if cuda else ()),
        _disk(settings),
        _checked("prompts", lambda: f"{len(load_prompt_sets(settings.prompts))} in {', '.join(settings.prompts)}"),
        _checked("model", lambda: _model(settings)),
    ]
    if services:
        checks += [_service(found) for found in status(settings)]
        if settings.source:
            checks.append(_checked("source", lambda: _reachable(settings.source, settings)))
        checks.append(_checked("cache", lambda: _writable(settings)))
    return Report(tuple(checks), libraries, cuda)


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except NightreelError as error:
        return Check(name, False, error.reason, error.detail)


def _libraries() -> tuple[dict[str, str], str]:
    found = {}
    missing = []
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            missing.append(name)
    return found, f"pip install {' '.join(missing)}" if missing else ""


def _cuda_checks(cuda: Cuda, settings: Settings) -> list[Check]:
    built = f"torch {cuda.torch}, built for CUDA {cuda.built_for or 'none'}, driver {cuda.driver or 'none'}"
    if cuda.problem:
        return [Check("gpu", False, cuda.problem, f"{built}: install a driver and a torch that fit each other")]
    if not cuda.devices:
        wanted = settings.device.startswith("cuda")
        advice = f"NIGHTREEL_DEVICE={settings.device}: use auto or cpu, or a machine with a GPU" if wanted else ""
        return [Check("gpu", not wanted, f"none: models run on {psutil.cpu_count()} CPU threads ({built})", advice)]
    return [
        Check(
            f"gpu {device.index}",
            True,
            f"{device.name}, {device.free_bytes / 2**30:.1f} of {device.total_bytes / 2**30:.1f} GiB free, "
            f"compute capability {device.capability} ({built})",
        )
        for device in cuda.devices
    ]


def _disk(settings: Settings) -> Check:
    place = settings.work_dir.resolve()
    while not place.exists():
        place = place.parent
    free = psutil.disk_usage(str(place)).free
    found = f"{free / 2**30:.1f} GiB free at {place}; {psutil.virtual_memory().available / 2**30:.1f} GiB memory free"
    advice = "free some space, or set NIGHTREEL_WORK_DIR to a larger disk" if free < _LOW_DISK_BYTES else ""
    return Check("disk", not advice, found, advice)


def _model(settings: Settings) -> str:
    spec = describe_model(settings)
    size = f", {spec.parameters / 1e6:.1f} M parameters" if spec.parameters else ""
    return f"{spec.name} at {spec.revision[:20]}, {spec.model_class}{size}, {spec.dtype}, {spec.attention}"


def _service(found: Any) -> Check:
    """A service that is merely stopped is no problem: commands start it."""
    what = " ".join(filter(None, [found.state, found.url]))
    advice = found.detail or f"see {found.log_path}" if found.state == "broken" else ""
    return Check(found.name, found.state != "broken", what, advice)


def _reachable(url: str, settings: Settings) -> str:
    open_storage(url, settings).check()
    return f"{url}: reachable"


def _writable(settings: Settings) -> str:
    open_storage(settings.cache_prefix, settings).check_writable()
    return f"{settings.cache_prefix}: writable"
