"""The stored features of a segment in the form that vLLM takes: one item for each run of media tokens in the prompt.

    <video tokens of frame 1> text <video tokens of frame 2> ...   ->   one item a frame
    <video tokens of all frames>                                   ->   one item, with the grid of the video

`prefix` calls it. What an architecture needs is read from the stored tensors, never from its name. The form is that of
`MultiModalKwargsItem` in vLLM's `v1/serial_utils.py`: names of inputs, each with a tensor and how vLLM joins it with
that of other items.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import torch

from nightreel.errors import PermanentError
from nightreel.models.inprocess.tensors import Tensors
from nightreel.reasons import Reason

_RAW = 3  # vLLM's type of a tensor's bytes
_TIMES = "input/second_per_grid_ts"
_BATCHED_ON_CPU = ("batched", {"keep_on_cpu": True})

Item = Mapping[str, tuple[torch.Tensor, Sequence[Any]]]
"""The inputs of one item, each with the name and the arguments of the field in which vLLM joins items."""


@dataclass(frozen=True, slots=True)
class Media:
    """What a segment shows.

    Args:
        kind: of the items, as vLLM calls it: image or video.
        ranges: the first token and the number of tokens of each item.
        names: what vLLM keeps them under: a hash over what is sent.
        data: the items, packed.
    """

    kind: str = "image"
    ranges: Sequence[tuple[int, int]] = ()
    names: Sequence[str] = ()
    data: Sequence[bytes] = field(default=(), repr=False)

    def fields(self, *, with_data: bool) -> dict[str, Any]:
        """The fields of a request; none without media. Without data, vLLM takes what it has under the names."""
        if not self.ranges:
            return {}
        data = [base64.b64encode(item).decode() for item in self.data] if with_data else [None] * len(self.names)
        return {
            "features": {
                "mm_hashes": {self.kind: list(self.names)},
                "mm_placeholders": {self.kind: [{"offset": start, "length": count} for start, count in self.ranges]},
                "kwargs_data": {self.kind: data},
            }
        }


def media_of(tensors: Tensors, *, media_ids: Collection[int], merge: int) -> Media:
    """The media of a segment.

    Args:
        tensors: its features, as `Vision.encode` makes them.
        media_ids: the tokens that embeddings replace.
        merge: patches of a side that become one token.

    Raises:
        PermanentError: `unsupported_model`: the embeddings are not one for each media token.
    """
    ids = tensors["input/prefix_ids"]
    ranges = _runs(torch.isin(ids, torch.tensor(sorted(media_ids))))
    if not ranges:
        return Media()
    embeddings = _embeddings(tensors)
    wanted = sum(count for _, count in ranges)
    if len(embeddings) != wanted:
        raise PermanentError(
            Reason.UNSUPPORTED_MODEL,
            f"the model has {len(embeddings)} embeddings for {wanted} video tokens, so vLLM cannot be given its "
            "features: set NIGHTREEL_ENGINE_MEDIA=frames",
        )
    grids = [value for name, value in tensors.items() if name.startswith("input/") and name.endswith("_grid_thw")]
    kind, items = "image", _by_run(embeddings, ranges)
    if grids:
        kind, items = _with_grids(embeddings, ranges, torch.cat(grids), tensors.get(_TIMES), merge)
    packed = [_packed(item) for item in items]
    names = [hashlib.sha256(data).hexdigest() for data in packed]
    return Media(kind, ranges, names, packed)


def _runs(is_media: torch.Tensor) -> list[tuple[int, int]]:
    """Start and length of each run of true values of (P,).

    >>> _runs(torch.tensor([False, True, True, False, True]))
    [(1, 2), (4, 1)]
    """
    edges = torch.diff(is_media.int(), prepend=torch.zeros(1, dtype=torch.int), append=torch.zeros(1, dtype=torch.int))
    starts, ends = (edges == 1).nonzero()[:, 0].tolist(), (edges == -1).nonzero()[:, 0].tolist()
    return [(start, end - start) for start, end in zip(starts, ends, strict=True)]


def _embeddings(tensors: Tensors) -> torch.Tensor:
    """Embeddings (N, D) of all media tokens; D includes those of deeper layers, if the architecture has them."""
    found = {name: value for name, value in tensors.items() if not name.startswith("input/")}
    main = [value for name, value in _sorted(found) if "/pooler_output" in name]
    width = main[0].shape[-1]
    flat = torch.cat([value.reshape(-1, width) for value in main])
    deep = [value.reshape(-1, width) for name, value in _sorted(found) if "/deepstack_features" in name]
    return torch.cat([flat, *deep], dim=-1) if deep else flat


def _sorted(tensors: Tensors) -> list[tuple[str, torch.Tensor]]:
    def key(name: str) -> tuple[str | int, ...]:
        return tuple(int(part) if part.isdigit() else part for part in name.split("/"))

    return sorted(tensors.items(), key=lambda item: key(item[0]))


def _by_run(embeddings: torch.Tensor, ranges: Sequence[tuple[int, int]]) -> list[Item]:
    parts = embeddings.split([count for _, count in ranges])
    return [{"image_embeds": (part, ("batched", {"keep_on_cpu": False}))} for part in parts]


def _with_grids(
    embeddings: torch.Tensor,
    ranges: Sequence[tuple[int, int]],
    grids: torch.Tensor,
    seconds: torch.Tensor | None,
    merge: int,
) -> tuple[str, list[Item]]:
    """Items with the grid from which vLLM computes positions: (frames, height, width) in patches."""
    counts = [count for _, count in ranges]
    if [int(grid.prod()) // merge**2 for grid in grids] == counts:
        kind = "image" if seconds is None and bool((grids[:, 0] == 1).all()) else "video"
    else:  # the frames of a video have their times between them: each is a picture
        kind = "image"
        grids = torch.cat([grid.expand(int(grid[0]), 3) for grid in grids]).clone()
        grids[:, 0] = 1
        if [int(grid.prod()) // merge**2 for grid in grids] != counts:
            raise PermanentError(
                Reason.UNSUPPORTED_MODEL, f"the grids {grids.tolist()} of a video do not fit its tokens {ranges}"
            )
    items: list[Item] = []
    for place, part in enumerate(embeddings.split(counts)):
        flat = {"slices": [[0, len(part), None]], "dim": 0, "keep_on_cpu": False}
        item = {f"{kind}_embeds": (part, ("flat", flat)), f"{kind}_grid_thw": (grids[place], _BATCHED_ON_CPU)}
        if kind == "video" and seconds is not None:
            item["second_per_grid_ts"] = (seconds[place], _BATCHED_ON_CPU)
        items.append(item)
    return kind, items


def _packed(item: Item) -> bytes:
    fields = {name: {"data": _tensor(tensor), "field": list(how)} for name, (tensor, how) in item.items()}
    packed: bytes = msgpack.packb(fields)
    return packed


def _tensor(tensor: torch.Tensor) -> list[Any]:
    data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), msgpack.ExtType(_RAW, data)]
