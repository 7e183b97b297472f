"""A video that kills its run is found and quarantined alone: the videos that were claimed with it are innocent."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from fixtures.earlier_versions import downgrade_to
from fixtures.work import Work, stored
from sqlalchemy import text

from nightreel.database.claims import Selection
from nightreel.database.closing import Closing, close_claims
from nightreel.database.connection import Database
from nightreel.database.migrations import upgrade
from nightreel.database.quarantine import read_quarantine
from nightreel.database.reports import reopen_failures
from nightreel.database.runs import recover_dead_runs
from nightreel.domain import Claim, Outcome, OutcomeState
from nightreel.reasons import Reason

OpenWork = Callable[..., Work]


def name_of(claim: Claim) -> str:
    return claim.video.uri.rpartition("/")[2]


def finish(run: Work, claim: Claim, state: OutcomeState = OutcomeState.DONE, **outcome: object) -> None:
    known = {"segments": 1} if state is OutcomeState.DONE else {}
    ended = Outcome(analysis_id=claim.analysis_id, state=state, **known, **outcome)
    with run.database.begin() as connection:
        close_claims(connection, [Closing(outcome=ended, attempt=claim.attempt, wait_s=0)], max_attempts=3)


def night(open_work: OpenWork, guilty: set[str], *, segments: int = 16) -> bool:
    """One run over all work: it dies while it holds a guilty video. Returns whether it lived."""
    run = open_work()
    while claims := run.claim(segments=segments) or run.claim_suspect():
        if guilty & {name_of(claim) for claim in claims}:
            run.die()
            return False
        for claim in claims:
            finish(run, claim)
    return True


def states(work: Work) -> dict[str, tuple[str, int]]:
    with work.database.begin() as connection:
        rows = connection.execute(text("SELECT uri, status, crashes FROM nightreel.analyses ORDER BY uri"))
        return {row.uri.rpartition("/")[2]: (row.status, row.crashes) for row in rows}


@pytest.mark.parametrize(
    ("guilty", "segments"),
    [({"07"}, 16), ({"03", "17"}, 16), ({"00", "01", "19"}, 1024), ({"19"}, 1), (set(), 16)],
    ids=["one", "two", "three in a big chunk", "a chunk of one", "none"],
)
def test_only_the_videos_that_kill_their_runs_are_quarantined(work, open_work, guilty, segments):
    work.discover(*(stored(f"{number:02}") for number in range(20)))
    deaths = 0
    while not night(open_work, guilty, segments=segments):
        deaths += 1
        assert deaths <= 4 * len(guilty), "each guilty video costs the run that held its chunk, and three alone"
    assert {name for name, (status, _) in states(work).items() if status == "quarantined"} == guilty
    assert {status for name, (status, _) in states(work).items() if name not in guilty} == {"done"}


def test_after_the_first_death_the_innocent_videos_are_done_before_the_guilty_one_is_tried_again(work, open_work):
    work.discover(*(stored(f"{number:02}") for number in range(20)))
    assert not night(open_work, {"00"})
    assert not night(open_work, {"00"})
    assert states(work) == {"00": ("pending", 1)} | {
        f"{number:02}": ("done" if number > 15 else "pending", 0) for number in range(1, 20)
    }
    assert not night(open_work, {"00"})
    assert [name for name, (status, _) in states(work).items() if status != "done"] == ["00"]


def test_a_video_that_was_never_alone_is_never_charged(work, open_work):
    work.discover(*(stored(f"{number:02}") for number in range(4)))
    for _ in range(9):
        with work.database.begin() as connection:
            connection.execute(text("UPDATE nightreel.analyses SET suspect = false"))
        run = open_work()
        assert len(run.claim()) == 4
        run.die()
    assert set(states(work).values()) == {("pending", 0)}


def test_a_run_that_dies_again_and_again_for_reasons_of_its_own_quarantines_nobody(work, open_work):
    """Twenty kills at any moment among twenty videos charge no video twice."""
    work.discover(*(stored(f"{number:02}") for number in range(20)))
    for _ in range(20):
        run = open_work()
        assert run.claim() or run.claim_suspect()
        run.die()
    assert max(crashes for _, crashes in states(work).values()) == 1
    assert night(open_work, set())
    assert set(states(work).values()) == {("done", 0)}


def test_simultaneous_runs_try_different_suspects_and_each_answers_for_its_own(work, open_work):
    work.discover(*(stored(name) for name in "ab"))
    work.claim()
    work.die()
    first, second = open_work(), open_work()
    assert [name_of(claim) for run in (first, second) for claim in run.claim_suspect()] == ["a", "b"]
    second.die()
    assert states(work) == {"a": ("claimed", 0), "b": ("pending", 1)}


def test_a_long_video_that_advanced_between_two_deaths_did_not_cause_them(work, open_work):
    work.discover(stored("long"))
    for _ in range(9):
        run = open_work()
        (claim,) = run.claim() or run.claim_suspect()
        finish(run, claim, OutcomeState.CONTINUES)
        run.die()
    assert states(work) == {"long": ("pending", 1)}


def test_a_long_video_that_dies_at_the_same_place_is_quarantined(work, open_work):
    work.discover(stored("long"))
    for advances in (True, False, False):
        run = open_work()
        (claim,) = run.claim() or run.claim_suspect()
        if advances:
            finish(run, claim, OutcomeState.CONTINUES)
        run.die()
    assert states(work) == {"long": ("quarantined", 3)}


def test_crashes_and_tries_are_counted_apart(work, open_work):
    work.discover(stored("a"))
    for _ in range(2):
        run = open_work()
        assert run.claim() or run.claim_suspect()
        run.die()
    run = open_work()
    for attempt in (1, 2):
        (claim,) = run.claim_suspect()
        assert claim.attempt == attempt, "a dead run is no try"
        finish(run, claim, OutcomeState.FAILED, reason=Reason.STORAGE_UNREACHABLE, detail="x", transient=True)
    assert states(work) == {"a": ("pending", 2)}, "a failed try is no crash"


@pytest.mark.parametrize(("host", "boot", "crashes"), [("here", "before", 0), ("here", "now", 1), ("there", "x", 1)])
def test_a_run_whose_host_has_started_again_since_charges_no_video(work, open_work, monkeypatch, host, boot, crashes):
    monkeypatch.setattr("nightreel.environment.platform.node", lambda: "here")
    monkeypatch.setattr("nightreel.environment.boot_id", lambda: "now")
    work.discover(stored("a"))
    run = open_work()
    run.claim()
    with work.database.begin() as connection:
        connection.execute(
            text(
                "UPDATE nightreel.runs SET alive_until = now() - interval '1 s', "
                "environment = jsonb_build_object('host', :host ::text, 'boot', :boot ::text) WHERE id = :id"
            ),
            {"id": run.run.id, "host": host, "boot": boot},
        )
    assert recover_dead_runs(work.database, max_crashes=3) == [run.run.id]
    assert states(work) == {"a": ("pending", crashes)}


def test_a_retry_of_a_quarantined_video_is_alone_again(work, open_work):
    work.discover(stored("a"), stored("b"))
    while not night(open_work, {"a"}):
        pass
    with work.database.begin() as connection:
        reopen_failures(connection, reason="attempts_exhausted")
    run = open_work()
    assert run.claim() == []
    assert [(name_of(claim), claim.alone) for claim in run.claim_suspect()] == [("a", True)]
    assert states(work)["a"] == ("claimed", 0)


def test_the_quarantine_tells_new_killers_from_known_ones(work, open_work):
    work.discover(*(stored(name) for name in "abc"))
    while not night(open_work, {"a"}):
        pass

    def quarantine(since):
        with work.database.begin() as connection:
            return read_quarantine(
                connection, recipe_id=work.recipe.id, selection=Selection("s3://bucket/"), since=since
            )

    first = quarantine(None)
    assert (first.videos, first.new, first.killers) == (1, 1, (("s3://bucket/a", 3),))
    with work.database.begin() as connection:
        now = connection.execute(text("SELECT now()")).scalar_one()
    later = quarantine(now)
    assert (later.videos, later.new, later.killers) == (1, 0, first.killers)


def test_an_upgrade_frees_the_innocent_videos_that_the_version_before_quarantined(work, open_work, owner_url):
    work.discover(*(stored(name) for name in "abc"))
    with closing(Database(owner_url)) as owner, owner.begin() as connection:
        downgrade_to(connection, "0010")
        connection.execute(
            text(
                "UPDATE nightreel.analyses SET status = 'quarantined', attempts = 3, reason = 'attempts_exhausted' "
                "WHERE uri NOT LIKE '%c'"
            )
        )
    with closing(Database(owner_url)) as owner:
        upgrade(owner.engine)
    run = open_work()
    assert [name_of(claim) for claim in run.claim()] == ["c"]
    finish(run, run.claim_suspect()[0])
    assert name_of(run.claim_suspect()[0]) == "b"
