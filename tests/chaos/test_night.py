"""The short form of `make chaos`: ten kills, with a short lease so that dead runs are found within seconds."""

from __future__ import annotations

import pytest
from chaos.night import play

TEN = ["child", "child", "prefect", "child", "child", "postgres", "child", "child", "run", "run"]
QUICK = {"NIGHTREEL_LEASE_S": "5", "NIGHTREEL_PREFECT_PATIENCE_S": "3", "NIGHTREEL_CHUNK_SEGMENTS": "4"}


@pytest.mark.timeout(600)
def test_ten_kills_lose_nothing_double_nothing_and_leave_nothing_behind(tmp_path):
    assert play(tmp_path, kinds=TEN, seed=1, videos=24, environment=QUICK) == []
