"""Keywords and objects as analysts find them: tags, search, wide views, and what few people may read."""

from __future__ import annotations

import json
from contextlib import closing

import psycopg
import pytest
from fixtures.judged import under, yes_no
from fixtures.work import PROMPTS, Work, stored
from fixtures.work_answers import analyse, answered, window
from sqlalchemy import make_url, text

from nightreel.database.answers import answers_given
from nightreel.database.connection import Database
from nightreel.database.current_recipes import make_current
from nightreel.database.documents import index_videos
from nightreel.database.migrations import upgrade
from nightreel.database.whole_answers import write_whole_answers
from nightreel.domain import Answer, Field, FieldType, Level, Prompt, PromptKind, PromptSet, WholeAnswers
from nightreel.services.postgres_roles import ANALYST, WORKER
from nightreel.stages.whole_videos import notes_of

CAPTION, VIOLENCE, _ = PROMPTS.prompts
FIELDS = (
    Field(name="place", type=FieldType.STRING, choices=("indoors", "outdoors")),
    Field(name="people", type=FieldType.INTEGER),
    Field(name="signs", type=FieldType.STRING, max_length=20, max_items=3),
    Field(name="dark", type=FieldType.BOOLEAN),
)
WORDS = Prompt.of(name="words", set_name="test", kind=PromptKind.KEYWORDS, text="List.", most=3)
FACTS = Prompt.of(name="facts", set_name="test", kind=PromptKind.OBJECT, text="Describe.", fields=FIELDS)
TITLE = Prompt.of(
    name="title", set_name="test", kind=PromptKind.TEXT, text="Title?", level=Level.VIDEO, over=(CAPTION.question.hash,)
)
ASKED = PromptSet("test", (CAPTION, under(VIOLENCE, lane="restricted"), WORDS, FACTS, TITLE))
SAID = {
    "calm": [(["Red Kite", "beach"], "indoors", 2, ["exit"]), (["beach", "BEACH"], "outdoors", 2, ["exit", "stop"])],
    "fight": [(["secret knife"], "indoors", 5, ["secret sign"]), ([], "indoors", 5, [])],
}


@pytest.fixture
def work(open_work, owner_url) -> Work:
    """Two videos of two segments. One of them is restricted."""
    work = open_work(prompts=ASKED)
    with work.database.begin() as connection:
        make_current(connection, work.recipe.id, source="s3://bucket", set_names={"test"}, made_by="x", instead=True)
    work.discover(*(stored(f"{name}.mp4") for name in SAID))
    for claim in work.claim():
        name = claim.video.uri.rsplit("/", 1)[1].removesuffix(".mp4")
        segments = []
        for index, (words, place, people, signs) in enumerate(SAID[name]):
            facts = {"place": place, "people": people, "signs": signs, "dark": name == "fight"}
            given = (
                Answer(question_hash=CAPTION.question.hash, text=f"{name} {index}"),
                yes_no(VIOLENCE.question, 0.99 if name == "fight" else 0.01),
                Answer(question_hash=WORDS.question.hash, text=json.dumps({"keywords": words})),
                Answer(question_hash=FACTS.question.hash, text=json.dumps(facts)),
            )
            segments.append(answered(claim, window(index), *given))
        analyse(work, claim, *segments, expected_s=60.0)
        with work.database.begin() as connection:
            own = answers_given(connection, [claim.video.id], work.recipe)[claim.video.id]
            notes = notes_of(own, [window(0), window(1)], [CAPTION.question])
            title = Answer(
                question_hash=TITLE.question.hash, text=f"A holiday: {name}", covered_s=60.0, expected_s=60.0
            )
            whole = WholeAnswers(
                analysis_id=claim.analysis_id, video_id=claim.video.id, notes=notes, sums=(), answers=(title,)
            )
            write_whole_answers(connection, [whole], recipe=work.recipe, run_id=work.run.id)
        work.judge(claim)
    with closing(Database(owner_url)) as owner:
        upgrade(owner.engine)
    return work


def rows(work: Work, query: str) -> list[tuple]:
    with work.database.begin() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def read(work: Work, server, role: str, query: str) -> list[tuple]:
    url = make_url(str(server.admin_url.render_as_string(hide_password=False)))
    url = url.set(drivername="postgresql", database=work.database.engine.url.database)
    with closing(psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)) as connection:
        connection.execute(f"SET SESSION AUTHORIZATION {role}")
        return connection.execute(query).fetchall()


def test_keywords_are_tags_and_the_most_frequent_is_first(work):
    assert rows(
        work, "SELECT tag FROM reporting.tags WHERE prompt = 'words' AND uri LIKE '%calm.mp4' ORDER BY tag"
    ) == [
        ("beach",),
        ("red kite",),
    ]
    assert rows(
        work, "SELECT answer, value FROM reporting.video_answers WHERE prompt = 'words' AND uri LIKE '%calm%'"
    ) == [("beach, red kite", ["beach", "red kite"])]


def test_keywords_and_the_texts_of_objects_are_found_and_filter(work):
    found = "SELECT uri, start_s, found_in FROM reporting.search('{}') ORDER BY start_s"
    assert [row[1:] for row in rows(work, found.format("kites"))] == [(0.0, "words")]
    assert [row[1:] for row in rows(work, found.format("stop"))] == [(30.0, "facts")]
    assert rows(work, found.format("signs")) == [], "the names of fields are no words"
    by_keyword = "SELECT start_s FROM reporting.search('calm', prompt => 'words', verdict => 'beach') ORDER BY 1"
    assert rows(work, by_keyword) == [(0.0,), (30.0,)]


def test_words_about_the_whole_video_are_found_at_its_first_moment(work):
    found = "SELECT uri, start_s, found_in, said FROM reporting.search('holiday'{}) ORDER BY start_s"
    assert rows(work, found.format("")) == [("s3://bucket/calm.mp4", 0.0, "title", "A holiday: calm")]
    assert rows(work, found.format(", prompt => 'title'")) == rows(work, found.format(""))


def test_words_about_the_whole_video_are_no_longer_found_when_it_is_asked_again(work):
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.whole_answers SET superseded = true"))
        index_videos(connection, list(connection.execute(text("SELECT id FROM nightreel.videos")).scalars()))
    assert rows(work, "SELECT uri FROM reporting.search('holiday')") == []
    assert rows(work, "SELECT found_in FROM reporting.search('kites')") == [("words",)]


def test_an_object_has_a_column_for_each_field(work):
    columns = "facts_place, facts_people, facts_signs, facts_dark, words, title"
    ((place, people, signs, dark, words, title),) = rows(
        work, f"SELECT {columns} FROM reporting.wide_test WHERE uri LIKE '%calm.mp4'"
    )
    assert (place, people, signs, dark) == ("indoors", 2.0, "exit, stop", False)
    assert (words, title) == ("beach, red kite", "A holiday: calm")
    assert rows(work, "SELECT uri FROM reporting.wide_test WHERE facts_people > 4 AND facts_dark")


def test_the_answer_about_the_whole_video_names_what_it_was_made_from(work):
    columns = "level, answer, made_from, segments"
    query = f"SELECT {columns} FROM reporting.video_answers WHERE prompt = 'title' AND uri LIKE '%calm%'"
    captions = "SELECT answer_id FROM reporting.answers WHERE prompt = 'caption' AND uri LIKE '%calm%' ORDER BY segment"
    assert rows(work, query) == [("video", "A holiday: calm", [id_ for (id_,) in rows(work, captions)], 2)]


@pytest.mark.parametrize(
    ("query", "hidden"),
    [
        ("SELECT answer, value FROM reporting.answers WHERE prompt IN ('words', 'facts')", (None, None)),
        ("SELECT answer, value FROM reporting.answers_all WHERE prompt IN ('words', 'facts')", (None, None)),
        (
            "SELECT answer, value, sums FROM reporting.video_answers WHERE prompt IN ('words', 'facts', 'title')",
            (None, None, None),
        ),
        ("SELECT words, facts, facts_place, facts_people, facts_signs, title FROM reporting.wide_test", (None,) * 6),
        ("SELECT tag FROM reporting.tags WHERE prompt = 'words'", None),
        ("SELECT said FROM reporting.search('secret')", None),
        ("SELECT said FROM reporting.search('fight')", None),
    ],
)
def test_free_words_about_restricted_videos_are_for_few_people(work, postgres_server, query, hidden):
    of_fight = f"SELECT * FROM ({query.replace('SELECT ', 'SELECT uri, ', 1)}) AS one WHERE uri LIKE '%fight.mp4'"
    own = read(work, postgres_server, ANALYST, of_fight)
    assert [row[1:] for row in own] == ([hidden] * len(own) if hidden else [])
    assert bool(own) is (hidden is not None)
    if "search" not in query:
        assert any(value is not None for row in read(work, postgres_server, WORKER, of_fight) for value in row[1:])
    calm = read(work, postgres_server, ANALYST, of_fight.replace("fight", "calm"))
    if "search" not in query:
        assert any(value is not None for row in calm for value in row[1:])
