"""Stored features as vLLM takes them: one item for each run of media tokens, whatever the architecture."""

from __future__ import annotations

import base64

import msgpack
import pytest
import torch

from nightreel.errors import PermanentError
from nightreel.models.engine.media import Media, media_of

_TEXT, _MEDIA = 1, 9


def prefix(*runs: int) -> torch.Tensor:
    """A prompt with runs of media tokens of these lengths, with text around them."""
    ids = [_TEXT]
    for run in runs:
        ids += [*[_MEDIA] * run, _TEXT]
    return torch.tensor(ids)


def numbered(count: int, width: int = 3) -> torch.Tensor:
    return torch.arange(count * width, dtype=torch.bfloat16).reshape(count, width)


def unpacked(media: Media) -> list[dict[str, object]]:
    """The items, each input as a nested list."""
    items = []
    for text in media.fields(with_data=True)["features"]["kwargs_data"][media.kind]:
        fields = msgpack.unpackb(base64.b64decode(text))
        items.append({name: tensor_of(field["data"]).tolist() for name, field in fields.items()})
    return items


def tensor_of(stored: list[object]) -> torch.Tensor:
    dtype, shape, data = stored
    assert isinstance(data, msgpack.ExtType)
    assert data.code == 3
    return torch.frombuffer(bytearray(data.data), dtype=getattr(torch, str(dtype))).reshape(shape)  # type: ignore[call-overload]


def test_each_frame_between_its_texts_is_a_picture() -> None:
    media = media_of(
        {"input/prefix_ids": prefix(2, 2), "image/pooler_output": numbered(4).reshape(2, 2, 3)},
        media_ids={_MEDIA},
        merge=1,
    )
    assert (media.kind, media.ranges) == ("image", [(1, 2), (4, 2)])
    assert unpacked(media) == [
        {"image_embeds": numbered(4)[:2].tolist()},
        {"image_embeds": numbered(4)[2:].tolist()},
    ]


def test_a_video_without_texts_between_its_frames_has_its_grid_and_its_times() -> None:
    media = media_of(
        {
            "input/prefix_ids": prefix(8),
            "video/pooler_output/0": numbered(8),
            "input/video_grid_thw": torch.tensor([[2, 4, 4]]),
            "input/second_per_grid_ts": torch.tensor([0.5]),
        },
        media_ids={_MEDIA},
        merge=2,
    )
    assert (media.kind, media.ranges) == ("video", [(1, 8)])
    assert unpacked(media) == [
        {"video_embeds": numbered(8).tolist(), "video_grid_thw": [2, 4, 4], "second_per_grid_ts": 0.5}
    ]


def test_a_video_with_times_between_its_frames_is_pictures_and_deeper_layers_are_appended() -> None:
    media = media_of(
        {
            "input/prefix_ids": prefix(4, 4),
            "video/pooler_output/0": numbered(8),
            "video/deepstack_features/0": numbered(8) + 100,
            "video/deepstack_features/1": numbered(8) + 200,
            "input/video_grid_thw": torch.tensor([[2, 4, 4]]),
        },
        media_ids={_MEDIA},
        merge=2,
    )
    wide = torch.cat([numbered(8), numbered(8) + 100, numbered(8) + 200], dim=-1)
    assert media.kind == "image"
    assert unpacked(media) == [
        {"image_embeds": wide[:4].tolist(), "image_grid_thw": [1, 4, 4]},
        {"image_embeds": wide[4:].tolist(), "image_grid_thw": [1, 4, 4]},
    ]


def test_frames_have_one_name_as_long_as_their_features_are_the_same() -> None:
    def names(features: torch.Tensor) -> list[str]:
        tensors = {"input/prefix_ids": prefix(2, 2), "image/pooler_output": features}
        return list(media_of(tensors, media_ids={_MEDIA}, merge=1).names)

    changed = numbered(4)
    changed[3, 0] += 1
    assert names(numbered(4)) == names(numbered(4))
    assert names(numbered(4))[0] == names(changed)[0]
    assert names(numbered(4))[1] != names(changed)[1]


def test_what_has_no_media_sends_none() -> None:
    media = media_of({"input/prefix_ids": torch.tensor([_TEXT])}, media_ids={_MEDIA}, merge=1)
    assert media.fields(with_data=True) == {}


def test_features_that_do_not_fit_their_tokens_are_refused() -> None:
    tensors = {"input/prefix_ids": prefix(3), "image/pooler_output": numbered(4)}
    with pytest.raises(PermanentError, match="4 embeddings for 3 video tokens") as caught:
        media_of(tensors, media_ids={_MEDIA}, merge=1)
    assert caught.value.reason == "unsupported_model"
    grids = {"input/video_grid_thw": torch.tensor([[2, 4, 4]])}
    with pytest.raises(PermanentError, match="do not fit its tokens"):
        media_of(
            {"input/prefix_ids": prefix(3, 5), "video/pooler_output": numbered(8), **grids}, media_ids={_MEDIA}, merge=2
        )
