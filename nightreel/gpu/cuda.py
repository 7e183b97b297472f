"""The GPUs as torch sees them: what doctor tells, and which of the driver's devices is torch's `cuda:N`."""

from __future__ import annotations

from dataclasses import dataclass

from nightreel.gpu.devices import open_nvml


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A CUDA device as torch sees it.

    Args:
        total_bytes, free_bytes: memory of the device; free counts what other processes use.
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
    """What torch was built for and what is there.

    Args:
        torch: its version. built_for: CUDA version of its binaries, None for a CPU build.
        driver: version of the NVIDIA driver, None where there is none or `nvidia-ml-py` is not installed.
        problem: why a GPU that seems to be there cannot be used.
    """

    torch: str
    built_for: str | None
    driver: str | None
    devices: tuple[Device, ...]
    problem: str | None = None


def examine_cuda() -> Cuda:
    """Look at torch and the GPUs. Imports torch; opens a context on each device, some hundred MiB."""
    import torch

    devices: tuple[Device, ...] = ()
    driver, sees_gpu = _driver()
    problem = None
    try:
        if torch.cuda.is_available():
            devices = tuple(_device(index) for index in range(torch.cuda.device_count()))
        elif sees_gpu:
            problem = f"the driver {driver} knows a GPU, but torch for CUDA {torch.version.cuda} cannot use it"
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
    """What torch calls the devices that this process may use, by UUID as the driver has it: {"GPU-...": "cuda:0"}.

    Imports torch, whose order and choice follow CUDA_VISIBLE_DEVICES and need not be the driver's.
    """
    import torch

    if not torch.cuda.is_available():
        return {}
    uuids = (str(torch.cuda.get_device_properties(index).uuid) for index in range(torch.cuda.device_count()))
    return {f"GPU-{uuid.removeprefix('GPU-')}": f"cuda:{index}" for index, uuid in enumerate(uuids)}


def _driver() -> tuple[str | None, bool]:
    """Version of the NVIDIA driver, and whether it knows any GPU."""
    with open_nvml() as nvml:
        if nvml is None:
            return None, False
        try:
            return nvml.nvmlSystemGetDriverVersion(), nvml.nvmlDeviceGetCount() > 0
        except nvml.NVMLError:
            return None, False
