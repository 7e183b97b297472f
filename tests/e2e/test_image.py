"""The image: what it contains, its demo, and a night with the commands of docker/compose.yaml.

`make test-image` builds an image and runs these tests. NIGHTREEL_TEST_IMAGE names one that exists already, and
NIGHTREEL_TEST_POSTGRES_IMAGE one with Postgres and pgvector, other than that of compose.yaml.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from fixtures.images import Image, Network, container, find_tool, opened_image
from fixtures.pipeline import make_clip
from fixtures.service_containers import Compose
from fixtures.service_postgres import PostgresContainer, running_postgres
from fixtures.swift import running_swift

IMAGE = os.environ.get("NIGHTREEL_TEST_IMAGE", "")
POSTGRES_IMAGE = os.environ.get("NIGHTREEL_TEST_POSTGRES_IMAGE", "")
MOST_BYTES = {"cpu": 2_500_000_000, "gpu-vllm": 26_000_000_000}
_SECRETS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/]{40}|AKIA[0-9A-Z]{16}|postgres(ql)?://\w+:[^@\s]{16,}@"
)
_SECRET_FILES = re.compile(
    r"(^|/)(\.env|\.netrc|\.pypirc|pip\.conf|id_(rsa|ed25519)|\.aws|\.docker|\.git|secrets|\.nightreel|\.cache)(/|$)"
)
_UPLOAD = """
import sys, botocore.session
endpoint, key, secret, bucket, *files = sys.argv[1:]
s3 = botocore.session.Session().create_client(
    "s3", region_name="us-east-1", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret)
s3.create_bucket(Bucket=bucket)
for file in files:
    s3.put_object(Bucket=bucket, Key=file.rpartition("/")[2], Body=open(file, "rb").read())
"""

pytestmark = [
    pytest.mark.skipif(not IMAGE, reason="`make test-image` builds the image and runs these tests"),
    pytest.mark.timeout(1800),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    with opened_image(IMAGE, tmp_path_factory.mktemp("image")) as opened:
        yield opened


@pytest.fixture(scope="module")
def network(image: Image) -> Iterator[Network]:
    with Network() as made:
        yield made


def _output(image: Image, network: Network, *command: str, mounts: tuple = ()) -> str:
    words = container(image, network, command, mounts=mounts)
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tarfile.TarFile]:
    """The image as an archive, with one tar file for each layer."""
    tool = find_tool()
    archive = tmp_path_factory.mktemp("archive") / "image.tar"
    command = {"buildah": ["buildah", "push", "--quiet", IMAGE, f"docker-archive:{archive}"]}
    subprocess.run(command.get(tool or "", [tool, "save", "--output", archive, IMAGE]), check=True)
    with tarfile.open(archive) as opened:
        yield opened
    archive.unlink()


# -- what it contains --------------------------------------------------------------------------------------------


def test_the_image_for_cpus_is_small(layers: tarfile.TarFile) -> None:
    manifest = json.load(layers.extractfile("manifest.json"))
    size = sum(layers.getmember(name).size for name in manifest[0]["Layers"])
    most = MOST_BYTES.get(IMAGE.rpartition(":")[2], 12_000_000_000)
    assert size <= most, f"{size:,} bytes"


def test_no_layer_contains_a_secret(layers: tarfile.TarFile) -> None:
    manifest = json.load(layers.extractfile("manifest.json"))
    config = layers.extractfile(manifest[0]["Config"]).read()
    assert not _SECRETS.search(config)
    assert not re.search(rb'"[A-Z_]*(PASSWORD|SECRET|TOKEN|API_KEY|CREDENTIAL)[A-Z_]*=', config)
    found = []
    for name in manifest[0]["Layers"]:
        with tarfile.open(fileobj=layers.extractfile(name)) as layer:
            for entry in layer:
                path = entry.name.removeprefix("./")
                if _SECRET_FILES.search(path) and "site-packages" not in path:
                    found.append(path)
                elif entry.isfile() and entry.size < 100_000 and not path.endswith((".pyc", ".so")):
                    if "site-packages" in path and not path.startswith(
                        f"opt/nightreel/lib/{_python(path)}/site-packages/nightreel"
                    ):
                        continue
                    if _SECRETS.search(layer.extractfile(entry).read()):
                        found.append(path)
    assert found == []


def _python(path: str) -> str:
    return path.split("/")[3] if path.count("/") > 3 else ""


def test_it_contains_no_compiler_no_pip_and_nothing_that_gives_rights(image: Image, network: Network) -> None:
    compiler = "" if IMAGE.endswith("gpu-vllm") else "gcc cc ld as"  # for Triton
    programs = f"{compiler} c++ clang make pip pip3 git curl wget ssh sudo"
    found = _output(image, network, "sh", "-c", f"for name in {programs}; do command -v $name || true; done")
    assert found == ""
    _output(
        image,
        network,
        "python",
        "-c",
        "import importlib.util as u; assert not any(map(u.find_spec, ['pip', 'ensurepip']))",
    )
    assert _output(image, network, "sh", "-c", "find / -xdev -type f -perm /6000 2> /dev/null || true") == ""


def test_it_runs_as_an_unprivileged_user_who_can_change_nothing(image: Image, network: Network) -> None:
    assert image.user == "10001:10001"
    assert _output(image, network, "id", "--user") == "10001\n"
    writable = r"-xdev \( -user 10001 -o -group 10001 -o -perm /2 \) -not -type l -not -path '/proc/*'"
    places = set(_output(image, network, "sh", "-c", f"find / {writable} 2> /dev/null || true").split())
    assert places <= {"/tmp", "/var/tmp", "/run/lock", "/var/lib/nightreel", "/var/cache/huggingface"}  # noqa: S108
    status = _output(image, network, "grep", "-E", "CapEff|NoNewPrivs", "/proc/self/status").split()
    assert status == ["CapEff:", "0" * 16, "NoNewPrivs:", "1"]
    _output(image, network, "sh", "-c", "! touch /opt/nightreel/x /usr/x /x 2> /dev/null")


@pytest.mark.skipif(not IMAGE.endswith("gpu-vllm"), reason="only the image gpu-vllm contains vLLM")
def test_the_vllm_of_the_image_is_found(image: Image, network: Network) -> None:
    locked = (Path(__file__).parents[2] / "docker" / "requirements-vllm.txt").read_text()
    (version,) = re.findall(r"^vllm==(\S+)", locked, re.MULTILINE)
    assert json.loads(_output(image, network, "nightreel", "engine", "--json"))["version"] == version


def test_every_package_has_the_version_of_the_lock(image: Image, network: Network) -> None:
    locked = (Path(__file__).parents[2] / "docker" / "requirements.txt").read_text()
    versions = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", locked, re.MULTILINE))
    ask = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    installed = dict(
        word.split("==") for word in _output(image, network, "/opt/nightreel/bin/python", "-c", ask).split()
    )
    installed = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in installed.items()}
    assert installed.pop("nightreel")
    assert {name: versions.get(name) for name in installed} == installed


def test_the_rest_service_finds_all_that_it_needs(image: Image, network: Network) -> None:
    assert "/api/v1/ask" in json.loads(_output(image, network, "nightreel", "api", "--openapi"))["paths"]


def test_its_sbom_lists_its_packages_and_those_of_the_system(image: Image, network: Network) -> None:
    sbom = json.loads(_output(image, network, "cat", "/opt/nightreel/sbom.cdx.json"))
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    purls = {component["purl"].partition("?")[0] for component in sbom["components"] if "purl" in component}
    python = _output(image, network, "python", "-c", "import torch; print(torch.__version__.partition('+')[0])").strip()
    assert f"pkg:pypi/torch@{python}" in purls
    system = set(_output(image, network, "dpkg-query", "--show", "--showformat", "${Package}\n").split())
    listed = {purl.rpartition("/")[2].partition("@")[0] for purl in purls if purl.startswith("pkg:deb/")}
    assert system <= {name.replace("%2B", "+") for name in listed}


# -- what it does ------------------------------------------------------------------------------------------------


@contextmanager
def _volume(directory: Path, image: Image) -> Iterator[tuple[Path, str, str]]:
    directory.mkdir(mode=0o755)
    subprocess.run(["chown", image.user, directory], check=True)
    yield directory, "/var/lib/nightreel", "rw"


def test_its_demo_answers_everything_right(image: Image, network: Network, tmp_path: Path) -> None:
    with _volume(tmp_path / "work", image) as volume:
        said = _output(image, network, "nightreel", "demo", mounts=(volume,))
    found = re.search(r"correct: (\d+) of (\d+) captions, (\d+) of (\d+) answers", said)
    assert found, said
    assert (found[1], found[3]) == (found[2], found[4]), said


@pytest.fixture
def night(image: Image, network: Network, tmp_path: Path) -> Iterator[tuple[Compose, PostgresContainer]]:
    """The services with a night every minute, a Postgres and an S3 server. Bucket `videos` has two videos."""
    tmp_path.chmod(0o755)
    images, variables = {"nightreel:cpu": image}, {"NIGHTLY_CRON": "* * * * *"}
    with ExitStack() as stack:
        compose = stack.enter_context(Compose(network, tmp_path, images, running={"s3", "bucket"}, variables=variables))
        postgres = stack.enter_context(running_postgres(compose, tmp_path, image_name=POSTGRES_IMAGE))
        postgres.query("CREATE EXTENSION vector")
        (tmp_path / "swift").mkdir()
        server = stack.enter_context(running_swift(tmp_path / "swift", port=8333, within=network.enter))
        (compose.secrets / "aws_credentials").write_text(
            f"[default]\naws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret}\n"
        )
        videos = [make_clip(tmp_path / "videos" / f"{seed}.mp4", seed) for seed in (1, 2)]
        access = [server.endpoint_url, server.access_key, server.secret]
        subprocess.run(
            [*network.enter, sys.executable, "-c", _UPLOAD, *access, "videos", *map(str, videos)], check=True
        )
        with compose:
            yield compose, postgres


def test_a_night_with_the_commands_of_compose(night: tuple[Compose, PostgresContainer]) -> None:
    compose, postgres = night
    compose.up("worker-cpu")
    assert {"migrate", "prefect", "deploy"} <= compose.running
    assert "nothing to change" in compose.run("deploy")
    deadline = time.monotonic() + 420
    while postgres.query("SELECT count(*) FROM reporting.videos WHERE status = 'done'") != ["2"]:
        assert compose.processes["worker-cpu"].poll() is None, compose.log("worker-cpu")
        assert time.monotonic() < deadline, compose.log("worker-cpu")
        time.sleep(1)
    assert postgres.query("SELECT count(*) FROM reporting.answers WHERE state <> 'answered'") == ["0"]
    assert postgres.query("SELECT count(*) > 10 FROM reporting.answers") == ["t"]
    compose.stop("worker-cpu")
    assert postgres.query("SELECT DISTINCT status FROM nightreel.runs WHERE status IN ('running', 'crashed')") == []
    compose.up("metrics")
    compose.wait_healthy("metrics")
    page = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9464/metrics', timeout=20).read().decode())"
    assert re.search(r"^nightreel_\w+", compose.run("metrics", ["python", "-c", page]), re.MULTILINE)
    compose.stop("metrics")
    compose.run("worker-cpu", ["nightreel", "analyze", "s3://videos"])
    assert postgres.query("SELECT count(*) FROM reporting.videos") == ["2"]
