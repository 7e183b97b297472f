"""The in-process transformers model: implements VideoModel with `dialogue`, `vision`, `prefix` and `answering`.

`loader` makes one. This module decides which questions are asked when; those modules do the work.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import torch

from nightreel.domain import Answer, Features, FrameBatch, MemoryPeak, Note, Prompt, Question, Segment, Verdict
from nightreel.domain.structures import read_object
from nightreel.errors import PermanentError
from nightreel.models.answering import half_written, not_finite, written
from nightreel.models.base import ModelSpec
from nightreel.models.inprocess.answer_tokens import AnswerTokens
from nightreel.models.inprocess.attention import use_grouped_attention
from nightreel.models.inprocess.copies import CopiedPrefix
from nightreel.models.inprocess.dialogue import Dialogue
from nightreel.models.inprocess.grammars import Grammars
from nightreel.models.inprocess.graphs import Graphs
from nightreel.models.inprocess.packed import PackedPrefix
from nightreel.models.inprocess.prefix import Prefix, Row, Scores, is_plain
from nightreel.models.inprocess.rows import Suffix, rows_of, shape_of
from nightreel.models.inprocess.scoring import answer_scores
from nightreel.models.inprocess.tensors import Tensors, from_stored, on_the_device, to_stored
from nightreel.models.inprocess.vision import FRAMES_TOGETHER, Vision
from nightreel.models.inprocess.windows import use_windowed_attention
from nightreel.models.inquiry import Inquiry, Seen
from nightreel.models.memory.batches import BatchBudget
from nightreel.models.memory.meters import MemoryMeter
from nightreel.models.memory.shapes import SegmentShape
from nightreel.prompts.wording import before_question, texts_of
from nightreel.reasons import Reason


class LocalModel:
    """A transformers model in this process. See `base.VideoModel`.

    Args:
        model: from AutoModelForImageTextToText, in eval mode, on its device.
        processor: its processor.
        spec: its identity.
        peaks: memory peaks of its batches in earlier runs.
        meter: measures batches; None: the meter of the model's devices.
        graphs: capture decode steps; None: none is captured.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        spec: ModelSpec,
        *,
        peaks: Iterable[MemoryPeak] = (),
        meter: MemoryMeter | None = None,
        graphs: Graphs | None = None,
    ) -> None:
        self.spec = spec
        self.frame_size = _short_side(processor.video_processor)
        self._model = model
        self._tokenizer = processor.tokenizer
        self._dialogue = Dialogue(processor)
        own = copy.deepcopy(processor)  # another thread may ask meanwhile, and a tokenizer takes one caller at a time
        self._vision = Vision(model, own, Dialogue(own))
        self._answer_tokens = AnswerTokens(processor.tokenizer)
        self._budget = BatchBudget(model, known=peaks, meter=meter)
        self._graphs = graphs or Graphs()
        use_grouped_attention(model)
        use_windowed_attention(model)
        self._end_ids = _end_ids(model, processor.tokenizer)
        self._grammars = Grammars(processor.tokenizer, end_ids=self._end_ids)

    def encode(
        self, batches: Sequence[FrameBatch], *, segments: Sequence[Segment], keys: Sequence[str]
    ) -> list[Features]:
        features = []
        together = max(1, FRAMES_TOGETHER // max((len(batch.frames_thwc) for batch in batches), default=1))
        for start in range(0, len(batches), together):
            part = slice(start, start + together)
            prepared = self._vision.prepare(batches[part], segments[part])
            encoded = self._vision.encode(prepared, self._budget)
            features += [
                Features(
                    key=key,
                    tensors=to_stored(tensors),
                    pts_s=tuple(batch.pts_s.tolist()),
                    metadata={
                        "model": self.spec.identity,
                        "lead": one.lead,
                        "segment": [segment.index, segment.start_s, segment.end_s],
                        "decoder": batch.decoder,
                        "decoder_version": batch.decoder_version,
                        "source_hw": list(batch.source_hw),
                        "torch_version": version("torch"),
                    },
                )
                for batch, segment, key, one, tensors in zip(
                    batches[part], segments[part], keys[part], prepared, encoded, strict=True
                )
            ]
        return features

    def ask(
        self,
        features: Sequence[Features],
        questions: Sequence[Sequence[Prompt]],
        *,
        known: Sequence[Mapping[str, Verdict]] | None = None,
        seen: Sequence[Seen] | None = None,
    ) -> list[list[Answer]]:
        inquiries = []
        for i, (one, prompts) in enumerate(zip(features, questions, strict=True)):
            tensors = self._read(one)
            anchor = int(tensors["input/prefix_ids"][-1])
            inquiries.append(
                _Inquiry(
                    waiting=list(prompts),
                    known=dict(known[i] if known else {}),
                    seen=seen[i] if seen else Seen(),
                    tensors=tensors,
                    suffix=partial(self._dialogue.suffix, anchor, one.metadata["lead"]),
                )
            )
        return self._ask(inquiries, questions)

    def ask_over_notes(
        self, notes: Sequence[Sequence[Note]], questions: Sequence[Sequence[Prompt]], *, seen: Sequence[Seen]
    ) -> list[list[Answer]]:
        inquiries = []
        for i, (own, prompts) in enumerate(zip(notes, questions, strict=True)):
            ids = torch.tensor(self._dialogue.before_question(before_question(own)))
            inquiries.append(
                _Inquiry(
                    waiting=list(prompts),
                    known={},
                    seen=seen[i],
                    tensors={"input/prefix_ids": ids},
                    suffix=self._dialogue.after_notes,
                )
            )
        return self._ask(inquiries, questions)

    def _ask(self, inquiries: Sequence[_Inquiry], questions: Sequence[Sequence[Prompt]]) -> list[list[Answer]]:
        for prompt in {prompt for prompts in questions for prompt in prompts}:
            for text in texts_of(prompt.question):
                self._dialogue.check(text)
        asked = [one for one in inquiries if one.waiting]
        for inquiry in asked:
            inquiry.shape = self._shape(inquiry)
        self._ask_all(asked)
        return [one.in_order(prompts) for one, prompts in zip(inquiries, questions, strict=True)]

    def _ask_all(self, inquiries: Sequence[_Inquiry]) -> None:
        """Ask all inquiries, in batches that fit into memory."""
        self._budget.run(inquiries, self._ask_batch, shape_of=lambda one: one.shape, what="asking questions")

    def _prefilled(self, segments: Sequence[Tensors]) -> Prefix:
        tensors = [on_the_device(one, self._model.device) for one in segments]
        return (
            PackedPrefix(self._model, tensors, self._graphs)
            if is_plain(self._model)
            else CopiedPrefix(self._model, tensors)
        )

    def take_peaks(self) -> list[MemoryPeak]:
        return self._budget.take_peaks()

    def close(self) -> None:
        """Do nothing: this model has no connections."""

    def _read(self, features: Features) -> Tensors:
        if features.metadata.get("model") != self.spec.identity:
            raise PermanentError(
                Reason.STALE_FEATURE,
                f"features {features.key[:12]} were made by {features.metadata.get('model')}, "
                f"but this model is {self.spec.identity}: encode the segment again",
            )
        return from_stored(features.tensors, pinned=self._model.device.type == "cuda")

    def _shape(self, inquiry: _Inquiry) -> SegmentShape:
        questions = dict.fromkeys(prompt.question for prompt in inquiry.waiting)
        rows = [row for question in questions for row in self._rows(0, inquiry, question)]
        return shape_of(rows, prefix=len(inquiry.tensors["input/prefix_ids"]), plain=is_plain(self._model))

    def _ask_batch(self, inquiries: Sequence[_Inquiry]) -> None:
        """Ask all inquiries; if that fails, as when memory runs out, restore their state."""
        before = [one.snapshot() for one in inquiries]
        try:
            self._ask_waves(inquiries)
        except RuntimeError:
            for one, state in zip(inquiries, before, strict=True):
                one.restore(state)
            raise

    def _ask_waves(self, inquiries: Sequence[_Inquiry]) -> None:
        """Ask the ready prompts repeatedly, until no more become ready."""
        prefix = self._prefilled([inquiry.tensors for inquiry in inquiries])
        while True:
            asked = [(segment, prompt) for segment, one in enumerate(inquiries) for prompt in one.take_ready()]
            if not asked:
                return
            # Scored prompts are cheap, and generated ones may depend on them: generate all texts together at the end.
            if any(one.waiting for one in inquiries) and any(prompt.question.scored for _, prompt in asked):
                for segment, prompt in asked:
                    if not prompt.question.scored:
                        inquiries[segment].put_back(prompt)
                asked = [(segment, prompt) for segment, prompt in asked if prompt.question.scored]
            rows = [
                (segment, prompt.question, self._rows(segment, inquiries[segment], prompt.question))
                for segment, prompt in asked
            ]
            scores = iter(prefix.ask([row for *_, own in rows for row in own], end_ids=self._end_ids))
            for segment, question, own in rows:
                tokens = prefix.lengths[segment] + sum(len(row.suffix) for row in own)
                inquiries[segment].record(self._answer(question, [next(scores) for _ in own], tokens))

    def _rows(self, segment: int, inquiry: _Inquiry, question: Question) -> list[Row]:
        return rows_of(
            question,
            segment,
            suffix=inquiry.suffix,
            answer_tokens=self._answer_tokens,
            grammar=self._grammars.of(question),
        )

    def _answer(self, question: Question, scores: Sequence[Scores], tokens: int) -> Answer:
        if question.scored:
            return answer_scores(question, scores, self._answer_tokens, tokens=tokens)
        if scores[0].next_token.isnan().any():
            return not_finite(question, tokens=tokens)
        generated = scores[0].generated
        text = self._tokenizer.decode(generated, skip_special_tokens=True)
        if question.form and isinstance(read_object(text, question.form), str):
            return half_written(question, tokens=tokens, generated=len(generated))
        return written(question, text, tokens=tokens, generated=len(generated) + scores[0].ended)


@dataclass(slots=True, kw_only=True)
class _Inquiry(Inquiry):
    """A segment, or the notes on a video.

    Args:
        tensors: on the CPU: the features of the segment, or the tokens of the notes alone.
        suffix: the tokens of a question after these.
        shape: with all initially waiting prompts.
    """

    tensors: Tensors
    suffix: Suffix
    shape: SegmentShape | None = None


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end a turn, as in generate()."""
    ids = model.generation_config.eos_token_id
    ids = tokenizer.eos_token_id if ids is None else ids
    if ids is None:
        raise PermanentError(
            Reason.UNSUPPORTED_MODEL, "neither generation_config nor tokenizer of the model defines an end token"
        )
    return frozenset(ids if isinstance(ids, list) else [ids])


def _short_side(video_processor: Any) -> int | None:
    """Smallest short side of a frame, in pixels, at which the processor's resizing loses no detail."""
    size = video_processor.size
    if size.get("height") and size.get("width"):
        return max(int(size["height"]), int(size["width"]))
    short = size.get("shortest_edge")
    # in Qwen's processors it is a number of pixels, not an edge
    return int(short) if short and not size.get("longest_edge") else None
