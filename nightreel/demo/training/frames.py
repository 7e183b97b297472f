"""Paint training frames in batches, at the model's size, degraded like the frames of real files.

The degradation roughly imitates a camera, an encoder and a resizer: other aspects squeezed to a square, wrong colours,
soft or blocky edges, colour coarser than brightness, noise. The stages call it. Nothing is encoded here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from nightreel.demo.drawing import cover
from nightreel.demo.scenes import BACKGROUNDS, COLOURS, SHAPES, Scene
from nightreel.demo.training.architecture import FRAME_PX, SLOTS
from nightreel.demo.training.slots import Frames

_COLOURS = np.array([*COLOURS.values()], np.float32)
_BACKGROUNDS = np.array([*BACKGROUNDS.values()], np.float32)


def describe_frames(scenes: Sequence[Scene], moments: np.ndarray) -> Frames:
    """The contents of each scene at its `moments`, float (N, F) from 0 to 1: N * F frames, scene by scene."""
    each = moments.shape[1]
    shape, colour = (np.full((len(scenes), SLOTS), -1) for _ in range(2))
    xy = np.zeros((len(scenes), each, SLOTS, 2), np.float32)
    for index, scene in enumerate(scenes):
        offsets = np.array([scene.offset(moment) for moment in moments[index]], np.float32)
        for slot, thing in enumerate(scene.things):
            shape[index, slot], colour[index, slot] = SHAPES.index(thing.shape), thing.rank[0]
            xy[index, :, slot] = np.array((thing.x, thing.y), np.float32) + offsets
    background = np.array([list(BACKGROUNDS).index(scene.background) for scene in scenes])
    return Frames(
        torch.from_numpy(shape.repeat(each, 0)),
        torch.from_numpy(colour.repeat(each, 0)),
        torch.from_numpy(xy.reshape(-1, SLOTS, 2)),
        torch.from_numpy(background.repeat(each, 0)),
    )


def cover_frames(scenes: Sequence[Scene], frames: Frames, random: np.random.Generator) -> torch.Tensor:
    """Shares of each pixel that each thing covers: float32 (N * F, SLOTS, FRAME_PX, FRAME_PX); one aspect a scene."""
    each = len(frames.shape) // len(scenes)
    stretched = np.exp(random.uniform(-0.7, 0.7, len(scenes)))
    aspects = np.where(random.random(len(scenes)) < 0.4, 1.0, stretched)
    masks = np.zeros((len(frames.shape), SLOTS, FRAME_PX, FRAME_PX), np.float32)
    xy = frames.xy.numpy()
    for index, scene in enumerate(scenes):
        for frame in range(index * each, (index + 1) * each):
            for slot, thing in enumerate(scene.things):
                x, y = xy[frame, slot].tolist()
                part = cover(
                    thing.shape, x=x, y=y, radius=thing.radius, width=FRAME_PX, height=FRAME_PX, aspect=aspects[index]
                )
                masks[frame, slot, part.rows, part.columns] = part.alpha
    return torch.from_numpy(masks)


def paint_frames(masks: torch.Tensor, frames: Frames, *, each: int, random: np.random.Generator) -> torch.Tensor:
    """Paint degraded frames for the model: float32 (N, 3, FRAME_PX, FRAME_PX), normalised as its processor does.

    Args:
        each: number of consecutive frames that belong to one file and are degraded in the same way.
    """
    files = len(masks) // each

    def per_file(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float32)).repeat_interleave(each, 0)

    colours = torch.from_numpy(_COLOURS)[frames.colour.clamp(min=0)]  # (N, SLOTS, 3)
    colours = colours + per_file(random.normal(0, 9, (files, SLOTS, 3)))
    backgrounds = torch.from_numpy(_BACKGROUNDS)[frames.background] + per_file(random.normal(0, 7, (files, 3)))
    pictures = torch.einsum("nkhw,nkc->nchw", masks, colours.clamp(0, 255))
    pictures += (1 - masks.sum(1, keepdim=True)) * backgrounds.clamp(0, 255)[:, :, None, None]

    softness = random.uniform(-0.4, 1, files) * (random.random(files) < 0.6)  # below 0: sharper, as some resizers do
    coarseness = random.uniform(0, 1, files) * (random.random(files) < 0.6)
    smallness = random.random(files) < 0.12
    pictures = _mix(pictures, _blurred(pictures), per_file(softness))
    grey = pictures.mean(1, keepdim=True)
    pictures = grey + _mix(pictures - grey, _blurred(_blurred(pictures - grey)), per_file(coarseness))
    pictures = _mix(pictures, _enlarged(pictures), per_file(smallness))
    pictures += _noise(pictures.shape, random) * per_file(random.uniform(0, 5, files))[:, None, None, None]
    pictures += _blocks(pictures.shape, random) * per_file(random.uniform(0, 3, files))[:, None, None, None]
    gain, offset = per_file(random.uniform(0.92, 1.06, files)), per_file(random.uniform(-6, 6, files))
    pictures = pictures * gain[:, None, None, None] + offset[:, None, None, None]
    return pictures.clamp_(0, 255).sub_(127.5).div_(127.5)


def _mix(one: torch.Tensor, other: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    return torch.lerp(one, other, share[:, None, None, None])


def _blurred(pictures: torch.Tensor) -> torch.Tensor:
    """The mean of each pixel and its eight neighbours."""
    for axis in (2, 3):
        size = pictures.shape[axis]
        before = torch.cat([pictures.narrow(axis, 0, 1), pictures.narrow(axis, 0, size - 1)], axis)
        after = torch.cat([pictures.narrow(axis, 1, size - 1), pictures.narrow(axis, size - 1, 1)], axis)
        pictures = (before.add_(after).add_(pictures)).div_(3)
    return pictures


def _enlarged(pictures: torch.Tensor) -> torch.Tensor:
    """The pictures as if enlarged from half the size."""
    return functional.interpolate(functional.avg_pool2d(pictures, 2), scale_factor=2.0, mode="bilinear")


def _noise(shape: torch.Size, random: np.random.Generator) -> torch.Tensor:
    """Noise of standard deviation 1: each picture gets a random part of one strip, because drawing noise is slow."""
    size = shape[1] * shape[2] * shape[3]
    strip = torch.from_numpy(random.standard_normal(4 * size, np.float32))
    starts = random.integers(0, 3 * size, shape[0])
    return torch.stack([strip[start : start + size] for start in starts.tolist()]).view(shape)


def _blocks(shape: torch.Size, random: np.random.Generator) -> torch.Tensor:
    """Steps between blocks of 4 pixels, like those of encoders."""
    small = torch.from_numpy(random.standard_normal((shape[0], 3, shape[2] // 4, shape[3] // 4), np.float32))
    return small.repeat_interleave(4, 2).repeat_interleave(4, 3)
