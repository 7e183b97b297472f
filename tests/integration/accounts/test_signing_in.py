"""Signing in, as the role of the console: sessions, throttling, and what ends them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from argon2 import PasswordHasher
from fixtures.work_reviewed import Desk
from sqlalchemy import text

from nightreel.accounts.passwords import hash_password
from nightreel.accounts.signing_in import RefusedError, SignedIn, TooSoonError, change_password, sign_in
from nightreel.database.passwords import set_password
from nightreel.database.sessions import find_session, list_sessions, revoke_sessions
from nightreel.database.users import change_user
from nightreel.errors import SettingsError

GOOD, OTHER = "correct horse battery", "another long passphrase"
_HASH = hash_password(GOOD)
_LATER = "UPDATE nightreel.sign_in_failures SET last_at = now() + interval '60 s'"  # so that a slow host waits too


@pytest.fixture
def desk(desk: Desk) -> Desk:
    with desk.work.database.begin() as connection:
        set_password(connection, desk["ann"], _HASH, temporary=False)
        set_password(connection, desk["bob"], _HASH, temporary=True)
    return desk


def enter(desk: Desk, name: str = "ann", password: str = GOOD, address: str = "10.0.0.1") -> SignedIn:
    return sign_in(desk.console, name, password, address=address, agent="Firefox")


def counts(desk: Desk, secret: str) -> bool:
    with desk.console.begin() as connection:
        return find_session(connection, secret) is not None


def owner(desk: Desk, statement: str) -> None:
    with desk.work.database.begin() as connection:
        connection.execute(text(statement))


def test_a_session_has_its_person_and_its_origin(desk: Desk) -> None:
    entered = enter(desk)
    with desk.console.begin() as connection:
        found = find_session(connection, entered.secret)
        assert found is not None
        session = found.session
        assert (session.user.name, session.address, session.agent) == ("ann", "10.0.0.1", "Firefox")
        assert list_sessions(connection, desk["ann"]) == [session]
        stored = connection.execute(text("SELECT string_agg(sessions::text, ' ') FROM nightreel.sessions")).scalar_one()
    assert entered.secret not in stored
    assert not entered.must_change


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann", OTHER),
        ("nobody", GOOD),
        ("vera", GOOD),
        ("", ""),
        ("ann'; --", GOOD),
        ("ann\x00", GOOD),
        ("\ud800", "x"),
    ],
)
def test_what_is_wrong_is_not_said(desk: Desk, name: str, password: str) -> None:
    with pytest.raises(RefusedError, match=r"^the name or the password is wrong$"):
        enter(desk, name, password)


def test_a_made_up_secret_is_no_session(desk: Desk) -> None:
    enter(desk)
    assert not counts(desk, "")
    assert not counts(desk, "\ud800")
    assert not counts(desk, "x" * 43)


def test_attempts_after_five_failures_wait_whoever_is_named(desk: Desk) -> None:
    for _ in range(5):
        with pytest.raises(RefusedError):
            enter(desk, password=OTHER)
    owner(desk, _LATER)
    with pytest.raises(TooSoonError) as caught:
        enter(desk)
    assert 1 < caught.value.wait_s <= 61
    with pytest.raises(TooSoonError):
        enter(desk, address="10.0.0.2")  # the name
    with pytest.raises(TooSoonError):
        enter(desk, "bob")  # the address
    owner(desk, "UPDATE nightreel.sign_in_failures SET last_at = now() - interval '2 s'")
    enter(desk)
    owner(desk, _LATER)
    enter(desk, address="10.0.0.2")
    with pytest.raises(TooSoonError):
        enter(desk, "bob")  # a success does not clear the address


def test_attempts_at_the_same_time_count_each(desk: Desk) -> None:
    def attempt(_: int) -> str:
        try:
            enter(desk, password=OTHER)
        except SettingsError as error:
            return type(error).__name__
        return "in"

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(attempt, range(16)))
    assert found.count("RefusedError") <= 5 + 8  # those that had passed the check
    assert found.count("TooSoonError") >= 3


def test_a_temporary_password_must_be_changed_and_expires(desk: Desk) -> None:
    entered = enter(desk, "bob")
    assert entered.must_change
    owner(desk, "UPDATE nightreel.passwords SET expires_at = now() - interval '1 s' WHERE expires_at IS NOT NULL")
    with pytest.raises(RefusedError):
        enter(desk, "bob")


def test_a_new_password_ends_the_other_sessions(desk: Desk) -> None:
    first, second = enter(desk), enter(desk)
    with desk.console.begin() as connection:
        found = find_session(connection, second.secret)
        assert found is not None
        with pytest.raises(SettingsError, match="characters"):
            change_password(connection, desk["ann"], "short", keep_session=found.session.id)
        change_password(connection, desk["ann"], OTHER, keep_session=found.session.id)
    assert (counts(desk, first.secret), counts(desk, second.secret)) == (False, True)
    with pytest.raises(RefusedError):
        enter(desk)
    assert not enter(desk, password=OTHER).must_change


def test_sessions_end_when_revoked_expired_idle_or_their_person_is_disabled(desk: Desk) -> None:
    secret = enter(desk).secret
    with desk.console.begin() as connection:
        assert revoke_sessions(connection, desk["ann"]) == 1
    assert not counts(desk, secret)
    for statement in (
        "UPDATE nightreel.sessions SET expires_at = now()",
        "UPDATE nightreel.sessions SET last_used_at = now() - interval '13 hours'",
    ):
        secret = enter(desk).secret
        assert counts(desk, secret)
        owner(desk, statement)
        assert not counts(desk, secret)
    secret = enter(desk).secret
    with desk.work.database.begin() as connection:
        change_user(connection, "ann", disabled=True)
    assert not counts(desk, secret)
    with pytest.raises(RefusedError):
        enter(desk)


def test_a_hash_of_weaker_parameters_is_replaced_at_the_next_sign_in(desk: Desk) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(GOOD)
    with desk.work.database.begin() as connection:
        set_password(connection, desk["ann"], weak, temporary=False)
    enter(desk)
    with desk.work.database.begin() as connection:
        stored = connection.execute(
            text("SELECT hash FROM nightreel.passwords WHERE user_id = :id"), {"id": desk["ann"].id}
        ).scalar_one()
    assert stored != weak
    enter(desk)
