"""50 people at a queue of 50,000 cases: how long does taking one take? `make bench-review`.

A real Postgres has 50,000 videos with a flag, sorted into the shipped queues. Then 50 people work for half a minute,
each with a connection of the web service: take a case, decide it, wait until 5 seconds are over. No case may be taken
twice, except for a second review.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from benchmarks.harness import Report, Row
from benchmarks.sql_rows import analyze
from sqlalchemy import text

from nightreel.database.connection import Database
from nightreel.database.queues import queues_in_force
from nightreel.database.recipes import register_recipe
from nightreel.database.runs import RunRegistration
from nightreel.database.users import add_user
from nightreel.domain import Prompt, PromptKind, PromptSet, SamplingPlan
from nightreel.domain.cases import Ruling
from nightreel.domain.users import Role, User
from nightreel.review.deciding import NewRuling, decide
from nightreel.review.desk import take_next
from nightreel.review.queue_file import shipped_queues
from nightreel.review.showing import show_case
from nightreel.services import running_database
from nightreel.services.postgres_roles import CONSOLE
from nightreel.settings import load_settings
from nightreel.stages.database import open_database
from nightreel.stages.sort import sort_videos

_CASES, _PEOPLE, _ACTS_EVERY_S, _LASTS_S = 50_000, 50, 5.0, 30.0
_PROMPT = Prompt.of(name="gun", set_name="bench", kind=PromptKind.YES_NO, text="A gun?", flags=("yes",), severity=2)
_ROWS = """
INSERT INTO nightreel.videos (uri, etag, size_bytes, modified_at, duration_s, expected_s, run_id, content_sha256)
SELECT 's3://bucket/' || number || '.mp4', '1', 1000, now(), 30, 30, :run, lpad(to_hex(number), 64, '0')
FROM generate_series(1, :cases) AS number;

INSERT INTO nightreel.video_verdicts (video_id, prompt_id, policy_id, state, value, text, severity, flagged,
                                      needs_review, segments, unknown, errors)
SELECT video.id, prompt.id, prompt.policy_id, 'answered', 'true', 'yes', 1 + video.id % 3, true, true, 1, 0, 0
FROM nightreel.videos AS video, nightreel.prompts AS prompt;
"""


def main() -> None:
    report = Report("review", versions=("sqlalchemy", "psycopg"))
    with tempfile.TemporaryDirectory() as directory:
        os.environ["NIGHTREEL_WORK_DIR"] = f"{directory}/work"
        settings = load_settings()
        with open_database(settings) as database:
            sorted_s = _fill(database)
            report.add(Row.of_seconds(f"sort {_CASES:,} videos with a flag into queues", sorted_s, None))
            url = running_database(settings, role=CONSOLE)
            assert url is not None
            with closing(Database(url.render_as_string(hide_password=False), pool_size=30)) as console:
                taken, takes, decides = _work(database, console)
            assert max(Counter(taken).values()) == 1, "a case was taken twice"
            note = f"{len(taken):,} cases, {_PEOPLE} people, median {1000 * _share(takes, 0.5):.1f} ms"
            report.add(Row.of_seconds("take the next case, 95th percentile", _share(takes, 0.95), 0.02, note))
            report.add(Row.of_seconds("show and decide it, 95th percentile", _share(decides, 0.95), None))
    report.finish()


def _work(database: Database, console: Database) -> tuple[list[tuple[int, str]], list[float], list[float]]:
    """Let people work. Returns the taken cases with their states, and the seconds of each take and of each decision."""
    with database.begin() as connection:
        people = [add_user(connection, f"person {number}", role=Role.REVIEWER) for number in range(_PEOPLE)]
    taken: list[tuple[int, str]] = []
    takes: list[float] = []
    decides: list[float] = []
    lock = threading.Lock()

    def person(user: User) -> None:
        time.sleep(random.random() * _ACTS_EVERY_S)
        ends_at = time.perf_counter() + _LASTS_S
        while (began := time.perf_counter()) < ends_at:
            with console.begin() as connection:
                case_id = take_next(connection, user, "general")
            took_s = time.perf_counter() - began
            assert case_id is not None
            began_deciding = time.perf_counter()
            with console.begin() as connection:
                case = show_case(connection, user, case_id)
            rulings = [NewRuling(prompt_id=one.prompt_id, ruling=Ruling.CONFIRM) for one in case.findings]
            with console.begin() as connection:
                decide(connection, user, case_id, version=case.version, rulings=rulings)
            with lock:
                taken.append((case_id, case.state))
                takes.append(took_s)
                decides.append(time.perf_counter() - began_deciding)
            time.sleep(max(0.0, began + _ACTS_EVERY_S - time.perf_counter()))

    with ThreadPoolExecutor(_PEOPLE) as pool:
        list(pool.map(person, people))
    return taken, takes, decides


def _fill(database: Database) -> float:
    """Add videos with verdicts, and sort them. Returns the seconds of sorting."""
    with database.begin() as connection:
        recipe = register_recipe(
            connection,
            model_hash="a" * 64,
            model_spec={"name": "bench", "revision": "1"},
            plan=SamplingPlan.parse("uniform:8"),
            prompts=PromptSet("bench", (_PROMPT,)),
        )
    values: dict[str, Any] = {"source": "s3://bucket", "recipe_id": recipe.id, "options": {}, "settings": {}}
    with RunRegistration(database, lease_s=60, environment={}, **values) as run, database.begin() as connection:
        for statement in _ROWS.split(";\n\n"):
            parameters = {"run": run.id, "cases": _CASES}
            chosen = {key: value for key, value in parameters.items() if f":{key}" in statement}
            connection.execute(text(statement), chosen)
        # As after other queues came into force.
        connection.execute(text("UPDATE nightreel.queue_policies SET applied_at = NULL, progress = 0"))
        run.finish("completed", counts={}, timings={}, error=None)
    analyze()
    began = time.perf_counter()
    sort_videos(database)
    sorted_s = time.perf_counter() - began
    with database.begin() as connection:
        queues = queues_in_force(connection)
        assert queues is not None
        assert queues.queues == shipped_queues()
        assert connection.execute(text("SELECT count(*) FROM nightreel.cases")).scalar_one() == _CASES
    return sorted_s


def _share(seconds: list[float], share: float) -> float:
    return sorted(seconds)[int(share * (len(seconds) - 1))]


if __name__ == "__main__":
    main()
