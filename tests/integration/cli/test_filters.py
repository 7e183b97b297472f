"""A filter that can match nothing is refused, with what there is: "none" reads as all clear."""

from __future__ import annotations

import pytest
from fixtures.work import stored
from sqlalchemy import text
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.errors import SettingsError


@pytest.fixture
def stored_work(work, database_url, tmp_path, monkeypatch):
    """Four videos, two of them failed, under the prompts caption, violence and why."""
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", database_url)
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setenv("NIGHTREEL_PROMPTS", "demo")
    names = ("yard/clip-1.mp4", "yard/clip-2.mp4", "door/100%25 sure.mp4", "door/night.mp4")
    work.discover(*map(stored, names))
    with work.database.begin() as connection:
        for name, reason in (("yard/clip-1.mp4", "no_index"), ("door/night.mp4", "no_index")):
            connection.execute(
                text("UPDATE nightreel.analyses SET status = 'failed', reason = :reason WHERE uri = :uri"),
                {"reason": reason, "uri": f"s3://bucket/{name}"},
            )
    return work


def invoke(*arguments: str):
    return CliRunner().invoke(app, arguments)


REFUSED = [
    (("answers", "--prompt", "violenc"), "did you mean 'violence'?"),
    (("answers", "--prompt", "Violence"), "did you mean 'violence'?"),
    (("answers", "--prompt", "zebra"), "caption, "),
    (("answers", "--state", "unkown"), "did you mean 'unknown'?"),
    (("answers", "--state", "no"), "answered, error, unknown"),
    (("answers", "clpi-1"), "did you mean 'clip-1'?"),
    (("answers", "violence"), "did you mean --prompt violence?"),
    (("answers", "yrad/"), "did you mean 'yard'?"),
    (("answers", "clip-1", "--prompt", "violenc"), "did you mean 'violence'?"),
    (("failures", "--reason", "broken"), "ideos failed as no_index (2)"),
    (("failures", "--reason", "no_indx"), "did you mean 'no_index'?"),
    (("failures", "clip-9"), "he newest of 4 are "),
    (("failures", "damaged"), "did you mean --reason damaged?"),
    (("retry", "damaged"), "did you mean --reason damaged?"),
    (("retry", "damged"), "did you mean --reason damaged?"),
    (("retry", "--reason", "broken"), "no_index"),
    (("retry", "nihgt.mp4"), "did you mean 'night"),
]


@pytest.mark.parametrize(
    ("arguments", "said"), REFUSED, ids=lambda value: " ".join(value) if type(value) is tuple else ""
)
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_a_misspelt_filter_is_refused_with_what_there_is(stored_work, arguments, said, form):
    if form and arguments[0] == "retry":
        form = ()
    done = invoke(*arguments, *form)
    assert isinstance(done.exception, SettingsError), done.output
    assert said in str(done.exception)
    assert arguments[-1] in str(done.exception)
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("answers",),
        ("answers", "--prompt", "violence"),
        ("answers", "--prompt", "background"),  # of the configured set, never asked
        ("answers", "--state", "error"),
        ("answers", "clip-1"),
        ("answers", "100%25 sure"),
        ("failures", "clip-2"),
        ("failures", "--reason", "disk_full"),
        ("retry", "clip-2"),
        ("retry", "--reason", "disk_full"),
    ],
    ids=" ".join,
)
def test_a_filter_that_names_what_exists_may_match_nothing(stored_work, arguments):
    done = invoke(*arguments)
    assert done.exit_code == 0, done.exception
    assert "none" in done.stdout


def test_a_filter_selects(stored_work):
    assert "clip-1" in invoke("failures", "yard").stdout
    assert "night" not in invoke("failures", "yard").stdout
    assert "1 video queued again" in invoke("retry", "night", "--reason", "no_index").stdout


def test_a_name_is_found_as_its_directory_shows_it(work, stored_work):
    with work.database.begin() as connection:
        connection.execute(
            text("UPDATE nightreel.videos SET uri = 'file:///videos/my%20clip%20%C3%A9.mp4' WHERE id = 1")
        )
    assert invoke("failures", "my clip é").exit_code == 0
    assert invoke("failures", "my%20clip").exit_code == 0


def test_an_empty_database_is_not_an_all_clear(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", database_url)
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path / "work"))
    for command in ("answers", "failures"):
        assert "no videos yet" in invoke(command).stdout
        assert "this database has no videos" in str(invoke(command, "clip").exception)


def test_prompts_of_a_set_that_this_database_means_by_its_name_are_known(stored_work, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_PROMPTS", "moderation")
    with pytest.raises(SettingsError, match="why_violent"):
        CliRunner().invoke(app, ("answers", "--prompt", "why_violent"), catch_exceptions=False)
    with stored_work.database.begin() as connection:
        connection.execute(text("INSERT INTO nightreel.kept_prompt_sets VALUES ('moderation', 'moderation_2026')"))
    assert "none" in invoke("answers", "--prompt", "why_violent").stdout
