"""`engine`: the vLLM that runs start for models with `vllm:` before their name; to install it, and to keep one."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Annotated

import typer

from nightreel.cli.console import Json, command_settings, print_json, print_line, print_table
from nightreel.errors import SettingsError
from nightreel.gpu import memory_devices
from nightreel.models.engine.environment import EngineEnvironment
from nightreel.models.engine.identity import engine_arguments
from nightreel.services.endpoints import prefect_api
from nightreel.stages.database import open_database
from nightreel.stages.keep_engine import keep_engine
from nightreel.stages.used_revisions import used_revisions


def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the vLLM that runs start for models with `vllm:` before their name; install it; keep one between runs."""
    if context.invoked_subcommand:
        return
    settings = command_settings()
    environment = EngineEnvironment.of(settings)
    values = {
        "directory": str(environment.directory),
        "version": environment.version(),
        "arguments": " ".join(engine_arguments(settings)),
        "requests_together": settings.engine_concurrency,
        "used": settings.uses_engine,
    }
    if as_json:
        print_json(values)
        return
    shown = {**values, "version": values["version"] or "not installed: run `nightreel engine install`"}
    print_table(("", ""), [(name.replace("_", " "), str(value)) for name, value in shown.items()])


def install(
    cuda: Annotated[
        bool | None, typer.Option("--cuda/--cpu", help="For NVIDIA GPUs, or for CPUs alone; default: what is here.")
    ] = None,
) -> None:
    """Install vLLM into an environment of its own: some gigabytes, minutes. Replaces the one that is there."""
    wanted = any(device.is_gpu for device in memory_devices()) if cuda is None else cuda
    EngineEnvironment.of(command_settings()).install(cuda=wanted, say=print_line)


def serve() -> None:
    """Start vLLM for the model of NIGHTREEL_MODEL, and keep it for the runs of this host until interrupted.

    It holds the memory of vLLM all the time. A run with the same model uses it, and need not start one.
    """
    settings = command_settings()
    prefect = prefect_api(settings)
    if prefect is None:
        raise SettingsError(
            "no Prefect server is known, which leases the memory: start one with `nightreel up`, or set PREFECT_API_URL"
        )
    from nightreel.orchestration.service_lease import open_leases  # Prefect takes seconds to import

    with suppress(KeyboardInterrupt), open_leases(settings, prefect, wait_s=None) as lease_memory:
        with open_database(settings) as database, database.begin() as connection:
            used = used_revisions(connection, settings)
        keep_engine(
            settings,
            used=used,
            lease_memory=lease_memory,
            on_ready=lambda model: print_line(
                f"vLLM serves {model} to the runs of this host until this is interrupted"
            ),
            stop=threading.Event(),
        )
    print_line("stopped")


def register(app: typer.Typer) -> None:
    group = typer.Typer(invoke_without_command=True)
    group.callback()(show)
    group.command()(install)
    group.command()(serve)
    app.add_typer(group, name="engine")
