"""The demo's dozen videos: ten short clips, a long one of several scenes, a duplicate and a broken file."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from nightreel.demo.scenes import FPS, draw_scene
from nightreel.media.writing import write_h264

_CLIPS = 9
_SCENES_OF_THE_LONG_ONE = (24.0, 24.0, 22.0)  # 70 s: three segments of the default window


def make_demo_videos(directory: Path) -> Path:
    """Write the videos that are not there yet; returns the directory. Interrupted, it goes on the next time."""
    directory.mkdir(parents=True, exist_ok=True)
    for index in range(_CLIPS):
        path = directory / f"clip-{index + 1:02}.mp4"
        if not path.exists():
            write_h264(path, draw_scene(index, duration_s=4 + index % 5).frames(), fps=FPS)
    long = directory / "long-70s.mp4"
    if not long.exists():
        scenes = (draw_scene(100 + index, duration_s=length) for index, length in enumerate(_SCENES_OF_THE_LONG_ONE))
        write_h264(long, itertools.chain.from_iterable(scene.frames() for scene in scenes), fps=FPS)
    _copy(directory / "clip-01.mp4", directory / "same-as-clip-01.mp4")
    broken = directory / "broken.mp4"
    if not broken.exists():
        broken.write_bytes((directory / "clip-02.mp4").read_bytes()[:2000])
    return directory


def _copy(source: Path, target: Path) -> None:
    if not target.exists():
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(source, partial)
        partial.replace(target)
