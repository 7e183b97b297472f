"""Automations of the Prefect server: mark runs without a heartbeat crashed, and send a message when a night fails."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from nightreel.errors import SettingsError
from nightreel.orchestration.deployments.differences import differences

SILENT_FOR = timedelta(seconds=120)
"""A run without a heartbeat for this long counts as dead. Its memory lease has run out too by that time.

deployments/prefect.yaml sets how often runs send a heartbeat.
"""
DEAD = "nightreel: dead runs"
FAILED_NIGHT = "nightreel: failed night"
_TAG = "nightreel"
_BEGIN = "prefect.flow-run.Running"
_HEARTBEAT = "prefect.flow-run.heartbeat"
_ENDS = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled", "TimedOut")}
_SUBJECT = "Nightreel: {{ flow_run.name }} {{ flow_run.state.name | lower }}"
_BODY = """{{ flow_run.state.message }}

Run {{ flow_run.name }} of {{ deployment.name }}, {{ flow_run.state.name }} at {{ flow_run.state.timestamp }}
{{ flow_run | ui_url }}"""


def dead_runs(silent_for: timedelta = SILENT_FOR) -> AutomationCore:
    """Mark started runs crashed that have sent no heartbeat for this long: something killed them with their worker."""
    return AutomationCore(
        name=DEAD,
        description="Marks runs crashed that were killed together with their worker. Made by `nightreel deploy`.",
        trigger=EventTrigger(
            after={_BEGIN, _HEARTBEAT},  # _BEGIN: a run may be killed before its first heartbeat
            expect={_HEARTBEAT, *_ENDS},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.id": [f"prefect.tag.{_TAG}"], "prefect.resource.role": ["tag"]}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silent_for,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"no heartbeat for {silent_for.total_seconds():.0f} s: the run and its worker are gone",
            )
        ],
    )


def failed_night(deployment_id: UUID, block_document_id: UUID) -> AutomationCore:
    """Send a message about each run of this deployment that failed or crashed."""
    return AutomationCore(
        name=FAILED_NIGHT,
        description="Sends a message when a night fails or crashes. Made by `nightreel deploy --notify`.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {
                    "prefect.resource.id": [f"prefect.deployment.{deployment_id}"],
                    "prefect.resource.role": ["deployment"],
                }
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[SendNotification(block_document_id=block_document_id, subject=_SUBJECT, body=_BODY)],
    )


def find_notification_block(client: SyncPrefectClient, name: str) -> UUID:
    """The id of the block document named `type-slug/block-name`.

    Raises:
        SettingsError: it does not exist, or it cannot notify. The error lists the blocks that can.
    """
    slug, _, block_name = name.partition("/")
    try:
        block = client.read_block_document_by_name(block_name, slug, include_secrets=False) if block_name else None
    except ObjectNotFound:
        block = None
    if block and block.block_schema and "notify" in block.block_schema.capabilities:
        return block.id
    notifying = [
        f"{other.block_type.slug}/{other.name}"
        for other in client.read_block_documents(include_secrets=False)
        if other.block_type and other.block_schema and "notify" in other.block_schema.capabilities
    ]
    problem = "cannot notify" if block else "is not a block" if block_name else "should be TYPE-SLUG/BLOCK-NAME"
    there_are = ", ".join(sorted(notifying)) or "(none exists yet)"
    raise SettingsError(
        f"--notify {name!r} {problem}: expected one of {there_are}. Make one in the UI (Blocks, then +; the type's "
        "slug is in the address of its page), or in Python, as deployments/README.md shows"
    )


def register_automation(client: SyncPrefectClient, wanted: AutomationCore) -> list[str]:
    """Make the automation, or change the one of this name if it differs. A disabled automation stays disabled."""
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        return [f"made automation {wanted.name!r}"]
    has = found[0]
    wanted = wanted.model_copy(update={"enabled": has.enabled})
    was = AutomationCore(**has.model_dump(exclude={"id"}))
    if was == wanted:
        return []
    client.update_automation(has.id, wanted)
    told = differences(was.model_dump(mode="json"), wanted.model_dump(mode="json"))
    return [f"changed automation {wanted.name!r}: {told}"]
