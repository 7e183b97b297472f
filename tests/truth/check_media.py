"""Hold our frames of every file in a directory to ffmpeg, which decodes each file from its start.

    make check-media DIR=path

Compares the number of frames, their times, the duration, the shape of the picture, and the sampled pictures. Prints a
line for each file and what differs; the exit status is 1 if anything does. Needs no network. Not a test: `tests/` runs
it on the clips of the matrix.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from nightreel.domain import FrameBatch
from nightreel.errors import NightreelError
from nightreel.media.probe import MediaLimits, Probe
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings

_SIDE = 48  # pictures are compared at this size, squeezed to a square
# Levels of 255, mean over a cell of 4 x 4 pixels. Programs differ in how they enlarge the colours of interlaced and
# 4:1:0 pictures.
_SAME, _SIMILAR = 12.0, 24.0
_MOMENTS = 12
_TIMEOUT_S = 600


@dataclass(frozen=True)
class Truth:
    """What ffmpeg's program makes of a file.

    Args:
        pictures: uint8 (n, side, side, 3), upright; times_s: float64 (n,) after the first frame, as the file says them;
            size: of the first upright picture, width and height; changes_size: later ones have another one.
    """

    pictures: np.ndarray
    times_s: np.ndarray
    size: tuple[int, int]
    changes_size: bool


def read_with_ffmpeg(path: Path, stream: str = "v:0") -> Truth | None:
    """Decode one stream, all of it, from the start. None if no frame comes out."""
    filters = f"showinfo=checksum=0,scale={_SIDE}:{_SIDE}:flags=area"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-i", path, "-map", f"0:{stream}",
               "-fps_mode", "passthrough", "-vf", filters, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
    told = done.stderr.decode(errors="replace")
    lines = re.findall(r"\] n: *\d+ pts: *\S+ pts_time:(\S+).*? s:(\d+)x(\d+)", told)
    pictures = np.frombuffer(done.stdout, np.uint8)
    pictures = pictures[: len(pictures) // (_SIDE * _SIDE * 3) * _SIDE * _SIDE * 3].reshape(-1, _SIDE, _SIDE, 3)
    count = min(len(pictures), len(lines))
    if not count:
        return None
    times = np.array([float(time) if time != "NOPTS" else np.nan for time, _, _ in lines[:count]])
    sizes = [(int(width), int(height)) for _, width, height in lines]
    return Truth(pictures[:count], times - times[0], sizes[0], len(set(sizes)) > 1)


def differences(probe: Probe, batch: FrameBatch, truth: Truth) -> list[str]:
    """What differs between our frames and ffmpeg's, as sentences; empty if nothing does."""
    found = []
    count, interval_s = len(truth.times_s), 1 / probe.fps
    if count < probe.frame_count and any(batch.flags):
        pass  # ffmpeg leaves out damaged frames
    elif probe.frame_count != count:
        found.append(f"{probe.frame_count} frames, ffmpeg {count}")
    if bool((np.diff(truth.times_s) > 0).all()) and not probe.clock_breaks:  # else ffmpeg prints the broken clock
        if probe.frame_count == count:
            apart = np.abs(probe.frame_times_s - truth.times_s)
            if apart.max() > interval_s / 2:
                at = int(np.argmax(apart))
                found.append(f"frame {at} at {probe.frame_times_s[at]:.3f} s, ffmpeg {truth.times_s[at]:.3f} s")
        end_s = float(truth.times_s[-1])
        if probe.duration_s is not None and not end_s - interval_s <= probe.duration_s <= end_s + 3 * interval_s:
            found.append(f"lasts {probe.duration_s:.3f} s, ffmpeg's last frame is at {end_s:.3f} s")
    if (probe.width, probe.height) != truth.size:
        found.append(f"picture {probe.width} x {probe.height}, ffmpeg {truth.size[0]} x {truth.size[1]}")
    if probe.hdr or truth.changes_size:
        return found  # ffmpeg's program does not tone-map, and squeezes pictures into the first one's shape
    for picture, pts_s, flags in zip(batch.frames_thwc, batch.pts_s, batch.flags, strict=True):
        if flags:
            continue
        times_s = probe.frame_times_s if probe.frame_count == count else truth.times_s
        number = int(np.argmin(np.abs(times_s - pts_s)))
        own = _small(picture)
        apart = np.array([_apart(own, other) for other in truth.pictures])
        nearest = int(np.argmin(apart))
        if apart[number] > (_SIMILAR if nearest == number else _SAME):
            found.append(
                f"the picture at {pts_s:.3f} s is not ffmpeg's frame {number} (apart by {apart[number]:.0f} levels); "
                f"nearest: frame {nearest} (apart by {apart[nearest]:.0f})"
            )
    return found


def _small(picture: np.ndarray) -> np.ndarray:
    """A picture at the size of the comparison: means of areas."""
    height, width = picture.shape[:2]
    rows, columns = (np.linspace(0, side, _SIDE + 1) for side in (height, width))
    sums = np.zeros((height + 1, width + 1, 3))
    sums[1:, 1:] = picture.astype(np.float64).cumsum(0).cumsum(1)

    def at(r: np.ndarray, c: np.ndarray) -> np.ndarray:
        r0, c0 = np.minimum(r.astype(int), height - 1), np.minimum(c.astype(int), width - 1)
        fr, fc = (r - r0)[:, None, None], (c - c0)[None, :, None]
        top = sums[np.ix_(r0, c0)] * (1 - fc) + sums[np.ix_(r0, c0 + 1)] * fc
        bottom = sums[np.ix_(r0 + 1, c0)] * (1 - fc) + sums[np.ix_(r0 + 1, c0 + 1)] * fc
        return top * (1 - fr) + bottom * fr

    whole = at(rows, columns)
    return (whole[1:, 1:] - whole[:-1, 1:] - whole[1:, :-1] + whole[:-1, :-1]) / (height * width / _SIDE**2)


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    cells = (one - other.astype(np.float64)).reshape(_SIDE // 4, 4, _SIDE // 4, 4, 3).mean(axis=(1, 3))
    return float(np.abs(cells).max())


def check_file(pool: DecoderPool, path: Path) -> tuple[str, list[str]]:
    """A summary of the file, and what differs."""
    try:
        probe = pool.probe(path)
        moments_s = [(i + 0.5) * (probe.duration_s or 0) / _MOMENTS for i in range(_MOMENTS)]
        batch = pool.decode_moments(path, probe=probe, moments_s=moments_s)
    except NightreelError as error:
        truth = read_with_ffmpeg(path)
        frames = f"ffmpeg decodes {len(truth.times_s)} frames" if truth else "ffmpeg decodes nothing either"
        return f"{error.reason}: {error.detail} ({frames})", []
    truth = read_with_ffmpeg(path, str(probe.stream_index))
    flagged = sum(map(bool, batch.flags))
    summary = f"{probe.frame_count} frames, {probe.duration_s:.2f} s, {batch.decoder}, "
    summary += f"{flagged} of {len(batch.flags)} flagged"
    if truth is None:
        return summary, ["ffmpeg decodes nothing"]
    return summary, differences(probe, batch, truth)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", help="a directory of videos")
    argument = parser.parse_args().directory
    directory = Path(argument)
    if not argument or not directory.is_dir():
        print(f"{argument!r} is no directory: name one of videos, as in make check-media DIR=path", file=sys.stderr)
        return 2
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    wrong = 0
    with DecoderPool(limits=MediaLimits.from_settings(Settings(gif=True)), workers=1) as pool:
        for path in files:
            summary, found = check_file(pool, path)
            print(f"{'DIFFERS' if found else 'ok':8}{path.relative_to(directory)}: {summary}", flush=True)
            for sentence in found:
                print(f"{'':8}  {sentence}")
            wrong += bool(found)
    print(f"{len(files)} files, {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
