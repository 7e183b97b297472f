"""Check that the loading options can work on this machine, before any video is touched.

`loading` calls it while it determines a model's identity. torch is imported only if an option depends on the GPUs, so
a night without new videos and with default options does not import it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec

from nightreel.errors import SettingsError
from nightreel.settings import Settings

ALL_GPUS = "cuda:all"
_PACKAGES = {"bnb": "bitsandbytes", "torchao": "torchao"}
_TF32_SINCE = (8, 0)
_SCHEMES_SINCE = {"torchao-int4": (8, 0), "torchao-fp8": (8, 9)}
"""The compute capability of the GPUs whose kernels multiply weights of these schemes. They take bfloat16 only."""
_COMPILERS = ("g++", "clang++", "c++")


def require_capabilities(settings: Settings, *, dtype: str) -> None:
    """Refuse options that cannot work here.

    Args:
        dtype: of the weights, resolved.

    Raises:
        SettingsError: one line per such option, with its value, what it needs and what to do.
    """
    problems = list(_problems(settings, dtype))
    if problems:
        raise SettingsError("\n".join(problems))


def visible_gpus() -> int:
    """Number of CUDA devices that torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def first_device(wanted: str) -> str:
    """The device of the setting `device`, as torch names it; the first of several."""
    return f"cuda:{_first_gpu(wanted)}" if _on_gpu(wanted) else "cpu"


def _problems(settings: Settings, dtype: str) -> Iterator[str]:
    yield from _device(settings.device)
    if settings.quantization != "none":
        yield from _quantization(settings, dtype)
    if settings.attention == "flash_attention_2":
        yield from _flash_attention(settings.device, dtype)
    if settings.adapter and find_spec("peft") is None:
        yield f"NIGHTREEL_ADAPTER={settings.adapter!r} needs peft: pip install 'nightreel[adapters]'"
    if settings.adapter_revision and not settings.adapter:
        yield f"NIGHTREEL_ADAPTER_REVISION={settings.adapter_revision!r} needs an adapter: set NIGHTREEL_ADAPTER too"
    if settings.tf32:
        yield from _tf32(settings.device, dtype)
    if settings.cuda_graphs:
        yield from _cuda_graphs(settings.device)
    if settings.compile:
        yield from _compile(settings.device)


def _device(wanted: str) -> Iterator[str]:
    if not wanted.startswith("cuda"):
        return
    available = visible_gpus()
    least = 2 if wanted == ALL_GPUS else int(wanted.partition(":")[2] or 0) + 1
    if available < least:
        yield (
            f"NIGHTREEL_DEVICE={wanted!r}: torch sees {available} CUDA devices, but this needs {least}; use auto or "
            "cpu (`nightreel doctor` lists the devices)"
        )


def _quantization(settings: Settings, dtype: str) -> Iterator[str]:
    scheme = settings.quantization
    package, asked = _PACKAGES[scheme.partition("-")[0]], f"NIGHTREEL_QUANTIZATION={scheme!r}"
    yield from _gpu_since(_SCHEMES_SINCE.get(scheme), settings.device, asked)
    if scheme in _SCHEMES_SINCE and dtype != "bfloat16":
        yield f"{asked} needs bfloat16, but the weights are {dtype}: set NIGHTREEL_DTYPE, or use torchao-int8"
    if find_spec(package) is None:
        yield f"{asked} needs {package}: pip install {package}"
    if settings.adapter:
        yield (
            f"{asked}: an adapter cannot be merged into quantised weights: unset "
            "NIGHTREEL_QUANTIZATION or NIGHTREEL_ADAPTER, or merge the adapter into the model beforehand"
        )


def _flash_attention(device: str, dtype: str) -> Iterator[str]:
    asked = "NIGHTREEL_ATTENTION='flash_attention_2'"
    if find_spec("flash_attn") is None:
        yield f"{asked} needs flash-attn (FlashAttention 2), which is not installed: use sdpa"
    if not _on_gpu(device):
        yield f"{asked} needs a GPU, but this model would run on the CPU: use sdpa"
    if dtype == "float32":
        yield f"{asked} needs bfloat16 or float16, but the weights are float32: set NIGHTREEL_DTYPE, or use sdpa"


def _tf32(device: str, dtype: str) -> Iterator[str]:
    if dtype != "float32":
        yield f"NIGHTREEL_TF32=true affects only float32 weights, and these are {dtype}: unset it"
    yield from _gpu_since(_TF32_SINCE, device, "NIGHTREEL_TF32=true")


def _cuda_graphs(device: str) -> Iterator[str]:
    if device == ALL_GPUS:
        yield f"NIGHTREEL_CUDA_GRAPHS=true needs the model on one GPU, but NIGHTREEL_DEVICE is {device!r}: unset it"
    yield from _gpu_since(None, device, "NIGHTREEL_CUDA_GRAPHS=true")


def _gpu_since(least: tuple[int, int] | None, device: str, asked: str) -> Iterator[str]:
    """An option that needs a GPU, with at least this compute capability if it is not None."""
    if not _on_gpu(device):
        yield f"{asked} needs a GPU, but this model would run on the CPU: unset it"
    elif least is not None:
        import torch

        found = torch.cuda.get_device_capability(_first_gpu(device))
        if found < least:
            yield (
                f"{asked} needs compute capability {least[0]}.{least[1]}, but the GPU has {found[0]}.{found[1]}: "
                "unset it"
            )


def _compile(device: str) -> Iterator[str]:
    if _on_gpu(device):
        if find_spec("triton") is None:
            yield "NIGHTREEL_COMPILE=true on a GPU needs triton, which is not installed: unset it"
    elif not any(map(shutil.which, _COMPILERS)):
        yield f"NIGHTREEL_COMPILE=true on the CPU needs a C++ compiler ({' or '.join(_COMPILERS)}): unset it"


def _on_gpu(device: str) -> bool:
    return device != "cpu" and visible_gpus() > 0


def _first_gpu(device: str) -> int:
    index = device.partition(":")[2]
    return int(index) if index.isdigit() else 0
