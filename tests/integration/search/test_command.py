"""`nightreel search` shows the moments that have words, page by page, and nothing that moves the cursor."""

from __future__ import annotations

import json

import pytest
from fixtures.work_searched import Library
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.errors import SettingsError


@pytest.fixture
def shelf(library: Library, monkeypatch, database_url) -> Library:
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", database_url)
    library.add(
        {
            "first": {"caption": "a red van\x1b[31m\nin the rain", "violence": 0.9},
            "second": {"caption": "two red vans"},
            "secret": {"caption": "a red van", "secret": 0.9},
        }
    )
    return library


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["search", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_hits_are_lines_with_the_moment_and_the_text(shelf):
    said = run("van")
    assert "first.mp4\t0-30\tcaption\ta red van\\x1b[31m\\nin the rain" in said
    assert "second.mp4" in said
    assert "secret.mp4" not in said
    assert "2 segments found" in said
    assert "secret.mp4" in run("van", "--restricted")


def test_pages_follow_each_other(shelf):
    first = json.loads(run("van", "--limit", "1", "--json"))
    second = json.loads(run("van", "--limit", "1", "--json", "--after", first["next"]))
    assert second["next"] is None
    assert {page["hits"][0]["uri"] for page in (first, second)} == {"s3://bucket/first.mp4", "s3://bucket/second.mp4"}
    assert first["hits"][0]["snippet"]["marks"]
    assert f"--after {first['next']}" in run("van", "--limit", "1")


def test_options_are_filters(shelf):
    assert "second.mp4" not in run(
        "van", "--prompt", "violence", "--verdict", "yes", "--min-p", "0.8", "--severity", "3"
    )
    assert run("van", "--since", "2026-01-02") == "video\tseconds\tprompt\ttext\nnone\n"
    assert "2 segments" in run(
        "van", "--until", "2026-01-02T00:00:00", "--under", "s3://bucket/", "--max-duration", "30"
    )
    assert "2 segments" in run("van", "--from-s", "29", "--to-s", "40")
    assert run("van", "--from-s", "30").endswith("none\n")
    assert "2 segments" in run("van", "--model", "tiny", "--run", str(shelf.work.run.id), "--newest")


def test_a_filter_that_names_nothing_is_refused(shelf):
    with pytest.raises(SettingsError, match="did you mean 'violence'"):
        run("van", "--prompt", "violens")
    with pytest.raises(SettingsError, match="has no word"):
        run("...")
