"""Which servers are refused, for what reason. The tests of services ask real servers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nightreel.database.requirements import ServerFacts, why_unsuitable

GOOD = ServerFacts(
    version="PostgreSQL 18.0 on x86_64-pc-linux-gnu",
    major=18,
    encoding="UTF8",
    standby=False,
    read_only=False,
    date_style="ISO, MDY",
)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"version": "PostgreSQL 15.4 (Debian 15.4-1)", "major": 15},
        {"version": "EnterpriseDB 16.1.0", "major": 16},
        {"date_style": "ISO, DMY"},
    ],
)
def test_a_suitable_server_is_accepted(change):
    assert why_unsuitable(replace(GOOD, **change)) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"major": 14}, "it is PostgreSQL 14: use PostgreSQL 15 or newer"),
        ({"version": "PostgreSQL 8.0.2 on i686, Redshift 1.0.1", "major": 8}, "PostgreSQL 8"),
        ({"version": "CockroachDB CCL v24.1.0", "major": 13}, "it is 'CockroachDB CCL v24.1.0'"),
        ({"encoding": "LATIN1"}, "encoding LATIN1"),
        ({"encoding": "SQL_ASCII"}, "encoding SQL_ASCII"),
        ({"standby": True, "read_only": True}, "it is a standby"),
        ({"read_only": True}, "default_transaction_read_only"),
        ({"date_style": "German, DMY"}, "DateStyle is 'German, DMY'"),
    ],
)
def test_another_server_is_refused_with_the_way_out(change, why):
    problem = why_unsuitable(replace(GOOD, **change))
    assert problem is not None
    assert why in problem
