"""`webhooks`: who is told about flags, with which secret; send what is due; see and repeat what was not delivered."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import uuid4

import typer

from nightreel.cli.console import Json, command_settings, err, print_json, print_line, print_table
from nightreel.cli.filters import check_prompt, check_prompt_set
from nightreel.database import webhooks as stored
from nightreel.database.webhooks import NewWebhook, Webhook
from nightreel.domain.tokens import parse_lifetime
from nightreel.stages.database import open_database
from nightreel.stages.deliver import Delivered, allowed_by, deliver_due, watch
from nightreel.units import counted
from nightreel.webhooks import check_url, new_secret, send
from nightreel.webhooks.urls import shown

_EVERY_S = 5.0

Id = Annotated[int, typer.Argument(metavar="ID", help="Number of the webhook, as `webhooks list` shows it.")]


def add(
    url: Annotated[str, typer.Argument(help="https://host/path of the receiver.")],
    prompt_set: Annotated[str | None, typer.Option("--prompt-set", help="Only flags of this prompt set.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Only flags of prompts with this name.")] = None,
    min_severity: Annotated[
        int | None, typer.Option("--min-severity", min=1, max=4, help="Only flags that have, or had, this severity.")
    ] = None,
    restricted: Annotated[
        bool, typer.Option("--restricted", help="Also tell about videos with a verdict in the lane `restricted`.")
    ] = False,
) -> None:
    """Tell a URL about flags that are raised, changed or cleared from now on. Prints the secret once."""
    settings = command_settings()
    check_url(url, allowed_by(settings))
    with open_database(settings) as database, database.begin() as connection:
        check_prompt_set(connection, settings, prompt_set)
        check_prompt(connection, settings, prompt)
        secret = new_secret()
        new = NewWebhook(
            url=url,
            secret=secret,
            set_name=prompt_set,
            prompt=prompt,
            least_severity=min_severity,
            restricted=restricted,
        )
        webhook_id = stored.add_webhook(connection, new)
    print_line(f"webhook {webhook_id}: {shown(url)}")
    print_line(f"secret: {secret}")
    err.print("The receiver checks signatures with this secret. It is not shown again.", markup=False)
    err.print(f"`nightreel webhooks test {webhook_id}` sends a first event.", markup=False)


def list_all(as_json: Json = False) -> None:
    """List webhooks, with the number of their deliveries by state."""
    with open_database(command_settings()) as database, database.begin() as connection:
        found = stored.list_webhooks(connection)
    if as_json:
        print_json([_plain(one) for one in found])
        return
    if not found:
        print_line("no webhooks: `nightreel webhooks add URL` adds one")
        return
    print_table(
        ("id", "url", "flags", "restricted", "waiting", "delivered", "dead", "dropped", "disabled"),
        [
            (
                one.id,
                shown(one.url),
                _wanted(one),
                "yes" if one.restricted else "no",
                one.waiting,
                one.delivered,
                one.dead,
                one.dropped,
                one.disabled or _paused(one),
            )
            for one in found
        ],
    )


def remove(webhook_id: Id) -> None:
    """Remove a webhook and all its deliveries."""
    with open_database(command_settings()) as database, database.begin() as connection:
        stored.remove_webhook(connection, webhook_id)
    print_line(f"webhook {webhook_id} is removed")


def rotate(
    webhook_id: Id,
    keep: Annotated[str, typer.Option(help="How long the old secret signs too: 12h, 2d, 1w.")] = "1d",
    leaked: Annotated[bool, typer.Option("--leaked", help="The old secret signs nothing from now on.")] = False,
) -> None:
    """Give a webhook a new secret, and print it once. For some time, events are signed with both."""
    keep_old = None if leaked else parse_lifetime(keep, option="--keep")
    secret = new_secret()
    with open_database(command_settings()) as database, database.begin() as connection:
        stored.rotate_secret(connection, webhook_id, secret, keep_old=keep_old)
    print_line(f"secret: {secret}")
    until = "The old secret signs nothing any more" if leaked else f"The old secret signs too for {keep}"
    err.print(f"{until}. The new one is not shown again: give it to the receiver.", markup=False)


def test(webhook_id: Id) -> None:
    """Send an event of the type `webhook.test`, and print what the receiver answered. It is not tried again."""
    settings = command_settings()
    with open_database(settings) as database, database.begin() as connection:
        url, secrets = stored.address_of(connection, webhook_id)
    message_id = f"evt_{uuid4().hex}"
    payload = {"type": "webhook.test", "data": {"event_id": message_id, "webhook_id": webhook_id}}
    response = send(url, secrets, message_id=message_id, payload=payload, allowed=allowed_by(settings))
    print_line(f"{shown(url)} answered {response.status}", style=None if response.is_success else "red")
    if not response.is_success:
        raise typer.Exit(1)


def deliver(
    keep_on: Annotated[bool, typer.Option("--watch", help="Go on until interrupted, every 5 seconds.")] = False,
) -> None:
    """Send all events that are due. The deployment `deliver-webhooks` does so every 5 minutes."""
    settings = command_settings()
    with open_database(settings) as database:
        if keep_on:
            watch(database, settings, every_s=_EVERY_S, on_pass=_print_pass, stop=threading.Event())
        else:
            _print_pass(deliver_due(database, settings))


def dead(as_json: Json = False) -> None:
    """List events that reached no receiver, the newest first."""
    with open_database(command_settings()) as database, database.begin() as connection:
        rows = stored.dead_deliveries(connection)
    if as_json:
        print_json([dict(row._mapping) for row in rows])
        return
    if not rows:
        print_line("no dead deliveries")
        return
    print_table(
        ("event", "webhook", "type", "attempts", "status", "error", "since"),
        [
            (
                row.event_id,
                row.webhook_id,
                row.type,
                row.attempts,
                row.status or "none",
                row.error,
                f"{row.ended_at:%Y-%m-%d %H:%M}",
            )
            for row in rows
        ],
    )


def retry(
    webhook_id: Annotated[
        int | None, typer.Argument(metavar="[ID]", help="Only of this webhook; it is enabled if it was disabled.")
    ] = None,
) -> None:
    """Queue dead events again: the next delivery sends them."""
    with open_database(command_settings()) as database, database.begin() as connection:
        count = stored.retry_dead(connection, webhook_id)
    print_line(f"{counted(count, 'event')} queued again")


def _print_pass(done: Delivered) -> None:
    print_line(str(done))


def _wanted(one: Webhook) -> str:
    words = [one.set_name or "", one.prompt or "", f"severity >= {one.least_severity}" if one.least_severity else ""]
    return ", ".join(filter(None, words)) or "all"


def _paused(one: Webhook) -> str:
    if one.paused_until is None or one.paused_until <= datetime.now(UTC):
        return ""
    return f"paused until {one.paused_until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _plain(one: Webhook) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__} | {"url": shown(one.url)}


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Tell other systems about flags.", no_args_is_help=True)
    group.command()(add)
    group.command("list")(list_all)
    group.command()(remove)
    group.command()(rotate)
    group.command()(test)
    group.command()(deliver)
    group.command()(dead)
    group.command()(retry)
    app.add_typer(group, name="webhooks")
