"""Carry out what people asked for in the console. The flow `carry-out-requests` and the command do it.

Each request is one transaction: if the process dies, the next one carries it out. A wish is believed in nothing: the
console's role can write any row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch

from sqlalchemy import Connection

from nightreel.database.backfills import change_backfill
from nightreel.database.connection import Database
from nightreel.database.policies import apply_policy, policies_in_force
from nightreel.database.reports import reopen_failures
from nightreel.database.requests import Request, end_request, lock_next_request
from nightreel.database.users import get_user
from nightreel.domain.requests import ChangeBackfill, MoveThreshold, RetryFailures, Wish, from_json
from nightreel.domain.users import User
from nightreel.errors import NightreelError, PermanentError, SettingsError
from nightreel.stages.rejudge import apply_changes
from nightreel.units import counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedOut:
    """Requests that were carried out, and those that were refused; verdicts that changed with them."""

    done: int = 0
    refused: int = 0
    verdicts: int = 0

    def __str__(self) -> str:
        return (
            f"{counted(self.done, 'request')} carried out, {self.refused} refused, "
            f"{counted(self.verdicts, 'verdict')} changed"
        )


def carry_out_requests(database: Database, *, is_over: Callable[[], bool] = lambda: False) -> CarriedOut:
    """Carry out all requests that wait, the oldest first, then judge stored answers by the policies in force.

    Args:
        is_over: whether to leave the rest for the next call.

    Raises:
        NightreelError: Postgres does not respond.
    """
    done = refused = 0
    while not is_over():
        with database.begin() as connection:
            request = lock_next_request(connection)
            if request is None:
                break
            outcome, failed = _end(connection, request)
            end_request(connection, request.id, outcome=outcome, failed=failed)
        logger.info("request %d (%s) of %s: %s", request.id, request.kind, request.who, outcome)
        done, refused = done + (not failed), refused + failed
    return CarriedOut(done=done, refused=refused, verdicts=apply_changes(database).changed)


def _end(connection: Connection, request: Request) -> tuple[str, bool]:
    """What was done, or why it was not; and whether it was not."""
    try:
        with connection.begin_nested():
            user = get_user(connection, request.user_id)
            if not user.leads:
                raise SettingsError(f"{user.pseudonym} is a {user.role}: this needs a lead")
            return _carry_out(from_json(request.kind, request.detail), connection, user), False
    except (PermanentError, ValueError) as error:
        return (error.detail if isinstance(error, NightreelError) else str(error)), True


@singledispatch
def _carry_out(wish: Wish, connection: Connection, user: User) -> str:
    raise NotImplementedError(wish, connection, user)


@_carry_out.register
def _retry(wish: RetryFailures, connection: Connection, user: User) -> str:  # noqa: ARG001
    return f"{counted(len(reopen_failures(connection, reason=wish.reason)), 'video')} pending: the next run takes them"


@_carry_out.register
def _backfill(wish: ChangeBackfill, connection: Connection, user: User) -> str:  # noqa: ARG001
    change_backfill(connection, wish.backfill_id, wish.action)
    said = {"pause": "is paused", "resume": "goes on", "cancel": "is cancelled"}[wish.action]
    return f"backfill {wish.backfill_id} {said}"


@_carry_out.register
def _policy(wish: MoveThreshold, connection: Connection, user: User) -> str:
    known = policies_in_force(connection, [wish.prompt_id], lock=True).get(wish.prompt_id)
    if known is None:
        raise SettingsError(f"there is no prompt {wish.prompt_id}")
    if known.id != wish.policy_id:
        raise SettingsError("another policy came into force since the preview: preview it again")
    changed = apply_policy(connection, wish.prompt_id, wish.of(known.policy), made_by=user.name)
    return "in force; the stored answers are judged again" if changed else "it was in force already"
