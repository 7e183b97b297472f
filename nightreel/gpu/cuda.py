"""The GPUs as torch sees them, for `nightreel doctor`, and which of the driver's devices is torch's `cuda:N`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from nightreel.errors import SettingsError
from nightreel.gpu.devices import open_nvml, without_kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A CUDA device as torch sees it.

    Args:
        total_bytes, free_bytes: memory of the device; memory that other processes use is not free.
        capability: compute capability, as "9.0".
    """

    index: int
    name: str
    uuid: str
    total_bytes: int
    free_bytes: int
    capability: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuda:
    """The CUDA that torch was built for, the driver and the devices.

    Args:
        torch: its version. built_for: CUDA version of its binaries; None for a CPU build.
        driver: version of the NVIDIA driver; None without a driver or without `nvidia-ml-py`.
        problem: why torch cannot use a GPU that the driver lists.
    """

    torch: str
    built_for: str | None
    driver: str | None
    devices: tuple[Device, ...]
    problem: str | None = None


def examine_cuda() -> Cuda:
    """Examine torch and the GPUs. Imports torch and opens a context on each device, a few hundred MiB."""
    import torch

    devices: tuple[Device, ...] = ()
    driver, sees_gpu = _driver()
    problem = None
    try:
        if torch.cuda.is_available():
            devices = tuple(_device(index) for index in range(torch.cuda.device_count()))
        elif sees_gpu:
            problem = f"driver {driver} lists a GPU, but torch for CUDA {torch.version.cuda} cannot use it"
    except RuntimeError as error:  # a driver too old, a device in a bad state
        problem = str(error).splitlines()[0]
    return Cuda(torch=torch.__version__, built_for=torch.version.cuda, driver=driver, devices=devices, problem=problem)


def _device(index: int) -> Device:
    import torch

    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    return Device(
        index=index,
        name=properties.name,
        uuid=str(properties.uuid),
        total_bytes=total,
        free_bytes=free,
        capability=f"{properties.major}.{properties.minor}",
    )


def device_names() -> dict[str, str]:
    """torch's names of the devices that this process may use, by their UUID: {"0f2c...": "cuda:0"}.

    Imports torch. Its devices and their order follow CUDA_VISIBLE_DEVICES and may differ from the driver's.
    """
    import torch

    if not torch.cuda.is_available():
        return {}
    uuids = (str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count()))
    return {without_kind(uuid): f"cuda:{index}" for index, uuid in enumerate(uuids)}


def device_names_of_runs() -> dict[str, str]:
    """As `device_names`, but another process imports torch: for a worker, which needs the names of its runs only once.

    Only CUDA knows what CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER mean here. A process with their values says it.

    Raises:
        SettingsError: torch does not work.
    """
    program = "import json; from nightreel.gpu import device_names; print(json.dumps(device_names()))"
    done = subprocess.run(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise SettingsError(f"torch does not list the GPUs: {said[-1]}: `nightreel doctor` examines them")
    names: dict[str, str] = json.loads(done.stdout.strip().splitlines()[-1])
    return names


def _driver() -> tuple[str | None, bool]:
    """Version of the NVIDIA driver, and whether it lists a GPU."""
    with open_nvml() as nvml:
        if nvml is None:
            return None, False
        try:
            return nvml.nvmlSystemGetDriverVersion(), nvml.nvmlDeviceGetCount() > 0
        except nvml.NVMLError:
            return None, False
