"""What a night takes over from its helpers."""

from fixtures.work import stored
from sqlalchemy import text

from nightreel.database.closing import Closing, close_claims
from nightreel.database.nights import helpers_of
from nightreel.domain import Outcome, OutcomeState
from nightreel.reasons import Reason
from nightreel.stages.summary import RunSummary


def test_finished_videos_of_a_helper_that_died_count_in_its_night(work, open_work):
    helper = open_work()
    work.discover(*(stored(f"{name}.mp4") for name in ("done", "failed", "held", "partly", "reopened", "reused")))
    outcomes = {
        "done": {"state": OutcomeState.DONE, "segments": 3},
        "failed": {"state": OutcomeState.FAILED, "reason": Reason.NO_INDEX},
        "partly": {"state": OutcomeState.PARTLY_DONE, "segments": 1, "reason": Reason.DAMAGED},
        "reopened": {"state": OutcomeState.FAILED, "reason": Reason.NO_INDEX},
        "reused": {"state": OutcomeState.REUSED, "segments": 2},
    }
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.analyses SET reopened = 1 WHERE uri LIKE '%reopened.mp4'"))
    for claim in helper.claim():
        outcome = outcomes.get(claim.video.uri.rsplit("/", 1)[1].removesuffix(".mp4"))
        if outcome:
            with work.database.begin() as connection:
                ended = Outcome(analysis_id=claim.analysis_id, **outcome)
                close_claims(connection, [Closing(outcome=ended, attempt=1, wait_s=0)], max_attempts=3)
    with work.database.begin() as connection:
        connection.execute(
            text("UPDATE nightreel.runs SET night_id = :night, status = 'crashed' WHERE id = :helper"),
            {"night": work.run.id, "helper": helper.run.id},
        )
        (found,) = helpers_of(connection, work.run.id)
    night = RunSummary(run_id=work.run.id, source="s3://bucket", model="m")
    night.add_helper(found)
    assert night.videos == {"done": 1, "failed": 2, "partly_done": 1, "reused": 1}
    assert night.segments == 6
    assert night.reasons == {Reason.NO_INDEX: 2}
    assert night.partly_done == {Reason.DAMAGED: 1}
    assert night.to_json()["new_videos"] == {"succeeded": 3, "failed": 1}
    assert "of which 1 ended early" in night.headline
