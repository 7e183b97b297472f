"""`nightreel analyze` with files and several paths: what is named is analysed, and nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from fixtures.pipeline import PROMPT_COUNT, Pipeline, make_clip

from nightreel.settings import load_settings
from nightreel.stages.summary import RunSummary
from nightreel.storage import choose


@pytest.fixture
def pipeline(make_pipeline, clips) -> Pipeline:
    """Three clips in a directory, one in a directory below it, and one whose name has no known ending."""
    make_clip(clips / "more" / "4.mp4", 4)
    shutil.copy(clips / "1.mp4", clips.parent / "5.mp4")
    make_clip(clips.parent / "5.mp4", 5).rename(clips.parent / "5.camera")
    return make_pipeline(clips)


def analyze(pipeline: Pipeline, *arguments: str) -> dict:
    process = pipeline.start("analyze", *arguments, "--json")
    output = process.communicate(timeout=200)[0]
    assert process.returncode == 0, output
    return json.loads(output[output.index("{\n") :])


def analyze_here(pipeline: Pipeline, *paths: str) -> RunSummary:
    """What the command does with its paths, in this process: a process of its own imports torch and Prefect again."""
    choice = choose(list(paths), load_settings())
    return replace(pipeline, source=choice.source).analyze(only=choice.only)


def test_only_the_named_files_are_analysed_in_one_run(pipeline, clips):
    first = analyze(pipeline, str(clips / "2.mp4"), str(clips / "3.mp4"))
    assert first["videos"] == {"done": 2}
    assert first["listing"]["listed"] == 2
    assert set(pipeline.statuses()) == {"2.mp4", "3.mp4"}
    again = analyze_here(pipeline, str(clips / "2.mp4"))
    assert again.headline.startswith("nothing new: 1 objects listed, 1 known")

    several = analyze_here(pipeline, str(clips / "more"), str(clips / "1.mp4"), str(clips.parent / "5.camera"))
    assert several.videos == {"done": 3}, "a named file needs no known ending"
    assert pipeline.value("SELECT count(*) FROM reporting.answers") == 5 * PROMPT_COUNT
    assert analyze_here(pipeline, str(clips)).headline.startswith("nothing new: 4 objects listed, 4 known")


def test_work_that_is_pending_in_the_same_directory_is_left_alone(pipeline, clips):
    pipeline.analyze(limit=1)
    pending = "SELECT count(*) FROM nightreel.analyses WHERE status = 'pending'"
    before = pipeline.value(pending)
    assert before == 3
    analyze_here(pipeline, str(clips / "3.mp4"))
    assert pipeline.value(pending) == before - 1
    assert pipeline.statuses()["3.mp4"] == ("done", None)


def test_objects_of_a_bucket_can_be_named(make_pipeline, s3_server, s3_bucket, tmp_path):
    for key in ("videos/a.mp4", "videos/b.mp4", "videos/a/c.mp4", "d.mp4"):
        path = make_clip(tmp_path / "one.mp4", len(key))
        s3_server.client().put_object(Bucket=s3_bucket, Key=key, Body=path.read_bytes())
    pipeline = make_pipeline(f"s3://{s3_bucket}")
    assert analyze(pipeline, f"s3://{s3_bucket}/videos/a.mp4")["listing"]["listed"] == 1
    analyze_here(pipeline, f"s3://{s3_bucket}/videos/a", f"s3://{s3_bucket}/d.mp4")
    assert set(pipeline.statuses()) == {"a.mp4", "c.mp4", "d.mp4"}


def test_prompt_sets_may_be_separated_by_commas(pipeline, clips, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text('name: more\nprompts:\n  - {name: blue, kind: yes_no, text: "Is there something blue?"}\n')
    analyze(pipeline, str(clips / "1.mp4"), "--prompts", f"{more}, {tmp_path / 'small.yaml'}")
    assert pipeline.value("SELECT count(*) FROM reporting.answers") == PROMPT_COUNT + 1


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (("{clips}", "--prompts", "smal,tagging"), {}, "--prompts: prompt set 'smal' does not exist"),
        (("{clips}",), {"NIGHTREEL_PROMPTS": "tagging,x.yaml"}, "NIGHTREEL_PROMPTS: prompt set 'x.yaml'"),
        (("{clips}", "--model", "/nowhere"), {}, "--model: "),
        (("{clips}",), {"NIGHTREEL_MODEL": "/nowhere"}, "NIGHTREEL_MODEL: "),
        ((), {"NIGHTREEL_SOURCE": "/nowhere/at-all"}, "NIGHTREEL_SOURCE: /nowhere/at-all"),
        (("{clips}s",), {}, "did you mean 'videos'?"),
        (("{clips}", "--plan", "often"), {}, "--plan: "),
        (("{clips}",), {"NIGHTREEL_PLAN": "often"}, "NIGHTREEL_PLAN='often'"),
        (("{clips}", "{clips}/9.mp4"), {}, "9.mp4' is neither a file nor a directory"),
    ],
)
def test_an_error_says_which_setting_or_argument_was_meant(make_pipeline, clips, arguments, variables, said):
    pipeline = make_pipeline(clips, **variables)
    process = pipeline.start("analyze", *(argument.format(clips=clips) for argument in arguments))
    output = process.communicate(timeout=60)[0]
    assert process.returncode in (1, 2), output
    assert said in output
    assert pipeline.value("SELECT count(*) FROM nightreel.runs") == 0
