"""deployments/ names only existing things, and pods of its job template have only the rights that they need."""

from __future__ import annotations

import tomllib
from copy import deepcopy
from importlib import import_module
from pathlib import Path

import pytest
from prefect.flows import Flow
from prefect.utilities.templating import apply_values, find_placeholders

from nightreel.orchestration.dead_flow_runs import FLOWS
from nightreel.orchestration.deployments.automations import SILENT_FOR
from nightreel.orchestration.deployments.definitions import NIGHTLY, load_definitions
from nightreel.orchestration.deployments.pools import QUEUES, UPKEEP, default_template
from nightreel.orchestration.nights import NIGHTS
from nightreel.orchestration.part_runs import FLOW, SHARDS, deployment_of
from nightreel.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = ROOT / "deployments"
DEFINITIONS = {definition["name"]: definition for definition in load_definitions(DEPLOYMENTS / "prefect.yaml")}
SCHEDULED = [name for name, definition in DEFINITIONS.items() if definition.get("schedules")]
POOL = Settings.model_fields["work_pool"].default


def flow_of(name: str) -> Flow:
    module, _, function = DEFINITIONS[name]["entrypoint"].rpartition(".")
    return getattr(import_module(module), function)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_deployment_names_an_existing_flow_and_an_existing_queue(name):
    definition = DEFINITIONS[name]
    assert isinstance(flow_of(name), Flow)
    assert flow_of(name).name in FLOWS, "or its dead runs are not ended, and old runs without a deployment stay"
    assert definition["pull"] == [], "workers have the flows installed"
    assert definition["work_pool"]["name"] == POOL
    assert definition["work_pool"]["work_queue_name"] in QUEUES
    assert definition["description"]
    assert "nightreel" in definition["tags"], "the automation for dead runs recognises our runs by this tag"
    heartbeat_s = float(definition["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert 3 * heartbeat_s < SILENT_FOR.total_seconds(), "or live runs would be marked as crashed"


@pytest.mark.parametrize("name", SCHEDULED)
def test_a_scheduled_deployment_has_a_time_zone_and_runs_one_at_a_time(name):
    definition = DEFINITIONS[name]
    assert definition["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    for schedule in definition["schedules"]:
        assert schedule["timezone"]
        assert schedule["slug"], "without it, Prefect makes schedules again, and paused ones become active"


def test_nights_have_the_highest_priority_and_shards_the_deployment_that_backfills_use():
    assert min(QUEUES, key=QUEUES.__getitem__) == NIGHTS == DEFINITIONS[NIGHTLY]["work_pool"]["work_queue_name"]
    shards = DEFINITIONS[SHARDS + POOL]
    assert f"{flow_of(SHARDS + POOL).name}/{shards['name']}" == deployment_of(POOL)
    assert flow_of(SHARDS + POOL).name == FLOW
    assert shards["work_pool"]["work_queue_name"] == max(QUEUES, key=QUEUES.__getitem__)
    assert "schedules" not in shards


def test_flows_that_ask_a_model_are_not_on_the_upkeep_queue():
    upkeep = {name for name, one in DEFINITIONS.items() if one["work_pool"]["work_queue_name"] == UPKEEP}
    assert upkeep == {
        "backfill",
        "cache-eviction",
        "carry-out-requests",
        "deliver-webhooks",
        "discover-sweep",
        "draw-audits",
        "retention",
        "tidy-prefect",
    }


def test_the_readme_names_every_deployment_and_queue():
    text = (DEPLOYMENTS / "README.md").read_text()
    named = {f"{name.removesuffix(POOL)}<pool>" if name.endswith(f"-{POOL}") else name for name in DEFINITIONS}
    assert [name for name in {*named, *QUEUES} if f"`{name}`" not in text] == []


def test_a_wheel_contains_the_deployment_files():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build["force-include"]["deployments"] == "nightreel/deployments"


# -- pods --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def template() -> dict:
    return deepcopy(default_template("kubernetes"))


def manifest(template: dict, **values) -> dict:
    """The template as Prefect's worker fills it: a variable without a value removes its key."""
    properties = template["variables"]["properties"]
    defaults = {name: about["default"] for name, about in properties.items() if about.get("default") is not None}
    return apply_values(template["job_configuration"], defaults | values)["job_manifest"]


def test_every_variable_of_a_pod_is_declared_and_used(template):
    used = {placeholder.name for placeholder in find_placeholders(template["job_configuration"])}
    assert used == set(template["variables"]["properties"])


def test_a_pod_has_no_privileges(template):
    pod = manifest(template)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert f"USER {user}" in (ROOT / "docker" / "Dockerfile").read_text()
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_pod_can_write_to_the_directories_that_the_image_writes_to(template):
    pod = manifest(template)["spec"]["template"]["spec"]
    mounted = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume.pop("name"): volume for volume in pod["volumes"]}
    image = dict(
        line.strip(" \\").removeprefix("ENV ").split("=", 1)
        for line in (ROOT / "docker" / "Dockerfile").read_text().splitlines()
        if "=" in line and line.startswith(("    ", "ENV "))
    )
    assert "emptyDir" in volumes[mounted[image["NIGHTREEL_WORK_DIR"]]]
    assert "emptyDir" in volumes[mounted["/tmp"]]  # noqa: S108 - of the pod
    assert volumes[mounted[image["HF_HOME"]]] == {"persistentVolumeClaim": {"claimName": "nightreel-cache"}}
    # A worker passes on its own PREFECT_HOME, which may not exist in the pod.
    home = template["job_configuration"]["env"]["PREFECT_HOME"]
    assert home == image["PREFECT_HOME"]
    assert home.startswith(f"{image['NIGHTREEL_WORK_DIR']}/")


def test_a_pod_gets_its_gpu_and_references_its_secrets(template):
    (container,) = manifest(template, gpus=2, secret_name="mine")["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert {"secretRef": {"name": "mine"}} in container["envFrom"]
    assert "env" not in container, "no secret is in plain text"


def test_pods_get_no_service_variables_that_look_like_settings(template):
    assert manifest(template)["spec"]["template"]["spec"]["enableServiceLinks"] is False
