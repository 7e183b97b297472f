"""Memory that a run requires on a device, in MiB, before anything is loaded: the size of its lease.

`stages.device_lease` calls it. It combines weights and segment bytes from `footprint`, measurements from `peaks`, and
the share of free memory that batches may use.
"""

from __future__ import annotations

from collections.abc import Iterable

from nightreel.domain import MemoryPeak, MemoryRequirement, MemoryStage
from nightreel.models.memory.footprint import CPU_BUDGET_BYTES, GPU_SHARE, Footprint
from nightreel.models.memory.peaks import Peaks

_MIB = 1 << 20
_CONTEXT_BYTES = 768 * _MIB
"""A CUDA context with cuBLAS, outside torch's allocator. From reports by others; not measured here."""
_PROCESS_BYTES = 1024 * _MIB
"""On the CPU: interpreter, torch, transformers and idle decoders."""


def memory_requirement(
    footprint: Footprint, *, peaks: Iterable[MemoryPeak], gpu: str | None, chunk_segments: int, spread: int = 1
) -> MemoryRequirement:
    """Memory that a model requires on each of its devices.

    Args:
        peaks: memory peaks of earlier runs; only those of the same kind of GPU count.
        gpu: its name, as "NVIDIA H200"; None for the CPU.
        chunk_segments: number of segments in a chunk, which may share one batch.
        spread: number of GPUs that share the weights.
    """
    known = Peaks(gpu or "cpu", peaks)
    segment, chunk = (_batch(footprint, known, segments) for segments in (1, chunk_segments))
    if gpu is None:
        fixed, overhead = _PROCESS_BYTES + footprint.weights_bytes, _PROCESS_BYTES
        minimum, preferred = segment, max(segment, min(chunk, CPU_BUDGET_BYTES))
    else:
        fixed, overhead = _CONTEXT_BYTES + footprint.weights_bytes // spread, _CONTEXT_BYTES
        minimum, preferred = int(segment / GPU_SHARE), int(chunk / GPU_SHARE)
    return MemoryRequirement(
        minimum_mib=_mib(fixed + minimum), preferred_mib=_mib(fixed + preferred), overhead_mib=_mib(overhead)
    )


def _batch(footprint: Footprint, known: Peaks, segments: int) -> int:
    """Bytes of a batch of so many segments, on the side that needs more."""
    vision, language = segments * footprint.vision_bytes, footprint.language.of(segments)
    return max(
        known.batch_bytes(MemoryStage.VISION, str(footprint.frames), segments=segments, estimate=vision),
        known.batch_bytes(MemoryStage.LANGUAGE, str(footprint.shape), segments=segments, estimate=language),
    )


def _mib(size_bytes: int) -> int:
    """MiB, rounded up."""
    return -(-size_bytes // _MIB)
