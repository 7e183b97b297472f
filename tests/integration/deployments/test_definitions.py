"""Deployments are written for pools, and a wrong prefect.yaml is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nightreel.errors import SettingsError
from nightreel.orchestration.deployments.definitions import load_definitions, make_out, shipped, stamp

SHARDS = {"name": "shards-home", "entrypoint": "a.b", "work_pool": {"name": "home", "work_queue_name": "backfill"}}
NIGHT = {
    "name": "nightly",
    "entrypoint": "a.b",
    "work_pool": {"name": "home", "work_queue_name": "nightly"},
    "schedules": [{"slug": "nightly", "cron": "30 0 * * *", "timezone": "UTC"}],
}


@pytest.fixture
def write(tmp_path):
    """`write(deployment, ...)` writes a prefect.yaml with these deployments and the shards."""

    def make(*deployments: dict, **top) -> Path:
        path = tmp_path / "prefect.yaml"
        path.write_text(yaml.safe_dump({**top, "deployments": [SHARDS, *deployments]}))
        return path

    return make


def test_the_first_pool_gets_all_deployments_and_the_others_only_shards(write):
    made = make_out(load_definitions(write(NIGHT)), ["a", "b"])
    assert [(one["name"], one["work_pool"]["name"]) for one in made] == [
        ("shards-a", "a"),
        ("shards-b", "b"),
        ("nightly", "a"),
    ]


def test_a_deployment_on_another_pool_is_not_moved(write):
    other = {"name": "mine", "entrypoint": "a.b", "work_pool": {"name": "elsewhere"}}
    made = {one["name"]: one for one in make_out(load_definitions(write(other)), ["a"])}
    assert made["mine"]["work_pool"]["name"] == "elsewhere"


def test_a_cron_applies_to_the_night_and_a_time_zone_to_all_schedules(write):
    weekly = {**NIGHT, "name": "weekly", "schedules": [{"slug": "w", "cron": "0 9 * * 0", "timezone": "UTC"}]}
    made = make_out(load_definitions(write(NIGHT, weekly)), ["a"], cron="15 1 * * *", time_zone="Europe/Berlin")
    crons = {one["name"]: one["schedules"][0] for one in made if "schedules" in one}
    assert (crons["nightly"]["cron"], crons["weekly"]["cron"]) == ("15 1 * * *", "0 9 * * 0")
    assert {schedule["timezone"] for schedule in crons.values()} == {"Europe/Berlin"}


def test_top_level_keys_of_the_file_apply_to_each_deployment(write):
    loaded = load_definitions(write({**NIGHT, "pull": None}, pull=[]))
    assert [one["pull"] for one in loaded] == [[], None]


def test_a_stamp_differs_only_if_the_definition_or_the_parameters_differ(write):
    (_, night) = load_definitions(write(NIGHT))
    same = dict(reversed(night.items()))
    assert stamp(night, {"a": 1}) == stamp(same, {"a": 1})
    assert len({stamp(night, {"a": 1}), stamp(night, {"a": 2}), stamp({**night, "tags": ["x"]}, {"a": 1})}) == 3


@pytest.mark.parametrize(
    ("cron", "time_zone", "why"),
    [("30 0 * *", "UTC", "Invalid cron"), ("30 0 * * *", "Europe/Berl", "Invalid timezone")],
)
def test_an_invalid_schedule_is_refused(write, cron, time_zone, why):
    with pytest.raises(SettingsError, match=rf"nightly.*{why}.*Expected"):
        make_out(load_definitions(write(NIGHT)), ["a"], cron=cron, time_zone=time_zone)


@pytest.mark.parametrize(
    "extra",
    [
        {"parameters": {"options": {"api_key": "k"}}},
        {"parameters": {"options": {"list": [{"DB_PASSWORD": "x"}]}}},
        {"parameters": {"url": "postgresql://me:secret@host/db"}},
        {"work_pool": {"name": "home", "job_variables": {"env": {"NIGHTREEL_DATABASE_URL": "x"}}}},
        {"work_pool": {"name": "home", "job_variables": {"env": {"AWS_SECRET_ACCESS_KEY": "x"}}}},
    ],
)
def test_secrets_are_refused_and_not_repeated(write, extra):
    with pytest.raises(SettingsError, match="looks like a secret") as raised:
        load_definitions(write({**NIGHT, **extra}))
    assert "me:secret" not in str(raised.value)


@pytest.mark.parametrize("name", ["max_new_tokens", "tokens", "keyframes", "prompts"])
def test_words_that_only_resemble_secrets_are_accepted(write, name):
    night = {**NIGHT, "parameters": {"options": {name: 5}}}
    assert night in load_definitions(write(night))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deployments: [", "should be a prefect.yaml"),
        ("name: x", "a list `deployments`"),
        ("deployments: [{name: a}]", "one deployment named shards-<pool>"),
        ("deployments: [{name: shards-a}, {name: b}, {name: b}]", "same name"),
    ],
)
def test_a_file_that_is_not_a_prefect_yaml_is_refused_with_the_expected_form(tmp_path, text, expected):
    path = tmp_path / "prefect.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=expected):
        load_definitions(path)


def test_the_shipped_file_is_found():
    assert shipped("prefect.yaml").is_file()
