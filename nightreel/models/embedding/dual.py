"""A dual encoder of transformers: SigLIP, SigLIP 2 and CLIP encode frames one by one, X-CLIP encodes them as a video.

Texts and pictures go in as each class expects them. SigLIP was trained on texts padded to their full length and without
a mask (https://arxiv.org/abs/2303.15343, and its model card), X-CLIP takes a fixed number of frames.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor
from transformers.utils import logging as their_logging

from nightreel.errors import PermanentError
from nightreel.models.checkpoints.checkpoint import fetch_weights
from nightreel.models.checkpoints.code import require_own_code
from nightreel.models.checkpoints.hub import snapshot
from nightreel.models.embedding.spec import EncoderSpec, FoundEncoder
from nightreel.models.failures import failures_of
from nightreel.reasons import Reason

_MOST_FRAMES = 8  # of a segment: neighbours look alike
_TOGETHER = 32  # frames in one pass
_PADDED = ("siglip", "siglip2")
_MOST_PADDED = 64  # tokens of a SigLIP text

# transformers does not type these calls.
_models: Any = AutoModel
_processors: Any = AutoProcessor


class DualEncoder:
    """A loaded dual encoder in float32, so that texts and frames may be encoded on different devices.

    Args:
        model: with `get_text_features`, and `get_image_features` or `get_video_features`. processor: its own.
    """

    def __init__(self, model: Any, processor: Any, spec: EncoderSpec) -> None:
        self.spec = spec
        self._model, self._processor = model.eval(), processor
        self._takes_videos = hasattr(model, "get_video_features")
        self._text_inputs = set(inspect.signature(model.get_text_features).parameters)

    @classmethod
    def load(cls, found: FoundEncoder, *, trusted: bool, device: str) -> Self:
        """Load the encoder from its files."""
        name = found.spec.name
        directory = fetch_weights(found.checkpoint, with_code=trusted)
        if trusted:
            require_own_code(directory, name)
        with failures_of(name, device, "be loaded by transformers"), _quiet():
            processor = _processors.from_pretrained(directory, trust_remote_code=trusted)
            model, report = _models.from_pretrained(
                directory,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=trusted,
                output_loading_info=True,
            )
            if lacking := sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]])):
                raise PermanentError(
                    Reason.DAMAGED_CHECKPOINT, f"model {name!r} lacks {len(lacking)} weights, such as {lacking[0]}"
                )
            return cls(model.to(device), processor, found.spec)

    @torch.inference_mode()
    def segments(self, segments: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `SegmentEncoder`."""
        with failures_of(self.spec.name, str(self._model.device)):
            if self._takes_videos:
                return [self._video(frames) for frames in segments]
            frames = [_chosen(one, min(_MOST_FRAMES, len(one))) for one in segments]
            pictures = [frame for one in frames for frame in one]
            vectors = torch.cat(
                [self._pictures(pictures[start : start + _TOGETHER]) for start in range(0, len(pictures), _TOGETHER)]
            )
            return [_checked(part.mean(0), self.spec) for part in vectors.split([len(one) for one in frames])]

    @torch.inference_mode()
    def text(self, text: str) -> np.ndarray:
        """See `SegmentEncoder`."""
        tokenizer = self._processor.tokenizer
        most = int(self._model.config.text_config.max_position_embeddings)
        with failures_of(self.spec.name, str(self._model.device)):
            if self.spec.model_type in _PADDED:
                most = min(most, _MOST_PADDED)
                made = {"input_ids": _ids(tokenizer, text, padding="max_length", max_length=most)["input_ids"]}
            else:
                made = _ids(tokenizer, text, padding=True, max_length=most)
            inputs = {name: value for name, value in made.items() if name in self._text_inputs}
            features = self._model.get_text_features(**self._moved(inputs)).pooler_output
            return _checked(features[0], self.spec)

    def _pictures(self, frames: Sequence[np.ndarray]) -> torch.Tensor:
        """Vectors of length 1, (N, width)."""
        inputs = self._processor.image_processor(images=list(frames), return_tensors="pt")
        features = self._model.get_image_features(**self._moved(inputs)).pooler_output
        return torch.nn.functional.normalize(features, dim=-1)

    def _video(self, frames: np.ndarray) -> np.ndarray:
        chosen = _chosen(frames, int(self._model.config.vision_config.num_frames))
        pixels = self._processor.image_processor(images=list(chosen), return_tensors="pt")["pixel_values"]
        pixels = pixels if pixels.ndim == 5 else pixels[None]  # (1, F, C, H, W)
        features = self._model.get_video_features(pixel_values=pixels.to(self._model.device)).pooler_output
        return _checked(features[0], self.spec)

    def _moved(self, inputs: Any) -> dict[str, torch.Tensor]:
        return {name: value.to(self._model.device) for name, value in dict(inputs).items()}


def measure(found: FoundEncoder, *, trusted: bool) -> int:
    """Estimate the bytes of an encoder: weights, and the widest activations of a pass."""
    directory = found.checkpoint.directory
    if trusted and found.checkpoint.on_hub:
        directory = snapshot(found.checkpoint.name, found.checkpoint.revision, ["*.py"])
    if trusted:
        require_own_code(directory, found.spec.name)
    with failures_of(found.spec.name, "the CPU", "be loaded by transformers"), _quiet():
        config = AutoConfig.from_pretrained(directory, trust_remote_code=trusted)
        with torch.device("meta"):
            model = _models.from_config(config, dtype=torch.float32, trust_remote_code=trusted)
        weights = sum(part.nbytes for parts in (model.parameters(), model.buffers()) for part in parts)
        vision = config.vision_config
        side = getattr(vision, "image_size", None) or int(vision.num_patches**0.5 * vision.patch_size)
        patches = (side // vision.patch_size) ** 2 + 1
        # In a block: its input, queries, keys, values, output and residual, and both sides of the MLP.
        token = 4 * (6 * vision.hidden_size + 2 * vision.intermediate_size)
        return int(weights + _TOGETHER * (patches * token + 2 * 4 * 3 * side * side))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars, and without warnings about the defaults of configurations that are not used."""
    logs: Any = their_logging
    before = logs.get_verbosity()
    logs.disable_progress_bar()
    logs.set_verbosity_error()
    try:
        yield
    finally:
        logs.set_verbosity(before)


def _ids(tokenizer: Any, text: str, **options: Any) -> dict[str, torch.Tensor]:
    said = text.encode("utf-8", "replace").decode()  # tokenizers take no lone surrogates
    return dict(tokenizer([said], truncation=True, return_tensors="pt", **options))


def _chosen(frames: np.ndarray, count: int) -> np.ndarray:
    """Evenly chosen frames, (count, H, W, 3); some are repeated where there are fewer."""
    return np.ascontiguousarray(frames[np.linspace(0, len(frames) - 1, count).round().astype(int)])


def _checked(vector: torch.Tensor, spec: EncoderSpec) -> np.ndarray:
    """The vector with length 1, float32 (width,).

    Raises:
        PermanentError: `unsupported_model`: it has no length or numbers that are not finite.
    """
    values: np.ndarray = torch.nn.functional.normalize(vector.float(), dim=0).cpu().numpy()
    if not np.isfinite(values).all() or not values.any():
        raise PermanentError(
            Reason.UNSUPPORTED_MODEL, f"model {spec.name!r} makes a vector without a direction: use another one"
        )
    return values
