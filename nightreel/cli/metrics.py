"""`metrics`: serve the metrics of all runs to Prometheus, between runs too."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from nightreel.cli.console import command_settings, out, print_line
from nightreel.errors import SettingsError
from nightreel.metrics import metrics_text, serve_metrics
from nightreel.stages.database import open_database

_DEFAULT_PORT = 9464


def metrics(
    once: Annotated[bool, typer.Option("--once", help="Print the metrics in Prometheus format, then exit.")] = False,
) -> None:
    """Serve metrics of backlog, runs, leases and devices to Prometheus until interrupted. Runs serve their own."""
    settings = command_settings()
    settings = settings.model_copy(update={"metrics_port": settings.metrics_port or _DEFAULT_PORT})
    with open_database(settings) as database:
        if once:
            out.file.write(metrics_text(settings, database=database))
            return
        with serve_metrics(settings, database=database) as served:
            if not served:
                raise SettingsError(f"NIGHTREEL_METRICS_PORT={settings.metrics_port}: expected a free port")
            print_line(f"metrics at http://{settings.metrics_host}:{settings.metrics_port}/metrics")
            threading.Event().wait()


def register(app: typer.Typer) -> None:
    app.command()(metrics)
