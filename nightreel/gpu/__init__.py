"""The GPUs of this machine: as torch sees them, and as the driver tells what memory they have and who holds it."""

from nightreel.gpu.cuda import Cuda, Device, device_names, examine_cuda
from nightreel.gpu.devices import DeviceProcess, MemoryDevice, memory_devices, ram_device

__all__ = [
    "Cuda",
    "Device",
    "DeviceProcess",
    "MemoryDevice",
    "device_names",
    "examine_cuda",
    "memory_devices",
    "ram_device",
]
