"""The people who judge videos, and what each role may do."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What a person may do. Each role may do what those before it may."""

    VIEWER = "viewer"  # look at results
    REVIEWER = "reviewer"  # work a queue
    LEAD = "lead"  # decide escalations and appeals, assign cases, decide in bulk
    ADMIN = "admin"  # manage users


_PSEUDONYM_BYTES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person, or a program that calls the REST service.

    Args:
        pseudonym: the name that others see beside decisions.
        restricted: may see videos with a verdict in the lane `restricted`.
        disabled_at: since when the person may do nothing.
    """

    id: int
    name: str
    pseudonym: str
    role: Role
    restricted: bool
    created_at: datetime
    disabled_at: datetime | None

    def may(self, role: Role) -> bool:
        """Whether the person may do what this role may."""
        order = list(Role)
        return self.disabled_at is None and order.index(self.role) >= order.index(role)

    @property
    def reviews(self) -> bool:
        return self.may(Role.REVIEWER)

    @property
    def leads(self) -> bool:
        return self.may(Role.LEAD)


def new_pseudonym() -> str:
    """A random pseudonym, such as "reviewer-4fa21b"."""
    return f"reviewer-{secrets.token_hex(_PSEUDONYM_BYTES)}"
