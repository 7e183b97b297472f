"""A gallery of clips that all show something else, of seeds used for nothing else, to measure a dual encoder with."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np

from nightreel.demo.clips import Clip, draw_clip
from nightreel.demo.descriptions import Language, describe, shown_in


def draw_gallery(size: int) -> dict[str, Clip]:
    """Clips by file name. No two show the same things on the same background."""
    clips: dict[str, Clip] = {}
    known = set()
    for number in count():
        if len(clips) == size:
            return clips
        clip = draw_clip(f"gallery {number}")
        shown = shown_in(clip.parts[0].scene)
        if shown not in known:
            known.add(shown)
            clips[f"gallery-{number}.mp4"] = clip
    raise AssertionError("count() has no end")


def descriptions(clips: dict[str, Clip], language: Language) -> list[str]:
    """The description of each clip, in their order."""
    return [describe(clip.parts[0].scene, language) for clip in clips.values()]


def recall_at_1(texts: Sequence[np.ndarray], clips: Sequence[np.ndarray]) -> float:
    """The share of texts, vectors of length 1, whose own clip is nearer than all others.

    >>> recall_at_1([np.array([1.0, 0.0])] * 2, [np.array([0.6, 0.8]), np.array([1.0, 0.0])])
    0.5
    """
    cosines = np.stack(texts) @ np.stack(clips).T
    return float(np.mean(cosines.argmax(1) == np.arange(len(texts))))
