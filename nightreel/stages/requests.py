"""Carry out what people asked for in the console or over REST. The flow `carry-out-requests` or a command does it.

Each request but an erasure is one transaction: if the process dies, the next one carries it out. An erasure has files
and several transactions, and can be repeated. A wish is believed in nothing: the console's role can write any row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch

from sqlalchemy import Connection

from nightreel.database.backfills import change_backfill
from nightreel.database.connection import Database
from nightreel.database.erasures import ErasureKind
from nightreel.database.legal_holds import add_hold, remove_hold
from nightreel.database.policies import apply_policy, policies_in_force
from nightreel.database.reports import reopen_failures
from nightreel.database.requests import Request, end_request, lock_next_request
from nightreel.database.users import get_user
from nightreel.domain.requests import (
    AddGolden,
    AddHold,
    ChangeBackfill,
    EndGolden,
    EndHold,
    EraseVideo,
    MoveThreshold,
    RequestKind,
    RetryFailures,
    Wish,
    from_json,
)
from nightreel.domain.users import Role, User
from nightreel.errors import NightreelError, PermanentError, SettingsError, TransientError
from nightreel.reasons import Reason
from nightreel.review.golden import add_golden_item, remove_golden_item
from nightreel.settings import Settings
from nightreel.stages.erase import Forget, erase, erasing_key
from nightreel.stages.erase_target import digest_of, find_target
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


Erase = Callable[[EraseVideo, User], str]
"""Erases for a person, and says what was done. It raises SettingsError and NightreelError."""


def carry_out_requests(
    database: Database, *, erase: Erase | None = None, is_over: Callable[[], bool] = lambda: False
) -> CarriedOut:
    """Carry out all requests that wait, the oldest first, then judge stored answers by the policies in force.

    Args:
        erase: carries out erasures (`erasing_for`); None: they are left for another process.
        is_over: whether to leave the rest for the next call.

    Raises:
        NightreelError: Postgres does not respond.
    """
    done = refused = 0
    while not is_over():
        with database.begin() as connection:
            request = lock_next_request(connection, but=() if erase else (RequestKind.ERASE,))
            if request is None:
                break
            if request.kind != RequestKind.ERASE:
                outcome, failed = _end(connection, request)
                end_request(connection, request.id, outcome=outcome, failed=failed)
        if request.kind == RequestKind.ERASE:
            assert erase is not None, "else none was taken"
            # Without the lock: the erasure itself changes rows that name its video, also this one.
            outcome, failed = _end_erasure(database, request, erase)
            with database.begin() as connection:
                end_request(connection, request.id, outcome=outcome, failed=failed)
        logger.info("request %d (%s) of %s: %s", request.id, request.kind, request.who, outcome)
        done, refused = done + (not failed), refused + failed
    return CarriedOut(done=done, refused=refused, verdicts=apply_changes(database).changed)


def _end(connection: Connection, request: Request) -> tuple[str, bool]:
    """What was done, or why it was not; and whether it was not."""
    try:
        with connection.begin_nested():
            wish, user = _asked(connection, request)
            return _carry_out(wish, connection, user), False
    except (PermanentError, ValueError) as error:
        return _why(error), True


def _end_erasure(database: Database, request: Request, erase: Erase) -> tuple[str, bool]:
    try:
        with database.begin() as connection:
            wish, user = _asked(connection, request)
        assert isinstance(wish, EraseVideo)
        return erase(wish, user), False
    except (PermanentError, ValueError) as error:
        return _why(error), True
    except TransientError as error:
        if error.reason is not Reason.VIDEO_IN_WORK:
            raise
        return f"{error.detail}: ask again later", True


def _asked(connection: Connection, request: Request) -> tuple[Wish, User]:
    """What is asked for, and the person, who may ask for it."""
    wish, user = from_json(request.kind, request.detail), get_user(connection, request.user_id)
    if not user.may(wish.role):
        raise SettingsError(
            f"{user.pseudonym} is a {user.role}: this needs {'an' if wish.role is Role.ADMIN else 'a'} {wish.role}"
        )
    return wish, user


def _why(error: Exception) -> str:
    return error.detail if isinstance(error, NightreelError) else str(error)


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


@_carry_out.register
def _hold(wish: AddHold, connection: Connection, user: User) -> str:
    target = find_target(connection, wish.what, None)
    if not target.versions:
        raise SettingsError("what is to be held is not known")
    hold_id = add_hold(
        connection, uri=target.uri, content_sha256=target.content_sha256, reason=wish.reason, made_by=user.name
    )
    if hold_id is None:
        return "it is held already"
    return f"hold {hold_id} counts for {counted(len(target.versions), 'version')} of a video"


@_carry_out.register
def _end_hold(wish: EndHold, connection: Connection, user: User) -> str:
    if not remove_hold(connection, wish.hold_id, removed_by=user.name):
        raise SettingsError(f"there is no hold {wish.hold_id} that counts")
    return f"hold {wish.hold_id} is removed"


@_carry_out.register
def _golden(wish: AddGolden, connection: Connection, user: User) -> str:
    golden_id = add_golden_item(connection, wish.video_id, wish.labels, made_by=user.name)
    return f"golden item {golden_id}"


@_carry_out.register
def _end_golden(wish: EndGolden, connection: Connection, user: User) -> str:  # noqa: ARG001
    remove_golden_item(connection, wish.golden_id)
    return f"golden item {wish.golden_id} is given to nobody any more"


def erasing_for(settings: Settings, database: Database, *, forget: Forget | None) -> Erase:
    """How erasures that people ask for are carried out. Args: forget: as of `erase`."""

    def erase_asked(wish: EraseVideo, user: User) -> str:
        key = erasing_key(settings, database)
        with database.begin() as connection:
            target = find_target(connection, wish.what, key)
        if not target.versions and target.erased_by:
            return f"erased before: number {', '.join(map(str, target.erased_by))} of the view erasures"
        if not target.versions:
            raise SettingsError("what is to be erased is not known, and was not erased")
        if digest_of(target) != wish.digest:
            raise SettingsError("other versions or copies are known than the preview showed: preview it again")
        versions = [*target.versions, *(target.copies if wish.all_copies else ())]
        report = erase(
            settings,
            database,
            versions,
            kind=ErasureKind.ASKED,
            made_by=user.name,
            reason=wish.reason,
            key=key,
            forget=forget,
        )
        said = [f"erased: number {report.erasure_id} of the view erasures"]
        if report.kept_copies:
            said.append(f"{counted(report.kept_copies, 'other object')} with the same bytes kept")
        if report.prefect.get("running"):
            said.append("flow runs in Prefect that name it have not ended: ask again later")
        return "; ".join(said)

    return erase_asked
