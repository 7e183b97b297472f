"""A night that must be ready by a time: it ends in good order before, and the next one does the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from fixtures.chat_server import ChatServer
from fixtures.hosts import one_by_one
from fixtures.pipeline import Pipeline, make_clip

from nightreel.domain import VideoEnd
from nightreel.domain.deadlines import Deadline
from nightreel.stages import run as run_module
from nightreel.stages.run_report import run_report
from nightreel.stages.write import Writing

CLIPS = 10


@pytest.fixture
def slow(make_pipeline, chat_server: ChatServer, tmp_path) -> Pipeline:
    """A model that takes half a second for each clip."""
    chat_server.delay_s = 0.5
    for seed in range(CLIPS):
        make_clip(tmp_path / "videos" / f"{seed:02}.mp4", seed + 1)
    return make_pipeline(tmp_path / "videos", **one_by_one(tmp_path, chat_server, chunk=1))


def test_a_run_claims_only_what_it_will_have_done_in_time(slow, monkeypatch):
    deadlines: list[Deadline] = []

    def noted(*given, **more) -> Deadline:
        deadlines.append(made(*given, **more))
        return deadlines[-1]

    def write_chunk(self, *given):
        (deadline,) = deadlines
        counts = written(self, *given)
        if len(deadline._took_s) == 1:  # the model is loaded, so a chunk takes half a second
            deadline.at = datetime.now(UTC) + timedelta(seconds=3)
        return counts

    made, written = run_module._deadline, Writing.write_chunk
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "_ready_by", lambda *_, **__: datetime.now(UTC) + timedelta(hours=1))
        patched.setattr(run_module, "_deadline", noted)
        patched.setattr(Writing, "write_chunk", write_chunk)
        first = slow.analyze(ready_by="06:00")
    assert first.is_green
    assert "would not be done by" in first.stopped
    assert 0 < first.videos[VideoEnd.DONE] < CLIPS
    assert first.left == CLIPS - first.videos[VideoEnd.DONE]
    assert f"{first.left} videos left for the next run" in first.headline
    assert datetime.now(UTC) < deadlines[0].at + timedelta(seconds=3), "a chunk and the end of the run"
    second = slow.analyze()
    assert second.videos == {VideoEnd.DONE: first.left}
    assert f"The run before left {first.left} videos." in run_report(second)
