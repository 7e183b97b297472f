"""Stage C: the language model learns from the tokens that the frozen vision of stage A makes of degraded frames."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nightreel.demo.scenes import sample_scene
from nightreel.demo.training.architecture import WIDTH
from nightreel.demo.training.frames import cover_frames, describe_frames, paint_frames
from nightreel.demo.training.language_stage import (
    BATCH,
    USUAL_FRAMES,
    LanguageStage,
    draw_frame_count,
    draw_moments,
    language_optimiser,
    learn_answers,
)
from nightreel.demo.training.optimising import Optimiser
from nightreel.demo.training.stage import Stage, load_parts
from nightreel.demo.training.vision_stage import VisionStage, see

_RATE = 1e-3


class JointStage(Stage):
    """Stage C, see the module. Its directory holds the finished stages A and B."""

    name = "joint"

    def prepare(self) -> Optimiser:
        core = ("model.vision_tower.", "model.multi_modal_projector.")
        load_parts(self.model, self._directory / f"{VisionStage.name}.pt", *core)
        language = ("model.language_model.", "lm_head.")
        load_parts(self.model, self._directory / f"{LanguageStage.name}.pt", *language)
        return language_optimiser(self.model, rate=_RATE, steps=self.steps, flat=0.3)

    def learn(self, step: int) -> Mapping[str, float]:
        dice, numbers = self.dice(step)
        frames = draw_frame_count(dice)
        count = max(8, BATCH * USUAL_FRAMES // frames)  # about as many pictures per step for any number of frames
        scenes = [sample_scene(dice) for _ in range(count)]
        described = describe_frames(scenes, draw_moments(count, frames, numbers))
        masks = cover_frames(scenes, described, numbers)
        pictures = paint_frames(masks, described, each=frames, random=numbers).to(self.device)
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16):
            tokens = see(self.model, pictures).float()
        return learn_answers(self, tokens.view(count, -1, WIDTH), scenes, frames=frames, dice=dice, step=step)
