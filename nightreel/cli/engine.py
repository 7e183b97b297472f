"""`engine`: the vLLM that runs start for models with `vllm:` before their name, and its installation."""

from __future__ import annotations

from typing import Annotated

import typer

from nightreel.cli.console import Json, command_settings, print_json, print_line, print_table
from nightreel.gpu import memory_devices
from nightreel.models.engine.environment import EngineEnvironment
from nightreel.models.engine.identity import engine_arguments


def show(context: typer.Context, as_json: Json = False) -> None:
    """Show the vLLM that runs start for models with `vllm:` before their name; install it."""
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


def register(app: typer.Typer) -> None:
    group = typer.Typer(invoke_without_command=True)
    group.callback()(show)
    group.command()(install)
    app.add_typer(group, name="engine")
