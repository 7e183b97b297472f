"""Stage D: the language model learns to answer in JSON, and to read notes on whole videos, with words of their own.

It trains on all that the stages before it taught as well, so that nothing of that is lost.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nightreel.demo.scenes import sample_scene
from nightreel.demo.training.architecture import WIDTH
from nightreel.demo.training.conversations import pack, pack_films, video_ids
from nightreel.demo.training.frames import cover_frames, describe_frames, paint_frames
from nightreel.demo.training.joint_stage import JointStage
from nightreel.demo.training.language_stage import answer_loss, draw_frame_count, draw_moments, language_optimiser
from nightreel.demo.training.optimising import Optimiser
from nightreel.demo.training.stage import Stage, load_parts
from nightreel.demo.training.vision_stage import see

_RATE = 1e-3
_PICTURES = 64  # a step
_FILMS = 32  # a step
_MOST_SCENES = 4
_NO_PREFIX = torch.zeros(0, dtype=torch.long)


class FormsStage(Stage):
    """Stage D, see the module. Its directory holds the finished stage C."""

    name = "forms"

    def prepare(self) -> Optimiser:
        load_parts(self.model, self._directory / f"{JointStage.name}.pt", "")
        return language_optimiser(self.model, rate=_RATE, steps=self.steps, flat=0.4)

    def learn(self, step: int) -> Mapping[str, float]:
        dice, numbers = self.dice(step)
        frames = draw_frame_count(dice)
        count = max(8, _PICTURES // frames)
        scenes = [sample_scene(dice) for _ in range(count)]
        described = describe_frames(scenes, draw_moments(count, frames, numbers))
        pictures = paint_frames(cover_frames(scenes, described, numbers), described, each=frames, random=numbers)
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16):
            tokens = see(self.model, pictures.to(self.device)).float()
        packed = pack(scenes, frames=frames, dice=dice, later=True)
        own, figures = answer_loss(self, tokens.view(count, -1, WIDTH), packed, prefix=video_ids(frames))
        films = [[sample_scene(dice) for _ in range(dice.randint(1, _MOST_SCENES))] for _ in range(_FILMS)]
        of_films, seen = answer_loss(self, None, pack_films(films, dice=dice), prefix=_NO_PREFIX)
        self.optimiser.step(own + of_films, at=step)
        return figures | {"films_loss": seen["loss"], "films_right": seen["answers_right"]}
