"""Second looks, stage by stage: what is due, what a cut-off run leaves, and what becomes of windows that fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from fixtures.clips import encode_numbers
from sqlalchemy import text

from nightreel.database.connection import Database
from nightreel.domain import ChunkCounts, Claim, VideoEnd
from nightreel.errors import NightreelError, PermanentError, TransientError
from nightreel.media.sandbox import DecoderPool
from nightreel.options import AnalyzeOptions, settings_for
from nightreel.reasons import Reason
from nightreel.stages import backfill_report
from nightreel.stages.backfill import list_backfill
from nightreel.stages.backfill_costs import SecondLooks
from nightreel.stages.run import Run, open_run

PROMPTS = """
name: small
prompts:
  - name: red
    kind: yes_no
    text: "Is there something red?"
    threshold: 1.0
    look_again: {from: 0, plan: "uniform:2", window_s: 2}
  - {name: blue, kind: yes_no, text: "Is there something blue?"}
  - {name: why, kind: text, text: "Why is it not red?", when: {red: "no"}, max_new_tokens: 2}
"""
SECONDS = 6


@pytest.fixture
def options(tmp_path: Path, noise_model: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AnalyzeOptions:
    torch.set_num_threads(1)
    (tmp_path / "small.yaml").write_text(PROMPTS)
    for name, value in {
        "DATABASE_URL": database_url,
        "WORK_DIR": str(tmp_path / "work"),
        "MODEL": str(noise_model),
        "PROMPTS": str(tmp_path / "small.yaml"),
        "PLAN": "uniform:4",
        "DEVICE": "cpu",
        "WINDOW_S": "4",
    }.items():
        monkeypatch.setenv(f"NIGHTREEL_{name}", value)
    videos = tmp_path / "videos"
    videos.mkdir()
    encode_numbers(videos / "a.mp4", range(25 * SECONDS), "-c:v", "libx264", "-pix_fmt", "yuv420p")
    return AnalyzeOptions(source=str(videos))


@contextmanager
def opened(options: AnalyzeOptions) -> Iterator[tuple[Run, list[Claim]]]:
    with open_run(options, settings_for(options)) as run:
        while not run.discovery.discover_pages().exhausted:
            pass
        yield run, run.discovery.claim_chunk(max_videos=None).claims


def step(run: Run, claims: list[Claim]) -> ChunkCounts:
    encoded = run.encoding.encode_chunk(claims)
    return run.writing.write_chunk(claims, encoded.outcomes, run.asking.ask_chunk(encoded.segments))


def verdicts(database: Database, prompt: str = "red") -> list[tuple]:
    query = text("SELECT answer, reason, look, look_again FROM reporting.answers WHERE prompt = :name ORDER BY segment")
    with database.begin() as connection:
        return [tuple(row) for row in connection.execute(query, {"name": prompt})]


def test_a_video_goes_on_to_its_second_looks_and_then_to_what_they_make_due(options, database):
    with opened(options) as (run, claims):
        first = step(run, claims)
        assert (first.videos, first.segments) == ({VideoEnd.CONTINUES: 1}, 2)
        assert verdicts(database) == [(None, "a second look is due", None, True)] * 2
        second = step(run, list(first.unfinished))
        assert (second.videos, second.segments) == ({VideoEnd.CONTINUES: 1}, 0)
        assert verdicts(database) == [("no", None, "uniform:2/2", False)] * 2
        assert verdicts(database, "why") == [], "the follow-up was not due before"
        third = step(run, list(second.unfinished))
        assert third.videos == {VideoEnd.DONE: 1}
        assert len(verdicts(database, "why")) == 2
        work, _ = run.recorder.report()
        assert (work["second_look_windows"], work["second_look_answers"]) == (3, 3)
        assert (work["decoded_segments"], work["fetched"]) == (5, 1), "the file was still there"


def test_a_run_that_ends_between_the_looks_leaves_the_second_one_to_the_next(options, database):
    with opened(options) as (run, claims):
        step(run, claims)
    with opened(options) as (run, claims):
        second = step(run, claims)
        assert second.segments == 0
        work, _ = run.recorder.report()
        assert work["decoded_segments"] == work["second_look_windows"] == 3
    assert [row[0] for row in verdicts(database)] == ["no", "no"]


def test_a_file_that_is_kept_for_a_second_look_gives_way_to_another_video(options, database, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_SPOOL_MIB", "64")
    monkeypatch.setenv("NIGHTREEL_DECODE_WORKERS", "1")  # it must not wait for room: the other video needs it, too
    other = [*range(25 * SECONDS)][::-1]
    encode_numbers(Path(options.source) / "b.mp4", other, "-c:v", "libx264", "-pix_fmt", "yuv420p")
    padding = 40 << 20
    for path in Path(options.source).iterdir():  # a box that decoders skip: two files do not fit into the spool
        with path.open("ab") as file:
            file.write(padding.to_bytes(4, "big") + b"free")
            file.truncate(file.tell() + padding - 8)
    with opened(options) as (run, claims):
        first = step(run, claims)
        other = step(run, run.discovery.claim_chunk(max_videos=None).claims)
        assert len(first.unfinished) == len(other.unfinished) == 1
        work, _ = run.recorder.report()
        assert work["fetched"] == 2
        second = step(run, [*other.unfinished, *first.unfinished])
        assert second.videos == {VideoEnd.CONTINUES: 2}
        work, _ = run.recorder.report()
        assert work["fetched"] == 3, "one was still there"


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (PermanentError(Reason.NO_FRAMES, "damaged"), [VideoEnd.PARTLY_DONE]),
        (TransientError(Reason.DECODE_TIMEOUT, "slow"), [VideoEnd.RETRIED]),
    ],
)
def test_a_window_that_fails_leaves_its_segment_unknown_and_is_named(
    options, database, monkeypatch, error: NightreelError, ends
):
    decode = DecoderPool.decode

    def fail_last_window(self, path, *, segment, plan, **more):
        if plan.frames == 2 and segment.start_s == 4:
            raise error
        return decode(self, path, segment=segment, plan=plan, **more)

    monkeypatch.setattr(DecoderPool, "decode", fail_last_window)
    with opened(options) as (run, claims):
        counts = step(run, claims)
        while counts.unfinished:
            counts = step(run, list(counts.unfinished))
        assert list(counts.videos) == ends
    assert verdicts(database) == [("no", None, "uniform:2/2", False), (None, "a second look is due", None, True)]
    if ends == [VideoEnd.PARTLY_DONE]:
        with database.begin() as connection:
            rows = connection.execute(text("SELECT segment, reason FROM reporting.failed_segments")).all()
            rolled = connection.execute(
                text("SELECT answer, state FROM reporting.video_answers WHERE prompt = 'red'")
            ).one()
        assert [tuple(row) for row in rows] == [(1, "no_frames")]
        assert tuple(rolled) == (None, "unknown")


def test_a_plan_counts_the_second_looks_that_earlier_answers_led_to(options, database):
    def estimate():
        with list_backfill(options, settings_for(options), database=database) as listed:
            return listed.estimate()

    before = estimate()
    assert before.second_looks == SecondLooks(unknown=("red",))
    assert "not known for red" in backfill_report.markdown(before)
    with opened(options) as (run, claims):
        counts = step(run, claims)
        while counts.unfinished:
            counts = step(run, list(counts.unfinished))
    other = [*range(25 * SECONDS)][::-1]
    encode_numbers(Path(options.source) / "b.mp4", other, "-c:v", "libx264", "-pix_fmt", "yuv420p")
    after = estimate()
    assert after.totals.to_ask == 2 * 3 or after.totals.guessed, "two segments, three questions"
    segments = after.totals.to_ask / 3
    assert after.second_looks == SecondLooks(windows=round(segments * 2), answers=round(segments * 2), measured=2)
    assert "| windows to encode |" in backfill_report.markdown(after)
