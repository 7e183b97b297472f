"""Estimate the bytes of batches of segments: keys, values, logits, masks, pixels and the widest activations.

`batches` admits batches by these estimates, and `footprint` reports them before a model is loaded. They depend on no
device and no measurement.
"""

from __future__ import annotations

from typing import Any

import torch

from nightreel.models.memory.shapes import PREFILL_TOKENS, BatchBytes, FrameShape, SegmentShape, aligned

_COLOURS = 3
_PATCH_SIDE = 14  # pixels, if the configuration does not specify it


class Estimates:
    """Estimated bytes of the batches of one model.

    Args:
        model: from AutoModelForImageTextToText; its weights are not read, so it may be on the meta device.
    """

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
        self._size = model.dtype.itemsize
        self._patch_values, self._patch_bytes = _patch(model)
        layers = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
        attending = sum("attention" in layer and layer != "linear_attention" for layer in layers)
        self._token_bytes = 2 * attending * kv_heads * head_size * self._size
        self._state_bytes = (len(layers) - attending) * _state_bytes(config, self._size)
        self._feature_bytes = config.hidden_size * self._size
        self._activation_bytes = (6 * config.hidden_size + 3 * config.intermediate_size) * self._size
        self._logit_bytes = config.vocab_size * (self._size + 8)
        self._mask_bytes = heads // kv_heads * (self._size + 1) + 1  # of numbers and booleans, and one of booleans

    @property
    def token_bytes(self) -> int:
        """Bytes of the keys and values of one token."""
        return int(self._token_bytes)

    def of_batches(self, shape: SegmentShape | FrameShape) -> BatchBytes:
        """The bytes of batches of segments of a shape."""
        if isinstance(shape, FrameShape):
            # pixels in the processor's dtype, and a copy in the tower's dtype
            held = shape.value_bytes + (self._size if self._size != shape.value_bytes else 0)
            return BatchBytes(shape.values * held + shape.values // self._patch_values * self._patch_bytes)
        width = aligned(shape.prefix + shape.suffixes + shape.generated)
        kept = width * self._token_bytes + self._state_bytes + shape.prefix * self._feature_bytes
        if shape.copies:  # each has the prefix; the tokens after it are there twice while texts are put together
            after = shape.suffixes + shape.generated
            kept += shape.copies * (shape.prefix * self._token_bytes + self._state_bytes) + after * self._token_bytes
        return BatchBytes(
            kept=kept,
            prefill=shape.prefix * self._activation_bytes,
            together=max(1, PREFILL_TOKENS // shape.prefix),
            asking=shape.suffixes * (self._activation_bytes + width * self._mask_bytes)
            + shape.reads * self._logit_bytes,
        )


def _state_bytes(config: Any, size: int) -> int:
    """Bytes of the states of one layer of linear attention for one sequence; 0 if the configuration does not tell."""
    if not hasattr(config, "linear_num_value_heads"):
        return 0
    keys = config.linear_num_key_heads * config.linear_key_head_dim
    values = config.linear_num_value_heads * config.linear_value_head_dim
    recurrent = values * config.linear_key_head_dim * torch.float32.itemsize
    return int(recurrent + (2 * keys + values) * config.linear_conv_kernel_dim * size)


def _patch(model: Any) -> tuple[int, int]:
    """Pixel values of one patch, and bytes of its widest activations in a layer of the vision tower.

    The activations that exist at the same time were counted on tiny models of each architecture, in multiples of the
    widths of the tower and its MLP. tests/integration/models/test_estimates.py checks them.
    """
    text = model.config.get_text_config()
    # A tower without a configuration is assumed as wide as the language side; the first measurement corrects that.
    config = getattr(model.config, "vision_config", None) or text
    sides = getattr(config, "patch_size", None) or _PATCH_SIDE
    edge = sides if isinstance(sides, int) else sides[0]
    # Towers with an `embed_dim` (Qwen2-VL) name the width of the language side `hidden_size`.
    width, size = getattr(config, "embed_dim", None) or config.hidden_size, model.dtype.itemsize
    inner = getattr(config, "intermediate_size", None) or int((getattr(config, "mlp_ratio", None) or 4) * width)
    decoder = set(model.get_decoder().modules())
    tower = [module for module in model.modules() if module not in decoder]
    linear = [(part.in_features, part.out_features) for part in tower if isinstance(part, torch.nn.Linear)]
    if linear.count((width, inner)) > linear.count((inner, width)):  # an MLP with a gate
        activations = 4 * width + 3 * inner
    elif getattr(config, "hidden_act", None) == "quick_gelu":  # x * sigmoid(1.702 * x), in separate steps
        activations = 6 * width + 3 * inner
    else:
        activations = 6 * width + 2 * inner
    if any(hasattr(part, "inv_freq") for part in tower):  # queries and keys are rotated in float32
        activations = max(activations, 12 * width if size >= torch.float32.itemsize else 43 * width // 2)
    return _COLOURS * edge * edge * (getattr(config, "temporal_patch_size", None) or 1), activations * size
