"""Memory of this machine's devices: the leasable part, and the part that any process uses. Does not import torch."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nightreel.errors import SettingsError
from nightreel.gpu import memory_devices

logger = logging.getLogger(__name__)


class DeviceCollector(Collector):
    """Reads the driver at each scrape, which takes milliseconds.

    Args:
        reserve_mib: MiB of a device that are never leased; None: the default of `MemoryDevice.leasable_mib`.
    """

    def __init__(self, reserve_mib: int | None) -> None:
        self._reserve_mib = reserve_mib

    def collect(self) -> Iterator[GaugeMetricFamily]:
        leasable = _gauge("leasable", "Memory of a device that runs can lease in total.")
        used = _gauge("used", "Memory of a device that any process uses.")
        try:
            for device in memory_devices():
                used.add_metric((device.limit,), device.used_bytes)
                leasable.add_metric((device.limit,), device.leasable_mib(self._reserve_mib) * 2**20)
        except SettingsError as error:
            logger.warning("metrics of the devices are missing: %s", error)
        yield leasable
        yield used


def _gauge(what: str, about: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"nightreel_memory_{what}_bytes", about, labels=("limit",))
