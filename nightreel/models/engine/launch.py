"""The command line and the environment of vLLM, from settings, leased memory and a checkpoint.

`loader` calls it. vLLM gets no secret of ours: only variables that it or its libraries read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightreel.models.engine.environment import EngineEnvironment
from nightreel.models.engine.identity import ENGINE_BYTES, engine_arguments
from nightreel.models.served.layouts import Layout
from nightreel.settings import Settings, child_environment

_GIB = 1 << 30
_PASSED = ("PATH", "HOME", "LANG", "LC_", "TZ", "LD_LIBRARY_PATH", "CUDA_", "NVIDIA_", "NCCL_", "OMP_", "VLLM_", "XDG_",
           "HF_HOME", "TORCH", "TRITON_")  # fmt: skip
_NOT_PASSED = ("VLLM_API_KEY",)  # it would ask us for it
_ON_THE_CPU = ("--enforce-eager", "--block-size", "32")
"""Compiling takes minutes there. And the default blocks of 128 tokens are longer than many segments, which no other
question would find in the cache then."""
_LEAST_KV_GIB = 1
_LEAST_OWN_BYTES = _GIB  # for batches of frames, and for the encoder of a search by meaning
_OWN_SHARE = 0.125


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start a vLLM."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMemory:
    """The memory that vLLM may use.

    Args:
        share: of the whole memory of each GPU; None on the CPU.
        cache_gib: for keys and values on the CPU.
    """

    share: float | None = None
    cache_gib: int = _LEAST_KV_GIB


def engine_launch(
    settings: Settings,
    environment: EngineEnvironment,
    directory: Path,
    socket: Path,
    *,
    dtype: str,
    memory: EngineMemory,
    gpus: int,
    name: str,
    media: Sequence[str],
) -> Launch:
    """How to start vLLM for a model.

    Args:
        directory: with all files of the model. socket: where vLLM listens.
        dtype: of the weights. gpus: that share them.
        name: of the model in requests.
        media: the arguments from `for_features` or `for_frames`.
    """
    on_gpu = memory.share is not None
    argv = [
        *(str(environment.program), "serve", str(directory.resolve())),
        *(f"--served-model-name={name}", "--uds", str(socket)),
        *("--dtype", dtype, "--max-model-len", "auto"),
        *media,
        *("--disable-uvicorn-access-log",),
        *(("--gpu-memory-utilization", f"{memory.share:.3f}") if on_gpu else _ON_THE_CPU),
        *(("--tensor-parallel-size", str(gpus)) if gpus > 1 else ()),
        *(("--trust-remote-code",) if settings.trust_remote_code else ()),
        *engine_arguments(settings),
    ]
    inherited = {
        name: value
        for name, value in child_environment().items()
        if name.startswith(_PASSED) and name not in _NOT_PASSED
    }
    added = {
        "PATH": f"{environment.directory / 'bin'}:{inherited.get('PATH', os.defpath)}",
        "TMPDIR": str(socket.parent),
        "VLLM_RPC_BASE_PATH": str(socket.parent),  # its processes talk in pickles: no other user may
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",  # the files are here
    }
    if on_gpu:
        added |= _visible(settings.device)
    else:
        added |= {
            "VLLM_CPU_KVCACHE_SPACE": str(memory.cache_gib),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # other processes use the cores, too
            "CUDA_VISIBLE_DEVICES": "",
        }
    return Launch(argv=tuple(argv), environment={**inherited, **added})


def for_features(*, with_tower: bool) -> tuple[str, ...]:
    """The arguments of a vLLM that gets tokens and embeddings.

    Args:
        with_tower: vLLM loads the vision tower, which it does not use. Without it, vLLM 0.32 takes no features of
            deeper layers.
    """
    return ("--enable-scale-out", "--enable-mm-embeds", "--skip-mm-profiling", *_most({"image": int(with_tower)}))


def for_frames(layout: Layout, *, on_gpu: bool) -> tuple[str, ...]:
    """The arguments of a vLLM that gets frames: as one video, or as any number of pictures.

    On a GPU, it measures the memory that its vision tower needs.
    """
    limits = {} if layout is Layout.PICTURES else {"image": 0, "video": 1}
    return ("--trust-request-mm-kwargs", *(() if on_gpu else ("--skip-mm-profiling",)), *_most(limits))


def cpu_memory(limit_bytes: int | None, weights_bytes: int) -> EngineMemory:
    """The memory of vLLM on the CPU, of what a lease gives.

    Args:
        limit_bytes: for weights and keys; None: no limit.
    """
    left = 0 if limit_bytes is None else limit_bytes - weights_bytes - ENGINE_BYTES
    return EngineMemory(cache_gib=max(_LEAST_KV_GIB, left // _GIB))


def gpu_memory(limit_bytes: int, *, held_bytes: int, total_bytes: int) -> tuple[EngineMemory, int]:
    """The memory of vLLM on each GPU, of what a lease gives, and the bytes for this process.

    Args:
        limit_bytes: for both. held_bytes: weights of the vision tower, which is in this process if vLLM gets features.
            total_bytes: of the device.

    >>> memory, own_bytes = gpu_memory(20 << 30, held_bytes=1 << 30, total_bytes=80 << 30)
    >>> round(memory.share, 4), own_bytes >> 20
    (0.2078, 3456)
    """
    own_bytes = held_bytes + max(_LEAST_OWN_BYTES, int(_OWN_SHARE * (limit_bytes - held_bytes)))
    return EngineMemory(share=max(0.0, limit_bytes - own_bytes) / total_bytes), own_bytes


def _most(limits: Mapping[str, int]) -> tuple[str, str]:
    return "--limit-mm-per-prompt", json.dumps({"video": 0, **limits})


def _visible(device: str) -> dict[str, str]:
    index = device.partition(":")[2]
    return {"CUDA_VISIBLE_DEVICES": index} if index.isdigit() else {}
