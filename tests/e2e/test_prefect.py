"""What Prefect provides: a form for the options, artifacts, and retries of transient errors only."""

from __future__ import annotations

import subprocess
import sys
from uuid import UUID, uuid4

import pytest
from fixtures.hosts import wait_for
from fixtures.pipeline import make_clip
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.exceptions import ParameterTypeError
from prefect.flow_engine import run_flow

from flows.analyze_videos import analyze_videos
from nightreel.errors import PermanentError, TransientError
from nightreel.reasons import Reason
from nightreel.stages.ask import Asking
from nightreel.stages.discover import Discovery
from tasks import discover as task

MANY_EVENTS = """
from prefect.events import emit_event
from nightreel.orchestration.in_process import flows_in_process
from nightreel.services import open_services
from nightreel.settings import load_settings
settings = load_settings()
with open_services(settings) as services, flows_in_process(settings, services.prefect):
    for number in range(300):
        emit_event("test.event", {"prefect.resource.id": f"test.{number}"})
"""


@pytest.fixture
def stumbling(monkeypatch):
    """`stumbling(error, times)`: the next listings raise; returns the number of listings."""

    def make(error: Exception, times: int) -> list[int]:
        calls: list[int] = []

        discover_pages = Discovery.discover_pages

        def listing(discovery):
            calls.append(1)
            if len(calls) <= times:
                raise error
            return discover_pages(discovery)

        monkeypatch.setattr(Discovery, "discover_pages", listing)
        monkeypatch.setattr(task.discover, "retry_delay_seconds", [0.01, 0.01, 0.01])
        return calls

    return make


def test_the_options_render_as_a_form_that_validates_them():
    schema = analyze_videos.parameters.model_dump()
    options = schema["definitions"]["AnalyzeOptions"]["properties"]
    assert options["source"]["title"] == "Source"
    assert options["since"]["anyOf"][0]["format"] == "date-time"
    assert options["limit"]["anyOf"][0]["minimum"] == 1
    with pytest.raises(ParameterTypeError, match="uniform:N"):
        analyze_videos.validate_parameters({"options": {"plan": "every frame"}})


def test_a_run_publishes_its_summary_and_its_progress(pipeline):
    summary = pipeline.analyze()
    flow_run = UUID(pipeline.value("SELECT flow_run_id FROM nightreel.runs"))
    with get_client(sync_client=True) as client:
        found = {
            artifact.key: artifact
            for artifact in client.read_artifacts(
                artifact_filter=ArtifactFilter(
                    key=ArtifactFilterKey(any_=["analyze-videos", f"run-{summary.run_id}"]),
                    flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run]),
                )
            )
        }
    assert f"# {summary.headline}" in found["analyze-videos"].data
    assert found[f"run-{summary.run_id}"].data == 100.0


def test_the_flow_of_a_command_sends_no_heartbeats(pipeline):
    """Prefect waits up to a second for the thread that sends them. No automation reads those of a command."""
    process = pipeline.start("analyze", pipeline.source, "--limit", "1")
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    flow_run = pipeline.value("SELECT flow_run_id FROM nightreel.runs")
    about = {"resource": {"id": [f"prefect.flow-run.{flow_run}"]}}
    with get_client(sync_client=True) as client:

        def sent() -> set[str]:
            answer = client.request("POST", "/events/filter", json={"filter": about})
            return {event["event"].removeprefix("prefect.flow-run.") for event in answer.json()["events"]}

        wait_for(lambda: "Completed" in sent(), sent)
        assert "heartbeat" not in sent()


def test_a_command_does_not_warn_of_events_that_it_sends_at_its_end(pipeline):
    """The warning stood beside the JSON of --json, now and then."""
    done = subprocess.run([sys.executable, "-c", MANY_EVENTS], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_artifact_lists_failures_cost_and_changes_since_the_run_before(pipeline, clips, monkeypatch):
    pipeline.analyze()
    (clips / "broken | <b>.mp4").write_bytes((clips / "1.mp4").read_bytes()[:1000])
    make_clip(clips / "4.mp4", 4)
    monkeypatch.setenv("NIGHTREEL_GPU_DOLLARS_PER_HOUR", "3.6")
    summary = pipeline.analyze()
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                key=ArtifactFilterKey(any_=["analyze-videos"]),
                flow_run_id=ArtifactFilterFlowRunId(
                    any_=[UUID(pipeline.value("SELECT flow_run_id FROM nightreel.runs ORDER BY id DESC LIMIT 1"))]
                ),
            )
        )
    assert "| failed video | reason | message |" in artifact.data
    assert r"| `broken \| <b>.mp4` | no_index | `" in artifact.data
    assert f"| dollars | {summary.cost_s / 1000:.4f} |" in artifact.data
    before = f"run {summary.run_id - 1}, `analyze videos`"
    assert f"| changed since the run before | this run | {before} |" in artifact.data
    assert "| failed: no_index | 1 | 0 |" in artifact.data
    assert "| objects listed | 5 | 3 |" in artifact.data


def test_a_run_is_named_for_what_it_is(pipeline, monkeypatch):
    """The flow run of a person, and that of a deployment."""
    pipeline.analyze(limit=1)
    monkeypatch.setenv("NIGHTREEL_SOURCE", pipeline.source)
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(analyze_videos)
        deployment_id = client.create_deployment(flow_id, name=f"nightly-{uuid4().hex[:8]}")
        due = client.create_flow_run_from_deployment(deployment_id)
        run_flow(analyze_videos, flow_run=due, parameters={}, return_type="state")
        night = f"night {due.expected_start_time.astimezone():%Y-%m-%d}"
        assert client.read_flow_run(due.id).name == night
        names = [row.name for row in pipeline.rows("SELECT name FROM reporting.runs ORDER BY run_id")]
        assert names == ["analyze videos", night]
        first = UUID(pipeline.value("SELECT flow_run_id FROM nightreel.runs ORDER BY id LIMIT 1"))
        assert client.read_flow_run(first).name == "analyze videos"
        client.delete_deployment(deployment_id)
    assert pipeline.value("SELECT count(*) FROM nightreel.analyses WHERE status = 'done'") == 3


def test_a_transient_error_is_retried(pipeline, stumbling):
    calls = stumbling(TransientError(Reason.STORAGE_UNREACHABLE, "for a moment"), times=2)
    assert pipeline.analyze().videos == {"done": 3}
    assert len(calls) >= 3


def test_a_permanent_error_is_not_retried(pipeline, stumbling):
    calls = stumbling(PermanentError(Reason.ACCESS_DENIED, "for ever"), times=9)
    with pytest.raises(PermanentError, match="for ever"):
        pipeline.analyze()
    assert len(calls) == 1


def test_a_bug_that_one_video_triggers_fails_only_that_video(pipeline, monkeypatch):
    asked = Asking.ask_chunk

    def buggy(asking, segments, *more):
        if any("/2.mp4" in asking.videos.find(segment.analysis_id).claim.video.uri for segment in segments):
            raise ZeroDivisionError("a bug")
        return asked(asking, segments, *more)

    monkeypatch.setattr(Asking, "ask_chunk", buggy)
    summary = pipeline.analyze()
    assert (summary.videos["done"], summary.videos["failed"]) == (2, 1)
    assert pipeline.statuses()["2.mp4"] == ("failed", "internal_error")
    assert "ZeroDivisionError" in pipeline.value("SELECT detail FROM reporting.failures")
