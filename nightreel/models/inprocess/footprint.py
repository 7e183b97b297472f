"""Estimate the memory of a model on a device before its weights are loaded.

`nightreel model` prints it. Weights are counted on the meta device. Tokens and pixels are real outputs of the processor
for frames of that size. Activations are estimated by `memory.estimates`, as for batches before any measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from nightreel.domain import FrameBatch, Level, Prompt, Segment
from nightreel.models.base import ModelSpec
from nightreel.models.inprocess.answer_tokens import AnswerTokens
from nightreel.models.inprocess.dialogue import Dialogue
from nightreel.models.inprocess.grammars import Grammars
from nightreel.models.inprocess.prefix import is_plain
from nightreel.models.inprocess.questions import require_answerable
from nightreel.models.inprocess.rows import rows_of, shape_of
from nightreel.models.inprocess.vision import Vision, frame_shape
from nightreel.models.memory.estimates import Estimates
from nightreel.models.memory.footprint import Footprint

_QUANTIZED_BITS = {"bnb-8bit": 8, "bnb-4bit": 4, "torchao-int8": 8, "torchao-int4": 4, "torchao-fp8": 8}


def measure_footprint(
    model: Any,
    processor: Any,
    spec: ModelSpec,
    *,
    prompts: Sequence[Prompt],
    frames: int,
    height: int,
    width: int,
) -> Footprint:
    """Estimate the memory of segments with this many frames and all of these prompts.

    Args:
        model: on the meta device; its weights are not read.
        frames, height, width: of each segment, in the source's resolution.

    Raises:
        SettingsError: as `questions.require_answerable`.
        PermanentError: `unencodable_frames` if the processor refuses frames of this shape, `unsupported_model` if it
            makes no pixels from them.
    """
    dialogue, answer_tokens = Dialogue(processor), AnswerTokens(processor.tokenizer)
    grammars = Grammars(processor.tokenizer, end_ids=[processor.tokenizer.eos_token_id])
    require_answerable(prompts, dialogue=dialogue, answer_tokens=answer_tokens, grammars=grammars, model=spec.name)
    segment = Segment(0, 0.0, float(frames))
    inputs = Vision(model, processor, dialogue).process(
        FrameBatch.blank(frames, height=height, width=width, level=0), segment
    )
    ids = inputs["input_ids"][0].tolist()
    length, lead = dialogue.split(ids)
    suffix = partial(dialogue.suffix, ids[length - 1], lead)
    questions = dict.fromkeys(prompt.question for prompt in prompts if prompt.question.level is Level.SEGMENT)
    rows = [row for one in questions for row in rows_of(one, 0, suffix=suffix, answer_tokens=answer_tokens)]
    estimates, shape, pixels = (
        Estimates(model),
        shape_of(rows, prefix=length, plain=is_plain(model)),
        frame_shape(inputs),
    )
    return Footprint(
        spec=spec,
        weights_bytes=weights_bytes(model, quantization=spec.quantization),
        token_bytes=estimates.token_bytes,
        vision_bytes=estimates.of_batches(pixels).of(1),
        language=estimates.of_batches(shape),
        shape=shape,
        frames=pixels,
    )


def weights_bytes(model: Any, *, quantization: str | None = None) -> int:
    """Bytes of parameters and buffers. Quantisation applies to all linear layers except the output layer."""
    held: int = sum(tensor.nbytes for tensors in (model.parameters(), model.buffers()) for tensor in tensors)
    if quantization is None:
        return held
    output = model.get_output_embeddings()
    linear = [part.weight for part in model.modules() if isinstance(part, torch.nn.Linear) and part is not output]
    bits = _QUANTIZED_BITS[quantization]
    return int(held - sum(weight.nbytes - weight.numel() * bits // 8 for weight in linear))
