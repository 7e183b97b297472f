"""Whether a model server shows its model all frames of a segment, in order: asked before any video is touched.

Servers limit the pictures of a request (vLLM to what its operator sets) and the frames of a video (vLLM to 32). Some
refuse more, some leave frames out without a word. `loading` calls it. The frames are grey and have the size of real
ones, so that a context which is too small for them shows as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from nightreel.domain import SamplingPlan
from nightreel.errors import PermanentError, SettingsError
from nightreel.models.served.chat_endpoint import ChatEndpoint
from nightreel.models.served.frame_order import Order, frame_order
from nightreel.models.served.layouts import Layout, Shown
from nightreel.models.served.probe import Server
from nightreel.models.served.trials import Trials, is_refusal, trials_of_a_segment
from nightreel.settings import Settings

logger = logging.getLogger(__name__)

_SIDE = 112  # for number and order of frames: processors shrink large ones until their sum fits
_MERGED = (1, 2, 4, 8)  # frames that video models merge into the same tokens


def require_frames(
    endpoint: ChatEndpoint, settings: Settings, *, plan: SamplingPlan, model: str, server: Server
) -> None:
    """Refuse a server that shows its model fewer frames in a request than the sampling plan takes from a segment.

    Args:
        settings: the size of frames.
        plan: the one that takes the most frames: of segments, or of a second look.
        model: its name on the server.

    Raises:
        SettingsError: the server refuses that many frames, or leaves some out; the message has its limit.
        PermanentError: `model_refused` if it refuses a chat without frames, too; others as `ChatEndpoint.post`.
        TransientError: `model_unreachable`.
    """
    trials = trials_of_a_segment(endpoint, settings, model)
    wanted = max(plan.most_frames, server.least_frames)
    counts = _Counts(trials, server.layout, wanted)
    try:
        counts.tokens(wanted)
    except PermanentError as error:
        if not is_refusal(error):
            raise
        limit = counts.limit_below(wanted)
        raise SettingsError(_too_many(limit, plan, endpoint.url, server.layout, why=error.detail)) from error
    small = replace(trials, height=_SIDE, width=_SIDE)
    counts = _Counts(small, server.layout, wanted)
    merged = counts.merged()
    if merged and counts.tokens(wanted) == counts.tokens(wanted - merged):
        why = f"{endpoint.url} answers, but counts no tokens for the others, so the model does not see them"
        limit = counts.counted_below(wanted, merged)
        raise SettingsError(_too_many(limit, plan, endpoint.url, server.layout, why=why))
    order = frame_order(small, frames=wanted, layout=server.layout)
    if order is Order.WRONG:
        raise SettingsError(
            f"the server at {endpoint.url} does not show its model all {wanted} frames of a {server.layout} in order: "
            f"set NIGHTREEL_REMOTE_LAYOUT={Layout.PICTURES}"
        )
    logger.info("the model server at %s: %s; of %d frames: %s", endpoint.url, server, wanted, order.value)
    for lack in server.lacks:
        logger.warning("the model server at %s: %s", endpoint.url, lack)


def require_grey_frames(trials: Trials, *, frames: int, layout: Layout) -> None:
    """Refuse a server that refuses any frames, after it refused those of a segment: it would refuse every video.

    Raises:
        SettingsError: it does. Others as `Trials.request`.
    """
    try:
        trials.request(trials.shown(frames, layout))
    except PermanentError as error:
        if not is_refusal(error):
            raise
        raise SettingsError(
            f"the model server refused a segment, and refuses grey frames, too, so it would refuse every video: "
            f"{error.detail}: start it with the limits that it had when the run began, or set NIGHTREEL_PLAN to one "
            f"with fewer frames than {frames}"
        ) from error


@dataclass
class _Counts:
    """The tokens of requests like that of a real segment, with only some of its frames."""

    trials: Trials
    layout: Layout
    most: int
    known: dict[int, int] = field(default_factory=dict)

    def tokens(self, frames: int) -> int:
        """The prompt tokens that the server counts for a request with this many frames; 0 if it does not say."""
        if frames not in self.known:
            self.known[frames] = self.trials.tokens(self._shown(frames))
        return self.known[frames]

    def merged(self) -> int:
        """By how many frames a request must grow to cost more tokens; 0 if tokens do not tell frames apart."""
        if self.layout is Layout.PICTURES:
            return int(self.most > 1 and self.tokens(1) > self.tokens(0))
        return next((number for number in _MERGED if self._grows_by(number)), 0)

    def limit_below(self, refused: int) -> int:
        """The largest number of frames that the server takes, if it refuses `refused`."""
        self.tokens(0)  # a server that refuses this does not refuse the frames
        return _search(0, refused, self._takes)

    def counted_below(self, given: int, merged: int) -> int:
        """The largest number of frames that add to the tokens of a request."""
        most = self.tokens(given)
        least = _search(0, given - merged, lambda frames: not self._takes(frames) or self.tokens(frames) < most) + 1
        return -(-least // merged) * merged

    def _grows_by(self, number: int) -> bool:
        """Whether so many more frames always cost more tokens; one more does half of the time if two are merged."""
        starts = [start for start in (2, 3) if start + number <= self.most]
        return bool(starts) and all(
            self._takes(start) and self.tokens(start + number) > self.tokens(start) for start in starts
        )

    def _takes(self, frames: int) -> bool:
        try:
            self.tokens(frames)
        except PermanentError as error:
            if not is_refusal(error):
                raise
            return False
        return True

    def _shown(self, frames: int) -> Shown:
        """A video of so many frames; or all texts between pictures, whose tokens must not count, and some pictures."""
        if self.layout is not Layout.PICTURES:
            return self.trials.shown(frames, self.layout)
        shown = self.trials.shown(self.most, self.layout)
        left_out = [part for part in shown.parts if part["type"] == "image_url"][frames:]
        parts = [part for part in shown.parts if not any(part is other for other in left_out)]
        return replace(shown, parts=parts, frames=frames)


def _search(good: int, bad: int, is_good: Callable[[int], bool]) -> int:
    """The last good number, by halving: all numbers up to it are good, and the others are bad."""
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if is_good(middle) else (good, middle)
    return good


def _too_many(limit: int, plan: SamplingPlan, url: str, layout: Layout, *, why: str) -> str:
    what, flags = _WHAT[layout]
    sent = f"plan {plan} samples up to {plan.most_frames} frames of a segment"
    if limit == 0:
        return f"the model at {url} takes no {what}, but {sent}: {why}; set NIGHTREEL_MODEL to a model for {what}"
    return (
        f"the server at {url} takes at most {limit} {what} in a request, but {sent}: {why}; set NIGHTREEL_PLAN, or "
        f"the plan of `look_again`, to one with at most {limit} frames, such as uniform:{limit}, or raise the server's "
        f"limit ({flags}), or lower NIGHTREEL_REMOTE_FRAME_SIZE if its context is too small"
    )


_WHAT = {
    Layout.PICTURES: ("pictures", "vLLM: --limit-mm-per-prompt, SGLang: --limit-mm-data-per-request"),
    Layout.VIDEO: ("frames of a video", 'vLLM: --trust-request-mm-kwargs, or --media-io-kwargs with "num_frames"'),
    Layout.TIMED_VIDEO: ("frames of a video", "vLLM: --max-model-len"),
}
