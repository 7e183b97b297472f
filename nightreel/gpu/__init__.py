"""The GPUs of this machine: the devices as torch sees them, and their memory and its users as the driver reports."""

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
