"""The sides of bench_engine: plain `generate()`, prompt by prompt or all in one batch, and our engine, cold and warm.

All sides get one file, one model in memory and the same questions, and return the same list of answers. The clips
have the model's own frame size, so no side resizes: frames, and therefore answers, are the same to the last bit.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import decord
import torch
from fixtures.noise_model import ensure_noise_model
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    InternVLForConditionalGeneration,
)

from nightreel.cache.features import FeatureCache
from nightreel.cache.signing import CacheKeys
from nightreel.domain import Answer, FeatureRef, Features, Prompt, PromptKind, judge
from nightreel.media.sampling import segments
from nightreel.media.sandbox import DecoderPool
from nightreel.models.base import VideoModel
from nightreel.models.loading import load_model
from nightreel.prompts.wording import texts_of
from nightreel.settings import Settings, load_settings
from nightreel.storage import open_storage

FRAMES = 16
TEXT_TOKENS = 32
_KEYS = CacheKeys([secrets.token_bytes(32)])
_PATCH = 14
# A thirtieth of InternVL3-1B, the smallest of its family: a third of the weights in the vision tower, a third in the
# language layers, a third in the vocabulary. With less vision, cached features save less.
_VISION = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 5, "num_attention_heads": 6}
_TEXT = {
    "vocab_size": 12288, "hidden_size": 320, "intermediate_size": 1728, "num_hidden_layers": 6,
    "num_attention_heads": 10, "num_key_value_heads": 2, "head_dim": 32,
}  # fmt: skip
_TEXTS = (
    "Describe the video.", "What is in the corner?", "Where does it take place?", "Which things can be seen?",
    "What moves in this video?", "How does it end?",
)  # fmt: skip
_YES_NO = ("Is it night?", "Is it outdoors?", "Are there animals?", "Is it a game?", "Is it red?", "Is there text?")

Answers = list[str]


def prompts(count: int) -> list[Prompt]:
    """Texts and yes/no questions in turn, a text first."""
    each = [
        prompt
        for place, (text, question) in enumerate(zip(_TEXTS, _YES_NO, strict=True))
        for prompt in (
            Prompt.of(name=f"text-{place}", kind=PromptKind.TEXT, text=text, max_new_tokens=TEXT_TOKENS),
            Prompt.of(name=f"yes-no-{place}", kind=PromptKind.YES_NO, text=question),
        )
    ]
    return each[:count]


def frame_side(tokens: int) -> int:
    """Side in pixels of a square frame with this many tokens: four patches share one token."""
    return 2 * _PATCH * math.isqrt(tokens)


def build_model(directory: Path, *, tokens: int) -> Path:
    """An InternVL of some 30 million random weights with `tokens` tokens a frame.

    It answers with the words of the noise model and never ends a text: every text has its full length.
    """
    noise = ensure_noise_model(directory)
    side = {"height": frame_side(tokens), "width": frame_side(tokens)}
    processor = AutoProcessor.from_pretrained(noise)
    processor.image_seq_length = tokens
    processor.video_processor.size = processor.image_processor.size = side
    config = AutoConfig.from_pretrained(noise)
    config.image_seq_length = tokens
    config.vision_config.update({**_VISION, "image_size": [side["height"]] * 2, "patch_size": [_PATCH] * 2})
    config.text_config.update({**_TEXT, "layer_types": None})
    torch.manual_seed(0)
    model = InternVLForConditionalGeneration(type(config)(**config.to_dict()))
    for name, weight in model.named_parameters():
        if weight.ndim >= 2:
            # sharp attention: otherwise every text settles on one word, whatever the question
            gain = 3.0 if "language" in name and ("q_proj" in name or "k_proj" in name) else 1.0
            torch.nn.init.normal_(weight, 0.0, 0.5 if "embed" in name else gain * weight[0].numel() ** -0.5)
    spoken = AutoModelForImageTextToText.from_pretrained(noise).lm_head.weight.detach().any(dim=1)
    spoken[config.text_config.eos_token_id] = False
    rows = model.lm_head.weight.data
    rows[len(spoken) :] = 0
    rows[: len(spoken)][~spoken] = 0
    model.generation_config.eos_token_id = config.text_config.eos_token_id
    model.generation_config.pad_token_id = config.text_config.pad_token_id
    built = directory / f"internvl-{tokens}"
    model.save_pretrained(built)
    processor.save_pretrained(built)
    return built


class Plain:
    """The loop that a user writes: decord, AutoProcessor, generate()."""

    def __init__(self, model: Any, processor: Any, frames: int = FRAMES) -> None:
        self._model, self._processor, self._frames = model, processor, frames
        tokenizer = self._processor.tokenizer
        self._forms = {
            word: [id_ for id_ in range(len(tokenizer)) if tokenizer.decode([id_]).strip().lower() == word]
            for word in ("yes", "no")
        }

    def one_by_one(self, path: Path, asked: Sequence[Prompt]) -> Answers:
        """(a): processor, vision and generate() for each prompt; the file is decoded once."""
        frames, metadata = _decode(path, self._frames)
        return [answer for prompt in asked for answer in self._ask(frames, metadata, [prompt])]

    def in_one_batch(self, path: Path, asked: Sequence[Prompt]) -> Answers:
        """(b): all prompts in one left-padded batch."""
        frames, metadata = _decode(path, self._frames)
        return self._ask(frames, metadata, asked)

    @torch.inference_mode()
    def _ask(self, frames: torch.Tensor, metadata: dict[str, Any], asked: Sequence[Prompt]) -> Answers:
        messages = [
            {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": texts_of(prompt.question)[0]}]}
            for prompt in asked
        ]
        inputs = self._processor(
            text=[
                self._processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
                for message in messages
            ],
            videos=[frames] * len(asked),
            video_metadata=[metadata] * len(asked),
            do_sample_frames=False,
            padding=True,
            return_tensors="pt",
        ).to(self._model.device, self._model.dtype)
        made = self._model.generate(
            **inputs,
            max_new_tokens=max(
                1 if prompt.question.kind.scored else prompt.question.max_new_tokens for prompt in asked
            ),
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        texts = made.sequences[:, inputs["input_ids"].shape[1] :]
        return [
            self._yes_or_no(made.logits[0][place])
            if prompt.question.kind.scored
            else self._processor.decode(texts[place], skip_special_tokens=True).strip()
            for place, prompt in enumerate(asked)
        ]

    def _yes_or_no(self, logits: torch.Tensor) -> str:
        masses = {word: torch.logsumexp(logits[ids], 0).item() for word, ids in self._forms.items()}
        return max(masses, key=masses.__getitem__)


class Ours:
    """Our engine with its decode processes and its cache on disk."""

    def __init__(self, settings: Settings, pool: DecoderPool, model: VideoModel) -> None:
        self.model = model
        self._plan = settings.sampling_plan
        self._pool = pool
        self._cache = FeatureCache(
            open_storage(settings.cache_prefix, settings), keys=CacheKeys([secrets.token_bytes(32)])
        )
        self._kept: FeatureRef | None = None
        self._colds = 0

    def cold(self, path: Path, asked: Sequence[Prompt]) -> Answers:
        """(c): probe, decode, encode, write features to disk, ask."""
        features = self.encode(path)
        return self._answers(asked, self.model.ask([features], [asked])[0])

    def encode(self, path: Path) -> Features:
        """Probe, decode, encode, write features to disk."""
        probe = self._pool.probe(path)
        (segment,) = segments(probe.duration_s, self._plan.window_s)
        frames = self._pool.decode(
            path, probe=probe, plan=self._plan, segment=segment, short_side=self.model.frame_size
        )
        self._colds += 1
        (features,) = self.model.encode([frames], segments=[segment], keys=[f"{self._colds:064x}"])
        self._kept = self._cache.put(features)
        return features

    def warm(self, asked: Sequence[Prompt]) -> Answers:
        """(d): read the features of the last `cold` or `encode` from disk, check them, ask."""
        return self._answers(asked, self.model.ask([self.kept()], [asked])[0])

    def kept(self) -> Features:
        """The features that were cached last."""
        assert self._kept is not None, "`encode` must run first"
        return self._cache.get(self._kept)

    @staticmethod
    def _answers(asked: Sequence[Prompt], answers: Sequence[Answer]) -> Answers:
        verdicts = [judge(one.question, answer, one.policy) for one, answer in zip(asked, answers, strict=True)]
        return [verdict.text or f"{verdict.state}: {verdict.reason}" for verdict in verdicts]


@contextmanager
def opened(model: Path, work_dir: Path) -> Iterator[tuple[Ours, Plain]]:
    """Load both models and start the decode processes."""
    settings = load_settings(model=str(model), device="cpu", work_dir=work_dir, plan=f"uniform:{FRAMES}")
    with DecoderPool.from_settings(settings) as pool:
        plain = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval()
        yield Ours(settings, pool, load_model(settings)), Plain(plain, AutoProcessor.from_pretrained(model))


def _decode(path: Path, sampled: int) -> tuple[torch.Tensor, dict[str, Any]]:
    reader = decord.VideoReader(str(path), num_threads=1)
    count, fps = len(reader), reader.get_avg_fps()
    indices = [int((index + 0.5) * count / sampled) for index in range(sampled)]
    frames = torch.from_numpy(reader.get_batch(indices).asnumpy()).permute(0, 3, 1, 2)
    return frames, {
        "total_num_frames": count, "fps": fps, "duration": count / fps, "frames_indices": indices,
        "height": frames.shape[2], "width": frames.shape[3],
    }  # fmt: skip
