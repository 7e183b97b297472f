"""Decoding of frames: CPU time and peak memory beside decord, PyAV, OpenCV and ffmpeg. `make bench-decode`.

Each frame carries its number, so every side's exactness is checked. Goals: in every row, at most 1.1 times the CPU time
of the fastest exact side and at most the CPU time of decord; at most half of decord's peak memory for 32 frames of
1080p. Ours shrinks frames while decoding, as in the pipeline. Of the other sides, only "decord, resizing" does.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from benchmarks.decode_sides import CODE_HEIGHT, CODE_WIDTH, FPS
from benchmarks.harness import Measurement, Report, Side, compare, in_subprocess, take_turns
from fixtures.clips import draw_number, run_ffmpeg

_CLIPS = Path(__file__).parents[2] / "build" / "bench" / "clips"
_COUNT = 360
_SHORT_SIDE = 448
_FEW = 8
_SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
_GOPS = (15, 60, 250)
_SAMPLES = {"8 frames": 8, "16 frames": 16, "32 frames": 32, "2 fps": _COUNT * 2 // FPS}


_NO_B_FRAMES = ("-bf", "0")


def main(rounds: int = 5) -> None:
    report = Report("decode", versions=("av", "decord", "opencv-python-headless", "imageio-ffmpeg", "numpy"))
    for size, (width, height) in _SIZES.items():
        for gop in _GOPS:
            path = _clip(width, height, gop)
            for sample, count in _SAMPLES.items():
                _compare(report, f"{size}, GOP {gop}, {sample}", path, count, (width, height), rounds)
    # No picture can be skipped here.
    path = _clip(1280, 720, 60, *_NO_B_FRAMES)
    _compare(report, "720p, GOP 60, no B-frames, 32 frames", path, 32, (1280, 720), rounds)
    report.finish()


def _compare(report: Report, name: str, path: Path, count: int, size: tuple[int, int], rounds: int) -> None:
    frames = [int((i + 0.5) * _COUNT / count) for i in range(count)]
    width, height = size
    small = round(width * _SHORT_SIDE / height), _SHORT_SIDE
    module = "benchmarks.decode_sides"
    # These sides pay a seek and half a group of pictures a frame: too slow for many frames.
    seeking: dict[str, Side] = {
        "PyAV seeking": in_subprocess(f"{module}:pyav_seeking", str(path), frames),
        "OpenCV": in_subprocess(f"{module}:opencv", str(path), frames),
    }
    sides: dict[str, Side] = {
        "ours": in_subprocess(f"{module}:ours", str(path), frames, _SHORT_SIDE),
        "plain decord": in_subprocess(f"{module}:plain_decord", str(path), frames),
        "decord, resizing": in_subprocess(f"{module}:resizing_decord", str(path), frames, *small),
        "PyAV sequential": in_subprocess(f"{module}:pyav_sequential", str(path), frames),
        "ffmpeg": in_subprocess(f"{module}:ffmpeg", str(path), frames, width, height),
        **(seeking if count <= _FEW else {}),
    }
    runs = take_turns(sides, rounds=rounds)
    wrong = {side: _wrong(measured, frames) for side, measured in runs.items()}
    assert wrong["ours"] == 0, f"{name}: ours returned {wrong['ours']} frames other than the requested ones"
    exact = [side for side in runs if side != "ours" and not wrong[side]]
    fastest = min(exact, key=lambda side: np.median([run.cpu_s for run in runs[side]]))
    report.add(compare(f"{name}: CPU", runs, other="plain decord", metric="cpu_s", at_most=1.0,
                       note=_note(wrong["plain decord"])))  # fmt: skip
    report.add(compare(f"{name}: CPU, fastest exact", runs, other=fastest, metric="cpu_s", at_most=1.1))
    memory_goal = 0.5 if (height, count) == (1080, 32) else None
    report.add(compare(f"{name}: memory", runs, other="plain decord", metric="peak_rss_mib", at_most=memory_goal))
    for side in sides.keys() - {"ours", "plain decord", fastest}:
        report.add(compare(f"{name}: CPU", runs, other=side, metric="cpu_s", note=_note(wrong[side])))


def _wrong(measured: list[Measurement], frames: list[int]) -> int:
    return max(sum(got != wanted for got, wanted in zip(run.value, frames, strict=True)) for run in measured)


def _note(wrong: int) -> str:
    return f"{wrong} wrong frames" if wrong else ""


def _clip(width: int, height: int, gop: int, *options: str) -> Path:
    """12 s of a zoom into the Mandelbrot set with film grain, H.264 at a streaming service's bit rate. The top left
    corner of each frame carries its number. The file is kept."""
    path = _CLIPS / f"{width}x{height}_gop{gop}{''.join(options)}.mp4"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    code_width, code_height = int(width * CODE_WIDTH) // 16 * 16, int(height * CODE_HEIGHT) // 8 * 8
    numbers = b"".join(draw_number(n, width=128, height=64).tobytes() for n in range(_COUNT))
    unfinished = path.with_suffix(".part.mp4")
    run_ffmpeg("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "128x64", "-r", str(FPS), "-i", "-",
               "-f", "lavfi", "-i", f"mandelbrot=size={width // 2}x{height // 2}:rate={FPS}:end_scale=0.02:maxiter=200",
               "-filter_complex", f"[1]scale={width}:{height},noise=alls=3:allf=t[film];"
               f"[0]scale={code_width}:{code_height}:flags=neighbor[code];[film][code]overlay=shortest=1",
               "-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-g", str(gop), "-b:v", str(width * height * 3),
               "-pix_fmt", "yuv420p", *options, unfinished, stdin=numbers)  # fmt: skip
    unfinished.rename(path)
    return path


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
