"""Registers everything for `nightreel deploy`, in the order of dependencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.client.orchestration import SyncPrefectClient

from nightreel.errors import SettingsError
from nightreel.orchestration.deployments.automations import (
    dead_runs,
    failed_night,
    find_notification_block,
    register_automation,
)
from nightreel.orchestration.deployments.definitions import NIGHTLY, Definition
from nightreel.orchestration.deployments.pools import PoolType, register_pool
from nightreel.orchestration.deployments.registration import compare, register_deployments, require_current


def register_everything(
    client: SyncPrefectClient,
    *,
    pools: Sequence[str],
    kind: PoolType | None,
    template: dict[str, Any] | None,
    definitions: Sequence[Definition],
    notify: str | None,
    environment: Mapping[str, str],
) -> list[str]:
    """Make or change what differs. Returns a sentence for each change.

    Args:
        kind, template: see `register_pool`. definitions: made out for these pools.
        notify: a notification block, as type-slug/name; None leaves the automation as it is.
        environment: for Prefect's command.

    Raises:
        SettingsError: a definition or the block is wrong. Nothing was changed.
        PermanentError: `deploy_failed`. Earlier changes stay, and another call continues from there.
    """
    block = find_notification_block(client, notify) if notify else None
    if block and NIGHTLY not in [definition["name"] for definition in definitions]:
        raise SettingsError(f"--notify {notify!r}: needs deployment {NIGHTLY}, which the file does not contain")
    registrations = compare(client, definitions)
    changes = [change for pool in pools for change in register_pool(client, pool, kind=kind, template=template)]
    changes += register_deployments(registrations, environment)
    registered = compare(client, definitions)
    require_current(registered)
    changes += register_automation(client, dead_runs())
    if block:
        night = next(one.found.id for one in registered if one.found and one.definition["name"] == NIGHTLY)
        changes += register_automation(client, failed_night(night, block))
    return changes
