"""A video that kills every run that reads it costs only itself: the innocent ones of its chunk are answered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from fixtures.pipeline import PROMPT_COUNT, make_clip

INNOCENT = 5
# `nightreel analyze`, in which reading one video kills the process, as a fault in a native library would.
POISONED = """
import os, signal, sys
from nightreel.media.sandbox import DecoderPool

probe = DecoderPool.probe

def poisoned(self, path):
    if "poison" in path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return probe(self, path)

DecoderPool.probe = poisoned
from nightreel.cli.app import main
sys.argv = ["nightreel", "analyze", *sys.argv[1:]]
main()
"""


def test_only_the_video_that_kills_its_runs_is_quarantined(make_pipeline, tmp_path):
    for seed in range(INNOCENT):
        make_clip(tmp_path / "videos" / f"{seed}.mp4", seed + 1)
    make_clip(tmp_path / "videos" / "2poison.mp4", 99)
    pipeline = make_pipeline(tmp_path / "videos", NIGHTREEL_LEASE_S="5", NIGHTREEL_MAX_CRASHES="1")
    deaths = 0
    while True:
        command = [sys.executable, "-c", POISONED, pipeline.source]
        run = subprocess.run(command, env={**os.environ, **pipeline.environment}, capture_output=True, text=True)
        if run.returncode != -signal.SIGKILL:
            break
        deaths += 1
        assert deaths <= 2, "the death of the whole chunk, and one alone"
    statuses = pipeline.statuses()
    assert statuses.pop("2poison.mp4")[0] == "quarantined"
    assert set(statuses.values()) == {("done", None)}
    assert pipeline.value("SELECT count(*) FROM reporting.answers") == INNOCENT * PROMPT_COUNT
    charged = pipeline.rows("SELECT uri FROM nightreel.analyses WHERE crashes > 0 OR attempts > 1")
    assert [row.uri.rpartition("/")[2] for row in charged] == ["2poison.mp4"]
    assert run.returncode == 1, "a night that quarantines a video is red"
    assert "1 video that kills runs was quarantined" in " ".join(run.stdout.split())
