"""Requests with plain grey frames, from which a server's abilities are read before any video is touched.

`probe` and `frame_limits` send them. What they read does not depend on what a model can see or knows: whether a request
is accepted, and how many tokens the server counts for it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nightreel.domain import Features, FrameBatch
from nightreel.errors import PermanentError
from nightreel.models.served.chat_endpoint import CHAT, ChatEndpoint
from nightreel.models.served.completions import read_completion
from nightreel.models.served.jpeg_frames import to_jpegs
from nightreel.models.served.layouts import Layout, Sending, Shown, show
from nightreel.reasons import Reason
from nightreel.settings import Settings

QUESTION = "What is shown?"
_GREY, _OTHER = 96, 160
_SHAPE = 16 / 9


@dataclass(frozen=True, slots=True)
class Trials:
    """Requests to one model.

    Args:
        model: its name on the server.
        height, width: of the frames, pixels. quality: of their JPEG files.
    """

    endpoint: ChatEndpoint
    model: str
    height: int
    width: int
    quality: int = 85

    def shown(self, frames: int, layout: Layout, *, other: int | None = None) -> Shown:
        """Grey frames, one a second; the frame at `other` has another grey. No frames: nothing is shown."""
        if not frames:
            return Shown(())
        batch = FrameBatch.blank(frames, height=self.height, width=self.width, level=_GREY)
        if other is not None:
            batch.frames_thwc[other] = np.uint8(_OTHER)
        features = Features(
            key="trial",
            tensors=to_jpegs(batch, short_side=self.height, quality=self.quality),
            pts_s=tuple(batch.pts_s.tolist()),
            metadata={"segment": [0, 0.0, float(frames)]},
        )
        return show(features, layout)

    def tokens(self, shown: Shown, *, sending: Sending = Sending.BYTES) -> int:
        """The prompt tokens that the server counts for a request; 0 if it does not say. Raises as `request`."""
        return read_completion(self.request(shown, sending=sending)).prompt_tokens

    def request(self, shown: Shown, *, sending: Sending = Sending.BYTES, **options: Any) -> dict[str, Any]:
        """Ask for one token about these frames.

        Raises:
            PermanentError: `model_refused` if the server does not accept the request, also with status 500; others as
                `ChatEndpoint.post`.
            TransientError: `model_unreachable`.
        """
        body = {
            "model": self.model,
            **shown.request(QUESTION, sending=sending),
            "temperature": 0,
            "max_tokens": 1,
            **options,
        }
        return self.endpoint.post(CHAT, body, stop=threading.Event(), is_trial=True)


def trials_of_a_segment(endpoint: ChatEndpoint, settings: Settings, model: str) -> Trials:
    """Trials with frames of the size of real ones."""
    height = settings.remote_frame_size
    return Trials(endpoint, model, height=height, width=round(height * _SHAPE), quality=settings.remote_jpeg_quality)


def with_times(shown: Shown, ticks: Sequence[int]) -> Shown:
    """The same video with other times of its frames."""
    video = {**shown.options["media_io_kwargs"]["video"], "frames_indices": list(ticks)}
    return replace(shown, options={"media_io_kwargs": {"video": video}})


def is_refusal(error: PermanentError) -> bool:
    """Whether the server refused one request, and may accept others."""
    return error.reason is Reason.MODEL_REFUSED
