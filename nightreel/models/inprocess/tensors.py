"""Encoder outputs as flat tensors with names like `video/pooler_output/0`: stored, read back, and given to a model.

`vision` makes them, `prefix` gives them to the language side, `local` stores and reads them.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from nightreel.domain import StoredTensor

MODALITIES = (("image", "pixel_values"), ("video", "pixel_values_videos"))

Tensors = dict[str, torch.Tensor]


class EncoderOutput(BaseModelOutputWithPooling):
    """Cached encoder outputs: `pooler_output`, and `deepstack_features` if the architecture has them."""


def encoder_outputs(segments: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, EncoderOutput]:
    """`mm_encoder_outputs` for a batch of segments whose features have the same shapes."""
    fields: dict[str, dict[str, Any]] = defaultdict(dict)
    stored = {tuple(name.split("/")[:2]) for name in segments[0] if not name.startswith("input/")}
    for modality, field in sorted(stored):
        fields[modality][field] = _join([_unflatten(f"{modality}/{field}", tensors) for tensors in segments])
    outputs = {}
    for modality, values in fields.items():
        outputs[modality] = EncoderOutput(pooler_output=values["pooler_output"])
        for field, value in values.items():
            setattr(outputs[modality], field, value)
    return outputs


def language_inputs(model: Any, segments: Sequence[Mapping[str, torch.Tensor]]) -> Tensors:
    """Processor outputs that the language side takes besides tokens, as generate() passes them, for a batch."""
    consumed = {
        name
        for modality, _ in MODALITIES
        if hasattr(model.base_model, f"get_{modality}_features")
        for name in inspect.signature(getattr(model.base_model, f"get_{modality}_features")).parameters
    }
    wanted = inspect.signature(model.forward).parameters.keys() - consumed
    names = sorted(name for name in wanted if f"input/{name}" in segments[0])
    return {name: torch.cat([tensors[f"input/{name}"] for tensors in segments]) for name in names}


def on_the_cpu(tensors: Tensors) -> Tensors:
    """Copies in pinned memory, which is several times as fast as other memory, of tensors of a GPU."""
    copies = {
        name: torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda).copy_(tensor, non_blocking=True)
        for name, tensor in tensors.items()
    }
    for gpu in {tensor.device for tensor in tensors.values() if tensor.is_cuda}:
        torch.cuda.current_stream(gpu).synchronize()
    return copies


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on a device; a GPU copies it while the caller goes on."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def on_the_device(tensors: Tensors, device: torch.device) -> Tensors:
    """Tensors of `from_stored` on a device."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}


def to_stored(tensors: Mapping[str, torch.Tensor]) -> tuple[StoredTensor, ...]:
    """Tensors of the CPU as bytes, bit for bit."""
    return tuple(
        StoredTensor(
            name=name,
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=tuple(tensor.shape),
            data=tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes(),
        )
        for name, tensor in tensors.items()
    )


def from_stored(stored: Sequence[StoredTensor], *, pinned: bool = False) -> Tensors:
    """The inverse of `to_stored`. `pinned`: in memory that is copied to a GPU while the caller goes on."""
    tensors = {}
    for tensor in stored:
        flat = torch.from_numpy(np.frombuffer(tensor.data, np.uint8).copy())
        whole = flat.view(getattr(torch, tensor.dtype)).reshape(tensor.shape)
        tensors[tensor.name] = whole.pin_memory() if pinned else whole
    return tensors


def flatten(name: str, value: Any) -> Tensors:
    if torch.is_tensor(value):
        return {name: value}
    tensors: Tensors = {}
    for index, part in enumerate(value):
        tensors |= flatten(f"{name}/{index}", part)
    return tensors


def _unflatten(name: str, tensors: Mapping[str, torch.Tensor]) -> Any:
    if name in tensors:
        return tensors[name]
    indices = {int(key[len(name) + 1 :].split("/")[0]) for key in tensors if key.startswith(f"{name}/")}
    return [_unflatten(f"{name}/{index}", tensors) for index in sorted(indices)]


def _join(values: Sequence[Any]) -> Any:
    """Join the outputs of several segments, as one call of the encoder would return them."""
    first = values[0]
    if torch.is_tensor(first):
        return first if len(values) == 1 else torch.cat(list(values))
    if first and isinstance(first[0], list):
        return [_join([value[layer] for value in values]) for layer in range(len(first))]
    return [tensor for value in values for tensor in value]
