"""The parts of bench_demo: clips in many forms, the whole flow over them, and the plain loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fixtures.clips import run_ffmpeg
from fixtures.plain_generate import PlainModel
from sqlalchemy import text

from nightreel.demo.clips import Clip, write_clip
from nightreel.demo.grading import Grade, is_right
from nightreel.domain import Prompt, PromptKind
from nightreel.media.sampling import segments
from nightreel.media.sandbox import DecoderPool
from nightreel.media.writing import write_h264
from nightreel.models.checkpoints import DEMO_DIRECTORY
from nightreel.prompts.wording import texts_of
from nightreel.settings import load_settings
from nightreel.stages.database import open_database

SETS = ("demo", "demo_moderation")
_CLEAN_CRF = 8  # of clips that are encoded a second time
Write = Callable[[Path, Clip], None]
Answers = dict[tuple[str, float, str], str]
"""By file, start of the segment, and prompt."""


@dataclass(frozen=True)
class Form:
    """A way to write clips.

    Args:
        suffix: suffix of the files.
    """

    name: str
    write: Write
    suffix: str = ".mp4"


def plainly(**options: int) -> Write:
    """H.264 with these options of `write_clip`."""
    return lambda path, clip: write_clip(path, clip, **options) and None


def again(*options: str) -> Write:
    """Encode with ffmpeg and these options."""

    def write(path: Path, clip: Clip) -> None:
        clean = write_clip(path.with_suffix(".clean.mp4"), clip, crf=_CLEAN_CRF)
        run_ffmpeg("-i", clean, *options, path)
        clean.unlink()

    return write


def turned(degrees: int) -> Write:
    """Store rotated frames with a rotation tag that undoes it."""

    def write(path: Path, clip: Clip) -> None:
        lying = path.with_suffix(".lying.mp4")
        frames = (np.ascontiguousarray(np.rot90(frame, -degrees // 90)) for frame in clip.frames(width=160, height=120))
        write_h264(lying, frames, fps=12, crf=23)
        run_ffmpeg("-display_rotation", str(degrees), "-i", lying, "-c", "copy", path)
        lying.unlink()

    return write


_QUIET = ("-x265-params", "log-level=1")
FORMS = (
    Form("as in training: 128x128, 12 fps, H.264 crf 23", plainly()),
    Form("96x96", plainly(width=96, height=96)),
    Form("320x240", plainly(width=320, height=240)),
    Form("640x360", plainly(width=640, height=360)),
    Form("360x640", plainly(width=360, height=640)),
    Form("10 fps", plainly(fps=10)),
    Form("30 fps", plainly(fps=30)),
    Form("60 fps", plainly(fps=60)),
    Form("rotation tag 90", turned(90)),
    Form("rotation tag 270", turned(270)),
    Form("crf 18", plainly(crf=18)),
    Form("crf 34", plainly(crf=34)),
    Form("HEVC", again("-c:v", "libx265", "-pix_fmt", "yuv420p", "-preset", "ultrafast", *_QUIET)),
    Form("VP9", again("-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-deadline", "realtime", "-cpu-used", "8"), ".webm"),
)


def answers_in_postgres(source: Path) -> list[Mapping[str, Any]]:
    """Run the flow over a directory, then read its answers from Postgres, probabilities included."""
    from nightreel.cli.analyze import run
    from nightreel.options import AnalyzeOptions, settings_for

    summary = run(options := AnalyzeOptions(source=str(source), prompts=SETS), settings_for(options), quiet=True)
    if summary.failed:
        raise RuntimeError(f"{source}: {summary.headline}")
    with open_database(load_settings()) as database, database.begin() as connection:
        found = connection.execute(
            text("SELECT * FROM reporting.answers WHERE starts_with(uri, :prefix)"), {"prefix": f"{summary.source}/"}
        )
        return list(found.mappings())


def by_place(grades: Iterable[Grade]) -> Answers:
    return {(one.clip, one.start_s, one.prompt.name): one.said for one in grades}


def plain_answers(directory: Path, prompts: Sequence[Prompt], wanted: Iterable[tuple[str, float, str]]) -> Answers:
    """Run processor, vision and `generate()` in fp32 for every question; return its words unchanged."""
    settings = load_settings()
    plain = PlainModel(DEMO_DIRECTORY)
    by_name = {prompt.name: prompt for prompt in prompts}
    said: Answers = {}
    chosen: dict[str, dict[float, list[str]]] = {}
    for name, start_s, prompt in wanted:
        chosen.setdefault(name, {}).setdefault(start_s, []).append(prompt)
    with DecoderPool.from_settings(settings) as pool:
        for name, starts in chosen.items():
            probe = pool.probe(directory / name)
            for segment in segments(probe.duration_s, settings.window_s):
                batch = pool.decode(
                    directory / name, probe=probe, plan=settings.sampling_plan, segment=segment, short_side=64
                )
                for prompt in starts[segment.start_s]:
                    asked = by_name[prompt]
                    said_words = [
                        plain.processor.decode(
                            plain.generate(batch, segment, words, asked.question.max_new_tokens),
                            skip_special_tokens=True,
                        )
                        for words in texts_of(asked.question)
                    ]
                    said[name, segment.start_s, prompt] = _joined(asked, said_words)
    return said


def _joined(prompt: Prompt, words: Sequence[str]) -> str:
    if prompt.question.kind is not PromptKind.TAGS:
        return words[0]
    return ", ".join(tag for tag, word in zip(prompt.question.choices, words, strict=True) if word == "yes")


def plain_share(grades: Sequence[Grade], plain: Answers) -> float:
    """The share of these questions that the plain loop answers correctly."""
    right = [is_right(one.prompt, plain[one.clip, one.start_s, one.prompt.name], one.scene) for one in grades]
    return sum(right) / len(right) if right else 1.0
