"""Each reason is used, and each error with a reason agrees with it on whether to retry."""

from __future__ import annotations

import ast
import copy
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightreel.errors import PermanentError, SettingsError, TransientError
from nightreel.reasons import OF_DATABASE, Reason, Scope

ROOT = Path(__file__).parents[2]
CODE = [path for top in ("nightreel", "tasks", "flows") for path in (ROOT / top).rglob("*.py")]
# The operating system or the server decides in each case whether these are permanent or transient.
BOTH = {Reason.INVENTORY_DAMAGED, Reason.WORK_DIR_UNUSABLE, Reason.SERVICE_DIED}
# A cached file is unusable: an error of the cache, after which the stage encodes the segment again.
ENCODED_AGAIN = {Reason.DAMAGED_FEATURE, Reason.STALE_FEATURE}


def raised() -> Iterator[tuple[str, Reason]]:
    """(class of the error, reason) of each call in the code that creates an error with a literal reason."""
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="TransientError" | "PermanentError" as kind),
                    args=[ast.Attribute(value=ast.Name(id="Reason"), attr=name), *_],
                ):
                    yield kind, Reason[name]


def test_reasons_of_transient_errors_are_retried_and_those_of_permanent_ones_are_not():
    found = list(raised())
    assert len(found) > 100
    wrong = {
        (kind, reason)
        for kind, reason in found
        if (kind == "TransientError") != reason.retryable and reason not in BOTH | ENCODED_AGAIN
    }
    assert not wrong


def test_every_reason_is_used():
    code = "\n".join(path.read_text() for path in CODE if path.name != "reasons.py")
    sql = "\n".join(path.read_text() for path in (ROOT / "nightreel" / "database" / "statements").glob("*.sql"))
    by_name = {Reason.LIMIT_PIXELS, Reason.LIMIT_DURATION, Reason.LIMIT_STREAMS}  # `MediaLimits.check` builds the word
    unused = {reason for reason in Reason if f"Reason.{reason.name}" not in code and f"'{reason}'" not in sql} - by_name
    assert not unused


def test_every_reason_in_sql_exists():
    sql = (ROOT / "nightreel" / "database" / "statements" / "blame.sql").read_text()
    assert [Reason.of(word) for word in re.findall(r"THEN '([a-z]+_[a-z_]+)'", sql)] == [Reason.ATTEMPTS_EXHAUSTED]


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_has_a_meaning_and_an_action_in_sentences(reason):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", reason)
    assert reason.name == reason.upper()
    for text in (reason.meaning, reason.action):
        assert text[0].isupper() or text[0] == "`"
        assert text.endswith(".")
        assert len(text) < 120


def test_a_reason_survives_copies_and_pickles():
    assert Reason.of("disk_full") is Reason.DISK_FULL
    assert copy.deepcopy(Reason.DISK_FULL) is pickle.loads(pickle.dumps(Reason.DISK_FULL)) is Reason.DISK_FULL  # noqa: S301
    again = pickle.loads(pickle.dumps(TransientError(Reason.DISK_FULL, "no room")))  # noqa: S301
    assert (type(again), again.reason, str(again)) == (TransientError, Reason.DISK_FULL, "disk_full: no room")


def test_an_unknown_reason_is_refused():
    with pytest.raises(ValueError, match="broken"):
        Reason.of("broken")


def test_settings_have_their_own_reason():
    assert (SettingsError("wrong").reason, PermanentError(Reason.DAMAGED, "x").reason.scope) == (
        Reason.SETTINGS,
        Scope.SEGMENT,
    )


def test_database_errors_end_the_run():
    assert Reason.DATABASE_FULL in OF_DATABASE
    assert all(reason.scope is Scope.RUN for reason in OF_DATABASE)
