"""Check everything that a run needs, and report what to do about problems.

`nightreel doctor` shows all checks, `nightreel worker` those that found a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from nightreel.database.connection import Database, is_pooled
from nightreel.database.migrations import require_current
from nightreel.database.requirements import require_rights
from nightreel.database.vectors import why_no_vectors
from nightreel.domain import Prompt
from nightreel.environment import LIBRARIES, describe_environment, free_disk_bytes, library_versions
from nightreel.errors import NightreelError
from nightreel.gpu import Cuda, examine_cuda
from nightreel.media.sandbox import DecoderPool
from nightreel.models.loading import check_model, find_model
from nightreel.models.memory.device_request import request_device
from nightreel.prompts.loading import load_prompt_sets
from nightreel.services import ServiceStatus, status
from nightreel.services.configured import database_url
from nightreel.services.prompt_meanings import meant_sets
from nightreel.settings import Settings
from nightreel.storage import open_storage

_LOW_DISK_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, its finding, and what to do about a problem."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def run_checks(settings: Settings, *, devices: bool = True) -> tuple[Check, ...]:
    """Check libraries, GPUs, disk, sandbox, prompts, model, Postgres, Prefect, storage and cache.

    Args:
        devices: check the GPUs, and the model against prompts and devices; the first import of torch takes seconds.
    """
    checks = [_libraries(), *(_cuda_checks(examine_cuda(), settings) if devices else ()), _disk(settings)]
    checks += [
        _checked("sandbox", lambda: _sandbox(settings)),
        _checked("prompts", lambda: _prompts(settings)),
        _checked("model", lambda: _model(settings, deeply=devices)),
    ]
    services = status(settings)
    checks += map(_service, services)
    if settings.database_url and services[0].state == "external":
        checks.append(_checked("tables", lambda: _tables(settings)))
        if settings.encoder:
            checks.append(_checked("search by meaning", lambda: _meaning(settings)))
    if settings.source:
        checks.append(_checked("source", lambda: _reachable(settings.source, settings)))
    checks.append(_checked("cache", lambda: _writable(settings)))
    return tuple(checks)


def report(settings: Settings) -> dict[str, Any]:
    """All checks and the environment, as JSON values."""
    checks = run_checks(settings)
    return {
        "ok": all(check.ok for check in checks),
        "checks": [asdict(check) for check in checks],
        **describe_environment(settings, devices=True),
    }


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name, True, look())
    except NightreelError as error:
        return Check(name, False, error.reason, error.detail)


def _libraries() -> Check:
    found = library_versions()
    missing = [name for name in LIBRARIES if name not in found]
    versions = ", ".join(f"{name} {version}" for name, version in found.items())
    return Check("libraries", not missing, versions, f"pip install {' '.join(missing)}" if missing else "")


def _cuda_checks(cuda: Cuda, settings: Settings) -> list[Check]:
    built = f"torch {cuda.torch}, built for CUDA {cuda.built_for or 'none'}, driver {cuda.driver or 'none'}"
    if cuda.problem:
        return [Check("gpu", False, cuda.problem, f"{built}: install a driver and a torch version that match")]
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
    free = free_disk_bytes(settings.work_dir)
    memory = psutil.virtual_memory().available
    found = f"{free / 2**30:.1f} GiB free at {settings.work_dir.resolve()}; {memory / 2**30:.1f} GiB memory free"
    advice = "free some space, or set NIGHTREEL_WORK_DIR to a larger disk" if free < _LOW_DISK_BYTES else ""
    return Check("disk", not advice, found, advice)


def _prompts(settings: Settings) -> str:
    names = meant_sets(settings)
    return f"{len(load_prompt_sets(names))} in {', '.join(names)}"


def _sandbox(settings: Settings) -> str:
    """What confines decode processes, as a decode process finds it."""
    with DecoderPool.from_settings(settings) as pool:
        return str(pool.confinement)


def _model(settings: Settings, *, deeply: bool) -> str:
    """Describe the model. `deeply`: check it as a run does before it claims videos, against prompts and devices."""
    settings = settings.without_patience()
    found = find_model(settings)
    if deeply:
        footprint = check_model(settings, prompts=_known_prompts(settings), found=found)
        if footprint:
            request_device(settings, footprint, beside_engine=found.kept is not None)
    spec = found.spec
    size = f", {spec.parameters / 1e6:.1f} M parameters" if spec.parameters else ""
    if found.server:
        return f"{spec.name} at {spec.revision[:20]}, {found.server}"
    known = f"{spec.name} at {spec.revision[:20]}, {spec.model_class}{size}, {spec.dtype}"
    if found.why_frames:
        return f"{known}, {spec.engine}, no features: {found.why_frames}"
    return ", ".join(filter(None, [known, spec.attention, spec.engine]))


def _known_prompts(settings: Settings) -> tuple[Prompt, ...]:
    """The prompts; none if they cannot be loaded, which is a check of its own."""
    try:
        return load_prompt_sets(meant_sets(settings)).prompts
    except NightreelError:
        return ()


def _service(found: ServiceStatus) -> Check:
    """A stopped service is not a problem: commands start it."""
    what = " ".join(filter(None, [found.state, found.url]))
    advice = found.detail or f"see {found.log_path}" if found.state == "broken" else ""
    return Check(found.name, found.state != "broken", what, advice)


def _meaning(settings: Settings) -> str:
    """Whether the configured database can have vectors. All else works without."""
    with _configured_database(settings) as database, database.begin() as connection:
        lacks = why_no_vectors(connection)
    return f"off: {lacks}" if lacks else f"by the dual encoder {settings.encoder}"


@contextmanager
def _configured_database(settings: Settings) -> Iterator[Database]:
    assert settings.database_url
    database = Database(database_url(settings.database_url).render_as_string(hide_password=False))
    try:
        with database.translated():
            require_current(database.engine)
        yield database
    finally:
        database.close()


def _tables(settings: Settings) -> str:
    """The tables of the configured database are those of this version, and its user may write them."""
    with _configured_database(settings) as database, database.begin() as connection:
        require_rights(connection)
        pooled = is_pooled(connection)
    return "of this version, with all rights" + (", behind a connection pooler" if pooled else "")


def _reachable(url: str, settings: Settings) -> str:
    open_storage(url, settings).check()
    return f"{url}: reachable"


def _writable(settings: Settings) -> str:
    open_storage(settings.cache_prefix, settings).check_writable()
    return f"{settings.cache_prefix}: writable"
