"""A run stores its memory measurements in Postgres, and the next run starts from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from fixtures.clips import encode_numbers
from fixtures.meters import FakeMeter, Scarce
from sqlalchemy import text
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.database.connection import Database
from nightreel.domain import VideoEnd
from nightreel.models.inprocess.packed import PackedPrefix
from nightreel.models.memory import batches
from nightreel.options import AnalyzeOptions, settings_for
from nightreel.stages.run import open_run

_PROMPTS = 'name: small\nprompts:\n  - {name: red, kind: yes_no, text: "Is there something red?"}\n'
_CLIPS = 4


@pytest.fixture
def options(tmp_path: Path, noise_model: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AnalyzeOptions:
    torch.set_num_threads(1)
    (tmp_path / "small.yaml").write_text(_PROMPTS)
    for name, value in {
        "DATABASE_URL": database_url,
        "WORK_DIR": str(tmp_path / "work"),
        "MODEL": str(noise_model),
        "PROMPTS": str(tmp_path / "small.yaml"),
        "PLAN": "uniform:4",
        "DEVICE": "cpu",
    }.items():
        monkeypatch.setenv(f"NIGHTREEL_{name}", value)
    return AnalyzeOptions(source=str(tmp_path / "videos"))


def _batches(options: AnalyzeOptions, meter: FakeMeter, *, most: int, seed: int) -> list[int]:
    """Analyse new clips; returns the sizes of the batches tried on the language side."""
    videos = Path(options.source or "")
    videos.mkdir(exist_ok=True)
    for first in range(seed, seed + _CLIPS):
        encode_numbers(videos / f"{first}.mp4", range(first, first + 25), "-c:v", "libx264", "-pix_fmt", "yuv420p")
    with _scarce(meter, most=most) as scarce, open_run(options, settings_for(options)) as run:
        while not run.discovery.discover_pages().exhausted:
            pass
        claims = run.discovery.claim_chunk(max_videos=None).claims
        encoded = run.encoding.encode_chunk(claims)
        counts = run.writing.write_chunk(claims, encoded.outcomes, run.asking.ask_chunk(encoded.segments))
    assert counts.videos == {VideoEnd.DONE: _CLIPS}
    return scarce.sizes


@contextmanager
def _scarce(meter: FakeMeter, *, most: int) -> Iterator[Scarce]:
    with pytest.MonkeyPatch.context() as patched:
        scarce = Scarce(PackedPrefix.ask, most=most)
        patched.setattr(batches, "meter_of", lambda _: meter)
        patched.setattr(
            PackedPrefix, "ask", lambda self, *given, **more: scarce(len(self.lengths), self, *given, **more)
        )
        yield scarce


def _rows(database: Database) -> list[tuple[str, bool, int, int]]:
    query = "SELECT stage, out_of_memory, segments, measured_bytes FROM reporting.memory ORDER BY 1 DESC, 2"
    with database.begin() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_the_next_run_makes_no_batch_larger_than_one_that_fitted(options: AnalyzeOptions, database: Database) -> None:
    free = 1 << 30
    assert _batches(options, FakeMeter(free=free), most=2, seed=1) == [4, 2, 2]
    assert _rows(database) == [("language", True, 4, free)]
    assert _batches(options, FakeMeter(free=free), most=2, seed=11) == [2, 2]
    with database.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM reporting.answers")).scalar() == 2 * _CLIPS


def test_the_next_run_uses_the_measured_peaks(options: AnalyzeOptions, database: Database) -> None:
    free, peak = 1 << 30, 900 << 20
    assert _batches(options, FakeMeter(free=free, peak=peak), most=_CLIPS, seed=1) == [4]
    assert [row[:2] + row[3:] for row in _rows(database)] == [("vision", False, peak), ("language", False, peak)]
    assert _batches(options, FakeMeter(free=free // 2, peak=1), most=_CLIPS, seed=11) == [2, 2]
    assert _batches(options, FakeMeter(free=free // 2, device="another", peak=1), most=_CLIPS, seed=21) == [4]


def test_the_command_shows_measured_peaks_beside_its_estimates(options: AnalyzeOptions) -> None:
    _batches(options, FakeMeter(free=1 << 30, peak=3 << 20), most=2, seed=1)
    done = CliRunner().invoke(app, ["model", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    told = [(peak["stage"], peak["out_of_memory"], peak["segments"]) for peak in said["measured"]]
    assert sorted(told) == [("language", False, 2), ("language", True, 4), ("vision", False, 4)]
    shown = CliRunner().invoke(app, ["model"]).stdout.splitlines()
    assert [line.split("\t")[-1] for line in shown if line.startswith("fake GPU")] == [
        "3.0 MiB",
        "more than 1.0 GiB",
        "3.0 MiB",
    ]


def test_the_command_shows_estimates_even_if_the_database_does_not_answer(
    options: AnalyzeOptions, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", f"postgresql://nobody@127.0.0.1:{free_port}/nothing")
    said = json.loads(CliRunner().invoke(app, ["model", "--json"]).stdout)
    assert said["weights_bytes"] > 0
    assert said["measured"] == []
    assert "127.0.0.1" in said["measured_problem"]
