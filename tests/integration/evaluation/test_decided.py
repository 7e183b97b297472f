"""Right answers from what people decided."""

from __future__ import annotations

import pytest
from fixtures.judged import under
from fixtures.work_reviewed import VIOLENCE

from nightreel.database.policies import apply_policy
from nightreel.errors import SettingsError
from nightreel.evaluation.decided import decided_labels
from nightreel.stages.rejudge import apply_changes

SOURCE = "s3://bucket/"


def labels(desk, *prompts: str, source: str = SOURCE):
    with desk.work.database.begin() as connection:
        return {(one.file, one.prompt): one.answer for one in decided_labels(connection, source, prompts=prompts)}


def test_what_people_decided_is_the_right_answer(desk):
    for name, ruling in {"a/right": "confirm", "a/wrong": "reject", "b/open": "unsure"}.items():
        desk.analyse(name, violence=0.9)
        last = desk.judge("ann", ruling)
    with pytest.raises(SettingsError, match="nobody decided"):
        labels(desk, "gore")
    assert labels(desk, "violence", "gore") == {("a/right.mp4", "violence"): "yes", ("a/wrong.mp4", "violence"): "no"}
    assert labels(desk, "violence", source="s3://bucket/a") == {
        ("right.mp4", "violence"): "yes",
        ("wrong.mp4", "violence"): "no",
    }
    desk.undo("ann", last)
    desk.judge("ann", "confirm")
    assert labels(desk, "violence")["b/open.mp4", "violence"] == "yes"


def test_a_confirmed_label_has_the_answer_that_was_flagged_when_it_was_decided(desk):
    desk.analyse("a", violence=0.9)
    desk.judge("ann", "confirm")
    with desk.work.database.begin() as connection:
        prompt_id = desk.work.recipe.prompt_ids["violence"]
        apply_policy(connection, prompt_id, under(VIOLENCE, flags=("no",)).policy, made_by="lea")
    apply_changes(desk.work.database)
    desk.analyse("b", violence=0.1)
    desk.judge("ann", "confirm")
    assert labels(desk, "violence") == {("a.mp4", "violence"): "yes", ("b.mp4", "violence"): "no"}
