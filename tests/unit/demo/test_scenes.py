"""The demo's world: the same seed gives the same scene, and pictures match their scenes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from nightreel.demo.clips import Clip, draw_clip, write_clip
from nightreel.demo.drawing import paint
from nightreel.demo.scenes import BACKGROUNDS, COLOURS, MOST_THINGS, NO_MOTION, Scene, Thing, draw_scene
from nightreel.errors import SettingsError

SCENES = [draw_scene(seed) for seed in range(300)]


def near(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture.astype(int) - colour).max(-1) < 30


def test_a_seed_gives_the_same_file_on_every_machine(tmp_path):
    assert draw_scene(7) == draw_scene(7) != draw_scene(8)
    frames = b"".join(frame.tobytes() for frame in draw_clip(7).frames())
    assert hashlib.sha256(frames).hexdigest()[:16] == "364614ccbd062f5f"
    write_clip(tmp_path / "a.mp4", draw_clip(7))
    write_clip(tmp_path / "b.mp4", draw_clip(7))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_every_number_of_things_and_every_near_miss_occurs():
    assert {len(scene.things) for scene in SCENES} == set(range(MOST_THINGS + 1))
    pairs = [scene.things for scene in SCENES if len(scene.things) == 2]
    assert any(a.colour == b.colour for a, b in pairs)
    assert any(a.shape == b.shape for a, b in pairs)
    warned = sum(any(thing.is_warning for thing in scene.things) for scene in SCENES)
    assert 0.1 < warned / len(SCENES) < 0.4
    assert all((scene.motion == NO_MOTION) == (not scene.things) for scene in SCENES)


def test_all_things_are_visible_from_start_to_end():
    for scene in SCENES[:60]:
        for moment in (0.0, 1.0):
            picture = paint(scene, moment, width=96, height=96)
            for thing in scene.things:
                share = near(picture, COLOURS[thing.colour]).mean()
                alike = sum(other.colour == thing.colour for other in scene.things)
                assert share > 0.7 * alike * 1.5 * thing.radius**2, (scene, moment)
            assert near(picture, BACKGROUNDS[scene.background]).mean() > 0.4


def test_things_move_as_the_scene_says():
    scene = Scene((Thing("circle", "red", 0.5, 0.5, 0.15),), "black", "up", travel=0.3)
    rows = [np.nonzero(near(paint(scene, moment, width=64, height=64), COLOURS["red"]))[0].mean() for moment in (0, 1)]
    assert rows[0] - rows[1] == pytest.approx(0.3 * 64, abs=1)


def test_a_wide_picture_shows_round_circles():
    scene = Scene((Thing("circle", "blue", 0.5, 0.5, 0.2),), "white", "still")
    rows, columns = np.nonzero(near(paint(scene, 0.5, width=160, height=90), COLOURS["blue"]))
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=1)


def test_twins_and_impossible_scenes_are_refused():
    twin = Thing("circle", "red", 0.3, 0.3, 0.1)
    with pytest.raises(SettingsError, match="no two of one colour and shape"):
        Scene((twin, Thing("circle", "red", 0.7, 0.7, 0.1)), "black", "left")
    with pytest.raises(SettingsError, match="no such scene"):
        Scene((), "black", "left")
    with pytest.raises(SettingsError, match="no such thing"):
        Thing("hexagon", "red", 0.5, 0.5, 0.1)


def test_a_clip_returns_the_scene_of_a_time_range_and_refuses_ranges_with_two():
    clip = Clip.of((SCENES[0], 30.0), (SCENES[1], 30.0), (SCENES[2], 10.0))
    assert [clip.scene_in(*edges) for edges in ((0, 30), (30, 60), (60, 70))] == SCENES[:3]
    assert clip.scene_in(59.97, 70.0) == SCENES[2], "one frame of another scene does not count"
    with pytest.raises(SettingsError, match="2 scenes from 15 to 45 s"):
        clip.scene_in(15, 45)
    assert sum(1 for _ in clip.frames(width=16, height=16, fps=2)) == 140
