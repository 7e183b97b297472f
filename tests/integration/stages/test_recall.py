"""What the database knows of a chunk's videos: found together, and only where no file and no twin is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from fixtures.work import stored
from sqlalchemy import event, text

from nightreel.database.claims import take_contents
from nightreel.database.results import record_content, record_probe
from nightreel.models.base import ModelSpec
from nightreel.stages.recall import Recall
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.videos import OpenVideos

PROBE = {"duration_s": 70.0, "decoder": "pyav"}
SPEC = ModelSpec(
    name="tiny",
    revision="1",
    model_class="Tiny",
    dtype="float32",
    attention="sdpa",
    device="cpu",
    processor_hash="0" * 64,
    transformers_version="5",
    parameters=None,
)


@pytest.fixture
def recall(work) -> Recall:
    return Recall(database=work.database, recipe=work.recipe, spec=SPEC, recorder=RunRecorder(), chunk_segments=16)


@contextmanager
def statements(work) -> Iterator[list[str]]:
    sent: list[str] = []

    def keep(_connection, _cursor, statement, *_rest) -> None:
        sent.append(statement)

    event.listen(work.database.engine, "before_cursor_execute", keep)
    yield sent
    event.remove(work.database.engine, "before_cursor_execute", keep)


def known(work, claims, *, contents=None, probe=PROBE) -> None:
    """Record content and probe of the claimed videos."""
    with work.database.begin() as connection:
        for number, claim in enumerate(claims):
            content = (contents or {}).get(claim.video.uri.rsplit("/", 1)[1], f"{number:064x}")
            record_content(connection, claim.video.id, content)
            record_probe(connection, claim.video.id, probe, duration_s=70.0, expected_s=None)


def names(claims) -> dict[int, str]:
    return {claim.analysis_id: claim.video.uri.rsplit("/", 1)[1] for claim in claims}


def test_known_videos_are_identified_and_cut_into_segments_without_their_files(work, recall):
    work.discover(stored("a.mp4"), stored("b.mp4"))
    claims, videos = work.claim(), OpenVideos()
    known(work, claims)
    recalled = recall.recall(claims, videos)
    assert {len(wanted) for wanted in recalled.wanted.values()} == {3}
    assert all(videos.find(claim.analysis_id).content_sha256 for claim in claims)


def test_the_number_of_statements_does_not_grow_with_the_videos(work, recall):
    counts = []
    for letters in ("a", "bcdefghij"):
        work.discover(*(stored(f"{letter}{letters[0]}.mp4") for letter in letters))
        claims = work.claim(segments=100)
        assert len(claims) == len(letters)
        known(work, claims, contents={name: f"{name:0>64}" for name in names(claims).values()})
        with statements(work) as sent:
            recall.recall(claims, OpenVideos())
        counts.append(len(sent))
    assert counts[0] == counts[1]


def test_videos_with_a_twin_and_new_ones_are_left_to_identification(work, recall):
    work.discover(*(stored(f"{name}.mp4") for name in ("alone", "copy", "new", "original")))
    claims, videos = work.claim(), OpenVideos()
    of = {name: claim for claim in claims for name in [names([claim])[claim.analysis_id]]}
    same = {"copy.mp4": "c" * 64, "original.mp4": "c" * 64}
    known(work, [claim for name, claim in of.items() if name != "new.mp4"], contents=same)
    recalled = recall.recall(claims, videos)
    assert set(recalled.wanted) == {of["alone.mp4"].analysis_id}
    assert not videos.find(of["copy.mp4"].analysis_id).segments


def test_no_content_is_taken_if_another_run_has_one_of_them(work, open_work, recall):
    work.discover(stored("a.mp4"), stored("b.mp4"))
    claims, other = work.claim(), open_work()
    known(work, claims)
    other.discover(stored("c.mp4"))
    (taken,) = other.claim()
    with work.database.begin() as connection:
        assert take_contents(connection, {taken.analysis_id: f"{0:064x}"})
    assert recall.recall(claims, OpenVideos()).wanted == {}
    with work.database.begin() as connection:
        own = "SELECT count(*) FROM nightreel.analyses WHERE content_sha256 IS NOT NULL AND run_id = :run"
        assert connection.execute(text(own), {"run": work.run.id}).scalar_one() == 0


def test_a_video_whose_probe_is_useless_does_not_fail_the_others(work, recall):
    work.discover(stored("a.mp4"), stored("b.mp4"))
    claims = work.claim()
    known(work, claims)
    known(work, claims[:1], probe={"duration_s": -1.0, "decoder": "pyav"})
    assert set(recall.recall(claims, OpenVideos()).wanted) == {claims[1].analysis_id}


def test_a_later_chunk_of_a_long_video_starts_at_its_own_segment(work, recall):
    work.discover(stored("a.mp4"))
    (claim,), videos = work.claim(), OpenVideos()
    known(work, [claim])
    recall.recall([claim], videos)
    later = replace(claim, first_segment=2)
    assert [item.segment.index for item in recall.recall([later], videos).wanted[claim.analysis_id]] == [2]
