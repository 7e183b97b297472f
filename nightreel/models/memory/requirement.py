"""What a run needs of a device's memory, in MiB, before anything is loaded: what it leases.

`stages.leasing` asks it. It puts together what others count: the weights and a segment by `footprint`, what was
measured by `peaks`, the share of free memory that batches get by `meters`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nightreel.domain import MemoryNeed, MemoryPeak, MemoryStage, Prompt
from nightreel.models.loading import estimate_footprint
from nightreel.settings import Settings

_MIB = 1 << 20
_CONTEXT_BYTES = 768 * _MIB
"""A CUDA context with cuBLAS, beside torch's allocator. Taken from reports of others: not measured here."""
_PROCESS_BYTES = 1024 * _MIB
"""On the CPU: interpreter, torch, transformers and the decoders at rest."""
_WIDTH, _HEIGHT = 1280, 720
"""Of a source's frames. Processors that cap their pixels make the same of any larger ones."""


def memory_need(
    settings: Settings, *, prompts: Sequence[Prompt], peaks: Iterable[MemoryPeak], gpu: str | None, spread: int = 1
) -> MemoryNeed:
    """Estimate what the model that the settings name takes, with a chunk's segments in one batch.

    Args:
        peaks: what batches took in earlier runs; they count for their own kind of GPU.
        gpu: its name, as "NVIDIA H200"; None for the CPU.
        spread: how many GPUs the weights are spread over; the need is then that of each.

    Raises:
        SettingsError, PermanentError, TransientError: as `estimate_footprint`.
    """
    from nightreel.models.memory.meters import CPU_BUDGET_BYTES, GPU_SHARE
    from nightreel.models.memory.peaks import Peaks

    found = estimate_footprint(
        settings, prompts=prompts, frames=settings.sampling_plan.frames, height=_HEIGHT, width=_WIDTH
    )
    known = Peaks(gpu or "cpu", peaks)
    segment = max(
        known.segment_bytes(MemoryStage.VISION, str(found.frames), estimate=found.vision_bytes),
        known.segment_bytes(MemoryStage.LANGUAGE, str(found.shape), estimate=found.segment_bytes),
    )
    chunk = segment * settings.chunk_segments
    if gpu is None:
        fixed, apart = _PROCESS_BYTES + found.weights_bytes, _PROCESS_BYTES
        least, wanted = segment, max(segment, min(chunk, CPU_BUDGET_BYTES))
    else:
        fixed, apart = _CONTEXT_BYTES + found.weights_bytes // spread, _CONTEXT_BYTES
        least, wanted = int(segment / GPU_SHARE), int(chunk / GPU_SHARE)
    return MemoryNeed(least_mib=_mib(fixed + least), wanted_mib=_mib(fixed + wanted), apart_mib=_mib(apart))


def _mib(count: int) -> int:
    return -(-count // _MIB)
