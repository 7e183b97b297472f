"""S3, and broken surroundings of a run: errors are clear, and nothing is half-written."""

from __future__ import annotations

import json

import pytest
from fixtures.pipeline import PROMPT_COUNT, make_clip

from nightreel.errors import PermanentError, TransientError


@pytest.fixture
def bucket(s3_server, s3_bucket, tmp_path):
    """A bucket with two clips under a prefix."""
    client = s3_server.client()
    for seed in (1, 2):
        path = make_clip(tmp_path / f"{seed}.mp4", seed)
        client.put_object(Bucket=s3_bucket, Key=f"videos/{seed}.mp4", Body=path.read_bytes())
    return s3_bucket


def test_videos_and_cache_can_both_be_on_s3(make_pipeline, bucket, s3_server):
    pipeline = make_pipeline(f"s3://{bucket}/videos", NIGHTREEL_CACHE_URL=f"s3://{bucket}/features")
    assert pipeline.analyze().videos == {"done": 2}
    assert pipeline.value("SELECT count(*) FROM reporting.answers") == 2 * PROMPT_COUNT
    keys = [item["Key"] for item in s3_server.client().list_objects_v2(Bucket=bucket, Prefix="features/")["Contents"]]
    assert sorted(key.rpartition(".")[2] for key in keys) == ["jpg", "jpg", "parquet", "parquet"]
    assert pipeline.analyze().headline.startswith("nothing new")


def test_a_wrong_secret_is_refused_and_the_error_hides_it(make_pipeline, bucket, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-4711")
    pipeline = make_pipeline(f"s3://{bucket}/videos")
    with pytest.raises(PermanentError, match="access_denied") as caught:
        pipeline.analyze()
    assert "4711" not in str(caught.value)
    row = pipeline.rows("SELECT status, error FROM reporting.runs")[0]
    assert row.status == "failed"
    assert "access_denied" in row.error


def test_a_missing_bucket_does_not_count_as_empty(make_pipeline, s3_bucket):
    pipeline = make_pipeline(f"s3://{s3_bucket}-not-there/videos")
    with pytest.raises(PermanentError, match="no_such_bucket"):
        pipeline.analyze()


def test_a_missing_directory_does_not_count_as_empty(make_pipeline, tmp_path):
    with pytest.raises(PermanentError, match="no_such_source"):
        make_pipeline(tmp_path / "nowhere").analyze()


def test_the_error_for_postgres_down_names_host_and_port_and_hides_the_password(pipeline, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", "postgresql://someone:secret-4711@127.0.0.1:1/nightreel")
    with pytest.raises(TransientError, match=r"database_unreachable.*127\.0\.0\.1") as caught:
        pipeline.analyze()
    assert "4711" not in str(caught.value)


def test_a_full_disk_for_the_cache_breaks_the_run_and_leaves_nothing_half_written(make_pipeline, clips, small_disk):
    pipeline = make_pipeline(clips, NIGHTREEL_CACHE_URL=small_disk.as_uri(), NIGHTREEL_MAX_SAME_FAILURES="1")
    process = pipeline.start("analyze", pipeline.source, small_disk=small_disk)
    output = process.communicate(timeout=200)[0]
    assert process.returncode == 1, output
    assert "disk_full" in output
    assert "NIGHTREEL_CACHE_LIMIT_GIB" in output
    assert "NIGHTREEL_CACHE_URL" in output
    assert "NIGHTREEL_SPOOL_MIB" not in output
    assert pipeline.value("SELECT count(*) FROM nightreel.features") == 0
    assert pipeline.value("SELECT count(*) FROM nightreel.answers") == 0
    assert pipeline.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'pending' AND attempts = 0") == 3
    pipeline.end_waits()
    assert pipeline.analyze().videos == {"done": 3}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["analyze"], "no source"),
        (["analyze", "ftp://host/x"], "ftp://"),
        (["analyze", "{source}", "--plan", "uniform:0"], "1 to 1024"),
        (["analyze", "{source}", "--prompts", "nowhere.yaml"], "nowhere.yaml"),
        (["analyze", "{source}", "--since", "2026-02-02", "--until", "2026-01-01"], "not before"),
        (["analyze", "{source}", "--model", "/nowhere/at-all"], "/nowhere/at-all"),
    ],
)
def test_a_usage_error_names_the_value_and_changes_nothing(pipeline, arguments, said):
    process = pipeline.start(*(argument.format(source=pipeline.source) for argument in arguments))
    output = process.communicate(timeout=120)[0]
    assert process.returncode in (1, 2), output
    assert said in output
    assert "Traceback" not in output
    assert pipeline.value("SELECT count(*) FROM nightreel.runs") == 0


def test_a_run_behind_a_proxy_reaches_its_own_services_directly(pipeline, free_port):
    dead = f"http://127.0.0.1:{free_port}"
    for name in ("HTTP_PROXY", "https_proxy"):
        pipeline.environment[name] = dead
    pipeline.environment["ALL_PROXY"] = dead.replace("http", "socks5")
    process = pipeline.start("analyze", pipeline.source)
    output = process.communicate(timeout=200)[0]
    assert process.returncode == 0, output
    assert pipeline.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'done'") == 3


def test_the_json_option_prints_only_json(pipeline):
    process = pipeline.start("analyze", pipeline.source, "--json")
    output = process.communicate(timeout=120)[0]
    assert output.startswith("{"), output
    assert json.loads(output)["videos"] == {"done": 3}
