"""`nightreel export --format fiftyone|label-studio|webvtt`: what curators load, from hostile keys and texts too."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import imageio_ffmpeg
import pytest
from fixtures.judged import under, yes_no
from fixtures.work import Work, stored
from fixtures.work_answers import analyse, answered, window
from integration.cli.test_export import export
from sqlalchemy import text

from nightreel.domain import Answer, Prompt, PromptKind, PromptSet
from nightreel.errors import SettingsError

CAPTION = Prompt.of(name="caption", kind=PromptKind.CAPTION, text="Describe.", set_name="test")
GUN = Prompt.of(name="gun", kind=PromptKind.YES_NO, text="Gun?", flags=("yes",), severity=3, set_name="test")
PLACE = Prompt.of(
    name="place",
    kind=PromptKind.CHOICE,
    text="Where?",
    choices=('in <b> & "x"', "out"),
    flags=("out",),
    set_name="test",
)
NUDITY = under(
    Prompt.of(name="nudity", kind=PromptKind.YES_NO, text="Nudity?", flags=("yes",), severity=4, set_name="test"),
    lane="restricted",
)
HOSTILE = [
    "../../x.mp4",
    "=cmd()|'calc'.mp4",
    "a --> b\n\n00:00.000 --> 99:00:00.000\nowned.mp4",
    "<script>&amp;\"'.mp4",
    "日本語 \u202e\x1b[31m.mp4",
    "a/../../../../etc/passwd.mp4",
    "same.mp4",
    "deeper/same.mp4",
    "x" * 900 + ".mp4",
]
SAID = "a <b>man</b> & a dog\n\n00:00:00.000 --> 00:10:00.000\r\n\x1b[31m\u2028{{ 7*7 }}"


@pytest.fixture
def work(open_work, monkeypatch, database_url) -> Work:
    """A video for each hostile key: two segments of 30 s, the first with a gun; and a restricted one."""
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", database_url)
    work = open_work(prompts=PromptSet("test", (CAPTION, GUN, PLACE, NUDITY)))
    work.discover(*(stored(name) for name in sorted([*HOSTILE, "restricted.mp4"])))
    for claim in work.claim(segments=1000):
        said = Answer(question_hash=CAPTION.question.hash, text=SAID, generated_tokens=3)
        inside = Answer(question_hash=PLACE.question.hash, scores={'in <b> & "x"': 0.9, "out": 0.1}, mass=0.9)
        naked = yes_no(NUDITY.question, 0.99 if claim.video.uri.endswith("restricted.mp4") else 0.01)
        items = [
            answered(claim, window(index), said, yes_no(GUN.question, p), inside, naked)
            for index, p in enumerate((0.97, 0.02))
        ]
        analyse(work, claim, *items, expected_s=60.0)
    with work.database.begin() as connection:
        connection.execute(text('UPDATE nightreel.videos SET probe = \'{"fps": 25.0, "frame_count": 1500}\''))
    return work


def uris(*names: str) -> set[str]:
    return {f"s3://bucket/{name}" for name in names or HOSTILE}


def test_fiftyone_gets_detections_in_frames(work, tmp_path):
    to = tmp_path / "set"
    export("flags", "--format", "fiftyone", "--to", str(to))
    labels = json.loads((to / "labels.json").read_text())["labels"]
    paths = json.loads((to / "data.json").read_text())
    assert labels.keys() == paths.keys()
    assert len(labels) == len(HOSTILE)
    for detections in labels.values():
        (one,) = detections
        assert (one["label"], one["support"], one["confidence"]) == ("gun", [1, 750], 0.97)
        assert one["attributes"]["tags"] == ["test", "severity-3"]
        assert (one["attributes"]["start_s"], one["attributes"]["end_s"]) == (0.0, 30.0)
    assert {found[0]["attributes"]["uri"] for found in labels.values()} == uris()
    for path in paths.values():
        assert (to / path).resolve().is_relative_to(to.resolve()), "no key leads out of the directory"
    assert len(set(paths.values())) == len(HOSTILE)


def test_label_studio_gets_tasks_and_an_interface_with_the_same_labels(work, tmp_path):
    to = tmp_path / "tasks"
    export("timeline", "--format", "label-studio", "--to", str(to))
    tasks = json.loads((to / "tasks.json").read_text())
    assert {task["data"]["uri"] for task in tasks} == uris()
    interface = ElementTree.parse(to / "labels.xml").getroot()  # noqa: S314 - our own file
    (video,) = interface.iter("Video")
    (control,) = interface.iter("TimelineLabels")
    assert control.get("toName") == video.get("name")
    known = {label.get("value") for label in control.iter("Label")}
    used = set()
    for task in tasks:
        (prediction,) = task["predictions"]
        assert prediction["score"] == 0.97
        assert prediction["model_version"] == "tiny"
        assert len({region["id"] for region in prediction["result"]}) == len(prediction["result"]) == 3
        for region in prediction["result"]:
            assert region["type"] == "timelinelabels"
            assert region["from_name"] == control.get("name")
            assert region["to_name"] == video.get("name")
            (frames,) = region["value"]["ranges"]
            assert 1 <= frames["start"] <= frames["end"] <= 1500
            used.update(region["value"]["timelinelabels"])
    assert used == known == {"gun", 'place: in <b> & "x"'}


def cues_of(path: Path) -> list[tuple[str, str]]:
    """The cues as ffmpeg reads them: times and text, as SubRip."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "srt", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    blocks = re.split(r"(?m)^\d+\n(?=\d\d:\d\d:)", done.stdout)[1:]
    return [(times, said.strip()) for times, _, said in (block.partition("\n") for block in blocks)]


def test_captions_are_chapters_that_a_player_reads(work, tmp_path):
    to = tmp_path / "chapters"
    export("timeline", "--format", "webvtt", "--to", str(to))
    index = [json.loads(line) for line in (to / "index.jsonl").read_text().splitlines()]
    assert {one["uri"] for one in index} == uris()
    assert {path.name for path in to.iterdir()} == {"index.jsonl", *(one["file"] for one in index)}
    for one in index:
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,120}", one["file"])
        cues = cues_of(to / one["file"])
        assert [times for times, _ in cues] == ["00:00:00,000 --> 00:00:30,000", "00:00:30,000 --> 00:01:00,000"]
        for _, said in cues:
            assert said.count("\n") == 0
            assert "man" in said
        text_of_file = (to / one["file"]).read_text()
        assert text_of_file.count("-->") == 2, "only the times of the cues"
        assert "<b>" not in text_of_file
        assert "\x1b" not in text_of_file


def test_flags_are_metadata_that_a_program_reads(work, tmp_path):
    to = tmp_path / "flags"
    export("flags", "--format", "webvtt", "--to", str(to))
    files = sorted(to.glob("*.flags.vtt"))
    assert len(files) == len(HOSTILE)
    for path in files:
        written = path.read_text()
        assert written.startswith("WEBVTT\n\n")
        _, times, data = written.rpartition("\n\n")[2].partition("00:00:00.000 --> 00:00:30.000\n")
        assert times
        assert json.loads(data) == {
            "label": "gun",
            "prompt_set": "test",
            "prompt": "gun",
            "state": "flagged",
            "severity": 3,
            "p": 0.97,
        }
        note = json.loads(written.split("NOTE ", 1)[1].split("\n\n", 1)[0])
        assert note["uri"] in uris()


@pytest.mark.parametrize("form", ["fiftyone", "label-studio", "webvtt"])
def test_restricted_videos_need_the_option(work, tmp_path, form):
    def holds_it(to: Path) -> bool:
        return any("restricted.mp4" in path.read_text() for path in to.iterdir())

    export("flags", "--format", form, "--to", str(tmp_path / "without"))
    export("flags", "--format", form, "--to", str(tmp_path / "with"), "--restricted")
    assert not holds_it(tmp_path / "without")
    assert holds_it(tmp_path / "with")


@pytest.mark.parametrize("view", ["flags", "timeline", "answers"])
def test_filters_choose_findings_and_videos(work, tmp_path, view):
    to = tmp_path / "set"
    one = ("--under", "s3://bucket/deeper/", "--filter", "prompt=gun")
    export(view, "--format", "fiftyone", "--to", str(to), *one)
    (detections,) = json.loads((to / "labels.json").read_text())["labels"].values()
    assert [detection["label"] for detection in detections] == ["gun"]


def test_an_answer_that_is_missing_does_not_look_like_a_no(work, tmp_path):
    with work.database.begin() as connection:
        query = (
            "UPDATE nightreel.verdicts SET state = 'unknown', value = NULL, text = NULL, reason = 'saw 1 of 30 s', "
            "flagged = false WHERE prompt_id = :gun"
        )
        connection.execute(text(query), {"gun": work.recipe.prompt_ids["gun"]})
    export("timeline", "--format", "fiftyone", "--to", str(tmp_path / "set"), "--filter", "prompt=gun")
    labels = json.loads((tmp_path / "set" / "labels.json").read_text())["labels"]
    assert {one["label"] for found in labels.values() for one in found} == {"gun: unknown"}


def test_frames_stay_in_the_video_and_videos_without_a_rate_are_left_out(work, tmp_path):
    with work.database.begin() as connection:
        connection.execute(text('UPDATE nightreel.videos SET probe = \'{"fps": 29.97, "frame_count": 700}\''))
        connection.execute(text("UPDATE nightreel.videos SET probe = '{}' WHERE uri = 's3://bucket/same.mp4'"))
    export("timeline", "--format", "fiftyone", "--to", str(tmp_path / "set"), "--filter", "prompt=place")
    labels = json.loads((tmp_path / "set" / "labels.json").read_text())["labels"]
    assert len(labels) == len(HOSTILE) - 1
    for found in labels.values():
        assert [one["support"] for one in found] == [[1, 700], [700, 700]]


def test_an_export_without_findings_can_be_loaded_too(work, tmp_path):
    for form in ("fiftyone", "label-studio", "webvtt"):
        export("flags", "--format", form, "--to", str(tmp_path / form), "--filter", "prompt=none")
    assert json.loads((tmp_path / "fiftyone" / "labels.json").read_text()) == {"labels": {}}
    assert json.loads((tmp_path / "label-studio" / "tasks.json").read_text()) == []
    assert (tmp_path / "webvtt" / "index.jsonl").read_text() == ""


def test_a_directory_that_exists_stays_as_it_is_and_a_failure_leaves_nothing(work, tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    for arguments, message in (
        (("flags", "--format", "webvtt", "--to", str(there)), "exists: name a new directory"),
        (("flags", "--format", "webvtt"), "name a new directory with --to"),
        (("runs", "--format", "webvtt", "--to", str(tmp_path / "new")), "has no findings"),
        (("flags", "--format", "webvtt", "--to", str(tmp_path / "new"), "--filter", "worst_p>=x"), "invalid input"),
    ):
        with pytest.raises(SettingsError) as refused:
            export(*arguments)
        assert message in str(refused.value)
    assert list(tmp_path.iterdir()) == [there]
