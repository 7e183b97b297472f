"""A change of a flag makes one event for each webhook that wants it, in the transaction that changes the flag."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.judged import under, yes_no
from fixtures.work import Work, stored
from fixtures.work_answers import analyse, answered, window
from sqlalchemy import text

from nightreel.database.policies import apply_policy, policies_in_force
from nightreel.database.verdicts import roll_up_videos
from nightreel.database.webhooks import NewWebhook, add_webhook, remove_webhook
from nightreel.domain import Answer, Band, Prompt, PromptKind, PromptSet
from nightreel.stages.rejudge import apply_changes

GUN = Prompt.of(
    name="gun", kind=PromptKind.YES_NO, text="A gun?", flags=("yes",), severity=3, set_name="test", band=Band(0.5, 0.5)
)
NUDITY = under(
    Prompt.of(name="nudity", kind=PromptKind.YES_NO, text="Nudity?", flags=("yes",), severity=4, set_name="test"),
    lane="restricted",
)
CAPTION = Prompt.of(name="caption", kind=PromptKind.CAPTION, text="Describe.", set_name="test")
SECRET = "whsec_" + "c2VjcmV0" * 6
SAID = "a man with a gun"


@pytest.fixture
def work(open_work) -> Work:
    return open_work(prompts=PromptSet("test", (CAPTION, GUN, NUDITY)))


def hook(work: Work, **wanted) -> int:
    with work.database.begin() as connection:
        return add_webhook(connection, NewWebhook(url="http://127.0.0.1/", secret=SECRET, **wanted))


def analyse_video(work: Work, name: str, *guns: float, nudity: float = 0.01) -> None:
    work.discover(stored(name))
    (claim,) = work.claim()
    said = Answer(question_hash=CAPTION.question.hash, text=SAID)
    naked = yes_no(NUDITY.question, nudity)
    items = [answered(claim, window(index), said, yes_no(GUN.question, p), naked) for index, p in enumerate(guns)]
    analyse(work, claim, *items, expected_s=30.0 * len(items))


def move(work: Work, prompt: Prompt, **policy) -> None:
    with work.database.begin() as connection:
        changed = replace(prompt.policy, **policy)
        apply_policy(connection, work.recipe.prompt_ids[prompt.name], changed, made_by="lead")
    apply_changes(work.database)


def events(work: Work, webhook_id: int) -> list[dict]:
    query = "SELECT payload FROM nightreel.webhook_deliveries WHERE webhook_id = :id ORDER BY id"
    with work.database.begin() as connection:
        return list(connection.execute(text(query), {"id": webhook_id}).scalars())


def types(work: Work, webhook_id: int) -> list[str]:
    return [event["type"] for event in events(work, webhook_id)]


def test_a_flag_that_is_written_makes_an_event_with_everything_but_texts(work):
    webhook_id = hook(work)
    analyse_video(work, "a.mp4", 0.9, 0.1, 0.95)
    (event,) = events(work, webhook_id)
    data = event["data"]
    assert event["type"] == "flag.raised"
    assert data["uri"] == "s3://bucket/a.mp4"
    assert (data["prompt_set"], data["prompt"], data["state"]) == ("test", "gun", "answered")
    assert (data["severity"], data["severity_before"], data["p"]) == (3, None, 0.95)
    assert (data["ranges"], data["ranges_in_all"]) == ([[0, 30], [60, 90]], 2)
    assert data["run_id"] == work.run.id
    assert data["event_id"].startswith("evt_")
    assert data["policy_id"]
    assert SAID not in str(event)


def test_a_flag_from_before_the_webhook_makes_no_event_and_its_end_does(work):
    analyse_video(work, "a.mp4", 0.9)
    webhook_id = hook(work)
    move(work, GUN, band=Band(0.85, 0.85))
    assert types(work, webhook_id) == [], "still flagged"
    move(work, GUN, band=Band(0.95, 0.95))
    (event,) = events(work, webhook_id)
    assert (event["type"], event["data"]["severity"], event["data"]["severity_before"]) == ("flag.cleared", None, 3)
    move(work, GUN, band=Band(0.5, 0.5), severity=1)
    move(work, GUN, band=Band(0.5, 0.5), severity=4)
    assert types(work, webhook_id) == ["flag.cleared", "flag.raised", "flag.changed"]


def test_a_flag_whose_answer_becomes_unknown_is_not_called_cleared(work):
    webhook_id = hook(work)
    analyse_video(work, "a.mp4", 0.9)
    move(work, GUN, min_mass=0.99)
    (_, event) = events(work, webhook_id)
    assert (event["type"], event["data"]["state"]) == ("flag.unsure", "unknown")


def test_the_same_verdict_written_again_makes_no_event(work):
    webhook_id = hook(work)
    analyse_video(work, "a.mp4", 0.9)
    with work.database.begin() as connection:
        video_id = connection.execute(text("SELECT id FROM nightreel.videos")).scalar_one()
    for _ in range(2):
        work.judge(_Claim(video_id))
    assert types(work, webhook_id) == ["flag.raised"]


class _Claim:
    def __init__(self, video_id: int) -> None:
        self.video = self
        self.id = video_id


def test_a_transaction_that_fails_leaves_neither_verdict_nor_event(work):
    webhook_id = hook(work)
    analyse_video(work, "a.mp4", 0.9)

    def take_the_flag_away_and_fail() -> None:
        with work.database.begin() as connection:
            connection.execute(text("UPDATE nightreel.verdicts SET shown = false"))
            videos = list(connection.execute(text("SELECT id FROM nightreel.videos")).scalars())
            policies = policies_in_force(connection, work.recipe.prompt_ids.values())
            prompts, ids = work.recipe.under(policies), work.recipe.prompt_ids
            roll_up_videos(connection, videos, prompts, prompt_ids=ids, policies=policies)
            count = connection.execute(text("SELECT count(*) FROM nightreel.webhook_deliveries")).scalar_one()
            assert count == 2, "the flag is gone, and its event is there"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        take_the_flag_away_and_fail()
    assert types(work, webhook_id) == ["flag.raised"]


def test_a_webhook_gets_only_the_events_that_it_wants(work):
    wanted = {
        "everything": hook(work),
        "of the set": hook(work, set_name="test"),
        "of another set": hook(work, set_name="other"),
        "of the prompt": hook(work, prompt="gun"),
        "of another prompt": hook(work, prompt="blood"),
        "severe": hook(work, least_severity=3),
        "more severe": hook(work, least_severity=4),
    }
    analyse_video(work, "a.mp4", 0.9)
    got = {name for name, webhook_id in wanted.items() if types(work, webhook_id)}
    assert got == {"everything", "of the set", "of the prompt", "severe"}
    move(work, GUN, severity=2)
    assert types(work, wanted["severe"]) == ["flag.raised", "flag.changed"], "it had that severity"
    with work.database.begin() as connection:
        ids = list(connection.execute(text("SELECT event_id FROM nightreel.webhook_deliveries")).scalars())
    assert len(set(ids)) == 2, "one event for all its webhooks"


def test_a_restricted_video_makes_events_only_for_webhooks_with_the_scope(work):
    plain, scoped = hook(work), hook(work, restricted=True)
    analyse_video(work, "a.mp4", 0.9, nudity=0.99)
    assert types(work, plain) == []
    assert sorted(event["data"]["prompt"] for event in events(work, scoped)) == ["gun", "nudity"]


def test_a_removed_webhook_takes_its_deliveries_with_it(work):
    webhook_id = hook(work)
    analyse_video(work, "a.mp4", 0.9)
    with work.database.begin() as connection:
        remove_webhook(connection, webhook_id)
    analyse_video(work, "b.mp4", 0.9)
    assert events(work, webhook_id) == []


def test_the_view_shows_neither_secret_nor_payload_nor_path(work):
    with work.database.begin() as connection:
        add_webhook(connection, NewWebhook(url="https://hooks.example.com/T0KEN?key=K3Y", secret=SECRET))
    analyse_video(work, "a.mp4", 0.9)
    with work.database.begin() as connection:
        row = connection.execute(text("SELECT * FROM reporting.webhook_deliveries")).mappings().one()
    assert (row["host"], row["state"], row["restricted"]) == ("hooks.example.com", "waiting", False)
    for hidden in ("T0KEN", "K3Y", SECRET, "s3://bucket"):
        assert hidden not in str(dict(row))
