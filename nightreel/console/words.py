"""Words that come from other packages and are shown translated. Here they are marked for the catalogues."""

from __future__ import annotations


def mark(text: str) -> str:
    """A string of the catalogue; the template that shows it translates it."""
    return text


_ = mark

WORDS = (
    # roles
    _("viewer"),
    _("reviewer"),
    _("lead"),
    _("admin"),
    # titles of errors
    _("Bad Request"),
    _("Forbidden"),
    _("Not Found"),
    _("Conflict"),
    _("Gone"),
    _("Unprocessable Content"),
    _("Unprocessable Entity"),
    _("Too Many Requests"),
    _("Internal Server Error"),
    _("Service Unavailable"),
    # nightreel.accounts
    _("the name or the password is wrong"),
)
