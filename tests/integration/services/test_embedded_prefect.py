"""One test, because a Prefect server takes seconds to start: it is healthy, has our settings, and keeps its history.

It deletes old events, and logs of flow runs that are gone.
"""

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

from nightreel.services import PrefectApi, open_services, status
from nightreel.settings import Settings


def ask(api: PrefectApi | None, path: str, body: object = None) -> Any:
    assert api is not None
    assert api.auth_string
    method = httpx.post if body else httpx.get
    answer = method(
        f"{api.url}{path}",
        auth=tuple(api.auth_string.split(":")),
        timeout=30,
        trust_env=False,
        **({"json": body} if body else {}),
    )
    return answer.raise_for_status().content and answer.json()


def test_the_prefect_server_has_our_settings_and_its_history_survives_a_restart(service_settings: Settings) -> None:
    began = time.monotonic()
    with open_services(service_settings, postgres=False) as endpoints:
        assert time.monotonic() - began < 90
        assert endpoints.started == ("prefect",)
        api = endpoints.prefect
        assert ask(api, "/health") is True
        prefect = status(service_settings)[1]
        assert (prefect.state, prefect.url) == ("running", api.url)

        server = ask(api, "/admin/settings")["server"]
        assert server["concurrency"]["lease_storage"] == "prefect.server.concurrency.lease_storage.filesystem"
        assert server["services"]["task_run_recorder"]["batch_size"] == 200
        assert server["services"]["task_run_recorder"]["read_batch_size"] == 100
        assert server["services"]["task_run_recorder"]["flush_interval"] == 1
        assert server["services"]["event_persister"]["batch_size"] == 200
        assert server["services"]["event_persister"]["read_batch_size"] == 100
        assert server["services"]["triggers"]["read_batch_size"] == 100
        assert server["metrics_enabled"]
        assert not server["analytics_enabled"]
        assert server["events"]["retention_period"] == "P7D"

        flow = ask(api, "/flows/", {"name": "tag_videos"})
        ask(api, "/flow_runs/", {"name": "first-night", "flow_id": flow["id"], "state": {"type": "COMPLETED"}})
        now = datetime.now(UTC).isoformat()
        orphan = {"name": "n", "level": 20, "message": "m", "timestamp": now, "flow_run_id": str(uuid4())}
        ask(api, "/logs/", [orphan])
    assert status(service_settings)[1].state == "stopped"

    database = service_settings.work_dir / "prefect" / "home" / "prefect.db"
    with closing(sqlite3.connect(database)) as records, records:
        young, old = (records.execute("SELECT id FROM events ORDER BY id LIMIT 2").fetchall()[n][0] for n in (0, 1))
        for event, days in ((young, 6), (old, 8)):
            records.execute("UPDATE events SET occurred = datetime('now', ?) WHERE id = ?", (f"-{days} days", event))
        assert records.execute("SELECT count(*) FROM log").fetchone() == (1,)

    with open_services(service_settings, postgres=False) as endpoints:
        assert endpoints.prefect == api
        runs = ask(api, "/flow_runs/filter", {"limit": 10})
        assert [(run["name"], run["state"]["type"]) for run in runs] == [("first-night", "COMPLETED")]
        left = [1]
        give_up_at = time.monotonic() + 30
        with closing(sqlite3.connect(database)) as records:
            while left and time.monotonic() < give_up_at:
                left = records.execute(
                    "SELECT id FROM log UNION ALL SELECT id FROM events WHERE id = ?", (old,)
                ).fetchall()
                time.sleep(0.1)
            assert left == []
            assert records.execute("SELECT count(*) FROM events WHERE id = ?", (young,)).fetchone() == (1,)
    assert not (service_settings.work_dir / "postgres").exists()
