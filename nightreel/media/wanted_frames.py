"""The frames that a job wants: their pictures in the caller's array, and their flags. Called by `decoding`."""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame

from nightreel.errors import PermanentError
from nightreel.media.decode_job import DecodeJob
from nightreel.media.pixels import PixelWriter
from nightreel.reasons import Reason


class WantedFrames:
    """The wanted frames that are decoded so far."""

    def __init__(self, job: DecodeJob, frames_thwc: np.ndarray) -> None:
        self._ticks, self._stale = job.ticks, job.stale
        self._labels = {label: slot for slot, label in enumerate(job.labels)}
        self._numbers = {number: slot for slot, number in enumerate(job.frames)}
        self._writer = PixelWriter(frames_thwc, geometry=job.geometry, stored_hw=job.stored_hw, hdr=job.hdr)
        self._flags: dict[int, tuple[str, ...]] = {}

    def slot_of_label(self, label: int | None) -> int | None:
        return None if label is None else self._labels.get(label)

    def slot_of_number(self, number: int) -> int | None:
        return self._numbers.get(number)

    @property
    def complete(self) -> bool:
        return len(self._flags) == len(self._ticks)

    def take(self, slot: int, frame: VideoFrame) -> None:
        self._writer.write(slot, frame)
        self._flags[slot] = ()

    def flag(self, slot: int, flag: str) -> None:
        self._flags[slot] = (flag,)

    def forget(self) -> None:
        self._flags.clear()

    def close_gaps(self, frames_thwc: np.ndarray, *, name: str) -> tuple[tuple[int, ...], tuple[tuple[str, ...], ...]]:
        """Replace each frame that did not decode by the nearest one that did, with that one's time, flagged `missing`.

        Raises:
            PermanentError: `damaged` when no frame decoded.
        """
        if not self._flags:
            frames = len(self._ticks)
            raise PermanentError(
                Reason.DAMAGED, f"{name}: none of the {frames} sampled frames decodes: repair the file"
            )
        came_out = np.array(sorted(self._flags))
        ticks, flags = list(self._ticks), []
        for slot in range(len(ticks)):
            if slot in self._flags:
                flags.append(self._flags[slot] or ("missing",) * self._stale[slot])
                continue
            nearest = int(came_out[np.argmin(np.abs(came_out - slot))])
            frames_thwc[slot] = frames_thwc[nearest]
            ticks[slot] = self._ticks[nearest]
            flags.append(("missing",))
        return tuple(ticks), tuple(flags)
