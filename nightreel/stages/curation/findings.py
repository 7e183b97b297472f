"""What was found in each video, read from a view: labels with their seconds, frames and probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import Any

from sqlalchemy import Connection, text

from nightreel.database.view_rows import Column, Filter, read_rows
from nightreel.domain import PromptKind, VerdictState
from nightreel.errors import SettingsError

VIEWS = ("flags", "timeline", "answers")
"""The views with findings. A row of `flags` is a flag of a video, one of the others an answer of a segment."""
_COLUMNS = {
    "flags": ("video_id", "uri", "prompt_set", "prompt", "kind", "found", "answer", "worst_p", "severity", "ranges"),
    "timeline": ("video_id", "uri", "prompt_set", "prompt", "kind", "state", "answer", "p", "severity", "start_s",
                 "end_s"),
    "answers": ("video_id", "uri", "prompt_set", "prompt", "kind", "state", "answer", "p", "severity", "start_s",
                "end_s", "due"),
}  # fmt: skip
_ORDER = {"flags": ("video_id", "first_s", "prompt_id")}
_TEXTS = (PromptKind.CAPTION, PromptKind.TEXT, PromptKind.OBJECT)
_VIDEOS = 500
_ROUNDING = 1e-6
_VIDEO_QUERY = """
SELECT video_id, fps, frame_count, duration_s, model FROM reporting.videos
WHERE video_id = ANY (CAST(:video_ids AS bigint[]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An answer to a prompt about a part of a video.

    Args:
        state: answered, or why there is no answer: unknown or error.
        answer: as text; None unless answered, or if the reader may not see it.
        p: probability of the answer; None: it was not measured.
        start_s, end_s: seconds of the video.
    """

    prompt_set: str
    prompt: str
    kind: str
    state: str
    answer: str | None
    p: float | None
    severity: int | None
    start_s: float
    end_s: float

    @property
    def is_text(self) -> bool:
        """It is a caption, another text or an object, and no label."""
        return self.kind in _TEXTS

    @property
    def label(self) -> str | None:
        """The name of what was found, for a list of labels; None: nothing was found, or it is a text.

        A "no" has no label. An answer that is missing has one, so that it does not look like a "no".
        """
        if self.state not in (VerdictState.ANSWERED, "flagged"):
            return f"{self.prompt}: {self.state}"
        if self.is_text:
            return self.prompt if self.state == "flagged" else None
        if self.kind == PromptKind.YES_NO:
            if self.state == "flagged":
                return self.prompt if self.answer == "yes" else f"{self.prompt}: {self.answer}"
            return self.prompt if self.answer == "yes" else None
        return f"{self.prompt}: {self.answer}" if self.answer else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundVideo:
    """A video with its findings, in the order of time.

    Args:
        fps: average frames per second; None: not known.
        frame_count: number of frames; None: not known.
        model: that gave the newest answers.
    """

    video_id: int
    uri: str
    fps: float | None
    frame_count: int | None
    duration_s: float | None
    model: str | None
    findings: tuple[Finding, ...]

    def frames(self, finding: Finding) -> tuple[int, int]:
        """The first and the last frame of a finding, counted from 1.

        Frame n is shown from (n - 1) / fps to n / fps seconds, as players of annotation tools assume. If the frame rate
        varies, `fps` is its mean, and the frames are not exact: the seconds are.

        >>> clip = FoundVideo(
        ...     video_id=1, uri="s3://b/a.mp4", fps=25.0, frame_count=100, duration_s=4, model=None, findings=()
        ... )
        >>> part = Finding(
        ...     prompt_set="a", prompt="b", kind="yes_no", state="answered", answer="yes", p=1, severity=1,
        ...     start_s=1.0, end_s=2.0,
        ... )
        >>> clip.frames(part)
        (26, 50)
        """
        assert self.fps, f"{self.uri} has no frame rate"
        most = self.frame_count or math.inf
        first = min(math.floor(finding.start_s * self.fps + _ROUNDING) + 1, most)
        last = min(math.ceil(finding.end_s * self.fps - _ROUNDING), most)
        return int(max(1, first)), int(max(1, first, last))


def read_found(
    connection: Connection,
    view: str,
    *,
    filters: Sequence[Filter] = (),
    under: str | None = None,
    restricted: bool = False,
) -> Iterator[FoundVideo]:
    """The videos with rows in a view, in the order of their ids. Memory stays flat for any number of videos.

    Args:
        view: one of `VIEWS`. filters, under, restricted: as in `read_rows`.

    Raises:
        SettingsError: the view has no findings; or as `read_rows`.
    """
    if view not in VIEWS:
        raise SettingsError(f"{view!r} has no findings in time: this form takes {', '.join(VIEWS)}")
    columns = [Column(name, "") for name in _COLUMNS[view]]
    order = _ORDER.get(view, ("video_id", "start_s", "end_s", "prompt_set", "prompt"))
    batches = read_rows(connection, view, columns, filters=filters, under=under, restricted=restricted, order=order)
    rows = (dict(zip(_COLUMNS[view], row, strict=True)) for batch in batches for row in batch)
    groups = ((key, tuple(chain.from_iterable(map(_findings, own)))) for key, own in groupby(rows, _video))
    while some := _take(groups, _VIDEOS):
        ids = {"video_ids": [video_id for (video_id, _), _ in some]}
        known = {row.video_id: row for row in connection.execute(text(_VIDEO_QUERY), ids)}
        for (video_id, uri), findings in some:
            about = known.get(video_id)
            yield FoundVideo(
                video_id=video_id,
                uri=uri,
                fps=about.fps if about else None,
                frame_count=about.frame_count if about else None,
                duration_s=about.duration_s if about else None,
                model=about.model if about else None,
                findings=findings,
            )


def _take(items: Iterator[Any], count: int) -> list[Any]:
    return list(islice(items, count))


def _video(row: dict[str, Any]) -> tuple[int, str]:
    return row["video_id"], row["uri"]


def _findings(row: dict[str, Any]) -> Iterator[Finding]:
    if row.get("due") is False:
        return
    ranges = row["ranges"] or [] if "ranges" in row else [(row["start_s"], row["end_s"])]
    for start_s, end_s in ranges:
        yield Finding(
            prompt_set=row["prompt_set"],
            prompt=row["prompt"],
            kind=row["kind"],
            state=row.get("found") or row["state"],
            answer=row["answer"],
            p=row["worst_p"] if "worst_p" in row else row["p"],
            severity=row["severity"],
            start_s=float(start_s),
            end_s=float(end_s),
        )
