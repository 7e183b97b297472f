"""A claimed video between its first chunk and its last: what it holds, how it is cut, where its file is."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightreel.domain import Claim, Segment
from nightreel.errors import NightreelError, TransientError
from nightreel.media.probe import Probe

# What a model says of one segment's frames or features; anything else it raises would hold for every segment.
ABOUT_A_SEGMENT = {"unencodable_frames", "out_of_memory", "stale_feature", "model_refused"}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one segment: it fails its video, but the other segments' answers are kept."""

    segment: Segment
    reason: str
    detail: str
    transient: bool


@dataclass(slots=True)
class OpenVideo:
    """State of a video in work. `identify` fills it; its file is fetched only when something needs it.

    Args:
        facts: the probe as JSON, which may be known from before.
        path: the file on disk, kept there by `file`; probe: of that file, for decoding; both guarded by `lock`.
        copied: answers taken over from the same bytes under another key.
    """

    claim: Claim
    content_sha256: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    probe: Probe | None = None
    segments: tuple[Segment, ...] = ()
    copied: int = 0
    problems: list[Problem] = field(default_factory=list)
    path: Path | None = None
    file: ExitStack = field(default_factory=ExitStack)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, segment: Segment, error: NightreelError) -> None:
        """Remember what is wrong with a segment; once, however often its stage is tried."""
        problem = Problem(segment, error.reason, error.detail, isinstance(error, TransientError))
        if problem not in self.problems:
            self.problems.append(problem)

    def release(self) -> None:
        """Delete the file, keep what is known."""
        with self.lock:
            self.path = None
            self.file.close()
