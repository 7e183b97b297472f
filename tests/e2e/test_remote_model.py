"""The main job with a model on a server."""

from urllib.parse import urlsplit

import psutil
import pytest
from fixtures.chat_server import failure, said

from nightreel.errors import TransientError
from nightreel.models.served import chat_endpoint
from tasks import ask as task


@pytest.fixture
def remote_pipeline(make_pipeline, clips, chat_server, monkeypatch):
    monkeypatch.setattr(chat_endpoint, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(task.ask, "retry_delay_seconds", [0.01, 0.01, 0.01])
    chat_server.answer = lambda request: said(
        "indoors" if "indoors" in request.question else "yes", top={"yes": -0.2, "no": -2.0, "in": -4.0}
    )
    return make_pipeline(clips, NIGHTREEL_MODEL=chat_server.setting, NIGHTREEL_REMOTE_PATIENCE_S="0")


def test_a_new_question_costs_no_fetching_and_no_decoding(remote_pipeline, chat_server, tmp_path):
    summary = remote_pipeline.analyze()
    assert summary.videos == {"done": 3}
    assert chat_server.questions_asked == 9
    row = remote_pipeline.rows("SELECT * FROM reporting.answers WHERE prompt = 'red' LIMIT 1")[0]
    assert (row.answer, row.model, len(row.frame_times_s)) == ("yes", "eyes", 4)
    assert row.p > 0.8
    more = tmp_path / "more.yaml"
    more.write_text('name: more\nprompts:\n  - {name: blue, kind: yes_no, text: "Is there something blue?"}\n')
    summary = remote_pipeline.analyze(prompts=(str(tmp_path / "small.yaml"), str(more)))
    assert summary.work == {"cached_segments": 3}
    assert summary.answers.total() == 3
    assert chat_server.questions_asked == 12


def test_a_run_closes_its_connections_to_the_server(remote_pipeline, chat_server):
    port = urlsplit(chat_server.url).port
    remote_pipeline.analyze()
    to_server = [peer for peer in psutil.Process().net_connections("tcp") if peer.raddr and peer.raddr.port == port]
    assert [peer.status for peer in to_server if peer.status == psutil.CONN_ESTABLISHED] == []


def test_a_server_that_dies_breaks_the_run_but_fails_no_video(remote_pipeline, chat_server):
    healthy = chat_server.answer
    chat_server.answer = lambda request: (
        healthy(request) if chat_server.questions_asked <= 4 else failure(503, "out of memory")
    )
    with pytest.raises(TransientError, match="status 503: out of memory") as caught:
        remote_pipeline.analyze()
    assert caught.value.reason == "model_unreachable"
    assert "done" not in {status for status, _ in remote_pipeline.statuses().values()}
    chat_server.answer = healthy
    remote_pipeline.analyze()
    assert set(remote_pipeline.statuses().values()) == {("done", None)}
    assert remote_pipeline.value("SELECT count(*) FROM reporting.answers WHERE state = 'answered'") == 9
