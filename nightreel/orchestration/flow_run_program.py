"""The command of a flow run in a process pool: `python3 -m nightreel.orchestration.flow_run_program`.

It is Prefect's engine in one process. Without a command in the pool, Prefect's worker imports Prefect twice for each
run: in a process that prepares the run's directory and code, and again in the engine. Nightreel's code is installed on
the host, so there is nothing to prepare.
"""

from __future__ import annotations

import runpy

from nightreel.imports import without_collection

if __name__ == "__main__":
    with without_collection():
        import prefect.flow_engine  # noqa: F401 - the engine imports it

        import nightreel.orchestration.runs  # noqa: F401 - every flow imports it
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)
