"""What one segment adds to a batch, by counting: keys and values, logits, masks, pixels and the widest activations.

`memory` admits batches by it, `footprint` prints it before a model is loaded. It knows no device and no measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from nightreel.domain import MemoryStage
from nightreel.errors import PermanentError

_COLOURS = 3
_PATCH_SIDE = 14  # pixels, where a configuration does not tell
_SIGNIFICANT_BITS = 5


@dataclass(frozen=True, slots=True)
class SegmentShape:
    """What one segment needs of the language side, in tokens.

    Args:
        prefix: tokens of the prefix.
        suffixes: tokens of all suffixes and branches.
        generated: tokens that may be generated, over all rows.
        reads: positions whose logits are read at once.
    """

    stage: ClassVar[MemoryStage] = MemoryStage.LANGUAGE
    prefix: int
    suffixes: int
    generated: int
    reads: int

    def joined(self, other: SegmentShape) -> SegmentShape:
        """The shape that holds both: in a batch every segment is padded to the largest."""
        return SegmentShape(
            prefix=max(self.prefix, other.prefix),
            suffixes=max(self.suffixes, other.suffixes),
            generated=max(self.generated, other.generated),
            reads=max(self.reads, other.reads),
        )

    def __str__(self) -> str:
        """As peaks are kept.

        >>> str(SegmentShape(prefix=1042, suffixes=130, generated=96, reads=14))
        'prefix=1088 suffixes=136 generated=96 reads=14'
        """
        return (
            f"prefix={_rounded(self.prefix)} suffixes={_rounded(self.suffixes)} "
            f"generated={_rounded(self.generated)} reads={_rounded(self.reads)}"
        )


@dataclass(frozen=True, slots=True)
class FrameShape:
    """What one segment needs of the vision side.

    Args:
        values: pixel values as the processor made them.
        value_bytes: of one of them.
    """

    stage: ClassVar[MemoryStage] = MemoryStage.VISION
    values: int
    value_bytes: int

    @classmethod
    def of(cls, inputs: Mapping[str, Any], segments: int = 1) -> FrameShape:
        """From what the processor made of some segments of equal shape.

        Raises:
            PermanentError: `unsupported_model` where there are no pixels among it.
        """
        pixels = [value for name, value in inputs.items() if name.startswith("pixel_values") and torch.is_tensor(value)]
        if not pixels:
            raise PermanentError(
                "unsupported_model", f"its processor makes no pixels of a video, only {sorted(inputs)}"
            )
        values = sum(tensor.numel() for tensor in pixels)
        return cls(values // segments, max(tensor.itemsize for tensor in pixels))

    def joined(self, other: FrameShape) -> FrameShape:
        return FrameShape(max(self.values, other.values), max(self.value_bytes, other.value_bytes))

    def __str__(self) -> str:
        """As peaks are kept.

        >>> str(FrameShape(values=16 * 3 * 448 * 448, value_bytes=4))
        'pixel_values=9961472'
        """
        return f"pixel_values={_rounded(self.values)}"


class Estimates:
    """Bytes of the batches of one model, counted.

    Args:
        model: from AutoModelForImageTextToText; its weights are not looked at, so that the meta device will do.
    """

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
        self._size = model.dtype.itemsize
        self._patch_values, self._patch_bytes = _patch(model)
        self._token_bytes = 2 * config.num_hidden_layers * kv_heads * head_size * self._size
        self._activation_bytes = (6 * config.hidden_size + 3 * config.intermediate_size) * self._size
        self._logit_bytes = config.vocab_size * (self._size + 8)
        self._mask_copies = heads // kv_heads + 1

    @property
    def token_bytes(self) -> int:
        """Keys and values of one token."""
        return self._token_bytes

    def segment_bytes(self, shape: SegmentShape | FrameShape) -> int:
        """What one segment adds to a batch."""
        if isinstance(shape, FrameShape):
            # as the processor made them, and cast to the tower's dtype
            held = shape.value_bytes + (self._size if self._size != shape.value_bytes else 0)
            return shape.values * held + shape.values // self._patch_values * self._patch_bytes
        width = shape.prefix + shape.suffixes + shape.generated
        return (
            width * self._token_bytes
            + max(shape.prefix, shape.suffixes) * self._activation_bytes
            + shape.reads * self._logit_bytes
            + shape.suffixes * width * self._mask_copies
        )


def _patch(model: Any) -> tuple[int, int]:
    """Pixel values of one patch, and bytes of the widest activations it has in a layer of the vision tower.

    What is alive at once was counted on nine architectures, in multiples of the tower's width and of its MLP's: see
    tests/integration/models/test_estimates.py, which holds it to them.
    """
    text = model.config.get_text_config()
    # Where no tower is described it is taken for as wide as the language side; the first measurement corrects it.
    config = getattr(model.config, "vision_config", None) or text
    sides = getattr(config, "patch_size", None) or _PATCH_SIDE
    edge = sides if isinstance(sides, int) else sides[0]
    width, size = config.hidden_size, model.dtype.itemsize
    inner = getattr(config, "intermediate_size", None) or 4 * width
    decoder = set(model.get_decoder().modules())
    tower = [module for module in model.modules() if module not in decoder]
    linear = [(part.in_features, part.out_features) for part in tower if isinstance(part, torch.nn.Linear)]
    if linear.count((width, inner)) > linear.count((inner, width)):  # a gate beside the way up
        activations = 4 * width + 3 * inner
    elif getattr(config, "hidden_act", None) == "quick_gelu":  # x * sigmoid(1.702 * x), in steps
        activations = 6 * width + 3 * inner
    else:
        activations = 6 * width + 2 * inner
    if any(hasattr(part, "inv_freq") for part in tower):  # queries and keys are turned in float32
        activations = max(activations, 12 * width if size >= torch.float32.itemsize else 43 * width // 2)
    return _COLOURS * edge * edge * (getattr(config, "temporal_patch_size", None) or 1), activations * size


def _rounded(count: int) -> int:
    """Up, to a few significant bits: segments that differ by the digits of a timestamp are of one shape.

    >>> [_rounded(count) for count in (0, 7, 31, 33, 1042)]
    [0, 7, 31, 34, 1088]
    """
    step = 1 << max(0, count.bit_length() - _SIGNIFICANT_BITS)
    return -(-count // step) * step
