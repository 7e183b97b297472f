"""The GPUs of this machine: the devices as torch sees them, and their memory and its users as the driver reports."""

from nightreel.gpu.cuda import Cuda, Device, device_names, device_names_of_runs, examine_cuda
from nightreel.gpu.devices import DeviceProcess, MemoryDevice, memory_devices, ram_device, without_kind

__all__ = [
    "Cuda",
    "Device",
    "DeviceProcess",
    "MemoryDevice",
    "device_names",
    "device_names_of_runs",
    "examine_cuda",
    "memory_devices",
    "ram_device",
    "without_kind",
]
