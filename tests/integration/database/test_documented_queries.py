"""The queries in docs/answers.md run on the views as they are. Those of docs/analysts.md: test_analyst_views.py."""

import re
from pathlib import Path

import pytest
from sqlalchemy import text

_PAGE = (Path(__file__).parents[3] / "docs" / "answers.md").read_text(encoding="utf-8")
_QUERIES = re.findall(r"```sql\n(.*?)```", _PAGE, re.DOTALL)


@pytest.mark.parametrize("query", _QUERIES)
def test_a_documented_query_runs(database, query):
    with database.begin() as connection:
        assert connection.exec_driver_sql(query.replace("%", "%%")).fetchall() == []


def test_the_page_has_queries_and_names_every_view(database):
    assert len(_QUERIES) >= 3
    with database.begin() as connection:
        views = connection.execute(text("SELECT viewname FROM pg_views WHERE schemaname = 'reporting'")).scalars().all()
    assert {f"reporting.{view}" for view in views} == set(re.findall(r"`(reporting\.\w+)` \|", _PAGE))
