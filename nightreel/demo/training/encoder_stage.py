"""Stage D: the dual encoder learns to give a text and the frames that it is true of vectors of one direction.

Its vision starts from the tower of stage A. The loss is a softmax over the batch, from texts to pictures and from
pictures to whole descriptions (Radford et al., Learning transferable visual models from natural language supervision,
2021), where every picture that a text is true of counts. Each scene comes with a whole description, a part of one, and
the description of a scene that differs in one thing. One layer must also tell the kinds of things from either side.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional

from nightreel.demo.descriptions import Description, Shown, draw_part, draw_whole, shown_in
from nightreel.demo.scenes import BACKGROUNDS, COLOURS, MOST_THINGS, SHAPES, Scene, Thing, sample_scene
from nightreel.demo.training.architecture import WIDTH
from nightreel.demo.training.encoder import build_encoder, build_encoder_tokenizer, take_tower
from nightreel.demo.training.frames import cover_frames, describe_frames, paint_frames
from nightreel.demo.training.optimising import Optimiser
from nightreel.demo.training.stage import MODEL_SEED, Stage
from nightreel.demo.training.vision_stage import VisionStage

BATCH = 64
_RATE = 1.5e-3
_SHARPNESS = math.log(12), math.log(60)  # of cosines as logits: at the start, at most
_KINDS = [(colour, shape) for colour in COLOURS for shape in SHAPES]
_UNKNOWN = 0.1  # of the texts: a word is replaced by one that the tokenizer does not know


class EncoderStage(Stage):
    """Stage D, see the module. Its directory holds the finished stage A."""

    name = "encoder"

    def build(self) -> Any:
        return build_encoder(MODEL_SEED)

    def prepare(self) -> Optimiser:
        checkpoint = self._directory / f"{VisionStage.name}.pt"
        take_tower(self.model, torch.load(checkpoint, map_location="cpu", weights_only=True)["state"]["model"])
        with torch.no_grad():
            self.model.logit_scale.fill_(_SHARPNESS[0])
        self._kinds = torch.nn.Linear(WIDTH, len(_KINDS) + len(BACKGROUNDS)).to(self.device)
        self._tokenizer = build_encoder_tokenizer()
        embeddings: list[Any] = [part.weight for part in self.model.modules() if isinstance(part, torch.nn.Embedding)]
        trained = [weight for name, weight in self.model.named_parameters() if name != "logit_bias"]
        return Optimiser(
            [*trained, *self._kinds.parameters()],
            embeddings=embeddings,
            rate=_RATE,
            steps=self.steps,
            flat=0.4,
            clip=1.0,
        )

    def own(self) -> dict[str, torch.nn.Module]:
        return {"model": self.model, "kinds": self._kinds}

    def learn(self, step: int) -> Mapping[str, float]:
        dice, numbers = self.dice(step)
        scenes = [sample_scene(dice) for _ in range(BATCH)]
        frames = describe_frames(scenes, numbers.random((BATCH, 1)))
        pictures = paint_frames(cover_frames(scenes, frames, numbers), frames, each=1, random=numbers)
        others = [_varied(scene, dice) for scene in scenes]
        wholes = [draw_whole(scene, dice) for scene in (*scenes, *others)]
        descriptions = [*wholes, *(draw_part(scene, dice) for scene in scenes)]
        shown = [shown_in(scene) for scene in scenes]
        with torch.autocast(self.device.type, torch.bfloat16):
            seen = self.model.get_image_features(pixel_values=pictures.to(self.device)).pooler_output
            read = self.model.get_text_features(input_ids=self._ids(descriptions, dice)).pooler_output
        seen, read = functional.normalize(seen.float(), dim=-1), functional.normalize(read.float(), dim=-1)
        scale = self.model.logit_scale.clamp(max=_SHARPNESS[1]).exp()
        logits = scale * read @ seen.T  # (texts, pictures)
        true = torch.tensor([[one.is_true(other) for other in shown] for one in descriptions], device=self.device)
        to_pictures = _mean_of_true(logits, true)
        whole, parts = logits[: len(wholes)], logits[len(wholes) :]
        to_texts = _mean_of_true(whole.T, true[: len(wholes)].T)
        truth = torch.stack([_classes(one) for one in (*shown, *shown, *map(shown_in, others))]).to(self.device)
        told = self._kinds(torch.cat([seen, read[: len(wholes)]]) * 8)
        kinds = functional.binary_cross_entropy_with_logits(told, truth)
        self.optimiser.step(to_pictures + to_texts + 4 * kinds, at=step)
        best = whole[:BATCH].argmax(1), parts.argmax(1)
        places = torch.arange(BATCH)
        return {
            "loss": (to_pictures + to_texts).item(),
            "kinds": kinds.item(),
            "wholes_right": true[places, best[0].cpu()].float().mean().item(),
            "parts_right": true[len(wholes) + places, best[1].cpu()].float().mean().item(),
            "texts_right": true[: len(wholes)].T[places, whole.T.argmax(1).cpu()].float().mean().item(),
            "sharpness": scale.item(),
        }

    def _ids(self, descriptions: Sequence[Description], dice: random.Random) -> torch.Tensor:
        """Tokens (N, MOST_TOKENS), padded as for any SigLIP; some words become unknown ones in front."""
        texts = [f"please {one.text}" if dice.random() < _UNKNOWN else one.text for one in descriptions]
        made: Any = self._tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        ids: torch.Tensor = made["input_ids"]
        return ids.to(self.device)


def _mean_of_true(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """The loss (mean over the rows that have true columns) of each row's softmax, whose true columns share the mass."""
    counts = true.sum(1)
    losses = -(functional.log_softmax(logits, 1) * true).sum(1) / counts.clamp(min=1)
    return losses[counts > 0].mean()


def _classes(shown: Shown) -> torch.Tensor:
    kinds = [float(kind in shown.kinds) for kind in _KINDS]
    return torch.tensor(kinds + [float(background == shown.background) for background in BACKGROUNDS])


def _varied(scene: Scene, dice: random.Random) -> Scene:
    """The scene with one difference that frames show: a colour, a shape, the background, or a thing more or less."""
    things = list(scene.things)
    draw = dice.random()
    if not things or draw < 0.15:
        return replace(scene, background=dice.choice([one for one in BACKGROUNDS if one != scene.background]))
    index = dice.randrange(len(things))
    thing = things[index]
    if draw < 0.3 and len(things) > 1:
        del things[index]
    elif draw < 0.45 and len(things) > 1:
        other = things[index - 1]  # colours change places
        things[index], things[index - 1] = replace(thing, colour=other.colour), replace(other, colour=thing.colour)
    elif draw < 0.55 and len(things) < MOST_THINGS:
        colour, shape = dice.choice(_KINDS)
        things.append(Thing(shape, colour, thing.x, thing.y, thing.radius))
    elif draw < 0.8:
        things[index] = replace(thing, colour=dice.choice([*COLOURS]))
    else:
        things[index] = replace(thing, shape=dice.choice(SHAPES))
    kinds = {(one.colour, one.shape) for one in things}
    return replace(scene, things=tuple(things)) if len(kinds) == len(things) else _varied(scene, dice)
