"""Turn frames into features: processor, then vision tower.

`prepare` needs no device and takes no turn on it, `encode` does. `local` calls them. This module inspects what an
architecture needs, and never checks its name.
"""

from __future__ import annotations

import inspect
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nightreel.domain import FrameBatch, Segment
from nightreel.errors import PermanentError
from nightreel.models.inprocess.dialogue import PROBE, Dialogue
from nightreel.models.inprocess.tensors import MODALITIES, Tensors, flatten, on_the_cpu
from nightreel.models.memory.batches import BatchBudget, is_out_of_memory
from nightreel.models.memory.shapes import FrameShape
from nightreel.reasons import Reason

_STORED_OUTPUTS = ("pooler_output", "deepstack_features")
_CLOCK_HZ = 1000
FRAMES_TOGETHER = 128
"""Maximum number of frames that are prepared and pass the vision tower together: more save no time and use memory."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A segment before the vision tower, on the CPU.

    Args:
        tensors: what is stored besides the encoder outputs. lead: as `Dialogue.split`.
        arguments: of the model's encoders. shape: of the pixels.
    """

    tensors: Tensors
    lead: str
    arguments: Mapping[str, Any]
    shape: FrameShape


class Vision:
    """The vision side of one model.

    Args:
        model: from AutoModelForImageTextToText.
        processor: its processor, used by nobody else.
        dialogue: its chat template.
    """

    def __init__(self, model: Any, processor: Any, dialogue: Dialogue) -> None:
        self._model = model
        self._processor = processor
        self._dialogue = dialogue
        self._lock = threading.Lock()  # a tokenizer takes one caller at a time

    def prepare(self, batches: Sequence[FrameBatch], segments: Sequence[Segment]) -> list[Prepared]:
        """Everything about segments that needs no device: pixels, tokens, positions. Several threads may call it."""
        with self._lock, torch.inference_mode():
            return [self._prepare(batch, segment) for batch, segment in zip(batches, segments, strict=True)]

    def _prepare(self, batch: FrameBatch, segment: Segment) -> Prepared:
        inputs = self.process(batch, segment)
        tensors, lead = self._inputs(inputs)
        names = {name for encode in self._encoders(inputs).values() for name in inspect.signature(encode).parameters}
        return Prepared(
            tensors=tensors,
            lead=lead,
            arguments={name: value for name, value in inputs.items() if name in names},
            shape=frame_shape(inputs),
        )

    @torch.inference_mode()
    def encode(self, prepared: Sequence[Prepared], budget: BatchBudget) -> list[Tensors]:
        """Encode segments; neighbours of one shape share batches as far as the budget admits.

        Returns:
            For each segment its tensors on the CPU: encoder outputs, `input/prefix_ids` (P,), `input/positions`
            (R, P + 1) if positions are more than a count, and the processor's other outputs.
        """
        groups: dict[object, list[int]] = defaultdict(list)
        for index, one in enumerate(prepared):
            groups[_shapes(one.arguments)].append(index)
        encoded: dict[int, Tensors] = {}
        for group in groups.values():
            budget.run(
                group,
                lambda indices: encoded.update(
                    zip(indices, self._encode([prepared[index].arguments for index in indices]), strict=True)
                ),
                shape_of=lambda index: prepared[index].shape,
                what="encoding frames",
            )
        return [{**one.tensors, **encoded[index]} for index, one in enumerate(prepared)]

    def process(self, batch: FrameBatch, segment: Segment) -> dict[str, Any]:
        """The processor's outputs, on the CPU, for a segment with the question PROBE.

        Raises:
            PermanentError: `unencodable_frames` if it refuses the frames.
        """
        # In some models two frames share a patch; their processors refuse a single frame.
        least = getattr(self._processor.video_processor, "temporal_patch_size", None) or 1
        try:
            inputs: dict[str, Any] = self._processor(
                text=[self._dialogue.text(PROBE)],
                videos=[_video(batch, least)],
                video_metadata=[_video_metadata(batch, segment, least)],
                do_sample_frames=False,
                padding=True,
                return_tensors="pt",
            )
        except (ValueError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and is_out_of_memory(error):
                raise
            frames, height, width, _ = batch.frames_thwc.shape
            raise PermanentError(
                Reason.UNENCODABLE_FRAMES, f"the model's processor refuses {frames} frames of {width}x{height}: {error}"
            ) from error
        return dict(inputs)

    def _encode(self, segments: Sequence[Mapping[str, Any]]) -> list[Tensors]:
        """The encoder outputs of segments of one shape, on the CPU."""
        count, device = len(segments), self._model.device
        inputs = {name: _joined([arguments[name] for arguments in segments]) for name in segments[0]}
        inputs = {name: value.to(device) if torch.is_tensor(value) else value for name, value in inputs.items()}
        results: list[Tensors] = [{} for _ in segments]
        for modality, encode in self._encoders(inputs).items():
            parameters = inspect.signature(encode).parameters
            encoded = encode(**{name: inputs[name] for name in parameters if name in inputs}, return_dict=True)
            for field in _STORED_OUTPUTS:
                if getattr(encoded, field, None) is not None:
                    for place, tensors in enumerate(results):
                        tensors |= flatten(f"{modality}/{field}", _part(getattr(encoded, field), place, count))
        return [on_the_cpu(tensors) for tensors in results]

    def _encoders(self, inputs: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
        """The model's function for the pixels of each modality."""
        found = {
            modality: getattr(self._model.base_model, f"get_{modality}_features", None)
            for modality, pixels in MODALITIES
            if pixels in inputs
        }
        for modality, encode in found.items():
            if encode is None:
                raise PermanentError(
                    Reason.UNSUPPORTED_MODEL,
                    f"the model has no get_{modality}_features for the pixels of its processor",
                )
        if not found:
            raise PermanentError(
                Reason.UNSUPPORTED_MODEL, f"the model's processor makes no pixels of a video, only {sorted(inputs)}"
            )
        return found  # type: ignore[return-value]

    def _inputs(self, inputs: dict[str, Any]) -> tuple[Tensors, str]:
        """What the language side gets of the processor's outputs for a segment, and the lead of `Dialogue.split`."""
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
            if not torch.equal(after, after[:, :1] + torch.arange(after.shape[1])):
                raise PermanentError(Reason.UNSUPPORTED_MODEL, "the model's positions do not count up after the video")
            tensors["input/positions"] = positions[:, : length + 1]
        for name, value in inputs.items():
            if name not in aligned and not name.startswith("pixel_"):
                tensors[f"input/{name}"] = value if torch.is_tensor(value) else torch.as_tensor(value)
        return tensors, lead

    def _positions(self, inputs: Mapping[str, Any]) -> torch.Tensor | None:
        """Positions (R, L) of the whole conversation if they are more than a count (M-RoPE), else None."""
        rope_index = getattr(self._model.base_model, "get_rope_index", None)
        if rope_index is None:
            return None
        arguments = {name: inputs[name] for name in inspect.signature(rope_index).parameters if name in inputs}
        positions = _after_the_largest(rope_index(**arguments)[0][:, 0], inputs["mm_token_type_ids"][0])
        count = torch.arange(positions.shape[-1], device=positions.device)
        return torch.cat([count[None], positions])


def _after_the_largest(positions: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
    """Positions (3, L) in which the text after the video continues after the largest position before it.

    transformers continues after the larger of height and width. Then the text after a long video has positions that
    its frames have, too. The authors of Qwen2-VL and Qwen2.5-VL count the time: `get_rope_index_25` in `rope2d.py` of
    their repository.

    Args:
        types: (L,) 0 for text. A video of the conversation is the last that is not text.
    """
    end = int(types.nonzero().max()) + 1
    shift = positions[:, :end].max() + 1 - positions[:, end:].min()
    return torch.cat([positions[:, :end], positions[:, end:] + shift.clamp(min=0)], dim=1)


def frame_shape(inputs: Mapping[str, Any]) -> FrameShape:
    """The shape of one segment, from the processor's outputs.

    Raises:
        PermanentError: `unsupported_model` if the outputs contain no pixels.
    """
    pixels = [value for name, value in inputs.items() if name.startswith("pixel_values") and torch.is_tensor(value)]
    if not pixels:
        raise PermanentError(
            Reason.UNSUPPORTED_MODEL, f"the model's processor makes no pixels of a video, only {sorted(inputs)}"
        )
    return FrameShape(sum(tensor.numel() for tensor in pixels), max(tensor.itemsize for tensor in pixels))


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


def _joined(values: Sequence[Any]) -> Any:
    """The inverse of `_part`, for the processor's outputs of several videos."""
    if len(values) == 1:
        return values[0]
    if torch.is_tensor(values[0]):
        return torch.cat(list(values))
    return [item for value in values for item in value]


def _shapes(arguments: Mapping[str, Any]) -> object:
    """Equal for segments that can share a batch."""
    return tuple(
        (name, tuple(value.shape) if torch.is_tensor(value) else len(value))
        for name, value in sorted(arguments.items())
    )
