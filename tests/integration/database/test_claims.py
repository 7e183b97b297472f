import re
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fixtures.work import stored
from sqlalchemy import text

from nightreel.database.claims import (
    ClaimOrder,
    ClaimsInOrder,
    Selection,
    claim_statement,
    lock_own,
    release_claims,
    remaining,
    take_contents,
)
from nightreel.database.closing import Closing, close_claims, end_of
from nightreel.database.reports import reopen_failures
from nightreel.database.runs import recover_dead_runs
from nightreel.database.statements import statement
from nightreel.domain import Outcome, OutcomeState, VideoEnd
from nightreel.reasons import Reason


def statuses(work) -> dict[str, tuple[str, str | None]]:
    with work.database.begin() as connection:
        rows = connection.execute(text("SELECT uri, status, reason FROM reporting.videos"))
        return {row.uri.rsplit("/", 1)[1]: (row.status, row.reason) for row in rows}


def close(work, claim, **outcome) -> VideoEnd:
    with work.database.begin() as connection:
        closing = Closing(outcome=Outcome(analysis_id=claim.analysis_id, **outcome), attempt=claim.attempt, wait_s=0)
        close_claims(connection, [closing], max_attempts=3)
        return end_of(closing, max_attempts=3)


def test_claims_that_are_closed_together_end_as_each_would_alone(work):
    work.discover(*(stored(f"{number}.mp4") for number in range(5)))
    claims = work.claim()
    failed = {"reason": Reason.NOT_A_VIDEO, "detail": "bad"}
    outcomes = [
        {"state": OutcomeState.DONE, "segments": 1},
        {"state": OutcomeState.DONE, "segments": 1},
        {"state": OutcomeState.DONE, "segments": 3},
        {"state": OutcomeState.FAILED, **failed},
        {"state": OutcomeState.FAILED, **failed, "transient": True},
    ]
    closings = [
        Closing(outcome=Outcome(analysis_id=claim.analysis_id, **outcome), attempt=1, wait_s=60)
        for claim, outcome in zip(claims, outcomes, strict=True)
    ]
    with work.database.begin() as connection:
        close_claims(connection, closings, max_attempts=3)
        columns = "status, segments, reason, run_id IS NULL, not_before > now()"
        rows = connection.execute(text(f"SELECT {columns} FROM nightreel.analyses ORDER BY id"))
        assert [tuple(row) for row in rows] == [
            ("done", 1, None, False, False),
            ("done", 1, None, False, False),
            ("done", 3, None, False, False),
            ("failed", None, "not_a_video", False, False),
            ("pending", None, "not_a_video", True, True),
        ]


def test_two_runs_never_claim_the_same_video(work, open_work):
    other = open_work()
    work.discover(*(stored(f"{number:03}.mp4") for number in range(200)))
    taken: list[str] = []

    def take(run) -> None:
        while claims := run.claim(segments=7):
            taken.extend(claim.video.uri for claim in claims)

    threads = [threading.Thread(target=take, args=(run,)) for run in (work, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 200


def test_a_claim_knows_whether_its_video_failed_before(work, open_work):
    def known() -> dict[str, bool]:
        return {claim.video.uri.rsplit("/", 1)[1]: claim.failed_before for claim in work.claim()}

    names = ("failed", "quarantined", "retried", "deferred", "reopened", "released")
    work.discover(*(stored(name) for name in names))
    claims = {claim.video.uri.rsplit("/", 1)[1]: claim for claim in work.claim()}
    assert not any(claim.failed_before for claim in claims.values())
    lost = {"state": OutcomeState.FAILED, "reason": Reason.STORAGE_UNREACHABLE, "transient": True}
    close(work, claims["failed"], state=OutcomeState.FAILED, reason=Reason.NO_INDEX)
    close(work, replace(claims["quarantined"], attempt=3), **lost)
    close(work, replace(claims["reopened"], attempt=3), **lost)
    close(work, claims["retried"], **lost)
    close(work, claims["deferred"], state=OutcomeState.DEFERRED)
    with work.database.begin() as connection:
        release_claims(connection, run_id=work.run.id)
        connection.execute(
            text(
                "UPDATE nightreel.analyses SET status = 'pending', reason = NULL, reopened = 1 "
                "WHERE uri LIKE '%reopened'"
            )
        )
        reopen_failures(connection, uri="failed")
        reopen_failures(connection, uri="quarantined")
    tried = {"failed", "quarantined", "retried", "reopened"}
    assert known() == {name: name in tried for name in names}


def test_a_chunk_is_filled_by_expected_segments_and_takes_at_least_one_video(work):
    hour = 3600 * 250_000
    work.discover(stored("a.mp4", size_bytes=hour), stored("b.mp4"), stored("c.mp4"), stored("d.mp4", size_bytes=hour))
    assert [claim.video.uri[-5:] for claim in work.claim(segments=3)] == ["a.mp4"]
    assert [claim.video.uri[-5:] for claim in work.claim(segments=3)] == ["b.mp4", "c.mp4", "d.mp4"]


def know(work, *names: str, size_bytes: int = 1000, plan: str | None = None, uri: str | None = "file:///f") -> None:
    """Let the cache have features of the first segment of these videos."""
    with work.database.begin() as connection:
        connection.execute(
            text(
                "WITH video AS (UPDATE nightreel.videos SET content_sha256 = uri "
                "               WHERE split_part(uri, '/', -1) = ANY (:names) RETURNING uri) "
                "INSERT INTO nightreel.features (key, uri, size_bytes, sha256, pts_s, damaged_frames, decoder, "
                "    decoder_version, content_sha256, plan, model_id) "
                "SELECT uri, :uri, :size_bytes, '', '{}', 0, 'av', '1', uri, :plan, :model_id FROM video"
            ),
            {
                "names": list(names),
                "uri": uri,
                "size_bytes": size_bytes,
                "plan": plan or str(work.recipe.plan),
                "model_id": work.recipe.model_id,
            },
        )


def test_a_chunk_takes_more_segments_whose_small_features_are_known(work):
    """`a` fills 120 segments, and a quarter of them; the others one each, and a quarter."""
    work.discover(stored("a.mp4", size_bytes=3600 * 250_000), *(stored(f"{name}.mp4") for name in "bcdef"))
    know(work, *(f"{name}.mp4" for name in "abcd"))
    claims = [work.claim(segments=segments, max_videos=100) for segments in (30, 2, 2)]
    names = ["".join(claim.video.uri[-5] for claim in some) for some in claims]
    assert names == ["a", "bcdef", ""]
    assert [claim.known for some in claims for claim in some] == [True, True, True, True, False, False]


@pytest.mark.parametrize(
    "unlike", [{"size_bytes": 2**22 + 1}, {"plan": "uniform:99"}, {"uri": None}], ids=["large", "other plan", "evicted"]
)
def test_features_that_are_large_gone_or_of_another_plan_fill_a_whole_room(work, unlike):
    work.discover(*(stored(f"{name}.mp4") for name in "abcd"))
    know(work, *(f"{name}.mp4" for name in "abcd"), **unlike)
    claims = work.claim(segments=2, max_videos=100)
    assert [(claim.video.uri[-5], claim.known) for claim in claims] == [("a", False), ("b", False)]


def test_a_run_considers_more_videos_while_it_finds_known_ones(work):
    names = [f"{number:02}.mp4" for number in range(30)]
    work.discover(*(stored(name) for name in names))
    know(work, *names[:11])
    run = ClaimsInOrder(
        work.selection, recipe=work.recipe, run_id=work.run.id, chunk_segments=2, small_bytes=2**22, lease_s=60
    )
    with work.database.begin() as connection:
        taken = [len(run.next(connection)) for _ in range(4)]
        assert taken == [8, 5, 2, 2], "eight known; three known and two others; two"
        assert len(run.next(connection, 1)) == 1


def test_a_run_claims_only_its_selection(work):
    work.discover(stored("x/a.mp4"), stored("y/b.mp4"))
    claims = work.claim(selection=Selection(uri_prefix="s3://bucket/y/"))
    assert [claim.video.uri for claim in claims] == ["s3://bucket/y/b.mp4"]


def test_a_prefix_matches_literally(work):
    names = ("y-/a.mp4", "y/", "y/b.mp4", "y/\U0010ffff.mp4", "y0.mp4", "Y/c.mp4")
    work.discover(*(stored(name) for name in names))
    claims = work.claim(selection=Selection(uri_prefix="s3://bucket/y/"))
    assert [claim.video.uri.removeprefix("s3://bucket/") for claim in claims] == ["y/", "y/b.mp4", "y/\U0010ffff.mp4"]


def test_claims_come_in_key_order_regardless_of_the_order_of_discovery(work):
    work.discover(stored("c.mp4"), stored("a.mp4"))
    work.discover(stored("b.mp4"))
    assert [claim.video.uri[-5] for claim in [*work.claim(segments=2), *work.claim()]] == ["a", "b", "c"]


def test_videos_below_the_first_prefixes_come_before_all_others_in_their_order(work):
    work.discover(*(stored(name) for name in ("a.mp4", "news/b.mp4", "urgent/c.mp4", "urgent/d.mp4", "z.mp4")))
    first = [f"{work.selection.uri_prefix}{name}" for name in ("urgent/", "news/", "none/")]
    run = ClaimsInOrder(
        work.selection, recipe=work.recipe, run_id=work.run.id, chunk_segments=1, lease_s=60, first=first
    )
    order = []
    with work.database.begin() as connection:
        while claims := run.next(connection):
            order += [claim.video.uri.removeprefix(work.selection.uri_prefix) for claim in claims]
    assert order == ["urgent/c.mp4", "urgent/d.mp4", "news/b.mp4", "a.mp4", "z.mp4"]


@pytest.mark.parametrize("first", [(), ("y/",)])
def test_the_newest_objects_come_first(work, first):
    """Within the prefixes that come first, too. Objects of the same age come in the order of their keys."""
    ages_h = {"x/a.mp4": 3, "x/b.mp4": 1, "y/a.mp4": 2, "y/b.mp4": 4, "y/c.mp4": 4}
    now = datetime.now(UTC).replace(microsecond=0)
    work.discover(*(stored(name, modified_at=now - timedelta(hours=age)) for name, age in ages_h.items()))
    run = ClaimsInOrder(
        work.selection,
        recipe=work.recipe,
        run_id=work.run.id,
        chunk_segments=1,
        lease_s=60,
        first=[f"{work.selection.uri_prefix}{name}" for name in first],
        order=ClaimOrder.NEWEST,
    )
    order = []
    with work.database.begin() as connection:
        while claims := run.next(connection):
            order += [claim.video.uri.removeprefix(work.selection.uri_prefix) for claim in claims]
    newest_first = ["x/b.mp4", "y/a.mp4", "x/a.mp4", "y/b.mp4", "y/c.mp4"]
    assert order == sorted(newest_first, key=lambda name: not name.startswith(tuple(first)))


def test_a_chunk_of_the_newest_is_filled_in_their_order(work):
    hour = 3600 * 250_000
    now = datetime.now(UTC).replace(microsecond=0)
    work.discover(
        stored("a.mp4", size_bytes=hour, modified_at=now - timedelta(hours=1)), stored("b.mp4", modified_at=now)
    )
    claims = work.claim(segments=3, order=ClaimOrder.NEWEST)
    assert [claim.video.uri[-5:] for claim in claims] == ["a.mp4", "b.mp4"]
    work.die()
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.analyses SET suspect = false"))
    claims = work.claim(segments=1, order=ClaimOrder.NEWEST)
    assert [claim.video.uri[-5:] for claim in claims] == ["b.mp4"]


def test_a_run_continues_after_its_last_claim_and_starts_again_at_the_end(work, open_work):
    work.discover(*(stored(f"{name}.mp4") for name in "abcdef"))
    run = ClaimsInOrder(work.selection, recipe=work.recipe, run_id=work.run.id, chunk_segments=2, lease_s=60)

    def following(count=None):
        with work.database.begin() as connection:
            return run.next(connection, count)

    first = following()
    assert close(work, first[0], state=OutcomeState.DEFERRED) is VideoEnd.DEFERRED
    other = open_work().claim(segments=2)
    names = [[claim.video.uri[-5] for claim in claims] for claims in (first, other, following(1), following())]
    assert names == [["a", "b"], ["a", "c"], ["d"], ["e", "f"]]
    assert close(work, other[0], state=OutcomeState.DEFERRED) is VideoEnd.DEFERRED
    assert [claim.video.uri[-5] for claim in following()] == ["a"], "the deferred video comes last"
    assert following() == []
    work.discover(stored("0.mp4"))
    assert [claim.video.uri[-5] for claim in following()] == ["0"], "new work follows, whatever its key"


@pytest.fixture
def backlog(work):
    """20,000 videos, the last 2,000 of them pending; returns the parameters of the statements."""
    with work.database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO nightreel.videos (uri, etag, size_bytes, modified_at, run_id) "
                "SELECT 's3://bucket/' || lpad(n::text, 8, '0'), 'e', 1, now() - make_interval(secs => n), :run "
                "FROM generate_series(1, 20000) n"
            ),
            {"run": work.run.id},
        )
        connection.execute(
            text(
                "INSERT INTO nightreel.analyses (video_id, recipe_id, uri, modified_at, status) "
                "SELECT id, :recipe, uri, modified_at, "
                "CASE WHEN uri < 's3://bucket/00018001' THEN 'done' ELSE 'pending' END "
                "FROM nightreel.videos ORDER BY uri"
            ),
            {"recipe": work.recipe.id},
        )
        connection.execute(text("ANALYZE"))
    run = {"window_s": 30.0, "chunk_segments": 16, "max_videos": 16, "lease_s": 60}
    run |= {"model_id": work.recipe.model_id, "plan": str(work.recipe.plan), "known_share": 0.25, "small_bytes": 2**22}
    return {"recipe_id": work.recipe.id, "run_id": work.run.id, **run, **work.selection.parameters()}


BY_KEY, NEWEST_FIRST = map(claim_statement, ClaimOrder)
REMAINING = statement("remaining")


@pytest.mark.parametrize(("query", "looked_at"), [(BY_KEY, 16), (NEWEST_FIRST, 16), (REMAINING, 2000)])
def test_claiming_reads_only_pending_rows(work, backlog, query, looked_at):
    with work.database.begin() as connection:
        plan = connection.execute(text(f"EXPLAIN (ANALYZE) {query.text}"), backlog).scalars().all()
    read = [float(line.split("rows=")[-1].split()[0]) for line in plan if re.search("Scan .*analyses", line)]
    assert max(read) == looked_at, "\n".join(plan)
    assert not [line for line in plan if "Rows Removed by Filter" in line], "\n".join(plan)


@pytest.mark.parametrize(
    ("query", "index", "condition"),
    [
        (BY_KEY, "analyses_pending_idx", "COALESCE"),
        (NEWEST_FIRST, "analyses_pending_newest_idx", "recipe_id"),
        (REMAINING, "analyses_pending_idx", "COALESCE"),
    ],
)
def test_a_generic_plan_uses_the_index_of_pending_work(work, backlog, query, index, condition):
    """Postgres switches to a generic plan if a prepared statement seems to cost the same each time."""
    names = list(backlog)
    numbered = re.sub(r"(?<!:):([a-z_]+)", lambda found: f"${names.index(found[1]) + 1}", query.text)
    with work.database.begin() as connection:
        if connection.dialect.server_version_info < (16,):
            pytest.skip("EXPLAIN (GENERIC_PLAN) is new in Postgres 16")
        plan = connection.exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {numbered}").scalars().all()
    conditions = [line for line in plan if "Index Cond" in line and "recipe_id" in line]
    assert index in "\n".join(plan)
    assert condition in conditions[0], "\n".join(plan)


def test_an_expired_claim_is_freed_and_its_late_owner_cannot_lock_it(work, open_work):
    work.discover(stored("a.mp4"))
    (lost,) = work.claim(lease_s=0.01)
    time.sleep(0.05)
    recover_dead_runs(work.database, max_crashes=3)
    other = open_work()
    assert other.claim() == [], "its run may have died of it"
    (taken,) = other.claim_suspect()
    assert (taken.analysis_id, taken.attempt) == (lost.analysis_id, 1)
    with work.database.begin() as connection:
        assert lock_own(connection, run_id=work.run.id, analysis_ids=[lost.analysis_id]) == {}
        assert list(lock_own(connection, run_id=other.run.id, analysis_ids=[lost.analysis_id])) == [lost.analysis_id]


def test_a_run_that_ends_normally_returns_attempts_with_its_claims(work):
    work.discover(stored("a.mp4"))
    for _ in range(4):
        assert [claim.attempt for claim in work.claim()] == [1]
        with work.database.begin() as connection:
            release_claims(connection, run_id=work.run.id)


def test_a_transient_failure_is_retried_until_the_attempts_are_used_up(work):
    work.discover(stored("a.mp4"))
    failure = {"state": OutcomeState.FAILED, "reason": "storage_unreachable", "detail": "x", "transient": True}
    assert [close(work, work.claim()[0], **failure) for _ in range(3)] == [
        VideoEnd.RETRIED,
        VideoEnd.RETRIED,
        VideoEnd.QUARANTINED,
    ]
    assert work.claim() == []


def test_a_permanent_failure_is_not_retried(work):
    work.discover(stored("a.mp4"))
    assert (
        close(work, work.claim()[0], state=OutcomeState.FAILED, reason=Reason.NO_FRAMES, detail="x") is VideoEnd.FAILED
    )
    assert work.claim() == []
    assert statuses(work)["a.mp4"] == ("failed", "no_frames")


def test_only_one_claim_at_a_time_works_on_the_same_bytes(work):
    work.discover(stored("a.mp4"), stored("copy.mp4"))
    first, second = work.claim()
    with work.database.begin() as connection:
        assert take_contents(connection, {first.analysis_id: "f" * 64})
        assert not take_contents(connection, {second.analysis_id: "f" * 64})
    assert close(work, second, state=OutcomeState.DEFERRED) is VideoEnd.DEFERRED
    close(work, first, state=OutcomeState.DONE, segments=1)
    (again,) = work.claim()
    assert again.attempt == 1, "waiting does not count as an attempt"
    with work.database.begin() as connection:
        assert take_contents(connection, {again.analysis_id: "f" * 64})


def test_remaining_counts_pending_work_and_claims_of_other_runs(work, open_work):
    work.discover(stored("a.mp4"), stored("b.mp4"), stored("c.mp4"))
    open_work().claim(max_videos=1)
    with work.database.begin() as connection:
        left = remaining(connection, recipe=work.recipe, run_id=work.run.id, selection=work.selection)
    assert (left.pending, left.elsewhere) == (2, 1)
    assert left.next_in_s == pytest.approx(0, abs=5)
