"""Postgres counts the work of a backfill: every video once, without work that is already done."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fixtures.work import PROMPTS, Work, stored
from sqlalchemy import text

from nightreel.database.backfill_work import Totals, listing_table, measured_work, wanted_work
from nightreel.database.backfills import KeyRange
from nightreel.domain import StoredObject
from nightreel.stages.backfill_costs import UnitCosts

WINDOW_S = 30.0
BYTES_A_SECOND = 100.0


def plan(work: Work, *items: StoredObject, shard_videos: int = 1000) -> tuple[Totals, list[KeyRange]]:
    with TemporaryDirectory() as directory, listing_table(work.database, Path(directory)) as listing:
        for item in items:  # pages of one
            listing.add([item])
        with listing.transaction(keep=False) as connection:
            return wanted_work(connection, work.recipe, bytes_per_s=BYTES_A_SECOND, shard_videos=shard_videos)


def execute(work: Work, statement: str, **values) -> None:
    with work.database.begin() as connection:
        connection.execute(text(statement), values)


def know(work: Work, name: str, *, duration_s: float, content: str = "", status: str = "pending") -> None:
    execute(
        work,
        "UPDATE nightreel.videos SET duration_s = :duration_s, content_sha256 = nullif(:content, '') WHERE uri = :uri",
        duration_s=duration_s,
        content=content,
        uri=f"s3://bucket/{name}",
    )
    execute(
        work,
        "UPDATE nightreel.analyses SET status = :status FROM nightreel.videos AS video"
        " WHERE video.id = video_id AND video.uri = :uri",
        status=status,
        uri=f"s3://bucket/{name}",
    )


def see(work: Work, content: str, segment: int, *, has_file: bool = True) -> str:
    """A segment's features in the index."""
    key = f"{content}-{segment}"
    execute(
        work,
        "INSERT INTO nightreel.features (key, uri, size_bytes, sha256, pts_s, damaged_frames, decoder,"
        " decoder_version, content_sha256, plan, model_id) VALUES (:key, :uri, 1000, '', '{}', 0, 'pyav', '1',"
        " :content, :plan, :model_id)",
        key=key,
        uri=f"file:///{key}" if has_file else None,
        content=content,
        plan=str(work.recipe.plan),
        model_id=work.recipe.model_id,
    )
    return key


def answer(work: Work, name: str, segment: int, prompt: str, *, key: str, state: str = "unmeasured") -> None:
    execute(
        work,
        "INSERT INTO nightreel.segments (video_id, plan_hash, index, start_s, end_s) SELECT id, :plan, :segment, 0, 1"
        " FROM nightreel.videos WHERE uri = :uri ON CONFLICT DO NOTHING",
        plan=work.recipe.plan.hash,
        segment=segment,
        uri=f"s3://bucket/{name}",
    )
    execute(
        work,
        "INSERT INTO nightreel.answers (segment_id, question_id, model_id, state, reason, prompt_tokens,"
        " generated_tokens, feature_key, run_id)"
        " SELECT segment.id, :question_id, :model_id, :state, 'refused', 1, 1, :key, :run_id"
        " FROM nightreel.segments AS segment JOIN nightreel.videos AS video ON video.id = video_id"
        " WHERE uri = :uri AND index = :segment",
        question_id=work.recipe.question_ids[next(p.question.hash for p in PROMPTS.prompts if p.name == prompt)],
        model_id=work.recipe.model_id,
        state=state,
        key=key,
        run_id=work.run.id,
        uri=f"s3://bucket/{name}",
        segment=segment,
    )


def test_the_size_of_an_unknown_video_gives_its_number_of_segments(work):
    totals, shards = plan(work, stored("a.mp4", size_bytes=3000), stored("b.mp4", size_bytes=7500))
    assert totals == Totals(
        admitted=2,
        videos=2,
        done=0,
        failed=0,
        copies=0,
        guessed=2,
        segments=1 + 3,  # 30 s and 75 s in windows of 30 s
        answers=4 * 3,
        answered=0,
        to_ask=4 * 3,
        cached_segments=0,
        to_look=4,
        fetch_bytes=10_500,
    )
    assert shards == [KeyRange(after_uri="", up_to_uri="s3://bucket/b.mp4", videos=2)]


@pytest.mark.parametrize(("duration_s", "segments"), [(0.04, 1), (30, 1), (39.9, 1), (40, 2), (65, 2), (75, 3)])
def test_known_durations_give_the_same_segments_as_in_the_run(work, duration_s, segments):
    from nightreel.media.sampling import segments as cut

    work.discover(stored("a.mp4"))
    know(work, "a.mp4", duration_s=duration_s)
    totals, _ = plan(work, stored("a.mp4"))
    assert (totals.segments, totals.guessed) == (segments, 0)
    assert len(cut(duration_s, WINDOW_S)) == segments


def test_ended_analyses_are_counted_and_not_done_again(work):
    names = ("done", "failed", "quarantined", "pending", "claimed")
    work.discover(*(stored(f"{name}.mp4") for name in names))
    for name in names:
        know(work, f"{name}.mp4", duration_s=10, status=name)
    totals, (shard,) = plan(work, *(stored(f"{name}.mp4") for name in names))
    assert (totals.done, totals.failed, totals.videos, totals.to_ask) == (1, 2, 2, 6)
    assert shard.videos == 2


def test_a_new_prompt_over_cached_videos_costs_only_language(work):
    work.discover(stored("a.mp4"), stored("b.mp4"))
    know(work, "a.mp4", duration_s=60, content="a" * 64)
    know(work, "b.mp4", duration_s=10, content="b" * 64)
    keys = [see(work, "a" * 64, 0), see(work, "a" * 64, 1), see(work, "b" * 64, 0, has_file=False)]
    for segment, key in enumerate(keys[:2]):
        answer(work, "a.mp4", segment, "caption", key=key)
        answer(work, "a.mp4", segment, "violence", key=key, state="error")  # an error does not count as an answer
    totals, _ = plan(work, stored("a.mp4"), stored("b.mp4"))
    assert (totals.answers, totals.answered, totals.to_ask) == (9, 2, 7)
    assert (totals.cached_segments, totals.to_look) == (2, 1), "the features of b.mp4 were evicted"
    assert totals.fetch_bytes == 1000, "only b.mp4 is fetched"


def test_a_video_with_all_answers_needs_no_vision_though_its_features_are_gone(work):
    work.discover(stored("a.mp4"))
    know(work, "a.mp4", duration_s=10, content="a" * 64)
    key = see(work, "a" * 64, 0, has_file=False)
    for prompt in ("caption", "violence", "why"):
        answer(work, "a.mp4", 0, prompt, key=key)
    totals, _ = plan(work, stored("a.mp4"))
    assert (totals.videos, totals.to_ask, totals.to_look, totals.fetch_bytes) == (1, 0, 0, 0)


def test_copies_cost_only_their_fetch(work):
    md5 = "d41d8cd98f00b204e9800998ecf8427e"
    work.discover(stored("done.mp4", "1"), stored("twin.mp4", "2"))
    know(work, "done.mp4", duration_s=10, content="a" * 64, status="done")
    know(work, "twin.mp4", duration_s=10, content="a" * 64)
    items = [
        stored("done.mp4", "1"),
        stored("twin.mp4", "2"),  # known to have the bytes of done.mp4
        *(stored(f"same-{n}.mp4", md5) for n in range(3)),  # equal etags: the same bytes
        *(stored(f"time-{n}.mp4", "18f3c-3e8") for n in range(2)),  # such an etag depends on the time, not on the bytes
    ]
    totals, _ = plan(work, *items)
    assert (totals.videos, totals.copies) == (6, 3)
    assert totals.to_ask == 3 * 3
    assert totals.fetch_bytes == 5000, "the bytes of twin.mp4 are known, so it is not fetched"


def test_shards_hold_every_wanted_video_once_and_are_never_too_small(work):
    work.discover(*(stored(f"{n:03}.mp4") for n in range(0, 100, 10)))
    execute(work, "UPDATE nightreel.analyses SET status = 'done'")
    items = [stored(f"{n:03}.mp4") for n in range(100)]
    totals, shards = plan(work, *items, shard_videos=20)
    assert totals.videos == 90
    assert [shard.videos for shard in shards] == [20, 20, 20, 30]
    assert [shard.after_uri for shard in shards] == ["", *(shard.up_to_uri for shard in shards[:-1])]
    wanted = [item.uri for n, item in enumerate(items) if n % 10]
    held = [[uri for uri in wanted if shard.after_uri < uri <= shard.up_to_uri] for shard in shards]
    assert [len(part) for part in held] == [shard.videos for shard in shards]


def test_few_videos_make_one_shard_and_no_videos_make_none(work):
    assert [shard.videos for shard in plan(work, stored("a.mp4"))[1]] == [1]
    assert plan(work)[1] == []


def test_names_that_look_like_sql_are_just_names(work):
    odd = ["'; DROP TABLE nightreel.videos; --.mp4", ":shard_videos.mp4", "日本\n.mp4", '{}\\,".mp4']
    assert plan(work, *map(stored, odd))[0].videos == 4


def test_costs_come_from_runs_of_the_same_recipe_if_there_are_any(work, open_work):
    def run(recipe_id: int, **facts) -> None:
        execute(
            work,
            "INSERT INTO nightreel.runs (source, recipe_id, status, options, settings, environment, counts, timings)"
            " VALUES ('', :recipe_id, 'completed', '{}', '{}', '{}', CAST(:counts AS jsonb), CAST(:timings AS jsonb))",
            recipe_id=recipe_id,
            counts=json.dumps({"work": facts["work"], "answers": facts["answers"]}),
            timings=json.dumps(facts["timings"]),
        )

    def costs() -> UnitCosts:
        with work.database.begin() as connection:
            return UnitCosts.of(measured_work(connection, work.recipe))

    assert costs().decode_s is None, "no run has measured anything yet"
    other = open_work(prompts=type(PROMPTS)("other", PROMPTS.prompts[:1]))
    run(
        other.recipe.id,
        work={"decoded_segments": 10, "encoded_segments": 5},
        answers={"answered": 8, "unknown": 2},
        timings={"fetch": 1, "probe": 1, "decode": 3, "model.vision": 10, "model.language": 20, "load_model": 4},
    )
    run(other.recipe.id, work={}, answers={}, timings={"list": 100, "total": 100})  # a night without new videos
    first = costs()
    assert (first.decode_s, first.vision_s, first.answer_s, first.load_s) == (0.5, 2.0, 2.0, 4.0)
    assert (first.of_recipe, first.runs, first.segments, first.answers) == (False, 1, 10, 10)
    run(work.recipe.id, work={}, answers={"answered": 10}, timings={"model.language": 5, "load_model": 6})
    then = costs()
    assert (then.of_recipe, then.answer_s, then.answers, then.load_s) == (True, 0.5, 10, 5.0)
    assert then.decode_s == 0.5, "measured under another recipe, but decoding is the same"
    stranger = open_work(model="b" * 64)
    with work.database.begin() as connection:
        assert UnitCosts.of(measured_work(connection, stranger.recipe)).answer_s is None, "another model does not count"
