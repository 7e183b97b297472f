"""From a video to the receiver: a run raises a flag, the flow of Prefect delivers its event, a policy takes it back."""

from __future__ import annotations

from fixtures.pipeline import make_clip
from sqlalchemy import text
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.database.webhooks import NewWebhook, add_webhook
from nightreel.options import DeliverOptions
from nightreel.webhooks import new_secret

FLAGGED = """
name: small
prompts:
  - {name: red, kind: yes_no, text: "Is there red?", flag: "yes", severity: 2, threshold: 0, min_mass: 0}
"""
CALM = FLAGGED.replace("threshold: 0,", "threshold: 1, doubt: 0,")


def test_a_flag_of_a_run_reaches_the_receiver_and_so_does_its_end(make_pipeline, receiver, tmp_path):
    from flows.deliver_webhooks import deliver_webhooks

    make_clip(tmp_path / "videos" / "a.mp4", 1)
    prompts = tmp_path / "flags.yaml"
    prompts.write_text(FLAGGED)
    pipeline = make_pipeline(tmp_path / "videos", NIGHTREEL_PROMPTS=str(prompts))
    receiver.secret = new_secret()
    with pipeline.database.begin() as connection:
        add_webhook(connection, NewWebhook(url=receiver.url, secret=receiver.secret))
    assert deliver_webhooks(return_state=True).message == "nothing was due"
    assert pipeline.analyze().succeeded == 1
    state = deliver_webhooks(DeliverOptions(most_s=60), return_state=True)
    assert (state.is_completed(), state.message) == (True, "1 event delivered")
    (raised,) = receiver.got
    assert raised.is_genuine
    assert raised.event["data"]["uri"] == (tmp_path / "videos" / "a.mp4").as_uri()
    assert raised.event["data"]["ranges"] == [[0, 1]]
    prompts.write_text(CALM)
    applied = CliRunner().invoke(app, ["policy", "apply", str(prompts)], catch_exceptions=False)
    assert applied.exit_code == 0, applied.output
    assert deliver_webhooks(return_state=True).message == "1 event delivered"
    assert receiver.types == ["flag.raised", "flag.cleared"]
    with pipeline.database.begin() as connection:
        states = connection.execute(text("SELECT state, status FROM reporting.webhook_deliveries")).all()
    assert [tuple(row) for row in states] == [("delivered", 204)] * 2
