"""A hostile video among innocent ones costs one row of a run: its own."""

import pytest
from fixtures import hostile_decoder

from nightreel.errors import SettingsError
from nightreel.media.confinement import Confinement

HOSTILE = """
    def captures(file):
        decoder_process.decode = decoder_process.probe_file = lambda *anything: tell("captured")
        reply(json.dumps({"error_reason": "database_unreachable", "detail": "x"}).encode())

    def crashes(file):
        ctypes.string_at(0)
"""


def test_hostile_videos_cost_their_own_rows(make_pipeline, clips, tmp_path, monkeypatch):
    hostile_decoder.install(monkeypatch, tmp_path, HOSTILE)
    source = tmp_path / "source"
    source.mkdir()
    innocent = sorted(clips.glob("*.mp4"))
    for path in innocent:
        (source / path.name).write_bytes(path.read_bytes())
    for name in ("captures", "crashes"):
        other_bytes = innocent[0].read_bytes() + b"\0\0\0\x10free" + name.encode()[:8]
        (source / f"{name}.mp4").write_bytes(other_bytes)
    pipeline = make_pipeline(source)
    summary = pipeline.analyze()
    assert summary.videos == {"done": len(innocent), "failed": 2}
    failures = pipeline.rows("SELECT uri, reason FROM reporting.failures ORDER BY uri")
    assert [(row.uri.rpartition("/")[2], row.reason) for row in failures] == [
        ("captures.mp4", "decoder_lied"),
        ("crashes.mp4", "decoder_crashed"),
    ]
    (run,) = pipeline.rows("SELECT environment FROM nightreel.runs")
    assert run.environment["sandbox"]["seccomp"] is True
    assert "libraries" in run.environment


def test_a_host_without_the_demanded_sandbox_touches_no_video(make_pipeline, clips, monkeypatch):
    weaker = Confinement(seccomp=True, landlock=0, user="", namespaces=False)
    monkeypatch.setattr("nightreel.media.fork_server.Confinement", lambda **_: weaker)
    pipeline = make_pipeline(clips, NIGHTREEL_SANDBOX="strict")
    with pytest.raises(SettingsError, match="NIGHTREEL_SANDBOX=strict, but"):
        pipeline.analyze()
    rows = pipeline.rows("SELECT status, attempts, run_id FROM nightreel.analyses")
    assert [tuple(row) for row in rows] == [("pending", 0, None)] * 3
