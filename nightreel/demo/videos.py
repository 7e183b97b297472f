"""The demo's twelve videos: nine short clips, a long clip of several scenes, a duplicate and a broken file."""

from __future__ import annotations

import shutil
from pathlib import Path

from nightreel.demo.clips import Clip, draw_clip, write_clip
from nightreel.demo.scenes import draw_scene
from nightreel.private import private_directory

LONG_CLIP = "long-70s.mp4"
_SEEDS = ("d2", "d14", "d9", "d3", "d17", "d8", "d1", "d4", "d11")
_LONG_SEEDS = (("l7", 30.0), ("l17", 30.0), ("l4", 10.0))  # 70 s; scenes change where the default windows end
_DUPLICATE = ("clip-1.mp4", "same-as-clip-1.mp4")


def demo_clips() -> dict[str, Clip]:
    """The clips by file name, without the broken file."""
    clips = {f"clip-{number}.mp4": draw_clip(seed) for number, seed in enumerate(_SEEDS, 1)}
    clips[LONG_CLIP] = Clip.of(*((draw_scene(seed), length_s) for seed, length_s in _LONG_SEEDS))
    original, duplicate = _DUPLICATE
    return clips | {duplicate: clips[original]}


def make_demo_videos(directory: Path) -> Path:
    """Write the missing videos; returns the directory. After an interruption, the next call continues."""
    private_directory(directory)
    original, duplicate = (directory / name for name in _DUPLICATE)
    for name, clip in demo_clips().items():
        if not (directory / name).exists() and name != duplicate.name:
            write_clip(directory / name, clip)
    _copy(original, duplicate)
    broken = directory / "broken.mp4"
    if not broken.exists():
        broken.write_bytes((directory / "clip-2.mp4").read_bytes()[:2000])
    return directory


def _copy(source: Path, target: Path) -> None:
    if not target.exists():
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(source, partial)
        partial.replace(target)
