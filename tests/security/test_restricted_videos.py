"""A video with a verdict in the lane `restricted` that is not a "no" shows its texts and pictures to few people."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import psycopg
import pytest
from fixtures.earlier_versions import downgrade_to
from fixtures.judged import under, yes_no
from fixtures.work import PROMPTS, Work, stored
from fixtures.work_answers import analyse, answered, window
from sqlalchemy import make_url, text

from nightreel.database.connection import Database
from nightreel.database.migrations import upgrade
from nightreel.domain import Answer, PromptSet
from nightreel.services.postgres_roles import ANALYST, CONSOLE, WORKER

CAPTION, VIOLENCE, WHY = PROMPTS.prompts
PROMPT_SET = PromptSet(PROMPTS.name, (CAPTION, under(VIOLENCE, lane="restricted", min_mass=0.01), WHY))
P = {"clean": 0.01, "unsure": None, "violent": 0.99}
SEES_ALL = "SET nightreel.restricted = 'on'"


@pytest.fixture
def work(open_work) -> Work:
    """Three videos of two segments. Their captions are their names."""
    work = open_work(prompts=PROMPT_SET)
    work.discover(*(stored(f"{name}.mp4") for name in P))
    for claim in work.claim():
        name = claim.video.uri.rsplit("/", 1)[1].removesuffix(".mp4")
        p = P[name]
        measured = replace(yes_no(VIOLENCE.question, p or 0.5), mass=0.9 if p else 0.001)
        said = Answer(question_hash=CAPTION.question.hash, text=f"secret {name}")
        analyse(work, claim, *(answered(claim, window(index), said, measured) for index in (0, 1)), expected_s=60.0)
    return work


def restricted(work: Work) -> set[str]:
    with work.database.begin() as connection:
        rows = connection.execute(text("SELECT uri FROM nightreel.videos WHERE restricted")).scalars()
        return {uri.rsplit("/", 1)[1].removesuffix(".mp4") for uri in rows}


def change(work: Work, statement: str, **values: object) -> None:
    with work.database.begin() as connection:
        connection.execute(text(statement), values)


def read(work: Work, server, role: str, query: str, *before: str) -> list[tuple]:
    """The rows that a role reads, as one that has connected."""
    url = make_url(str(server.admin_url.render_as_string(hide_password=False)))
    url = url.set(drivername="postgresql", database=work.database.engine.url.database)
    with closing(psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)) as connection:
        connection.execute(f"SET SESSION AUTHORIZATION {role}")
        for statement in before:
            connection.execute(statement)
        return connection.execute(query).fetchall()


def test_yes_and_unknown_restrict_and_no_does_not(work):
    assert restricted(work) == {"unsure", "violent"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE nightreel.{table} SET state = 'answered', value = 'false', flagged = false WHERE restricts",
        "UPDATE nightreel.{table} SET lane = NULL",
        "DELETE FROM nightreel.{table} WHERE restricts",
    ],
)
def test_a_video_is_free_when_the_last_verdict_that_restricts_it_is_gone(work, statement):
    change(work, statement.format(table="verdicts"))
    assert restricted(work) == {"unsure", "violent"}, "the verdicts on the videos still restrict"
    change(work, statement.format(table="video_verdicts"))
    assert restricted(work) == set()


def test_a_verdict_that_is_not_on_show_restricts_nothing(work):
    change(work, "DELETE FROM nightreel.video_verdicts")
    change(work, "UPDATE nightreel.verdicts SET shown = false")
    assert restricted(work) == set()
    change(work, "UPDATE nightreel.verdicts SET shown = true")
    assert restricted(work) == {"unsure", "violent"}


def test_a_database_from_before_has_the_same_restricted_videos(work, owner_url):
    with closing(Database(owner_url)) as owner:
        with owner.begin() as connection:
            downgrade_to(connection, "0015")
        upgrade(owner.engine)
    assert restricted(work) == {"unsure", "violent"}


@pytest.mark.parametrize(
    "query",
    [
        "SELECT uri, answer FROM reporting.answers WHERE prompt = 'caption'",
        "SELECT uri, value #>> '{}' FROM reporting.answers WHERE prompt = 'caption'",
        "SELECT uri, answer FROM reporting.answers_all WHERE prompt = 'caption'",
        "SELECT uri, answer FROM reporting.timeline WHERE prompt = 'caption'",
        "SELECT uri, answer FROM reporting.video_answers WHERE prompt = 'caption'",
        "SELECT uri, value #>> '{}' FROM reporting.video_answers WHERE prompt = 'caption'",
    ],
)
def test_who_reads_the_texts_of_restricted_videos(work, postgres_server, query):
    def texts(role: str, *before: str) -> set[str | None]:
        rows = read(work, postgres_server, role, query, *before)
        assert {uri.rsplit("/", 1)[1] for uri, _ in rows} == {"clean.mp4", "unsure.mp4", "violent.mp4"}
        return {said and said[: said.index(" secret") if " secret" in said else None] for _, said in rows}

    everything = {"secret clean", "secret unsure", "secret violent"}
    assert texts(ANALYST) == texts(ANALYST, SEES_ALL) == texts(CONSOLE) == {"secret clean", None}
    assert texts(CONSOLE, SEES_ALL) == texts(WORKER) == everything


def test_a_condition_on_a_hidden_text_says_nothing_about_it(work, postgres_server):
    """An error or a row that depends on the text would tell it."""
    query = (
        "SELECT count(*) FROM reporting.answers WHERE prompt = 'caption' AND NOT uri LIKE '%clean.mp4' "
        "AND 1 / (CASE WHEN answer LIKE 'secret%' THEN 0 ELSE 1 END) = 1"
    )
    assert read(work, postgres_server, ANALYST, query) == [(4,)]


def test_an_owner_who_sets_an_analysts_role_sees_what_an_analyst_sees(work, postgres_server):
    query = "SELECT DISTINCT answer FROM reporting.answers WHERE prompt = 'caption'"
    superuser = postgres_server.admin_url.username
    assert len(read(work, postgres_server, superuser, query)) == 3
    assert len(read(work, postgres_server, superuser, query, f"SET ROLE {ANALYST}")) == 2
