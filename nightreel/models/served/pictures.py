"""Whether a model server takes all pictures of a segment in one request: asked before any video is touched.

Servers limit the pictures of a request (vLLM to what its operator sets, by default to one in older versions). Some
refuse more, some leave pictures out silently. `loading` calls it. The pictures are grey and have the size of real
frames, so that a context which is too small for them shows as well.
"""

from __future__ import annotations

import threading
from typing import Any

from nightreel.domain import Features, FrameBatch, SamplingPlan
from nightreel.errors import PermanentError, SettingsError
from nightreel.models.served.chat_endpoint import ChatEndpoint
from nightreel.models.served.completions import read_completion
from nightreel.models.served.identity import CHAT
from nightreel.models.served.jpeg_frames import conversation, to_jpegs, with_question
from nightreel.reasons import Reason
from nightreel.settings import Settings

_QUESTION = "What is shown?"
_SHAPE = 16 / 9
_GREY = 128


def require_pictures(endpoint: ChatEndpoint, settings: Settings, *, plan: SamplingPlan, model: str) -> None:
    """Refuse a server that takes fewer pictures in a request than the sampling plan takes from a segment.

    Args:
        settings: the size of frames.
        plan: the one that takes the most frames: of segments, or of a second look.
        model: its name on the server.

    Raises:
        SettingsError: the server refuses that many pictures, or leaves some out; the message has its limit.
        PermanentError: `model_refused` if it refuses a chat without pictures, too; others as `ChatEndpoint.post`.
        TransientError: `model_unreachable`.
    """
    trial = _Trial(endpoint, settings, plan, model)
    wanted = plan.most_frames
    try:
        tokens = trial.tokens(wanted)
    except PermanentError as error:
        if error.reason is not Reason.MODEL_REFUSED:
            raise
        raise SettingsError(_too_many(trial.limit_below(wanted), plan, endpoint.url, why=error.detail)) from error
    if wanted > 1 and tokens == trial.tokens(wanted - 1) and trial.tokens(1) > trial.tokens(0):
        why = f"{endpoint.url} answers, but counts no tokens for the others, so the model does not see them"
        raise SettingsError(_too_many(trial.counted_below(wanted), plan, endpoint.url, why=why))


class _Trial:
    """Requests like those of a real segment, with only some of its pictures."""

    def __init__(self, endpoint: ChatEndpoint, settings: Settings, plan: SamplingPlan, model: str) -> None:
        self._endpoint, self._model = endpoint, model
        self._parts = _segment(settings, plan.most_frames)
        self._tokens: dict[int, int] = {}

    def tokens(self, pictures: int) -> int:
        """The prompt tokens that the server counts for a request with this many pictures; 0 if it does not say."""
        if pictures not in self._tokens:
            body = {
                "model": self._model,
                "messages": with_question(_with_pictures(self._parts, pictures), _QUESTION),
                "temperature": 0,
                "max_tokens": 1,
            }
            answer = self._endpoint.post(CHAT, body, stop=threading.Event())
            self._tokens[pictures] = read_completion(answer).prompt_tokens
        return self._tokens[pictures]

    def limit_below(self, refused: int) -> int:
        """The largest number of pictures that the server takes, if it refuses `refused`."""
        self.tokens(0)  # a server that refuses this does not refuse the pictures
        return self._search(0, refused, self._takes)

    def counted_below(self, given: int) -> int:
        """The largest number of pictures that add to the tokens of a request."""
        most = self.tokens(given)
        return self._search(0, given - 1, lambda pictures: self.tokens(pictures) < most) + 1

    def _takes(self, pictures: int) -> bool:
        try:
            self.tokens(pictures)
        except PermanentError as error:
            if error.reason is not Reason.MODEL_REFUSED:
                raise
            return False
        return True

    @staticmethod
    def _search(good: int, bad: int, is_good: Any) -> int:
        """The last good number, by halving: all numbers up to it are good, and the others are bad."""
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if is_good(middle) else (good, middle)
        return good


def _too_many(limit: int, plan: SamplingPlan, url: str, *, why: str) -> str:
    sent = f"plan {plan} samples up to {plan.most_frames} frames of a segment"
    if limit == 0:
        return f"the model at {url} takes no pictures, but {sent}: {why}; set NIGHTREEL_MODEL to a model for pictures"
    return (
        f"the server at {url} takes at most {limit} pictures in a request, but {sent}: {why}; set NIGHTREEL_PLAN, or "
        f"the plan of `look_again`, to one with at most {limit} frames, such as uniform:{limit}, or raise the server's "
        "limit (vLLM: --limit-mm-per-prompt, SGLang: --limit-mm-data-per-request), or lower "
        "NIGHTREEL_REMOTE_FRAME_SIZE if its context is too small"
    )


def _segment(settings: Settings, frames: int) -> list[dict[str, Any]]:
    """The message of a segment with this many frames."""
    height = settings.remote_frame_size
    width = round(height * _SHAPE)
    batch = FrameBatch.blank(frames, height=height, width=width, level=_GREY)
    return conversation(
        Features(
            key="trial",
            tensors=to_jpegs(batch, short_side=height, quality=settings.remote_jpeg_quality),
            pts_s=tuple(batch.pts_s.tolist()),
            metadata={"segment": [0, 0.0, float(frames)]},
        )
    )


def _with_pictures(parts: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """All texts of a message, and its first `count` pictures."""
    kept, seen = [], 0
    for part in parts:
        seen += part["type"] == "image_url"
        if part["type"] != "image_url" or seen <= count:
            kept.append(part)
    return kept
