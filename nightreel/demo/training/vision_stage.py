"""Stage A: the vision tower and the projector learn to produce the ideal slot tokens of single frames.

The loss compares the meanings of tokens attribute by attribute. A middle layer must also predict which thing each patch
shows; without that, the model learns shapes very late.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from nightreel.demo.scenes import COLOURS, SHAPES, sample_scene
from nightreel.demo.training.architecture import PATCH_PX, PATCHES, SLOTS, WIDTH
from nightreel.demo.training.frames import cover_frames, describe_frames, paint_frames
from nightreel.demo.training.optimising import Optimiser
from nightreel.demo.training.slots import PARTS, Frames, attributes, read
from nightreel.demo.training.stage import Stage

BATCH = 64
_RATE = 2.5e-3
_SHARPNESS = 6.0  # of attributes as logits
_OUTLINE_LAYER, _PATCH_LAYER = 1, 3
_TELLS = len(SHAPES) + 1, len(COLOURS) + 1  # classes of a patch: its shape and colour, or none
_OWN_PATCH = 0.25  # a patch shows a thing that covers more than this share of it


class VisionStage(Stage):
    """Stage A, see the module."""

    name = "vision"

    def prepare(self) -> Optimiser:
        self._patches = torch.nn.Linear(WIDTH, sum(_TELLS) + 2).to(self.device)
        self._outlines = torch.nn.Linear(WIDTH, PATCH_PX**2).to(self.device)
        self._hidden: dict[int, torch.Tensor] = {}
        core = self.model.model
        for layer in (_OUTLINE_LAYER, _PATCH_LAYER):
            core.vision_tower.encoder.layer[layer].register_forward_hook(partial(self._keep, layer))
        trained = [*core.vision_tower.parameters(), *core.multi_modal_projector.parameters()]
        heads = [*self._patches.parameters(), *self._outlines.parameters()]
        return Optimiser([*trained, *heads], rate=_RATE, steps=self.steps, flat=0.5, clip=2.0)

    def own(self) -> dict[str, torch.nn.Module]:
        return {"model": self.model, "patches": self._patches, "outlines": self._outlines}

    def learn(self, step: int) -> Mapping[str, float]:
        dice, random = self.dice(step)
        scenes = [sample_scene(dice) for _ in range(BATCH)]
        frames = describe_frames(scenes, random.random((BATCH, 1)))
        masks = cover_frames(scenes, frames, random)
        pictures = paint_frames(masks, frames, each=1, random=random).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            tokens = see(self.model, pictures)
        meaning, rest = read(tokens.float().cpu())
        loss, figures = _token_loss(meaning, rest, frames)
        patches, patch_shape_right = _patch_loss(self._told(self._patches, _PATCH_LAYER), masks, frames)
        outlines = _outline_loss(self._told(self._outlines, _OUTLINE_LAYER), masks)
        self.optimiser.step(loss + patches + outlines, at=step)
        of_patches = {"outlines": outlines.item(), "patches": patches.item(), "patch_shape_right": patch_shape_right}
        return {**figures, **of_patches, "loss": loss.item()}

    def _keep(self, layer: int, _module: Any, _inputs: Any, output: Any) -> None:
        self._hidden[layer] = output[0] if isinstance(output, tuple) else output

    def _told(self, head: torch.nn.Module, layer: int) -> torch.Tensor:
        """The output of a head for each patch of a layer: (N, PATCHES**2, ...)."""
        told: torch.Tensor = head(self._hidden[layer][:, 1:].float())
        return told.cpu()


def see(model: Any, pictures: torch.Tensor) -> torch.Tensor:
    """Slot tokens (N, TOKENS_A_FRAME, WIDTH) of pictures (N, 3, FRAME_PX, FRAME_PX)."""
    tokens: torch.Tensor = model.model.get_image_features(
        pictures, vision_feature_layer=-1, vision_feature_select_strategy="default", return_dict=True
    ).pooler_output
    return tokens


def _token_loss(meaning: torch.Tensor, rest: torch.Tensor, frames: Frames) -> tuple[torch.Tensor, dict[str, float]]:
    wanted = attributes(frames)
    present = frames.present
    things, scene = meaning[:, :SLOTS], meaning[:, SLOTS]

    def classify(part: str, values: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, float]:
        logits = values[..., PARTS[part]] * _SHARPNESS
        return functional.cross_entropy(logits, truth), (logits.argmax(-1) == truth).float().mean().item()

    shape, shape_right = classify("shape", things[present], frames.shape[present])
    colour, colour_right = classify("colour", things[present], frames.colour[present])
    background, background_right = classify("background", scene, frames.background)
    count, count_right = classify("count", scene, present.sum(1))
    presence, _ = classify("presence", things.flatten(0, 1), (~present).long().flatten())
    place = (things - wanted[:, :SLOTS])[..., PARTS["place"]][present]
    squares = (meaning - wanted).square().sum(-1).mean() + rest.square().sum(-1).mean()
    rough = 0.5 * (background + count + presence + squares + place.square().mean())
    figures = {
        "shape_right": shape_right,
        "colour_right": colour_right,
        "background_right": background_right,
        "count_right": count_right,
        "place_error": place.abs().mean().item() / 3,
        "squares": squares.item(),
    }
    return shape + colour + rough, figures


def _outline_loss(told: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The loss of a layer that predicts which pixels of each patch belong to a thing of any colour."""
    covered = masks.sum(1).unflatten(-1, (PATCHES, PATCH_PX)).unflatten(-3, (PATCHES, PATCH_PX))  # (N, P, px, P, px)
    pixels = covered.transpose(2, 3).flatten(3).flatten(1, 2)  # (N, PATCHES**2, PATCH_PX**2)
    return functional.binary_cross_entropy_with_logits(told, pixels.clamp(0, 1)) * 2


def _patch_loss(told: torch.Tensor, masks: torch.Tensor, frames: Frames) -> tuple[torch.Tensor, float]:
    """The loss of a layer that predicts the thing in each patch, and its share of correct shapes."""
    most, slot = functional.avg_pool2d(masks, PATCH_PX).flatten(2).max(1)  # (N, PATCHES**2)
    shown = most > _OWN_PATCH
    shape = torch.where(shown, frames.shape.gather(1, slot) + 1, 0)
    colour = torch.where(shown, frames.colour.gather(1, slot) + 1, 0)
    steps = (torch.arange(PATCHES) + 0.5) / PATCHES
    middles = torch.stack([steps.repeat(PATCHES), steps.repeat_interleave(PATCHES)], -1)
    way = (frames.xy.gather(1, slot[..., None].expand(-1, -1, 2)) - middles) * 5
    shapes, colours, ways = told.split((*_TELLS, 2), -1)
    loss = 0.5 * (ways - way)[shown].square().mean()
    for patches in (shown, ~shown):  # equal weights, though most patches show nothing
        loss = loss + functional.cross_entropy(shapes[patches], shape[patches])
        loss = loss + functional.cross_entropy(colours[patches], colour[patches])
    return loss, (shapes.argmax(-1) == shape)[shown].float().mean().item()
