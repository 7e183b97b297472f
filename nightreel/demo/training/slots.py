"""Slot tokens: the meanings of the four tokens of a frame, fixed before training.

Token k is the k-th thing of the scene in order, or empty. The last token is the background and the count. A meaning is
a vector of attributes; its ideal embedding is that vector times a fixed orthogonal basis. The vision stage learns to
produce such embeddings, the language stage to read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from nightreel.demo.scenes import BACKGROUNDS, COLOURS, MOST_THINGS, SHAPES
from nightreel.demo.training.architecture import SLOTS, TOKENS_A_FRAME, WIDTH

_CENTRES = torch.linspace(0.1, 0.9, 6)  # of the radial basis functions that encode positions coarsely
_SPREAD = 0.15
_SCALE = 0.5
_BASIS_SEED = 7


def _slices(**sizes: int) -> tuple[dict[str, slice], int]:
    place, slices = 0, {}
    for name, size in sizes.items():
        slices[name] = slice(place, place + size)
        place += size
    return slices, place


PARTS, ATTRIBUTES = _slices(
    presence=2,  # a thing, no thing
    shape=len(SHAPES),
    colour=len(COLOURS),
    place=2,  # x and y from -1.5 to 1.5
    column=len(_CENTRES),
    row=len(_CENTRES),
    background=len(BACKGROUNDS),
    count=MOST_THINGS + 1,
)
"""The slice of each attribute in a vector of ATTRIBUTES numbers."""


@dataclass(frozen=True, slots=True)
class Frames:
    """The contents of N frames, as numbers.

    Args:
        shape, colour: int64 (N, SLOTS), -1 for an empty slot.
        xy: float32 (N, SLOTS, 2), shares of width and height.
        background: int64 (N,).
    """

    shape: torch.Tensor
    colour: torch.Tensor
    xy: torch.Tensor
    background: torch.Tensor

    @property
    def present(self) -> torch.Tensor:
        """Whether each slot holds a thing: bool (N, SLOTS)."""
        return self.shape >= 0


def attributes(frames: Frames) -> torch.Tensor:
    """The meanings of the tokens of each frame: float32 (N, TOKENS_A_FRAME, ATTRIBUTES)."""
    one_hot = torch.nn.functional.one_hot
    present = frames.present.float()[..., None]  # (N, SLOTS, 1)
    meaning = torch.zeros(len(frames.shape), TOKENS_A_FRAME, ATTRIBUTES)
    things, scene = meaning[:, :SLOTS], meaning[:, SLOTS]
    things[..., PARTS["presence"]] = torch.cat([present, 1 - present], -1)
    things[..., PARTS["shape"]] = one_hot(frames.shape.clamp(min=0), len(SHAPES)) * present
    things[..., PARTS["colour"]] = one_hot(frames.colour.clamp(min=0), len(COLOURS)) * present
    things[..., PARTS["place"]] = (frames.xy * 2 - 1) * 1.5 * present
    for axis, part in enumerate(("column", "row")):
        distance = (frames.xy[..., axis : axis + 1] - _CENTRES) / _SPREAD
        things[..., PARTS[part]] = torch.exp(-distance.square()) * present
    scene[:, PARTS["background"]] = one_hot(frames.background, len(BACKGROUNDS)).float()
    scene[:, PARTS["count"]] = one_hot(frames.present.sum(1), MOST_THINGS + 1).float()
    return meaning


def embed(meaning: torch.Tensor) -> torch.Tensor:
    """Ideal embeddings (..., WIDTH) of meanings (..., ATTRIBUTES)."""
    return meaning @ _basis()


def read(embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Meanings (..., ATTRIBUTES) of embeddings (..., WIDTH), and the rest outside the basis, in units of meanings."""
    meaning = embeddings @ _basis().T / _SCALE**2
    return meaning, (embeddings - embed(meaning)) / _SCALE


@cache
def _basis() -> torch.Tensor:
    """(ATTRIBUTES, WIDTH), orthogonal rows of length _SCALE."""
    noise = torch.randn(WIDTH, ATTRIBUTES, generator=torch.Generator().manual_seed(_BASIS_SEED))
    orthogonal: torch.Tensor = torch.linalg.qr(noise)[0]
    return orthogonal.T.contiguous() * _SCALE
