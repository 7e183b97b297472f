"""The form of WebVTT: a file for each video, and `index.jsonl`, which says which is which.

Rows of flags become metadata: each cue has a JSON object. Rows of answers become chapters: each cue has the captions
and other texts of a segment. Source: https://www.w3.org/TR/webvtt1/
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from nightreel.stages.curation.files import safe_name
from nightreel.stages.curation.findings import Finding, FoundVideo

_SHORTEST_MS = 1  # a cue ends after it starts
_SPACES = re.compile(r"\s+")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")
_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_JSON = str.maketrans({"&": "\\u0026", "<": "\\u003c", ">": "\\u003e"})


class WebVttWriter:
    """Writes a file for each video that has cues.

    Args:
        directory: exists and is empty.
        metadata: write flags as JSON; else texts as chapters.
    """

    needs_frames = False

    def __init__(self, directory: Path, *, metadata: bool) -> None:
        self._directory = directory
        self._metadata = metadata
        self._index = (directory / "index.jsonl").open("w", encoding="utf-8")

    def write(self, video: FoundVideo) -> int:
        """Write the cues of a video. Returns their number."""
        cues = list(_flags(video) if self._metadata else _chapters(video))
        if not cues:
            return 0
        name = safe_name(video.uri, video.video_id, ".flags.vtt" if self._metadata else ".chapters.vtt")
        about = {"uri": video.uri, "video_id": video.video_id}
        (self._directory / name).write_text(webvtt(cues, note=_json(about)), encoding="utf-8")
        self._index.write(json.dumps({"file": name, **about}) + "\n")
        return len(cues)

    def finish(self) -> None:
        pass

    def close(self) -> None:
        self._index.close()


def webvtt(cues: Iterable[tuple[tuple[float, float], str]], *, note: str) -> str:
    """A file of cues.

    Args:
        cues: start and end in seconds, and a text that `escape_text` made, or lines of such.
        note: one line without an arrow.
    """
    return "\n\n".join(["WEBVTT", f"NOTE {note}", *(_cue(*times, text) for times, text in cues)]) + "\n"


def _flags(video: FoundVideo) -> Iterator[tuple[tuple[float, float], str]]:
    for one in video.findings:
        about = {
            "label": one.label,
            "prompt_set": one.prompt_set,
            "prompt": one.prompt,
            "state": one.state,
            "severity": one.severity,
            "p": one.p,
        }
        yield (one.start_s, one.end_s), _json(about)


def _chapters(video: FoundVideo) -> Iterator[tuple[tuple[float, float], str]]:
    said = (one for one in video.findings if one.is_text and one.state == "answered" and one.answer)
    for times, own in groupby(said, key=_times):
        lines = [escaped for one in own if (escaped := escape_text(one.answer or ""))]
        if lines:
            yield times, "\n".join(lines)


def _times(finding: Finding) -> tuple[float, float]:
    return finding.start_s, finding.end_s


def _cue(start_s: float, end_s: float, text: str) -> str:
    start_ms = max(0, round(start_s * 1000))
    end_ms = max(start_ms + _SHORTEST_MS, round(end_s * 1000))
    return f"{clock(start_ms)} --> {clock(end_ms)}\n{text}"


def clock(milliseconds: int) -> str:
    """A time of WebVTT.

    >>> clock(3_661_005)
    '01:01:01.005'
    """
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"


def escape_text(text: str) -> str:
    """A text as one line of a cue: no markup, no arrow, no control characters.

    >>> escape_text("<b>a</b>\\n\\n00:01 --> 00:02 & b")
    '&lt;b&gt;a&lt;/b&gt; 00:01 --&gt; 00:02 &amp; b'
    """
    return _CONTROLS.sub("", _SPACES.sub(" ", text)).strip().translate(_TEXT)


def _json(value: Any) -> str:
    return json.dumps(value).translate(_JSON)
