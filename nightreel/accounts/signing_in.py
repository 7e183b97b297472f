"""From a name and a password to a session.

After five failures in a row for a name, or from an address, the next attempt waits: a second, then twice as long each
time, up to fifteen minutes. An attempt before its time is refused, and the password is not looked at. A success clears
the failures of the name. Those of the address stay: else its own account would let an attacker try other names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import Connection

from nightreel.accounts.passwords import check_password, hash_password, is_outdated, is_password
from nightreel.database import passwords as stored
from nightreel.database.connection import Database
from nightreel.database.sessions import add_session, revoke_sessions
from nightreel.database.sign_in_failures import clear, note_failure, take_back, wait_s
from nightreel.database.sign_in_links import use_link
from nightreel.database.users import find_user
from nightreel.domain.users import User
from nightreel.errors import SettingsError

LONGEST_NAME = 200


class RefusedError(SettingsError):
    """The name and the password do not belong together; which of the two is wrong is not said."""


class TooSoonError(SettingsError):
    """An attempt before its time.

    Args:
        wait_s: seconds until the next one is taken.
    """

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"too many failed attempts: try again in {wait_s} s")
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session.

    Args:
        secret: the value of its cookie, which cannot be read again. must_change: another person made the password.
    """

    secret: str
    user: User
    must_change: bool


def sign_in(database: Database, name: str, password: str, *, address: str, agent: str) -> SignedIn:
    """Start a session.

    Args:
        address, agent: of the browser, as its user recognises it.

    Raises:
        TooSoonError: too many attempts failed. RefusedError: the name or the password is wrong, the person is disabled,
            or a password that another person made has expired.
    """
    name = _storable(name)
    of_name, of_address = _subject("name", name.casefold()), _subject("address", address)
    found = _checked(database, name, password, [of_name, of_address])
    with database.begin() as connection:
        clear(connection, of_name)
        take_back(connection, of_address)
        if is_outdated(found.hash):
            stored.set_password(connection, found.user, hash_password(password), temporary=found.temporary)
        secret = add_session(connection, found.user, address=address, agent=agent)
    return SignedIn(secret, found.user, found.temporary)


def confirm_password(database: Database, user: User, password: str) -> None:
    """Check that who is signed in as a person knows the person's password. Errors as `sign_in`."""
    of_name = _subject("name", user.name.casefold())
    _checked(database, user.name, password, [of_name])
    with database.begin() as connection:
        clear(connection, of_name)


def sign_in_by_link(database: Database, secret: str, *, address: str, agent: str) -> SignedIn:
    """Start the session of a link's person. Arguments as `sign_in`.

    Raises:
        RefusedError: the link was used, or has expired, or there never was one.
    """
    with database.begin() as connection:
        user = use_link(connection, secret)
        if user is None:
            raise RefusedError("this link was used already, or has expired: ask for a new one")
        return SignedIn(add_session(connection, user, address=address, agent=agent), user, False)


def sign_in_as(database: Database, name: str, *, address: str, agent: str) -> SignedIn:
    """Start the session of a person whom a proxy signed in. Arguments as `sign_in`.

    Raises:
        RefusedError: there is no such person, or the person is disabled.
    """
    with database.begin() as connection:
        user = find_user(connection, _storable(name))
        if user is None or user.disabled_at is not None:
            raise RefusedError("you signed in at the proxy, but nobody of that name may use the console")
        return SignedIn(add_session(connection, user, address=address, agent=agent), user, False)


def change_password(connection: Connection, user: User, password: str, *, keep_session: int) -> None:
    """Give a person a new password, which the person chose, and end the person's other sessions.

    Raises:
        SettingsError: the password is not good enough.
    """
    check_password(password, name=user.name)
    stored.set_password(connection, user, hash_password(password), temporary=False)
    revoke_sessions(connection, user, but=keep_session)


def _checked(database: Database, name: str, password: str, subjects: list[bytes]) -> stored.StoredPassword:
    """The stored password of a person, if it is this one and counts. Errors as `sign_in`."""
    with database.begin() as connection:
        seconds = wait_s(connection, subjects)
        if seconds:
            raise TooSoonError(seconds)
        # Noted before the password is checked: attempts at the same time count too.
        note_failure(connection, subjects)
        found = stored.find_password(connection, name)
    if not is_password(password, found.hash if found else None) or found is None or not found.counts:
        raise RefusedError("the name or the password is wrong")
    return found


def _storable(name: str) -> str:
    """A name as Postgres takes it."""
    return name.strip().encode(errors="replace").decode().replace("\0", "?")[: LONGEST_NAME + 1]


def _subject(kind: str, value: str) -> bytes:
    return hashlib.sha256(f"{kind}:{value}".encode(errors="replace")).digest()
