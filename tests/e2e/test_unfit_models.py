"""A model that would fail every video in the same way ends the run before a video is claimed or fetched."""

import shutil

import pytest
from fixtures.chat_server import failure, pictures_only, said

from nightreel.errors import NightreelError
from nightreel.models.served import chat_endpoint

_PROMPTS = """
name: mine
prompts:
  - {{name: place, kind: {kind}, text: "Where is it?", choices: [{choices}]}}
"""


def assert_nothing_was_touched(pipeline) -> None:
    rows = pipeline.rows("SELECT status, attempts, run_id FROM nightreel.analyses")
    assert [tuple(row) for row in rows] == [("pending", 0, None)] * 3
    assert pipeline.value("SELECT count(*) FROM nightreel.videos WHERE content_sha256 IS NOT NULL") == 0
    assert pipeline.value("SELECT count(*) FROM nightreel.answers") == 0
    (run,) = pipeline.rows("SELECT status, error FROM nightreel.runs")
    assert run.status == "failed"
    assert run.error


@pytest.mark.parametrize("kind", ["choice", "tags"])
def test_choices_that_the_tokenizer_cannot_tell_apart(make_pipeline, clips, tmp_path, kind):
    path = tmp_path / "mine.yaml"
    path.write_text(_PROMPTS.format(kind=kind, choices="室内, 室外, 工作室"))
    pipeline = make_pipeline(clips, NIGHTREEL_MODEL="demo", NIGHTREEL_PROMPTS=str(path))
    with pytest.raises(NightreelError, match="no tokens for '室内', '室外', '工作室'") as caught:
        pipeline.analyze()
    assert caught.value.reason == "settings"
    assert_nothing_was_touched(pipeline)
    path.write_text(_PROMPTS.format(kind=kind, choices="left, right"))
    assert pipeline.analyze().videos == {"done": 3}


def test_a_model_without_a_chat_template(make_pipeline, clips, noise_model, tmp_path):
    directory = shutil.copytree(noise_model, tmp_path / "model")
    (directory / "chat_template.jinja").unlink()
    pipeline = make_pipeline(clips, NIGHTREEL_MODEL=str(directory))
    with pytest.raises(NightreelError, match="has no chat template") as caught:
        pipeline.analyze()
    assert caught.value.reason == "unsupported_model"
    assert_nothing_was_touched(pipeline)


def test_a_server_that_takes_fewer_pictures_than_the_plan_samples(make_pipeline, clips, chat_server, monkeypatch):
    monkeypatch.setattr(chat_endpoint, "_FIRST_WAIT_S", 0.01)

    def at_most_three(answer):
        refusal = failure(400, "At most 3 image(s) may be provided in one prompt.")
        return lambda request: refusal if len(request.media("image_url")) > 3 else answer(request)

    chat_server.answer_trial = at_most_three(pictures_only)
    chat_server.answer = at_most_three(
        lambda request: said(
            "indoors" if "indoors" in request.question else "yes", top={"yes": -0.2, "no": -2.0, "in": -4.0}
        )
    )
    pipeline = make_pipeline(clips, NIGHTREEL_MODEL=chat_server.setting, NIGHTREEL_PLAN="uniform:4")
    with pytest.raises(NightreelError, match=r"takes at most 3 pictures .* plan uniform:4 samples up to 4 frames"):
        pipeline.analyze()
    assert_nothing_was_touched(pipeline)
    assert pipeline.analyze(plan="uniform:3").videos == {"done": 3}


def test_one_empty_text_does_not_fail_a_video_with_good_answers(make_pipeline, clips, chat_server, tmp_path):
    questions = [f'  - {{name: q{i}, kind: yes_no, text: "Is it {i}?", flag: "yes"}}' for i in range(19)]
    path = tmp_path / "mine.yaml"
    why = '  - {name: why, kind: text, text: "Why?", when: {q3: "yes"}}'
    path.write_text("\n".join(["name: mine", "prompts:", *questions, why]))
    chat_server.answer = lambda request: said(
        " \n" if request.question == "Why?" else "yes", top={"yes": -0.1, "no": -2.4}
    )
    pipeline = make_pipeline(clips, NIGHTREEL_MODEL=chat_server.setting, NIGHTREEL_PROMPTS=str(path))
    summary = pipeline.analyze()
    assert (summary.videos, summary.answers) == ({"done": 3}, {"answered": 57, "unknown": 3})
    rows = pipeline.rows("SELECT DISTINCT prompt, answer, reason FROM reporting.answers WHERE state <> 'answered'")
    assert [tuple(row) for row in rows] == [("why", None, "the model generated no text")]
    assert pipeline.analyze().videos == {}, "an unknown answer is not asked again"
