"""The HTTP endpoint that Prometheus scrapes: /metrics on a port of this process, for as long as a block lasts."""

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
    """Serve a registry, with the backlog, the devices and this process beside what it has, where a port is set.

    Yields:
        Whether they are served. A port that is taken is a warning: numbers are no reason for a run to fail.
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
            "no metrics are served at %s, port %d: %s. Another run of this host may have the port: give each its own "
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
    """What would be served now, between runs."""
    registry = CollectorRegistry()
    _add_surroundings(registry, settings, database)
    return generate_latest(registry).decode()


def _add_surroundings(registry: CollectorRegistry, settings: Settings, database: Database) -> None:
    registry.register(BacklogCollector(database))
    registry.register(DeviceCollector(settings.gpu_reserve_mib))
    ProcessCollector(registry=registry)
