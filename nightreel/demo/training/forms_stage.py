"""Stage D: the language model learns to answer in JSON, and to read notes on whole videos, with words of their own.

It trains on all that the stages before it taught as well, so that nothing of that is lost.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from nightreel.demo.scenes import sample_scene
from nightreel.demo.training.architecture import WIDTH
from nightreel.demo.training.conversations import LATER, pack, pack_films, video_ids
from nightreel.demo.training.frames import cover_frames, describe_frames, paint_frames
from nightreel.demo.training.joint_stage import JointStage
from nightreel.demo.training.language_stage import (
    answer_loss,
    draw_frame_count,
    draw_moments,
    ideal_tokens,
    language_optimiser,
)
from nightreel.demo.training.optimising import Optimiser
from nightreel.demo.training.stage import Stage, load_parts
from nightreel.demo.training.vision_stage import see

_RATE = 1e-3
_PICTURES = 64  # of scenes with the questions of earlier stages, a step
_SCENES = 40  # with questions whose answers are JSON, from ideal tokens
_FILMS = 32
_MOST_SCENES = 4  # of a film
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
            tokens = see(self.model, pictures.to(self.device)).float().view(count, -1, WIDTH)
        known, figures = answer_loss(self, tokens, pack(scenes, frames=frames, dice=dice), prefix=video_ids(frames))
        more = [sample_scene(dice) for _ in range(_SCENES)]
        tokens = ideal_tokens(more, frames=frames, random=numbers).to(self.device)
        forms, of_forms = answer_loss(
            self, tokens, pack(more, frames=frames, dice=dice, families=LATER), prefix=video_ids(frames)
        )
        films = [[sample_scene(dice) for _ in range(dice.randint(1, _MOST_SCENES))] for _ in range(_FILMS)]
        whole, of_films = answer_loss(self, None, pack_films(films, dice=dice), prefix=_NO_PREFIX)
        self.optimiser.step(known + forms + whole, at=step)
        return figures | {"forms_right": of_forms["tokens_right"], "films_right": of_films["tokens_right"]}
