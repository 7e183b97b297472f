"""Turn frames into features, and features into inputs of the language side.

This module calls the processor and the vision tower, and defines the form in which their outputs are stored: names like
`video/pooler_output/0`. `local` calls it. It inspects what an architecture needs, and never checks its name.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from nightreel.domain import FrameBatch, Segment, StoredTensor
from nightreel.errors import PermanentError
from nightreel.models.inprocess.dialogue import PROBE, Dialogue
from nightreel.models.memory.batches import BatchBudget, is_out_of_memory
from nightreel.models.memory.shapes import FrameShape
from nightreel.reasons import Reason

_MODALITIES = (("image", "pixel_values"), ("video", "pixel_values_videos"))
_STORED_OUTPUTS = ("pooler_output", "deepstack_features")
_CLOCK_HZ = 1000
_FRAMES_TOGETHER = 128
"""Maximum number of frames per pass through the vision tower: more save no time and only use memory."""

Tensors = dict[str, torch.Tensor]


class EncoderOutput(BaseModelOutputWithPooling):
    """Cached encoder outputs: `pooler_output`, and `deepstack_features` if the architecture has them."""


class Vision:
    """The vision side of one model.

    Args:
        model: from AutoModelForImageTextToText.
        processor: its processor.
        dialogue: its chat template.
    """

    def __init__(self, model: Any, processor: Any, dialogue: Dialogue) -> None:
        self._model = model
        self._processor = processor
        self._dialogue = dialogue
        self._shapes: dict[tuple[int, ...], FrameShape] = {}

    @torch.inference_mode()
    def encode(
        self, batches: Sequence[FrameBatch], segments: Sequence[Segment], budget: BatchBudget
    ) -> list[tuple[Tensors, str]]:
        """Encode segments; segments of one shape share batches as far as the budget admits.

        The shape of the processor's output is unknown until it has seen frames of that size, so the first segment of
        each size is a batch of its own.

        Returns:
            For each segment its tensors (encoder outputs, `input/prefix_ids` (P,), `input/positions` (R, P + 1) if
            positions are more than a count, and the processor's other outputs), and the lead of `Dialogue.split`.
        """
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, batch in enumerate(batches):
            groups[batch.frames_thwc.shape].append(index)
        results: dict[int, tuple[Tensors, str]] = {}

        def encode_group(indices: Sequence[int]) -> None:
            made = self.process([batches[i] for i in indices], [segments[i] for i in indices])
            self._shapes[batches[indices[0]].frames_thwc.shape] = frame_shape(made, len(indices))
            device = self._model.device
            inputs = {name: value.to(device) if torch.is_tensor(value) else value for name, value in made.items()}
            outputs = self._encode(inputs)
            for place, index in enumerate(indices):
                own = {name: _part(value, place, len(indices)) for name, value in inputs.items()}
                tensors = {name: _part(value, place, len(indices)) for name, value in outputs.items()}
                results[index] = self._segment(own, tensors)

        for shape, group in groups.items():
            budget.run(
                group,
                encode_group,
                shape_of=lambda index: self._shapes.get(batches[index].frames_thwc.shape),
                what="encoding frames",
                most=max(1, _FRAMES_TOGETHER // shape[0]),
            )
        return [results[index] for index in range(len(batches))]

    def process(self, batches: Sequence[FrameBatch], segments: Sequence[Segment]) -> dict[str, Any]:
        """The processor's outputs, on the CPU, for segments of one shape with the question PROBE.

        Raises:
            PermanentError: `unencodable_frames` if it refuses the frames.
        """
        # In some models two frames share a patch; their processors refuse a single frame.
        least = getattr(self._processor.video_processor, "temporal_patch_size", None) or 1
        try:
            inputs: dict[str, Any] = self._processor(
                text=[self._dialogue.text(PROBE)] * len(batches),
                videos=[_video(batch, least) for batch in batches],
                video_metadata=[_video_metadata(b, s, least) for b, s in zip(batches, segments, strict=True)],
                do_sample_frames=False,
                padding=True,
                return_tensors="pt",
            )
        except (ValueError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and is_out_of_memory(error):
                raise
            frames, height, width, _ = batches[0].frames_thwc.shape
            raise PermanentError(
                Reason.UNENCODABLE_FRAMES, f"the model's processor refuses {frames} frames of {width}x{height}: {error}"
            ) from error
        return dict(inputs)

    def _encode(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        outputs: dict[str, Any] = {}
        for modality, pixels in _MODALITIES:
            if pixels not in inputs:
                continue
            encode = getattr(self._model.base_model, f"get_{modality}_features", None)
            if encode is None:
                raise PermanentError(
                    Reason.UNSUPPORTED_MODEL,
                    f"the model has no get_{modality}_features for the {pixels} of its processor",
                )
            arguments = {name: inputs[name] for name in inspect.signature(encode).parameters if name in inputs}
            encoded = encode(**arguments, return_dict=True)
            for field in _STORED_OUTPUTS:
                if getattr(encoded, field, None) is not None:
                    outputs[f"{modality}/{field}"] = getattr(encoded, field)
        if not outputs:
            raise PermanentError(
                Reason.UNSUPPORTED_MODEL, f"the model's processor makes no pixels of a video, only {sorted(inputs)}"
            )
        return outputs

    def _segment(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> tuple[Tensors, str]:
        real = inputs["attention_mask"][0].bool()
        aligned = {
            name: value[:, real]
            for name, value in inputs.items()
            if torch.is_tensor(value) and value.shape == inputs["attention_mask"].shape
        }
        length, lead = self._dialogue.split(aligned["input_ids"][0].tolist())
        tensors: Tensors = {"input/prefix_ids": aligned["input_ids"][0, :length]}
        positions = self._positions({**inputs, **aligned})
        if positions is not None:
            after = positions[:, length:]
            if not torch.equal(after, after[:, :1] + torch.arange(after.shape[1], device=after.device)):
                raise PermanentError(Reason.UNSUPPORTED_MODEL, "the model's positions do not count up after the video")
            tensors["input/positions"] = positions[:, : length + 1]
        for name, value in inputs.items():
            if name not in aligned and not name.startswith("pixel_"):
                tensors[f"input/{name}"] = value if torch.is_tensor(value) else torch.as_tensor(value)
        for name, value in outputs.items():
            tensors.update(_flatten(name, value))
        return tensors, lead

    def _positions(self, inputs: Mapping[str, Any]) -> torch.Tensor | None:
        """Positions (R, L) of the whole conversation if they are more than a count (M-RoPE), else None."""
        rope_index = getattr(self._model.base_model, "get_rope_index", None)
        if rope_index is None:
            return None
        arguments = {name: inputs[name] for name in inspect.signature(rope_index).parameters if name in inputs}
        positions, _ = rope_index(**arguments)
        count = torch.arange(positions.shape[-1], device=positions.device)
        return torch.cat([count[None], positions[:, 0]])


def frame_shape(inputs: Mapping[str, Any], segments: int = 1) -> FrameShape:
    """The shape of one segment, from the processor's outputs for segments of equal shape.

    Raises:
        PermanentError: `unsupported_model` if the outputs contain no pixels.
    """
    pixels = [value for name, value in inputs.items() if name.startswith("pixel_values") and torch.is_tensor(value)]
    if not pixels:
        raise PermanentError(
            Reason.UNSUPPORTED_MODEL, f"the model's processor makes no pixels of a video, only {sorted(inputs)}"
        )
    values = sum(tensor.numel() for tensor in pixels)
    return FrameShape(values // segments, max(tensor.itemsize for tensor in pixels))


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
        for modality, _ in _MODALITIES
        if hasattr(model.base_model, f"get_{modality}_features")
        for name in inspect.signature(getattr(model.base_model, f"get_{modality}_features")).parameters
    }
    wanted = inspect.signature(model.forward).parameters.keys() - consumed
    names = sorted(name for name in wanted if f"input/{name}" in segments[0])
    return {name: torch.cat([tensors[f"input/{name}"] for tensors in segments]) for name in names}


def to_stored(tensors: Mapping[str, torch.Tensor]) -> tuple[StoredTensor, ...]:
    """Tensors as bytes, bit for bit."""
    return tuple(
        StoredTensor(
            name=name,
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=tuple(tensor.shape),
            data=tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes(),
        )
        for name, tensor in tensors.items()
    )


def from_stored(stored: Sequence[StoredTensor], device: torch.device) -> Tensors:
    """The inverse of `to_stored`, on a device."""
    tensors = {}
    for tensor in stored:
        flat = torch.from_numpy(np.frombuffer(tensor.data, np.uint8).copy())
        tensors[tensor.name] = flat.view(getattr(torch, tensor.dtype)).reshape(tensor.shape).to(device)
    return tensors


def _video(batch: FrameBatch, least: int) -> torch.Tensor:
    """Frames (T, 3, H, W), uint8, a view; the last frame is repeated if there are fewer than `least`."""
    frames = torch.from_numpy(np.ascontiguousarray(batch.frames_thwc)).permute(0, 3, 1, 2)
    lacking = least - len(frames)
    return frames if lacking <= 0 else torch.cat([frames, frames[-1:].expand(lacking, -1, -1, -1)])


def _video_metadata(batch: FrameBatch, segment: Segment, least: int) -> dict[str, Any]:
    """Metadata that presents a segment as a video, on a clock of milliseconds: exact for variable frame rates too."""
    height, width = batch.source_hw
    indices = [max(0, round((pts - segment.start_s) * _CLOCK_HZ)) for pts in batch.pts_s.tolist()]
    return {
        "total_num_frames": max(1, round(segment.duration_s * _CLOCK_HZ)),
        "fps": float(_CLOCK_HZ),
        "duration": segment.duration_s,
        "frames_indices": indices + indices[-1:] * (least - len(indices)),
        "height": height,
        "width": width,
    }


def _part(value: Any, place: int, count: int) -> Any:
    """The part of one of `count` videos of equal shape: all outputs contain the videos in order."""
    if count == 1:
        return value
    if torch.is_tensor(value) or isinstance(value, (list, tuple)):
        nested = isinstance(value, (list, tuple)) and len(value) > 0 and isinstance(value[0], (list, tuple))
        if nested:
            return [_part(inner, place, count) for inner in value]
        if len(value) % count == 0:
            size = len(value) // count
            return value[place * size : (place + 1) * size]
    raise PermanentError(
        Reason.UNSUPPORTED_MODEL, f"outputs of the model's processor cannot be divided among {count} equal videos"
    )


def _flatten(name: str, value: Any) -> Tensors:
    if torch.is_tensor(value):
        return {name: value}
    tensors: Tensors = {}
    for index, part in enumerate(value):
        tensors |= _flatten(f"{name}/{index}", part)
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
