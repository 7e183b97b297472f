"""The second look's part of bench_demo: warning signs of two seconds in clips of half a minute."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from sqlalchemy import text

from nightreel.cli.analyze import run
from nightreel.demo.clips import Clip, write_clip
from nightreel.demo.scenes import Scene, draw_scene
from nightreel.options import AnalyzeOptions, settings_for
from nightreel.settings import load_settings
from nightreel.stages.database import open_database

CLIP_S, SIGN_S, FPS = 30.0, 2.0, 12
LOOK = 'look_again: {{from: {}, plan: "fps:2:16", window_s: 3}}'
_FILE = """
name: {name}
prompts:
  - {{name: warning, kind: yes_no, text: "Is a warning sign shown?", flag: "yes", {look}}}
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What one policy found.

    Args:
        recall: share of the clips with a sign that are flagged. false_alarms: flagged clips without a sign.
        error_s: mean distance of the middle of the flagged range from the middle of the sign; worst_s: the greatest.
        windows: windows that were looked at, for each clip.
    """

    recall: float
    false_alarms: int
    error_s: float
    worst_s: float
    windows: float


def write_signs(directory: Path, count: int) -> dict[str, float]:
    """`count` clips with a sign and as many without; returns the start of the sign by file name."""
    directory.mkdir(parents=True)
    dice = random.Random("signs")
    calm, signs = _scenes(warning=False), _scenes(warning=True)
    starts = {}
    for number in range(count):
        start_s = round(dice.uniform(0, CLIP_S - SIGN_S) * FPS) / FPS
        name = f"sign-{number:03}.mp4"
        starts[name] = start_s
        parts = ((next(calm), start_s), (next(signs), SIGN_S), (next(calm), CLIP_S - SIGN_S - start_s))
        write_clip(directory / name, Clip.of(*(part for part in parts if part[1] > 0)))
        write_clip(directory / f"calm-{number:03}.mp4", Clip.of((next(calm), CLIP_S)))
    return starts


def find_signs(source: Path, starts: dict[str, float], *, look: str, folder: Path) -> Found:
    """Analyse the clips under a policy with this key `look_again`, or with none."""
    prompts = folder / "signs.yaml"
    prompts.write_text(_FILE.format(name="signs", look=look))
    options = AnalyzeOptions(source=str(source), prompts=(str(prompts),))
    summary = run(options, settings_for(options), quiet=True)
    query = "SELECT uri, flagged, start_s, end_s, windows FROM reporting.answers WHERE starts_with(uri, :prefix)"
    with open_database(load_settings()) as database, database.begin() as connection:
        rows = connection.execute(text(query), {"prefix": f"{summary.source}/"}).all()
    flagged = {row.uri.rsplit("/", 1)[-1]: (row.start_s, row.end_s) for row in rows if row.flagged}
    errors = _errors([(flagged[name], start_s) for name, start_s in starts.items() if name in flagged])
    return Found(
        recall=sum(name in flagged for name in starts) / len(starts),
        false_alarms=sum(name not in starts for name in flagged),
        error_s=fmean(errors) if errors else float("nan"),
        worst_s=max(errors, default=float("nan")),
        windows=sum(len(row.windows or ()) for row in rows) / len(rows),
    )


def _errors(pairs: Sequence[tuple[tuple[float, float], float]]) -> list[float]:
    return [abs((low + high) / 2 - (start_s + SIGN_S / 2)) for (low, high), start_s in pairs]


def _scenes(*, warning: bool) -> Iterator[Scene]:
    number = 0
    while True:
        scene = draw_scene(f"signs {warning} {number}")
        number += 1
        if any(thing.is_warning for thing in scene.things) is warning:
            yield scene
