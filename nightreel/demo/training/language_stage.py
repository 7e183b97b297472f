"""Stage B: the language model learns questions and answers from ideal slot tokens with noise, without vision.

Stage C shares its training step: from the tokens of a video and packed questions to a loss.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from nightreel.demo.scenes import SHAPES, Scene, sample_scene
from nightreel.demo.training.architecture import SLOTS, TOKENS_A_FRAME, WIDTH
from nightreel.demo.training.conversations import IGNORED, Packed, pack, video_ids
from nightreel.demo.training.frames import describe_frames
from nightreel.demo.training.optimising import Optimiser
from nightreel.demo.training.slots import Frames, attributes, embed
from nightreel.demo.training.stage import Stage

BATCH = 40
USUAL_FRAMES = 8
FRAME_COUNTS = range(2, 17)
_USUAL = 0.4  # share of steps with the usual number of frames
_RATE = 3e-3


class LanguageStage(Stage):
    """Stage B, see the module."""

    name = "language"

    def prepare(self) -> Optimiser:
        return language_optimiser(self.model, rate=_RATE, steps=self.steps, flat=0.5)

    def learn(self, step: int) -> Mapping[str, float]:
        dice, numbers = self.dice(step)
        frames = draw_frame_count(dice)
        scenes = [sample_scene(dice) for _ in range(BATCH)]
        tokens = ideal_tokens(scenes, frames=frames, random=numbers).to(self.device)
        return learn_answers(self, tokens, scenes, frames=frames, dice=dice, step=step)


def language_optimiser(model: Any, *, rate: float, steps: int, flat: float) -> Optimiser:
    """An optimiser for the language side only."""
    trained = [*model.model.language_model.parameters(), *model.lm_head.parameters()]
    embeddings = [model.get_input_embeddings().weight]
    return Optimiser(trained, embeddings=embeddings, rate=rate, steps=steps, flat=flat, clip=1.0)


def ideal_tokens(scenes: list[Scene], *, frames: int, random: np.random.Generator) -> torch.Tensor:
    """Ideal tokens with noise of videos of these scenes, (N, frames * TOKENS_A_FRAME, WIDTH)."""
    described = describe_frames(scenes, draw_moments(len(scenes), frames, random))
    return _noisy(described, random).view(len(scenes), -1, WIDTH)


def draw_frame_count(dice: random.Random) -> int:
    return USUAL_FRAMES if dice.random() < _USUAL else dice.choice(FRAME_COUNTS)


def draw_moments(scenes: int, frames: int, random: np.random.Generator) -> np.ndarray:
    """The sampled moments of each scene, (scenes, frames): evenly spaced, with a random offset."""
    return (np.arange(frames) + random.uniform(0, 1, (scenes, 1))) / frames


def learn_answers(
    stage: Stage, tokens: torch.Tensor, scenes: list[Scene], *, frames: int, dice: random.Random, step: int
) -> dict[str, float]:
    """Take one step on questions about scenes, from the tokens (N, frames * TOKENS_A_FRAME, WIDTH) of their videos."""
    packed = pack(scenes, frames=frames, dice=dice)
    loss, figures = answer_loss(stage, tokens, packed, prefix=video_ids(frames))
    stage.optimiser.step(loss, at=step)
    return figures


def answer_loss(
    stage: Stage, tokens: torch.Tensor | None, packed: Packed, *, prefix: torch.Tensor
) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of the answers to packed questions after a prefix, and figures for the log.

    Args:
        tokens: (N, frames * TOKENS_A_FRAME, WIDTH), of the videos in the prefix; None: there is none.
    """
    with torch.autocast(stage.device.type, torch.bfloat16):
        logits, labels, weights = _answers(stage.model, tokens, packed, prefix=prefix)
    losses = functional.cross_entropy(logits, labels, reduction="none")
    loss = (losses * weights).sum() / weights.sum()
    right = (logits.argmax(-1) == labels).float()
    words = weights == 1
    return loss, {
        "loss": loss.item(),
        "tokens_right": right.mean().item(),
        "answers_right": right[words].mean().item(),
        "sentences_right": right[~words].mean().item(),
    }


def _answers(
    model: Any, tokens: torch.Tensor | None, packed: Packed, *, prefix: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """float32 logits (A, V), labels (A,) and weights (A,) of all answer tokens of a batch."""
    device = model.device
    count, length = packed.tokens.shape
    start = len(prefix)
    ids = torch.cat([prefix.expand(count, -1), packed.tokens], 1).to(device)
    embeddings = model.get_input_embeddings()(ids)
    if tokens is not None:
        is_video = ids == model.config.image_token_id
        is_video[:, start:] = False
        embeddings = embeddings.masked_scatter(is_video[..., None], tokens.to(embeddings.dtype))

    group = packed.group.to(device)
    sees = torch.zeros(count, 1, start + length, start + length, dtype=torch.bool, device=device)
    sees[:, :, :start, :start] = torch.ones(start, start, dtype=torch.bool, device=device).tril()
    sees[:, :, start:, :start] = True
    sees[:, 0, start:, start:] = (group[:, :, None] == group[:, None, :]) & torch.ones(
        length, length, dtype=torch.bool, device=device
    ).tril()
    mask = torch.zeros(sees.shape, dtype=torch.bfloat16, device=device).masked_fill_(~sees, -1e9)
    positions = torch.cat([torch.arange(start).expand(count, -1), packed.positions], 1).to(device)
    hidden = model.model.language_model(
        inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False
    ).last_hidden_state
    following = packed.labels[:, 1:].to(device)
    asked = following != IGNORED
    logits = model.lm_head(hidden[:, start:-1][asked]).float()
    return logits, following[asked], packed.weights[:, 1:].to(device)[asked]


def _noisy(frames: Frames, random: np.random.Generator) -> torch.Tensor:
    """Tokens (N, TOKENS_A_FRAME, WIDTH) with the errors of an imperfect vision tower."""
    mistaken = torch.from_numpy(random.random(frames.shape.shape) < 0.02) & frames.present
    guesses = torch.from_numpy(random.integers(0, len(SHAPES), frames.shape.shape))
    seen = Frames(
        shape=torch.where(mistaken, guesses, frames.shape),
        colour=frames.colour,
        xy=frames.xy + torch.from_numpy(random.normal(0, 0.015, frames.xy.shape).astype(np.float32)),
        background=frames.background,
    )
    meaning = attributes(seen)
    tokens = embed(meaning + 0.06 * torch.randn_like(meaning))
    assert tokens.shape[1] == TOKENS_A_FRAME == SLOTS + 1
    return tokens + 0.015 * torch.randn_like(tokens)
