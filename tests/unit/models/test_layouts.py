"""Frames become a video or pictures in a message."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nightreel.domain import Features, FrameBatch
from nightreel.models.served.jpeg_frames import to_jpegs
from nightreel.models.served.layouts import VERSIONS, Layout, Sending, show


def features(*, times_s: tuple[float, ...] = (30.0, 31.25), level: int = 0) -> Features:
    batch = FrameBatch.blank(len(times_s), height=8, width=8, level=level)
    batch.frames_thwc[-1] = np.uint8(255)
    return Features(
        key="segment-1",
        tensors=to_jpegs(batch, short_side=8, quality=85),
        pts_s=times_s,
        metadata={"segment": [1, 30.0, 60.0]},
    )


def content(request: dict[str, Any]) -> list[dict[str, Any]]:
    (message,) = request["messages"]
    assert message["role"] == "user"
    return message["content"]


def test_a_video_is_one_part_with_its_frames_in_order_and_the_question_follows() -> None:
    shown = features()
    video, question = content(show(shown, Layout.VIDEO).request("What?"))
    kind, *frames = video["video_url"]["url"].split(",")
    assert (video["type"], kind) == ("video_url", "data:video/jpeg;base64")
    assert [base64.b64decode(frame) for frame in frames] == [tensor.data for tensor in shown.tensors]
    assert question == {"type": "text", "text": "What?"}


def test_a_timed_video_has_the_exact_times_of_its_frames() -> None:
    request = show(features(), Layout.TIMED_VIDEO).request("What?")
    assert request["media_io_kwargs"] == {
        "video": {
            "num_frames": -1, "fps": 1000.0, "frames_indices": [0, 1250], "total_num_frames": 30_000, "duration": 30.0,
        }
    }  # fmt: skip
    assert "media_io_kwargs" not in show(features(), Layout.VIDEO).request("What?")


def test_each_picture_follows_its_time() -> None:
    parts = content(show(features(), Layout.PICTURES).request("What?"))
    assert [part.get("text", "picture") for part in parts] == [
        "2 frames of a video of 30.0 seconds, each after its time.\n", "0.00 s: ", "picture", "1.25 s: ", "picture",
        "\nWhat?",
    ]  # fmt: skip


@pytest.mark.parametrize("layout", Layout)
def test_questions_share_their_start(layout: Layout) -> None:
    shown = show(features(), layout)
    assert content(shown.request("What?"))[:-1] == content(shown.request("Why?"))[:-1]


@pytest.mark.parametrize("layout", Layout)
def test_a_name_stands_for_the_frames_and_not_for_the_key(layout: Layout) -> None:
    shown = show(features(), layout)
    named = content(shown.request("What?", sending=Sending.BYTES_WITH_NAME))
    names = [part["uuid"] for part in named if part["type"] != "text"]
    alone = content(shown.request("What?", sending=Sending.NAME))
    assert [part["uuid"] for part in alone if part["type"] != "text"] == names
    assert all(part[part["type"]] is None for part in alone if part["type"] != "text")
    assert all("uuid" not in part for part in content(shown.request("What?")))
    assert all(len(name) == len(hashlib.sha256().hexdigest()) for name in names)
    others = (features(level=9), replace(features(), key="segment-2"))
    assert [show(other, layout).name == shown.name for other in others] == [False, True]


def test_each_layout_has_its_own_version() -> None:
    assert len({VERSIONS[layout] for layout in Layout}) == len(Layout)
