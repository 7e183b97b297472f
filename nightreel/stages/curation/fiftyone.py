"""The form of FiftyOne: `fo.types.FiftyOneTemporalDetectionDataset`, a directory with two files.

`data.json` has the path of each video, `labels.json` its temporal detections: label, first and last frame, confidence,
tags and attributes. Source: https://docs.voxel51.com/user_guide/dataset_creation/datasets.html, and the importer
`FiftyOneTemporalDetectionDatasetImporter` of FiftyOne 1.22.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from nightreel.stages.curation.files import media_path
from nightreel.stages.curation.findings import Finding, FoundVideo


class FiftyOneWriter:
    """Writes videos one after the other. Videos without labels are written too: they have an empty list.

    Args:
        directory: exists and is empty.
    """

    needs_frames = True

    def __init__(self, directory: Path) -> None:
        self._data = (directory / "data.json").open("w", encoding="utf-8")
        self._labels = (directory / "labels.json").open("w", encoding="utf-8")
        self._data.write("{")
        self._labels.write('{"labels": {')
        self._separator = "\n"

    def write(self, video: FoundVideo) -> int:
        """Write a video. Returns the number of its detections."""
        detections = [_detection(video, finding) for finding in video.findings if finding.label]
        self._add(self._data, video, media_path(video.uri, video.video_id))
        self._add(self._labels, video, detections)
        self._separator = ",\n"
        return len(detections)

    def finish(self) -> None:
        self._data.write("\n}\n")
        self._labels.write("\n}}\n")

    def close(self) -> None:
        self._data.close()
        self._labels.close()

    def _add(self, out: TextIO, video: FoundVideo, value: Any) -> None:
        out.write(f'{self._separator}"{video.video_id}": {json.dumps(value)}')


def _detection(video: FoundVideo, finding: Finding) -> dict[str, Any]:
    return {
        "label": finding.label,
        "support": video.frames(finding),
        **({"confidence": finding.p} if finding.p is not None else {}),
        "attributes": dict(_attributes(video, finding)),
    }


def _attributes(video: FoundVideo, finding: Finding) -> Iterator[tuple[str, Any]]:
    yield "tags", [finding.prompt_set, *([f"severity-{finding.severity}"] if finding.severity else [])]
    yield "video_id", video.video_id
    yield "uri", video.uri
    yield "prompt", finding.prompt
    yield "state", finding.state
    yield "start_s", finding.start_s
    yield "end_s", finding.end_s
    if finding.severity:
        yield "severity", finding.severity
