"""A side of bench_pipeline: one more prompt as a computed column of a Pixeltable table.

It runs in the environment that `make bench-peers` installs, which has Pixeltable's own versions of libraries, and torch
and transformers from ours. Pixeltable keeps no visual tokens: a new column decodes and encodes each clip again.
"""

from __future__ import annotations

import os
import signal
import time
from functools import cache
from pathlib import Path
from typing import Any

import pixeltable as pxt
import psutil
from benchmarks.pipeline_sides import PlainModel

_TABLE, _COLUMN = "clips", "said"
_MODEL = "NIGHTREEL_BENCH_MODEL"  # a UDF has no other way to receive it: its arguments are columns


@cache
def _model() -> PlainModel:
    model = PlainModel(os.environ[_MODEL])
    model.load()
    return model


@pxt.udf
def ask(video: pxt.Video, prompts: str) -> str:
    """The answer to the only prompt of a file."""
    from nightreel.prompts.loading import load_prompt_sets

    (said,) = _model().answers(Path(video), load_prompt_sets([prompts]).prompts).values()
    return said


def insert(source: str) -> dict[str, Any]:
    """A new table of these clips. Pixeltable's own Postgres is under PIXELTABLE_HOME."""
    table = pxt.create_table(_TABLE, {"video": pxt.Video}, if_exists="replace")
    table.insert([{"video": str(path)} for path in sorted(Path(source).glob("*.mp4"))])
    return {}


def add_prompt(prompts: str, model: str) -> dict[str, Any]:
    """Add the column, and read it. `after_start_s` does not count the start of Pixeltable and of its Postgres."""
    os.environ[_MODEL] = model
    table = pxt.get_table(_TABLE)
    if _COLUMN in table.columns():
        table.drop_column(_COLUMN)
    started = time.perf_counter()
    table.add_computed_column(**{_COLUMN: ask(table.video, prompts)})
    rows = table.select(table.video.localpath, table.said).collect()
    answers = {Path(row["video_localpath"]).name: {"night": row[_COLUMN]} for row in rows}
    return {"answers": answers, "after_start_s": time.perf_counter() - started}


def stop() -> dict[str, Any]:
    """Stop Pixeltable's Postgres, which outlives the processes that use it."""
    pid_file = Path(os.environ["PIXELTABLE_HOME"]) / "pgdata" / "postmaster.pid"
    server = psutil.Process(int(pid_file.read_text().split()[0]))
    server.send_signal(signal.SIGINT)  # a fast shutdown
    server.wait(timeout=60)
    return {}
