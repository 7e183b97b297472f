"""`frames`: probe a video, and show its sampled frames: drawn as one picture, or as JSON and PNG files for programs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from nightreel.asking import local_copy
from nightreel.cli.console import Json, command_settings, plain, print_json, print_line, print_table
from nightreel.domain import FrameBatch
from nightreel.errors import NightreelError, PermanentError, SettingsError
from nightreel.media.contact_sheet import draw_contact_sheet
from nightreel.media.probe import Probe
from nightreel.media.sampling import segments, timestamps
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings

_MOST_SEGMENTS = 8  # on one sheet


def frames(
    video: Annotated[str, typer.Argument(help="File, or URI of an object.")],
    plan: Annotated[str | None, typer.Option(help="Sampling plan: uniform:N, fps:RATE:CAP or keyframes:CAP.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Picture to write, .png or .jpg.")] = None,
    as_json: Json = False,
    pictures: Annotated[
        Path | None, typer.Option(help="With --json: directory for the frames of all segments, as PNG files.")
    ] = None,
) -> None:
    """Show the properties of a video, and draw its sampled frames.

    With --json, print the probe and all sampled frames (time, flags, decoder), or the reason for which there are none.
    """
    settings = command_settings(plan=plan)
    if pictures is not None and not as_json:
        raise SettingsError(f"--pictures {pictures} needs --json: the JSON names the pictures")
    if as_json and output is not None:
        raise SettingsError(f"--output {output} draws one picture; with --json use --pictures DIRECTORY")
    if as_json:
        _print_as_json(video, settings, pictures)
    else:
        _draw(video, settings, output or Path(f"{_stem(video)}-frames.png"))


@contextmanager
def _opened(video: str, settings: Settings) -> Iterator[tuple[DecoderPool, Path]]:
    with tempfile.TemporaryDirectory(prefix="nightreel-") as directory, DecoderPool.from_settings(settings) as pool:
        yield pool, local_copy(video, Path(directory), settings)


def _draw(video: str, settings: Settings, output: Path) -> None:
    if output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise SettingsError(f"--output {output}: expected a name that ends in .png or .jpg")
    with _opened(video, settings) as (pool, path):
        probe = pool.probe(path)
        windows = segments(probe.duration_s, settings.window_s)
        looks = []
        for window in windows[:_MOST_SEGMENTS]:
            moments_s = timestamps(settings.sampling_plan, window, keyframes_s=probe.keyframes_s)
            looks.append(pool.decode_moments(path, probe=probe, moments_s=moments_s))
    _print_probe(probe)
    draw_contact_sheet(_joined(looks)).save(output)
    count = sum(len(batch.pts_s) for batch in looks)
    flagged = sum(bool(flags) for batch in looks for flags in batch.flags)
    more = f" (the first {_MOST_SEGMENTS} of {len(windows)})" if len(windows) > _MOST_SEGMENTS else ""
    print_line(f"{count} frames of {len(looks)} segments{more}, {flagged} flagged: {output}")


def _print_as_json(video: str, settings: Settings, pictures: Path | None) -> None:
    """Print the probe and the frames of all segments. A file that is refused gives its reason, and exit status 1."""
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"video": video}
    try:
        with _opened(video, settings) as (pool, path):
            probe = pool.probe(path)
            windows = segments(probe.duration_s, settings.window_s)
            found |= {"probe": probe.to_json(), "segments": [], "frames": []}
            for window in windows:
                moments_s = timestamps(settings.sampling_plan, window, keyframes_s=probe.keyframes_s)
                segment: dict[str, Any] = {"index": window.index, "start_s": window.start_s, "end_s": window.end_s}
                found["segments"].append(segment)
                try:
                    batch = pool.decode_moments(path, probe=probe, moments_s=moments_s)
                except PermanentError as error:
                    segment |= {"reason": error.reason, "detail": error.detail}
                    continue
                found["frames"] += _frames_as_json(batch, window.index, pictures)
    except NightreelError as error:
        print_json(found | {"reason": error.reason, "detail": error.detail})
        raise typer.Exit(1) from error
    print_json(found)


def _frames_as_json(batch: FrameBatch, segment: int, pictures: Path | None) -> list[dict[str, Any]]:
    """A record for each frame of a segment. Writes the pictures, if there is a directory for them."""
    records = []
    for number, (frame, pts_s, flags) in enumerate(zip(batch.frames_thwc, batch.pts_s, batch.flags, strict=True)):
        record = {
            "segment": segment,
            "pts_s": float(pts_s),
            "flags": list(flags),
            "decoder": batch.decoder,
            "decoder_version": batch.decoder_version,
        }
        if pictures is not None:
            picture = pictures / f"{segment:05d}-{number:04d}.png"
            Image.fromarray(np.ascontiguousarray(frame)).save(picture)
            record["picture"] = str(picture)
        records.append(record)
    return records


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
