"""The form of Label Studio: `tasks.json`, to import, and `labels.xml`, the labelling interface that fits it.

Each video is a task with one prediction: regions of the type `timelinelabels`, in frames. Sources:
https://labelstud.io/tags/timelinelabels, https://labelstud.io/tags/video, https://labelstud.io/guide/predictions
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from nightreel.errors import SettingsError
from nightreel.stages.curation.files import local_path
from nightreel.stages.curation.findings import FoundVideo

MOST_LABELS = 1000
"""A list of labels is for a person to read."""
_FROM, _TO = "findings", "video"
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INTERFACE = """\
<View>
  <Video name="{to}" value="$video" frameRate="$fps" timelineHeight="120"/>
  <TimelineLabels name="{name}" toName="{to}">
{labels}  </TimelineLabels>
</View>
"""


class LabelStudioWriter:
    """Writes tasks one after the other, and the interface at the end.

    Args:
        directory: exists and is empty.
    """

    needs_frames = True

    def __init__(self, directory: Path) -> None:
        self._tasks = (directory / "tasks.json").open("w", encoding="utf-8")
        self._interface = directory / "labels.xml"
        self._labels: set[str] = set()
        self._separator = "["

    def write(self, video: FoundVideo) -> int:
        """Write a video as a task. Returns the number of its regions.

        Raises:
            SettingsError: there are more than `MOST_LABELS` labels.
        """
        found = [(finding, label) for finding in video.findings if (label := finding.label)]
        self._labels.update(_plain(label) for _, label in found)
        if len(self._labels) > MOST_LABELS:
            raise SettingsError(f"more than {MOST_LABELS:,} labels: choose prompts with --filter prompt=NAME")
        regions = [
            _region(number, label, video.frames(finding), finding.p) for number, (finding, label) in enumerate(found)
        ]
        scores = [finding.p for finding, _ in found if finding.p is not None]
        prediction = {
            "model_version": video.model or "unknown",
            **({"score": max(scores)} if scores else {}),
            "result": regions,
        }
        data = {"video": _media_url(video.uri), "uri": video.uri, "video_id": video.video_id, "fps": video.fps}
        task = {"data": data, "predictions": [prediction]}
        self._tasks.write(f"{self._separator}\n{json.dumps(task)}")
        self._separator = ","
        return len(regions)

    def finish(self) -> None:
        self._tasks.write("[]\n" if self._separator == "[" else "\n]\n")
        labels = "".join(f"    <Label value={quoteattr(label)}/>\n" for label in sorted(self._labels))
        self._interface.write_text(_INTERFACE.format(name=_FROM, to=_TO, labels=labels), encoding="utf-8")

    def close(self) -> None:
        self._tasks.close()


def _region(number: int, label: str, frames: tuple[int, int], p: float | None) -> dict[str, Any]:
    first, last = frames
    return {
        "id": f"nightreel-{number}",
        "type": "timelinelabels",
        "from_name": _FROM,
        "to_name": _TO,
        "origin": "prediction",
        "value": {"ranges": [{"start": first, "end": last}], "timelinelabels": [_plain(label)]},
        **({"score": p} if p is not None else {}),
    }


def _media_url(uri: str) -> str:
    """Label Studio's address of a local file, below LOCAL_FILES_DOCUMENT_ROOT=/; objects of a bucket keep theirs."""
    path = local_path(uri)
    return uri if path is None else f"/data/local-files/?d={quote(path.lstrip('/'))}"


def _plain(label: str) -> str:
    """A label without characters that XML cannot have; in tasks too, so that both are the same.

    >>> _plain("a\\x00 & \\ud800b")
    'a & b'
    """
    return _NOT_XML.sub("", label)
