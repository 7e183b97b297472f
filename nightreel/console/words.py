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
    # what was found, verdicts, states of cases, decisions
    _("flagged"),
    _("unknown"),
    _("error"),
    _("open"),
    _("second"),
    _("escalated"),
    _("appealed"),
    _("closed"),
    _("empty"),
    _("confirm"),
    _("reject"),
    _("unsure"),
    _("escalate"),
    # rows of the timeline
    _("segments"),
    _("second looks"),
    # nightreel.accounts
    _("the name or the password is wrong"),
    _("you signed in at the proxy, but nobody of that name may use the console"),
    _("this link was used already, or has expired: ask for a new one"),
    # states and stages of cases, rulings, what happened to a case
    _("first"),
    _("escalation"),
    _("appeal"),
    _("undo"),
    _("opened"),
    _("changed"),
    _("taken"),
    _("extended"),
    _("released"),
    _("skipped"),
    _("held"),
    _("assigned"),
    _("decided"),
    _("undone"),
    # what the machine says of a label
    _("answered"),
    # runs, failures, backfills, requests
    _("running"),
    _("completed"),
    _("failed"),
    _("cancelled"),
    _("crashed"),
    _("quarantined"),
    _("partly_done"),
    _("paused"),
    _("done"),
    _("retry"),
    _("backfill"),
    _("policy"),
)
