"""Shadow runs: where a new model and the one on show disagree, people say which is right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.judged import yes_no
from fixtures.work import stored
from fixtures.work_answers import analyse, answered, window
from fixtures.work_reviewed import ASKED, CAPTION, GORE, VIOLENCE, WEAPONS
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.database.current_recipes import make_current
from nightreel.domain import Answer
from nightreel.errors import PermanentError
from nightreel.review.auditing import read_audits
from nightreel.stages.audit import AuditWish, draw_audits
from nightreel.stages.show import show_current

SEEN = {  # what the old and the new model say of violence
    "both": (0.9, 0.9),
    "neither": (0.1, 0.1),
    "only-old": (0.9, 0.1),
    "only-new": (0.1, 0.9),
    "only-new-too": (0.2, 0.8),
}


@pytest.fixture
def shadow(desk, open_work):
    """Five videos, asked by the model on show and by a new one. Returns the numbers of both recipes."""
    for name, (old, _) in SEEN.items():
        desk.analyse(name, violence=old)
    work = replace(open_work(prompts=ASKED, model="b" * 64), selection=desk.work.selection)
    work.discover(*(stored(f"{name}.mp4") for name in SEEN))
    for claim in work.claim(segments=100):
        name = claim.video.uri.rsplit("/", 1)[1].removesuffix(".mp4")
        answers = [
            yes_no(VIOLENCE.question, SEEN[name][1]),
            yes_no(WEAPONS.question, 0.01),
            yes_no(GORE.question, 0.01),
        ]
        caption = Answer(question_hash=CAPTION.question.hash, text="a street", generated_tokens=3)
        analyse(work, claim, answered(claim, window(0), *answers, caption), expected_s=30.0)
    return desk.work.recipe.id, work.recipe.id


def draw(desk, recipes, **more):
    wish = AuditWish(sample=100, made_by="lea", recipes=recipes, **more)
    return {label.prompt: audit_id for label, audit_id in draw_audits(desk.work.database, wish)}


def test_a_shadow_run_flags_nothing(desk, shadow):
    assert set(desk.states()) == {"general/both", "general/only-old"}
    assert len(desk.rows("SELECT * FROM reporting.flags")) == 2


def test_disagreements_in_both_directions_become_cases_and_say_who_is_right(desk, shadow):
    drawn = draw(desk, shadow)
    assert drawn.keys() == {"violence", "weapons", "gore"}
    assert [name for name, audit_id in drawn.items() if audit_id] == ["violence"]
    assert set(desk.states()) == {"general/both", "general/only-old", "general/only-new", "general/only-new-too"}
    assert len(desk.rows("SELECT * FROM reporting.flags")) == 2, "still"
    rulings = {"only-old": "confirm", "only-new": "confirm", "only-new-too": "reject", "both": "confirm"}
    while case := desk.take("ann"):
        desk.decide("ann", case, rulings[case.videos[0][1].rsplit("/", 1)[1].removesuffix(".mp4")])
    with desk.work.database.begin() as connection:
        (audit,) = read_audits(connection)
    assert (audit.size, audit.drawn, audit.judged, audit.misses) == (3, 3, 3, None)
    assert (audit.first_recipe_id, audit.second_recipe_id) == shadow
    found = audit.comparison
    assert (found.items, found.only_first, found.only_second) == (3, 2, 1)


def test_the_command_draws_and_prints_disagreements(desk, shadow, database_url, monkeypatch, tmp_path):
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", database_url)
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", str(tmp_path))

    def audit(*arguments):
        done = CliRunner().invoke(app, ["audit", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    first, second = map(str, shadow)
    assert audit("shadow", first, second, "--sample", "1") == "1 audit, 2 items drawn\n", "one in each direction"
    assert audit("shadow", first, second) == "1 audit, 3 items drawn\n"
    desk.judge("ann", "reject")
    while case := desk.take("ann"):
        desk.decide("ann", case, "confirm" if "only-new" in case.videos[0][1] else "reject")
    assert f"test/violence\t{first}, {second}\t3\t3\t3\t0\t3\t0.2500" in audit()


def test_a_shadow_that_comes_on_show_keeps_its_cases(desk, shadow):
    draw(desk, shadow)
    with desk.work.database.begin() as connection:
        make_current(connection, shadow[1], source="s3://bucket", set_names={"test"}, made_by="lea", instead=True)
    show_current(desk.work.database)
    states = {name: state for name, state in desk.states().items() if state == "open"}
    assert set(states) == {"general/both", "general/only-old", "general/only-new", "general/only-new-too"}


def test_a_recipe_that_does_not_exist_is_refused(desk, shadow):
    with pytest.raises(PermanentError, match="there is no recipe 999"):
        draw(desk, (shadow[0], 999))
