"""`frames`: probe a video, and draw its sampled frames as one picture."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from nightreel.asking import local_copy
from nightreel.cli.console import command_settings, plain, print_line, print_table
from nightreel.domain import FrameBatch
from nightreel.errors import SettingsError
from nightreel.media.contact_sheet import draw_contact_sheet
from nightreel.media.probe import Probe
from nightreel.media.sampling import segments, timestamps
from nightreel.media.sandbox import DecoderPool

_MOST_SEGMENTS = 8  # on one sheet


def frames(
    video: Annotated[str, typer.Argument(help="File, or URI of an object.")],
    plan: Annotated[str | None, typer.Option(help="Sampling plan: uniform:N, fps:RATE:CAP or keyframes:CAP.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Picture to write, .png or .jpg.")] = None,
) -> None:
    """Show the properties of a video, and draw its sampled frames."""
    settings = command_settings(plan=plan)
    output = output or Path(f"{_stem(video)}-frames.png")
    if output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise SettingsError(f"--output {output}: expected a name that ends in .png or .jpg")
    with tempfile.TemporaryDirectory(prefix="nightreel-") as directory, DecoderPool.from_settings(settings) as pool:
        path = local_copy(video, Path(directory), settings)
        probe = pool.probe(path)
        windows = segments(probe.duration_s, settings.window_s)
        moments = [
            timestamps(settings.sampling_plan, window, keyframes_s=probe.keyframes_s)
            for window in windows[:_MOST_SEGMENTS]
        ]
        looks = [pool.decode_moments(path, probe=probe, moments_s=moments_s) for moments_s in moments]
    _print_probe(probe)
    draw_contact_sheet(_joined(looks)).save(output)
    count = sum(len(batch.pts_s) for batch in looks)
    flagged = sum(bool(flags) for batch in looks for flags in batch.flags)
    more = f" (the first {_MOST_SEGMENTS} of {len(windows)})" if len(windows) > _MOST_SEGMENTS else ""
    print_line(f"{count} frames of {len(looks)} segments{more}, {flagged} flagged: {output}")


def _joined(batches: list[FrameBatch]) -> FrameBatch:
    """The frames of several segments of one video as one batch."""
    return replace(
        batches[0],
        frames_thwc=np.concatenate([batch.frames_thwc for batch in batches]),
        pts_s=np.concatenate([batch.pts_s for batch in batches]),
        flags=tuple(flags for batch in batches for flags in batch.flags),
    )


def _stem(video: str) -> str:
    return "".join(char if char.isalnum() or char in "-." else "_" for char in video.rsplit("/", 1)[-1]).lstrip(".")


def _print_probe(probe: Probe) -> None:
    shown = {name: value for name, value in probe.to_json().items() if value not in (None, "")}
    print_table(("probe", "found"), ((name, plain(value)) for name, value in shown.items()))


def register(app: typer.Typer) -> None:
    app.command()(frames)
