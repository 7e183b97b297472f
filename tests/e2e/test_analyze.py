"""The main job on real parts: what a run stores, and what the next run finds to do."""

import re
import shutil
from collections import Counter
from urllib.parse import unquote

from fixtures.pipeline import PROMPT_COUNT, make_clip
from PIL import Image

from nightreel.database.reports import reopen_failures
from nightreel.errors import PermanentError
from nightreel.models.inprocess.local import LocalModel
from nightreel.reasons import Reason
from nightreel.stages.ask import Asking


def test_every_clip_ends_as_done_with_all_its_answers(pipeline):
    summary = pipeline.analyze()
    assert summary.videos == {"done": 3}
    assert set(pipeline.statuses().values()) == {("done", None)}
    assert pipeline.value("SELECT count(*) FROM reporting.answers") == 3 * PROMPT_COUNT
    row = pipeline.rows("SELECT * FROM reporting.answers WHERE prompt = 'red' LIMIT 1")[0]
    assert len(row.frame_times_s) == 4
    assert row.decoder in ("decord", "pyav")
    assert row.libraries["torch"]
    assert 0 <= row.p <= 1
    assert row.prompt_tokens > 0


def test_a_second_run_does_nothing(pipeline):
    pipeline.analyze()
    before = pipeline.rows("SELECT * FROM nightreel.answers ORDER BY id")
    summary = pipeline.analyze()
    assert summary.headline.startswith("nothing new")
    assert summary.work == {}
    assert not {"decode", "model", "load_model", "fetch"} & set(summary.timings)
    assert pipeline.rows("SELECT * FROM nightreel.answers ORDER BY id") == before


def test_only_an_overwritten_object_is_analysed_again(pipeline, clips):
    pipeline.analyze()
    make_clip(clips / "2.mp4", 20)
    summary = pipeline.analyze()
    assert (summary.listing.changed, summary.listing.known) == (1, 2)
    assert summary.work["decoded_segments"] == 1
    assert pipeline.value("SELECT count(*) FROM reporting.answers") == 3 * PROMPT_COUNT, "answers to the current object"
    assert pipeline.value("SELECT count(*) FROM nightreel.answers") == 4 * PROMPT_COUNT, "old answers are kept"


def test_a_duplicate_costs_no_decoding_and_no_model_call(pipeline, clips):
    shutil.copy(clips / "1.mp4", clips / "1-copy.mp4")
    summary = pipeline.analyze()
    assert summary.videos["reused"] == 1
    assert summary.work["decoded_segments"] == summary.work["encoded_segments"] == 3
    shutil.copy(clips / "2.mp4", clips / "2-copy.mp4")
    summary = pipeline.analyze()
    assert summary.videos == {"reused": 1}
    assert summary.work == {"fetched": 1}
    assert not {"decode", "model"} & set(summary.timings)
    assert pipeline.value("SELECT count(reused_from) FROM reporting.answers") == 2 * PROMPT_COUNT


def test_a_new_prompt_costs_no_fetching_no_decoding_and_no_vision(pipeline, tmp_path):
    pipeline.analyze()
    more = tmp_path / "more.yaml"
    more.write_text('name: more\nprompts:\n  - {name: blue, kind: yes_no, text: "Is there something blue?"}\n')
    summary = pipeline.analyze(prompts=(str(tmp_path / "small.yaml"), str(more)))
    assert summary.videos == {"done": 3}
    assert summary.answers.total() == 3, "only the new question is asked"
    assert summary.work == {"cached_segments": 3}


def test_a_long_video_is_analysed_in_several_chunks(make_pipeline, tmp_path):
    make_clip(tmp_path / "videos" / "long.mp4", 1, seconds=9)
    make_clip(tmp_path / "videos" / "short.mp4", 2, seconds=1)
    pipeline = make_pipeline(tmp_path / "videos", NIGHTREEL_WINDOW_S="1", NIGHTREEL_CHUNK_SEGMENTS="2")
    summary = pipeline.analyze()
    assert (summary.videos["done"], summary.segments, summary.work["decoded_segments"]) == (2, 10, 10)
    segments = pipeline.rows(
        "SELECT DISTINCT segment, start_s FROM reporting.answers WHERE uri LIKE '%long%' ORDER BY 1"
    )
    assert [row.start_s for row in segments] == [float(index) for index in range(9)]
    assert not list((pipeline.work_dir / "spool").rglob("video"))


def test_a_chunk_takes_four_times_as_many_segments_whose_features_are_known(make_pipeline, tmp_path, monkeypatch):
    make_clip(tmp_path / "videos" / "0-long.mp4", 1, seconds=9)
    for seed in range(6):
        make_clip(tmp_path / "videos" / f"{seed + 1}.mp4", seed + 2, seconds=1)
    pipeline = make_pipeline(tmp_path / "videos", NIGHTREEL_WINDOW_S="1", NIGHTREEL_CHUNK_SEGMENTS="2")
    more = tmp_path / "more.yaml"
    more.write_text('name: more\nprompts:\n  - {name: blue, kind: yes_no, text: "Is there something blue?"}\n')
    sizes: list[int] = []
    asked = Asking.ask_chunk

    def ask_chunk(self, segments, *given):
        sizes.append(len(segments))
        return asked(self, segments, *given)

    monkeypatch.setattr(Asking, "ask_chunk", ask_chunk)
    assert pipeline.analyze().segments == 15
    assert max(sizes) == 2
    sizes.clear()
    make_clip(tmp_path / "videos" / "7.mp4", 9, seconds=1)
    again = pipeline.analyze(prompts=(str(more),))
    assert again.work["cached_segments"] == again.answers.total() - 1 == 15
    assert sizes == [8, 1, 7], "the last chunk has six known segments and a new one"


def test_a_broken_video_fails_with_a_reason_and_does_not_affect_the_others(pipeline, clips):
    (clips / "broken.mp4").write_bytes((clips / "1.mp4").read_bytes()[:1000])
    (clips / "text.mp4").write_text("not a video at all")
    summary = pipeline.analyze()
    assert summary.is_green
    assert (summary.videos["done"], summary.videos["failed"]) == (3, 2)
    reasons = {name: reason for name, (status, reason) in pipeline.statuses().items() if status == "failed"}
    assert set(reasons) == {"broken.mp4", "text.mp4"}
    assert len(set(reasons.values())) == 2


def test_a_run_is_red_if_too_many_new_videos_failed_and_a_quiet_run_after_it_is_green(pipeline, clips):
    for number in range(4):
        (clips / f"text{number}.mp4").write_text(f"not a video at all, {number}")
    assert not pipeline.analyze().is_green
    assert pipeline.analyze().is_green
    with pipeline.database.begin() as connection:
        assert len(reopen_failures(connection, uri="text1")) == 1
    again = pipeline.analyze()
    assert (again.failed, again.is_green) == (1, True), "the only video of this run is known to be bad"
    runs = pipeline.rows("SELECT name, status, error FROM reporting.runs ORDER BY run_id")
    assert [(run.name, run.status) for run in runs] == [
        ("analyze videos", "failed"),
        ("analyze videos", "completed"),
        ("analyze videos", "completed"),
    ]
    assert runs[0].error == "4 of 7 new videos failed, NIGHTREEL_MAX_FAILED_SHARE=0.5 allows 3"
    assert again.before.run_id == again.run_id - 1


def test_the_share_of_failures_is_a_setting(make_pipeline, clips):
    (clips / "text.mp4").write_text("not a video at all")
    assert not make_pipeline(clips, NIGHTREEL_MAX_FAILED_SHARE="0.2").analyze().is_green


def test_a_bug_that_every_video_triggers_stops_the_run_and_leaves_the_rest_unclaimed(
    make_pipeline, tmp_path, monkeypatch
):
    for seed in range(12):
        make_clip(tmp_path / "videos" / f"{seed:02}.mp4", seed + 1)
    pipeline = make_pipeline(tmp_path / "videos", NIGHTREEL_CHUNK_SEGMENTS="2", NIGHTREEL_MAX_SAME_FAILURES="3")
    asked = LocalModel.ask

    def buggy(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(LocalModel, "ask", buggy)
    summary = pipeline.analyze()
    assert re.match(r"the first [345] videos failed with the same error", summary.stopped)
    assert "internal_error: ZeroDivisionError" in summary.headline
    assert not summary.is_green
    statuses = Counter(status for status, _ in pipeline.statuses().values())
    assert 3 <= statuses["failed"] < 6
    assert statuses["pending"] == 12 - statuses["failed"]
    assert pipeline.value("SELECT max(attempts) FROM nightreel.analyses WHERE status = 'pending'") == 0
    assert pipeline.value("SELECT status FROM reporting.runs") == "failed"

    monkeypatch.setattr(LocalModel, "ask", asked)
    with pipeline.database.begin() as connection:
        reopen_failures(connection, reason="internal_error")
    assert pipeline.analyze().videos == {"done": 12}


def test_a_damaged_cache_file_is_counted_deleted_and_computed_again(pipeline, tmp_path):
    pipeline.analyze()
    victim = sorted((pipeline.work_dir / "features").rglob("*.parquet"))[0]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    more = tmp_path / "more.yaml"
    more.write_text('name: more\nprompts:\n  - {name: blue, kind: yes_no, text: "Is there something blue?"}\n')
    summary = pipeline.analyze(prompts=(str(more),))
    assert summary.videos["done"] == 3
    assert (summary.work["damaged_features"], summary.work["decoded_segments"]) == (1, 1)
    assert pipeline.value("SELECT count(*) FROM reporting.answers WHERE prompt = 'blue'") == 3


def test_a_limit_takes_that_many_videos_and_leaves_the_rest_for_later(pipeline):
    assert pipeline.analyze(limit=2).videos == {"done": 2}
    assert pipeline.analyze().videos == {"done": 1}


def test_thumbnails_are_stored_beside_the_features(pipeline):
    pipeline.analyze()
    uris = [row[0] for row in pipeline.rows("SELECT DISTINCT thumbnail_uri FROM reporting.answers")]
    assert len(uris) == 3
    for uri in uris:
        with Image.open(unquote(uri.removeprefix("file://"))) as picture:
            assert picture.format == "JPEG"
            assert picture.width > 4 * 160


def test_a_segment_that_the_model_rejects_fails_only_its_video(pipeline, clips, monkeypatch):
    make_clip(clips / "dark.mp4", 20)
    seen = LocalModel.encode

    def picky(model, batches, *, segments, keys):
        if any(batch.frames_thwc.mean() < 60 for batch in batches):
            raise PermanentError(Reason.UNENCODABLE_FRAMES, "too dark")
        return seen(model, batches, segments=segments, keys=keys)

    monkeypatch.setattr(LocalModel, "encode", picky)
    summary = pipeline.analyze()
    assert (summary.videos["done"], summary.videos["failed"]) == (3, 1)
    assert pipeline.statuses()["dark.mp4"] == ("failed", "unencodable_frames")
