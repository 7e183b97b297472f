"""`nightreel frames` on the command line: the picture, the table, and errors that say what to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures.clips import encode_numbers, read_number
from PIL import Image


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "a clip #1.mkv"
    encode_numbers(path, range(100), "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10")
    return path


def _frames(directory: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nightreel.cli", "frames", *map(str, arguments)]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=directory, env={**os.environ, "PYTHONPATH": str(root)}, text=True,
                          capture_output=True, check=False)  # fmt: skip


def _red_pixels(sheet: Path) -> int:
    pixels = np.asarray(Image.open(sheet).convert("RGB")).astype(int)
    return int((np.abs(pixels - (248, 113, 113)).max(axis=2) < 8).sum())


def test_a_video_gives_a_picture_and_a_table_of_its_properties(clip, tmp_path):
    done = _frames(tmp_path, clip, "--plan", "uniform:4")
    assert done.returncode == 0, done.stderr
    found = dict(line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
    assert (found["container"], found["codec"], found["frame_count"], found["duration_s"]) == (
        "matroska", "h264", "100", "4.0")  # fmt: skip
    assert "4 frames of 1 segments, 0 flagged: a_clip__1.mkv-frames.png" in done.stdout
    assert _red_pixels(tmp_path / "a_clip__1.mkv-frames.png") == 0


def test_a_damaged_video_is_shown_with_its_flags(clip, tmp_path):
    content = bytearray(clip.read_bytes())
    third = len(content) // 3
    content[third : 2 * third] = bytes(third)
    damaged = tmp_path / "damaged.mkv"
    damaged.write_bytes(content)
    done = _frames(tmp_path, damaged, "-o", "sheet.png")
    assert done.returncode == 0, done.stderr
    assert ", 0 flagged" not in done.stdout
    assert _red_pixels(tmp_path / "sheet.png") > 100


def test_json_has_the_probe_and_each_frame_with_its_picture(clip, tmp_path):
    done = _frames(tmp_path, clip, "--plan", "uniform:4", "--json", "--pictures", "out")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["probe"]["codec"], found["probe"]["frame_count"], found["probe"]["assumed_clock"]) == (
        "h264", 100, False)  # fmt: skip
    assert [frame["pts_s"] for frame in found["frames"]] == [0.48, 1.48, 2.48, 3.48]
    assert {(frame["decoder"], tuple(frame["flags"])) for frame in found["frames"]} == {("pyav", ())}
    numbers = [read_number(np.asarray(Image.open(tmp_path / frame["picture"]))) for frame in found["frames"]]
    assert numbers == [12, 37, 62, 87]
    assert not list(tmp_path.glob("*.png"))


def test_json_has_the_reason_for_which_a_file_is_refused(tmp_path):
    (tmp_path / "text.mp4").write_text("minutes of a meeting\n" * 100)
    done = _frames(tmp_path, "text.mp4", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["video"], found["reason"]) == ("text.mp4", "not_a_video")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("nothing-here.mp4",), 1, "nothing-here.mp4"),
        (("text.mp4",), 1, "text.mp4 holds text, not a video"),
        (("text.mp4", "-o", "sheet.txt"), 2, "sheet.txt: expected a name that ends in .png or .jpg"),
        (("text.mp4", "--plan", "every:3"), 2, "every:3"),
        (("text.mp4", "--pictures", "out"), 2, "--pictures out needs --json"),
        (("text.mp4", "--json", "-o", "sheet.png"), 2, "--output sheet.png"),
    ],
)
def test_an_impossible_request_prints_an_error_and_writes_no_picture(tmp_path, arguments, status, said):
    (tmp_path / "text.mp4").write_text("minutes of a meeting\n" * 100)
    done = _frames(tmp_path, *arguments)
    assert done.returncode == status, (done.stdout, done.stderr)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["text.mp4"]
