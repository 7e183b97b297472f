"""docker/ names only existing things. These tests build no image and start no container."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import get_args, get_type_hints

import prefect.settings
import pytest
import typer
import yaml
from packaging.requirements import Requirement

from nightreel.cli.app import app
from nightreel.orchestration.deployments.definitions import load_definitions, make_out
from nightreel.services.prefect_server import SERVER_SETTINGS
from nightreel.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
ENGINE = ROOT / "nightreel" / "models" / "engine"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
INSTRUCTIONS = [
    line.strip() for line in re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.M)).splitlines() if line
]
OURS = {"nightreel:cpu": "cpu", "nightreel:gpu": "gpu"}


def environment(service: dict) -> dict[str, str]:
    return service.get("environment", {})


def commands() -> list[list[str]]:
    """Commands that our containers run, health checks included."""
    found = [json.loads(line.partition("CMD ")[2]) for line in INSTRUCTIONS if re.match(r"(HEALTHCHECK .*)?CMD ", line)]
    for service in SERVICES.values():
        if service["image"] in OURS:
            command = service.get("command", [])
            found.append(shlex.split(command[2].rpartition("exec ")[2]) if command[:2] == ["sh", "-c"] else command)
    return found


def mounts(service: dict) -> list[tuple[str, str]]:
    return [tuple(volume.split(":")[:2]) for volume in service.get("volumes", [])]


def test_every_variable_is_a_setting():
    text = DOCKERFILE + (DOCKER / "compose.yaml").read_text() + (DOCKER / "alerts.yml").read_text()
    ours = {f"NIGHTREEL_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bNIGHTREEL_[A-Z0-9_]+", text)) - ours == set()
    prefects = set(re.findall(r"\bPREFECT_[A-Z0-9_]+", text))
    assert [name for name in prefects if not hasattr(prefect.settings, name)] == []


def test_every_value_is_valid_for_its_setting(monkeypatch):
    for service in SERVICES.values():
        for name, value in environment(service).items():
            assert isinstance(value, str), f"{name}: YAML reads {value!r} as something else than text"
    values = {
        name: value for name, value in environment(SERVICES["worker-gpu"]).items() if name.startswith("NIGHTREEL")
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    assert (settings.metrics_port, settings.source) == (9464, "s3://videos")


def test_the_prefect_server_has_the_settings_that_were_measured():
    given = environment(SERVICES["prefect"])
    image = dict(re.findall(r"\b([A-Z_]+)=(\S+)", DOCKERFILE))
    assert {name: given.get(name, image.get(name)) for name in SERVER_SETTINGS} == SERVER_SETTINGS


def test_every_command_exists():
    group = typer.main.get_command(app)
    for command in commands():
        if command[0] == "nightreel":
            words = [word for word in command[1:] if not word.startswith("-")]
            found = group.get_command(None, words[0]) if words else None
            assert not words or found, command
            assert not words[1:] or words[1] in found.commands, command
            options = {word.partition("=")[0] for word in command[1:] if word.startswith("--")}
            known = {name for option in found.params for name in option.opts} if found else {"--help"}
            assert options <= known, command
        else:
            assert command[0] in ("prefect", "python", "sh"), command
    assert ["nightreel", "status"] in commands()


def test_workers_serve_the_pool_that_was_deployed_before():
    workers = [service for name, service in SERVICES.items() if "worker" in name]
    assert [service["command"] for service in workers] == [["nightreel", "worker"]] * 2
    for service in workers:
        assert service["depends_on"]["deploy"] == {"condition": "service_completed_successfully"}
        pools = {environment(one)["NIGHTREEL_WORK_POOL"] for one in (service, SERVICES["deploy"])}
        assert len(pools) == 1
        assert service["stop_grace_period"] == "90s", "Docker kills after 10 s by default; killed runs record no end"


def test_the_cron_of_the_containers_can_be_deployed():
    given = dict(word.split("=", 1) for word in SERVICES["deploy"]["command"] if word.startswith("--"))
    defaults = {name: re.fullmatch(r"\$\{\w+:-(.+)\}", value)[1] for name, value in given.items()}
    definitions = load_definitions(ROOT / "deployments" / "prefect.yaml")
    made = make_out(definitions, ["nightreel"], cron=defaults["--cron"], time_zone=defaults["--time-zone"])
    assert made == definitions, "without variables, the cron is that of the file"


def test_prefect_knows_the_options_of_its_command():
    for command in commands():
        if command[0] != "prefect":
            continue
        group, verb = [word for word in command[1:] if not word.startswith("-")][:2]
        hints = get_type_hints(getattr(import_module(f"prefect.cli.{group}"), verb), include_extras=True)
        known = {f"--{name}" for name in hints} | {
            name
            for hint in hints.values()
            for about in get_args(hint)[1:]
            for name in getattr(about, "name", None) or ()
        }
        assert {word for word in command if word.startswith("--")} - {"--no-prompt"} <= known, command


@pytest.mark.parametrize("image", sorted({service["image"] for service in SERVICES.values()} - set(OURS)))
def test_foreign_images_have_a_version(image):
    assert re.search(r":v?\d+\.\d+", image), image
    assert "latest" not in image


def test_base_images_have_a_version_and_compose_builds_existing_stages():
    arguments = dict(re.match(r"ARG (\w+)=(.+)", line).groups() for line in INSTRUCTIONS if "_IMAGE=" in line)
    stages = [re.match(r"FROM (\S+) AS (\S+)$", line).groups() for line in INSTRUCTIONS if "FROM" in line]
    names = {name for _, name in stages}
    assert {base for base, _ in stages} - names == {f"${{{argument}}}" for argument in arguments}
    assert all(re.search(r":\d+\.\d+\.\d+", image) for image in arguments.values())
    builds = {service["image"]: service["build"] for service in SERVICES.values() if "build" in service}
    assert {image: build["target"] for image, build in builds.items()} == OURS
    assert set(OURS.values()) <= names
    assert all((DOCKER / build["context"] / build["dockerfile"]).is_file() for build in builds.values())


def test_copied_files_exist_and_are_not_ignored():
    lets = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for line in INSTRUCTIONS
        if line.startswith("COPY") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert copied == lets
    assert all((ROOT / source).exists() for source in copied)
    # The files that the build backend needs are among them.
    assert {"README.md", "LICENSE", "nightreel", "tasks", "flows", "sql", "deployments"} <= copied
    assert {"docker/requirements.txt", "docker/requirements-build.txt"} <= copied


def test_containers_run_as_an_unprivileged_user_without_build_tools():
    results = DOCKERFILE.split("\nFROM ")
    for stage in [text for text in results if re.match(r"\S+ AS (cpu|gpu)\n", text)]:
        assert "USER 10001:10001" in stage
        assert "HEALTHCHECK" in stage
        assert not re.search(r"apt-get install.*(gcc|build-essential|python3-venv|python3-pip)", stage)
    for name, service in SERVICES.items():
        if "worker" in name:
            assert service["cap_drop"] == ["ALL"]


def test_the_image_with_vllm_has_its_environment_where_runs_look_for_it_and_ends_unprivileged():
    stage = DOCKERFILE.split("\nFROM gpu AS gpu-vllm\n")[1]
    (copied,) = re.findall(r"^COPY --from=vllm-build (\S+) (\S+)$", stage, re.M)
    (place,) = re.findall(r"^ENV NIGHTREEL_ENGINE_DIR=(\S+)$", stage, re.M)
    assert {*copied} == {place}
    assert f"sbom.py {place} " in DOCKERFILE
    assert [line for line in stage.splitlines() if line.startswith("USER")][-1] == "USER 10001:10001"


def test_the_image_with_vllm_has_the_versions_that_engine_install_has():
    constraints = {}
    for line in (ENGINE / "constraints-cuda.txt").read_text().splitlines()[1:]:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"python_full_version": "3.12.3"}):
            constraints[requirement.name] = str(requirement.specifier)
    locked = dict(re.findall(r"^([a-z0-9-]+)(==\S+)", (DOCKER / "requirements-vllm.txt").read_text(), re.M))
    (vllm,) = re.findall(r"^vllm(==\S+)$", (ENGINE / "requirements-cuda.txt").read_text(), re.M)
    assert locked == {**constraints, "vllm": vllm}


def test_ports_are_open_only_to_this_machine():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_mounted_files_exist_and_volumes_are_declared():
    for service in SERVICES.values():
        for source, _ in mounts(service):
            assert (DOCKER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], source


def test_every_secret_is_made_mounted_and_read_at_its_path(tmp_path, monkeypatch):
    subprocess.run(["sh", str(DOCKER / "make_secrets.sh"), str(tmp_path)], check=True)
    files = {name: Path(secret["file"]) for name, secret in COMPOSE["secrets"].items()}
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in files.values()}
    assert {str(path.parent) for path in files.values()} == {"secrets"}
    assert "docker/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    for service in SERVICES.values():
        assert set(service.get("secrets", [])) <= set(files)
        text = json.dumps([service.get("command"), environment(service)])
        assert set(re.findall(r"/run/secrets/([a-z0-9_.]+)", text)) <= set(service.get("secrets", []))
    for name in ("NIGHTREEL_DATABASE_URL", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    settings = Settings(_secrets_dir=tmp_path, _env_file=None)
    for role, url in (("worker", settings.database_url), ("owner", settings.database_owner_url)):
        password = (tmp_path / f"postgres_{role}_password").read_text().strip()
        assert url.get_secret_value() == f"postgresql://nightreel_{role}:{password}@postgres:5432/nightreel"
    password = (tmp_path / "prefect_password").read_text().strip()
    assert settings.prefect_api_auth_string.get_secret_value() == f"nightreel:{password}"
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    subprocess.run(["sh", str(DOCKER / "make_secrets.sh"), str(tmp_path)], check=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    key, secret = re.findall(r"= (\w+)", before["aws_credentials"])
    assert json.loads(before["s3.json"])["identities"][0]["credentials"] == [{"accessKey": key, "secretKey": secret}]
    passwords = [before[name] for name in before if name.endswith("_password")]
    assert len({*passwords, key, secret}) == len(passwords) + 2 == 10
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_the_url_of_the_superuser_that_older_versions_wrote_is_replaced(tmp_path):
    (tmp_path / "postgres_password").write_text("old\n")
    (tmp_path / "nightreel_database_url").write_text("postgresql://nightreel:old@postgres:5432/nightreel\n")
    subprocess.run(["sh", str(DOCKER / "make_secrets.sh"), str(tmp_path)], check=True)
    assert (tmp_path / "nightreel_database_url").read_text().startswith("postgresql://nightreel_worker:")
    assert (tmp_path / "postgres_password").read_text() == "old\n"
    (tmp_path / "nightreel_database_url").write_text("postgresql://me@elsewhere/x\n")
    subprocess.run(["sh", str(DOCKER / "make_secrets.sh"), str(tmp_path)], check=True)
    assert (tmp_path / "nightreel_database_url").read_text() == "postgresql://me@elsewhere/x\n"


def test_only_what_states_roles_and_migrates_has_more_than_the_rights_of_its_work():
    holders = {
        secret: {name for name, one in SERVICES.items() if secret in one.get("secrets", [])}
        for secret in COMPOSE["secrets"]
    }
    assert holders["postgres_password"] == {"postgres", "roles"}
    assert holders["postgres_owner_password"] == holders["postgres_worker_password"] == {"roles"}
    assert holders["postgres_prefect_password"] == {"roles", "prefect"}
    assert holders["nightreel_database_owner_url"] == {"migrate"}
    assert holders["nightreel_database_console_url"] == {"api"}
    assert "api" not in holders["nightreel_database_url"]
    assert holders["prefect_password"] == {"prometheus"}


OTHERS = {"s3", "bucket", "dcgm"}
"""Images of others that were not tried with less."""


@pytest.mark.parametrize("name", SERVICES)
def test_containers_are_confined(name):
    service = SERVICES[name]
    assert service["pids_limit"] > 0
    assert service["mem_limit"]
    assert "privileged" not in service
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", []))
    if name not in OTHERS:
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "cap_add" not in service
    if name != "dcgm":
        assert service["security_opt"] == ["no-new-privileges:true"]


def starts_processes(service: dict) -> bool:
    """Whether the first process of a container starts others: Python programs, and shells that wait for commands.

    The programs of the other images are made to be the first process.
    """
    command = [*service.get("entrypoint", []), *service.get("command", [])]
    return service["image"] in OURS or (command[:2] == ["sh", "-c"] and "exec " not in command[2])


@pytest.mark.parametrize("name", [name for name in SERVICES if starts_processes(SERVICES[name])])
def test_containers_that_start_processes_have_a_first_process_that_reaps_them(name):
    assert SERVICES[name].get("init") is True, "zombies would use up pids_limit, and signals to a shell would be lost"


def test_every_place_that_our_containers_write_to_is_a_volume_or_in_memory():
    for service in SERVICES.values():
        if service["image"] in OURS:
            places = {target for _, target in mounts(service)} | {place.split(":")[0] for place in service["tmpfs"]}
            assert {"/tmp", "/var/lib/nightreel"} <= places, service  # noqa: S108  (of a container)


def test_the_prefect_server_asks_for_its_secret_under_its_own_names():
    given = SERVICES["prefect"]
    assert "nightreel.orchestration.prefect_application:create" in given["command"][2]
    assert "PREFECT_SERVER_API_AUTH_STRING" in given["command"][2].partition("&&")[0], "exported before the start"
    origin = environment(given)["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]
    assert environment(given)["PREFECT_UI_API_URL"] == f"{origin}/api"
    assert environment(given)["PREFECT_API_URL"] == environment(SERVICES["worker-cpu"])["PREFECT_API_URL"]


def test_services_wait_for_existing_services_that_have_a_health_check():
    for service in SERVICES.values():
        needs = service.get("depends_on", {})
        for name in needs:
            assert name in SERVICES
            if isinstance(needs, dict) and needs[name]["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]


def test_prometheus_scrapes_existing_services_and_reads_mounted_rules():
    config = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    mounted = {target: DOCKER / source for source, target in mounts(SERVICES["prometheus"])}
    assert [mounted[path].name for path in config["rule_files"]] == ["alerts.yml"]
    targets = {target for job in config["scrape_configs"] for at in job["static_configs"] for target in at["targets"]}
    hosts = dict(target.split(":") for target in targets)
    assert set(hosts) <= set(SERVICES)
    for host in ("metrics", "worker-cpu", "worker-gpu"):
        assert environment(SERVICES[host])["NIGHTREEL_METRICS_PORT"] == hosts[host]
    rules = yaml.safe_load((DOCKER / "alerts.yml").read_text())
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    assert set(re.findall(r'job="(\w+)"', json.dumps(rules).replace("\\", ""))) <= jobs


def test_grafana_finds_its_dashboard_and_its_data_source():
    mounted = {target: DOCKER / source for source, target in mounts(SERVICES["grafana"])}
    provisioning = mounted["/etc/grafana/provisioning"]
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    assert re.fullmatch(r"http://(\w+):9090", source["url"])[1] in SERVICES
    provider = yaml.safe_load((provisioning / "dashboards" / "nightreel.yml").read_text())["providers"][0]
    dashboard = json.loads((mounted[provider["options"]["path"]] / "nightreel.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in dashboard["panels"]})


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool, which comes with Prometheus, is not installed")
def test_alerts_fire_at_the_right_time():
    command = ["promtool", "test", "rules", str(DOCKER / "alerts_test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
