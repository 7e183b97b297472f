"""How many segments may share a batch, and what happens when the device runs out of memory all the same.

The estimate counts what grows with the batch: keys and values, logits, masks and the widest activations. `local` asks
it before each batch.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from nightreel.errors import PermanentError

CPU_BUDGET_BYTES = 1 << 30
GPU_SHARE = 0.6
"""Of the memory that is free once the weights are loaded: the rest is for fragments, workspaces, the vision tower."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class SegmentShape:
    """What one segment of a batch needs, in tokens.

    Args:
        prefix: tokens of the prefix.
        suffixes: tokens of all suffixes and branches.
        generated: tokens that may be generated, over all rows.
        reads: positions whose logits are read at once.
    """

    prefix: int
    suffixes: int
    generated: int
    reads: int


class BatchBudget:
    """Bytes of the batches of one model.

    Args:
        model: from AutoModelForImageTextToText, on its devices; or on the meta device, to estimate alone.
    """

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
        size = model.dtype.itemsize
        self._gpus = {weight.device for weight in model.parameters() if weight.device.type == "cuda"}
        self._token_bytes = 2 * config.num_hidden_layers * kv_heads * head_size * size
        self._activation_bytes = (6 * config.hidden_size + 3 * config.intermediate_size) * size
        self._logit_bytes = config.vocab_size * (size + 8)
        self._mask_copies = heads // kv_heads + 1

    @property
    def token_bytes(self) -> int:
        """Keys and values of one token."""
        return self._token_bytes

    def segment_bytes(self, shape: SegmentShape) -> int:
        """What one segment adds to a batch."""
        width = shape.prefix + shape.suffixes + shape.generated
        return (
            width * self._token_bytes
            + max(shape.prefix, shape.suffixes) * self._activation_bytes
            + shape.reads * self._logit_bytes
            + shape.suffixes * width * self._mask_copies
        )

    def available_bytes(self) -> int:
        """What a batch may take now: of a model on several GPUs, what the fullest has left."""
        if not self._gpus:
            return CPU_BUDGET_BYTES
        return int(min(map(_free_bytes, self._gpus)) * GPU_SHARE)


def _free_bytes(gpu: torch.device) -> int:
    free, _ = torch.cuda.mem_get_info(gpu)
    return free + torch.cuda.memory_reserved(gpu) - torch.cuda.memory_allocated(gpu)


def halving(items: Sequence[_Item], work: Callable[[Sequence[_Item]], None], *, what: str) -> None:
    """Call `work` on all items; when memory runs out, on each half, down to single items.

    `work` must leave nothing behind when it fails.

    Raises:
        PermanentError: `out_of_memory` when a single item does not fit.
    """
    try:
        work(items)
        return
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        problem = str(error).splitlines()[0]
    # outside of the except block: there the traceback would keep the failed batch's tensors alive
    release_memory()
    if len(items) == 1:
        raise PermanentError(
            "out_of_memory",
            f"one segment alone does not fit into memory while {what} ({problem}): use a plan with fewer frames, a "
            "smaller dtype or a larger device",
        )
    middle = len(items) // 2
    halving(items[:middle], work, what=what)
    halving(items[middle:], work, what=what)


def release_memory() -> None:
    """Give freed blocks back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Also for the CPU, whose allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
