"""How many devices of all hosts can hold a model: read from the limits that Prefect has for their memory.

`helpers` uses it. The names of limits are from `gpu.devices.limit_name`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from prefect.client.orchestration import SyncPrefectClient

from nightreel.models.memory.device_request import DeviceRequest
from nightreel.orchestration.prefect_errors import prefect_errors

_PAGE = 200  # most limits that the server returns in one response
_GPU = "gpu-mem-"
_CPU = "cpu-mem-"


def read_places(client: SyncPrefectClient, request: DeviceRequest | None) -> int:
    """How many runs of this model the devices take, one each. None: of a model that fits all of them."""
    limits: dict[str, int] = {}
    while True:
        with prefect_errors():
            page = client.read_global_concurrency_limits(limit=_PAGE, offset=len(limits))
        limits.update({limit.name: limit.limit for limit in page})
        if len(page) < _PAGE:
            break
    if request is None:
        return count_places(limits)
    memory = request.memory
    on_gpu = any(name.startswith(_GPU) for name in memory.capacities)
    return count_places(limits, least_mib=request.least_mib, spread=memory.spread, on_gpu=on_gpu)


def count_places(
    limits: Mapping[str, int], *, least_mib: int = 0, spread: bool = False, on_gpu: bool | None = None
) -> int:
    """How many devices, or for a spread model hosts, have this much memory.

    Args:
        limits: capacity in MiB by name.
        on_gpu: whether the model runs on GPUs; None: on GPUs if there are any, else on CPUs.

    >>> limits = {"gpu-mem-a-GPU-1": 80, "gpu-mem-a-GPU-2": 20, "gpu-mem-b-GPU-3": 80, "cpu-mem-a": 60, "other": 99}
    >>> count_places(limits), count_places(limits, least_mib=40), count_places(limits, least_mib=40, on_gpu=False)
    (3, 2, 1)
    >>> count_places(limits, least_mib=20, spread=True), count_places(limits, least_mib=40, spread=True)
    (1, 0)
    """
    if on_gpu is None:
        on_gpu = any(name.startswith(_GPU) for name in limits)
    devices = {name: mib for name, mib in limits.items() if name.startswith(_GPU if on_gpu else _CPU)}
    if not spread:
        return sum(mib >= least_mib for mib in devices.values())
    hosts = defaultdict(list)
    for name, mib in devices.items():
        hosts[re.sub("-(GPU|MIG)-.*", "", name)].append(mib)
    return sum(len(found) > 1 and min(found) >= least_mib for found in hosts.values())
