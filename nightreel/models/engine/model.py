"""A model whose vision tower is in this process and whose language side is in vLLM: implements VideoModel.

`loader` makes one. Encoding, prompts and scores are those of `LocalModel`; only the forward passes of questions differ.
vLLM forms its batches itself, so no budget of memory admits them here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nightreel.domain import MemoryPeak
from nightreel.models.base import ModelSpec
from nightreel.models.engine.generation import Generation
from nightreel.models.engine.media import media_of
from nightreel.models.engine.prefix import EnginePrefix
from nightreel.models.inprocess.local import LocalModel
from nightreel.models.inprocess.prefix import Prefix
from nightreel.models.inprocess.tensors import Tensors
from nightreel.models.memory.meters import MemoryMeter


class EngineModel(LocalModel):
    """A model in vLLM. See `base.VideoModel`.

    Args:
        model: its vision tower; the language side has no layers.
        generation: requests to a vLLM that was started. The model stops it.
        concurrency: requests at the same time.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        spec: ModelSpec,
        generation: Generation,
        *,
        concurrency: int,
        peaks: Iterable[MemoryPeak] = (),
        meter: MemoryMeter | None = None,
    ) -> None:
        super().__init__(model, processor, spec, peaks=peaks, meter=meter)
        self._generation = generation
        self._executor = ThreadPoolExecutor(concurrency, "vllm")
        names = ("image_token_id", "video_token_id")
        self._media_ids = {getattr(model.config, name) for name in names if hasattr(model.config, name)}
        vision = getattr(model.config, "vision_config", None)
        self._merge = int(getattr(vision, "spatial_merge_size", 1))
        single = self._answer_tokens.yes_no.single
        self._scored_ids = {id_ for ids in single or () for id_ in ids}

    def close(self) -> None:
        """Stop vLLM."""
        self._generation.stop()
        self._executor.shutdown(cancel_futures=True)
        self._generation.close()

    def _ask_all(self, inquiries: Sequence[Any]) -> None:
        self._generation.wait_until_ready()
        self._ask_waves(inquiries)

    def _prefilled(self, segments: Sequence[Tensors]) -> Prefix:
        return EnginePrefix(
            self._generation,
            segments,
            [media_of(tensors, media_ids=self._media_ids, merge=self._merge) for tensors in segments],
            vocabulary=self._model.config.get_text_config().vocab_size,
            scored_ids=self._scored_ids,
            executor=self._executor,
        )
