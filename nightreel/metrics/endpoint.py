"""The HTTP endpoint that Prometheus scrapes: /metrics on a port of this process, during a block."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest, start_http_server

from nightreel.database.connection import Database
from nightreel.metrics.backlog import BacklogCollector
from nightreel.metrics.devices import DeviceCollector
from nightreel.settings import Settings

logger = logging.getLogger(__name__)


@contextmanager
def serve_metrics(
    settings: Settings, *, database: Database, registry: CollectorRegistry | None = None
) -> Iterator[bool]:
    """Serve a registry if a port is set, together with metrics of the backlog, the devices and this process.

    Yields:
        Whether they are served. A taken port is only a warning: missing metrics must not fail a run.
    """
    if not settings.metrics_port:
        yield False
        return
    registry = registry or CollectorRegistry()
    _add_surroundings(registry, settings, database)
    try:
        server, thread = start_http_server(settings.metrics_port, settings.metrics_host, registry)
    except OSError as error:
        logger.warning(
            "cannot serve metrics at %s, port %d: %s. Another run of this host may use the port: give each run its own "
            "NIGHTREEL_METRICS_PORT, or 0 to serve none",
            settings.metrics_host,
            settings.metrics_port,
            error.strerror or error,
        )
        yield False
        return
    try:
        yield True
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def metrics_text(settings: Settings, *, database: Database) -> str:
    """The metrics that the endpoint would serve now, between runs."""
    registry = CollectorRegistry()
    _add_surroundings(registry, settings, database)
    return generate_latest(registry).decode()


def _add_surroundings(registry: CollectorRegistry, settings: Settings, database: Database) -> None:
    registry.register(BacklogCollector(database))
    registry.register(DeviceCollector(settings.gpu_reserve_mib))
    ProcessCollector(registry=registry)
