"""A night with nothing new only lists: it loads no model, no decoder and no torch."""

import os
import subprocess
import sys

ANALYZE = """
import sys
from nightreel.cli.analyze import run
from nightreel.options import AnalyzeOptions, settings_for
summary = run(options := AnalyzeOptions(source=sys.argv[1]), settings_for(options), quiet=True)
print(summary.listing.added, sorted({"torch", "transformers", "av", "decord"} & set(sys.modules)))
"""


def _analyze(pipeline) -> str:
    command = [sys.executable, "-c", ANALYZE, pipeline.source]
    done = subprocess.run(command, env={**os.environ, **pipeline.environment}, capture_output=True, text=True,
                          check=True)  # fmt: skip
    return done.stdout.splitlines()[-1]


def test_a_night_with_nothing_new_imports_no_torch_and_records_that(pipeline):
    assert _analyze(pipeline) == "3 ['torch', 'transformers']"
    assert _analyze(pipeline) == "0 []"
    busy, quiet = (row.environment for row in pipeline.rows("SELECT environment FROM nightreel.runs ORDER BY id"))
    assert busy["cuda"]["torch"].startswith(busy["libraries"]["torch"])
    assert quiet["cuda"] is None
    assert quiet["libraries"] == busy["libraries"]
