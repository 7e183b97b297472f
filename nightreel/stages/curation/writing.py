"""Writes the findings of videos in one of the forms of curators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from nightreel.stages.curation.fiftyone import FiftyOneWriter
from nightreel.stages.curation.files import whole_directory
from nightreel.stages.curation.findings import FoundVideo
from nightreel.stages.curation.label_studio import LabelStudioWriter
from nightreel.stages.curation.webvtt import WebVttWriter


class CurationFormat(StrEnum):
    """The form of an export for curators: a directory."""

    FIFTYONE = "fiftyone"
    LABEL_STUDIO = "label-studio"
    WEBVTT = "webvtt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curation:
    """What was written. `without_frames`: videos that were left out because their frame rate is not known."""

    videos: int = 0
    findings: int = 0
    without_frames: int = 0


class _Writer(Protocol):
    needs_frames: bool

    def write(self, video: FoundVideo) -> int: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...


def write_curation(videos: Iterator[FoundVideo], to: Path, form: CurationFormat, *, view: str) -> Curation:
    """Write all videos into a new directory. After an error, nothing is left of it.

    Raises:
        SettingsError: the directory exists; or as the writer of the form.
    """
    written, findings, without_frames = 0, 0, 0
    with whole_directory(to) as directory:
        writer = _open(directory, form, view)
        try:
            for video in videos:
                if writer.needs_frames and not video.fps:
                    without_frames += 1
                    continue
                findings += writer.write(video)
                written += 1
            writer.finish()
        finally:
            writer.close()
    return Curation(videos=written, findings=findings, without_frames=without_frames)


def _open(directory: Path, form: CurationFormat, view: str) -> _Writer:
    match form:
        case CurationFormat.FIFTYONE:
            return FiftyOneWriter(directory)
        case CurationFormat.LABEL_STUDIO:
            return LabelStudioWriter(directory)
        case CurationFormat.WEBVTT:
            return WebVttWriter(directory, metadata=view == "flags")
