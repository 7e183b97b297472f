"""Queues, cases and decisions. Triggers refuse every change of a decision or an event, also to the owner."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB

revision = "0026"
down_revision = "0025"

_STATES = "state IN ('open', 'second', 'escalated', 'appealed', 'closed', 'empty')"
_ADDED_TO = ("case_events", "decisions")
# The worker and the console add decisions; the console may not write to the outbox: the function has the rights of its
# owner. Only a decision that settles its label is told: one that waits for a second person stays unknown to them.
_TELL = """
    CREATE FUNCTION nightreel.tell_decisions() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        IF NOT EXISTS (SELECT FROM nightreel.webhooks WHERE disabled_at IS NULL) THEN
            RETURN NULL;
        END IF;
        INSERT INTO nightreel.webhook_deliveries (event_id, webhook_id, video_id, type, payload)
        SELECT made.event_id,
               webhook.id,
               video.id,
               made.type,
               jsonb_build_object(
                   'type', made.type,
                   'timestamp', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                   'data', jsonb_build_object(
                       'event_id', made.event_id,
                       'video_id', video.id,
                       'uri', video.uri,
                       'case_id', made.case_id,
                       'decision_id', made.decision_id,
                       'batch_id', made.batch_id,
                       'prompt_set', prompt.set_name,
                       'prompt', prompt.name,
                       'tag', nullif(made.tag, ''),
                       'ruling', made.ruling,
                       'stage', made.stage,
                       'severity', made.severity,
                       'start_s', made.start_s,
                       'end_s', made.end_s
                   )
               )
        FROM (
            SELECT 'evt_' || md5('decision ' || decision.id || ' ' || video.id) AS event_id,
                   CASE WHEN decision.undoes IS NULL THEN 'decision.made' ELSE 'decision.undone' END AS type,
                   told.id AS decision_id, told.case_id, told.batch_id, told.prompt_id, told.tag, told.ruling,
                   told.stage, (told.shown ->> 'severity')::integer AS severity, told.start_s, told.end_s,
                   video.id AS video_id
            FROM arrived AS decision
            JOIN nightreel.decisions AS told ON told.id = coalesce(decision.undoes, decision.id)
            JOIN nightreel.videos AS video ON video.replaced_at IS NULL AND (
                video.content_sha256 = decision.content
                OR (video.content_sha256 IS NULL
                    AND video.id = CAST(substring(decision.content FROM '^video:([0-9]+)$') AS bigint))
            )
            WHERE told.settles
        ) AS made
        JOIN nightreel.videos AS video ON video.id = made.video_id
        JOIN nightreel.prompts AS prompt ON prompt.id = made.prompt_id
        JOIN nightreel.webhooks AS webhook
            ON webhook.disabled_at IS NULL
           AND (webhook.set_name IS NULL OR webhook.set_name = prompt.set_name)
           AND (webhook.prompt IS NULL OR webhook.prompt = prompt.name)
           AND (webhook.least_severity IS NULL OR made.severity >= webhook.least_severity)
        WHERE webhook.restricted OR NOT video.restricted
        FOR KEY SHARE OF webhook;
        RETURN NULL;
    END
    $$
"""


def _id() -> sa.Column:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def _time(name: str) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True))


def _now(name: str) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def _refers(name: str, table: str, *, nullable: bool = False, **more: object) -> sa.Column:
    return sa.Column(name, sa.BigInteger, sa.ForeignKey(f"nightreel.{table}.id", **more), nullable=nullable)


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=f"{table}_{name}_check")


def upgrade() -> None:
    op.create_table(
        "queues",
        _id(),
        sa.Column("name", sa.Text, nullable=False),
        sa.UniqueConstraint("name", name="queues_name_key"),
        schema="nightreel",
    )
    op.create_table(
        "queue_policies",
        _id(),
        sa.Column("definition", JSONB, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        _now("since"),
        sa.Column("progress", sa.BigInteger, nullable=False, server_default="0"),
        _time("applied_at"),
        schema="nightreel",
    )
    op.create_table(
        "cases",
        _id(),
        _refers("queue_id", "queues"),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="empty"),
        sa.Column("severity", sa.Integer, nullable=False, server_default="0"),
        sa.Column("version", sa.Integer, nullable=False, server_default="0"),
        _now("opened_at"),
        _now("changed_at"),
        _refers("taken_by", "users", nullable=True),
        _time("taken_at"),
        _time("taken_until"),
        _time("hold_until"),
        _refers("assigned_to", "users", nullable=True),
        sa.Column("skipped_by", postgresql.ARRAY(sa.BigInteger), nullable=False, server_default="{}"),
        sa.UniqueConstraint("queue_id", "content", name="cases_queue_id_content_key"),
        _check("cases", "state", _STATES),
        _check("cases", "severity", "severity BETWEEN 0 AND 4"),
        _check("cases", "taken", "num_nulls(taken_by, taken_at, taken_until) IN (0, 3)"),
        schema="nightreel",
    )
    op.create_table(
        "findings",
        sa.Column("case_id", sa.BigInteger, sa.ForeignKey("nightreel.cases.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("prompt_id", sa.BigInteger, sa.ForeignKey("nightreel.prompts.id"), primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("found", sa.Text, nullable=False),
        sa.Column("severity", sa.Integer),
        sa.Column("lane", sa.Text),
        sa.Column("reason", sa.Text),
        _refers("policy_id", "policies"),
        _refers("video_id", "videos", ondelete="CASCADE"),
        sa.Column("evidence", JSONB, nullable=False),
        _check("findings", "found", "found IN ('flagged', 'unknown', 'error', 'answered')"),
        _check("findings", "severity", "severity BETWEEN 1 AND 4"),
        schema="nightreel",
    )
    op.create_table(
        "case_events",
        _id(),
        _refers("case_id", "cases"),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        _refers("user_id", "users", nullable=True),
        _now("at"),
        sa.Column("batch_id", sa.Uuid),
        sa.Column("detail", JSONB),
        _check("case_events", "state", _STATES),
        schema="nightreel",
    )
    op.create_table(
        "decisions",
        _id(),
        sa.Column("batch_id", sa.Uuid, nullable=False),
        _refers("case_id", "cases"),
        sa.Column("content", sa.Text, nullable=False),
        _refers("prompt_id", "prompts"),
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("stage", sa.Text, nullable=False),
        sa.Column("ruling", sa.Text),
        _refers("undoes", "decisions", nullable=True),
        sa.Column("start_s", sa.Double),
        sa.Column("end_s", sa.Double),
        sa.Column("note", sa.Text),
        _refers("user_id", "users"),
        _now("decided_at"),
        sa.Column("seconds_spent", sa.Double),
        sa.Column("needs_second", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("settles", sa.Boolean, nullable=False, server_default="false"),
        _refers("appeal_id", "case_events", nullable=True),
        _refers("queue_policy_id", "queue_policies"),
        sa.Column("shown", JSONB, nullable=False),
        sa.UniqueConstraint("undoes", name="decisions_undoes_key"),
        _check("decisions", "ruling", "ruling IN ('confirm', 'reject', 'unsure', 'escalate')"),
        _check("decisions", "undoes", "(ruling IS NULL) = (undoes IS NOT NULL)"),
        _check("decisions", "stage", "stage IN ('first', 'second', 'escalation', 'appeal')"),
        _check("decisions", "range", "start_s >= 0 AND end_s >= start_s"),
        _check("decisions", "appeal", "(stage = 'appeal') = (appeal_id IS NOT NULL)"),
        schema="nightreel",
    )
    for name, what in (
        ("cases_waiting_idx", "cases (queue_id, severity DESC, id) WHERE state IN ('open', 'second')"),
        ("cases_of_leads_idx", "cases (queue_id, severity DESC, id) WHERE state IN ('escalated', 'appealed')"),
        ("cases_taken_by_idx", "cases (taken_by) WHERE taken_by IS NOT NULL"),
        ("cases_content_idx", "cases (content)"),
        ("findings_video_id_idx", "findings (video_id)"),
        ("case_events_case_id_idx", "case_events (case_id, id)"),
        ("decisions_label_idx", "decisions (content, prompt_id, tag, id)"),
        ("decisions_case_id_idx", "decisions (case_id, id)"),
        ("decisions_batch_id_idx", "decisions (batch_id)"),
        ("decisions_user_id_idx", "decisions (user_id, id)"),
    ):
        op.execute(f"CREATE INDEX {name} ON nightreel.{what}")
    # The console may add an event and may not write the state of a case: the trigger has the rights of its owner.
    op.execute(
        """
        CREATE FUNCTION nightreel.set_case_state() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            UPDATE nightreel.cases SET state = NEW.state, changed_at = now()
            WHERE id = NEW.case_id AND state <> NEW.state;
            RETURN NULL;
        END
        $$
        """
    )
    op.execute(
        "CREATE TRIGGER case_events_set_state AFTER INSERT ON nightreel.case_events "
        "FOR EACH ROW EXECUTE FUNCTION nightreel.set_case_state()"
    )
    op.execute(_TELL)
    op.execute(
        "CREATE TRIGGER decisions_tell AFTER INSERT ON nightreel.decisions REFERENCING NEW TABLE AS arrived "
        "FOR EACH STATEMENT EXECUTE FUNCTION nightreel.tell_decisions()"
    )
    op.execute(
        """
        CREATE FUNCTION nightreel.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE insufficient_privilege USING MESSAGE = format(
                '%s of %I: its rows are never changed nor deleted', lower(TG_OP), TG_TABLE_NAME
            );
        END
        $$
        """
    )
    for table in _ADDED_TO:
        op.execute(
            f"CREATE TRIGGER {table}_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON nightreel.{table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION nightreel.refuse_change()"
        )


def downgrade() -> None:
    for table in ("decisions", "case_events", "findings", "cases", "queue_policies", "queues"):
        op.execute(f"DROP TABLE nightreel.{table} CASCADE")
    op.execute("DROP FUNCTION nightreel.set_case_state")
    op.execute("DROP FUNCTION nightreel.refuse_change")
    op.execute("DROP FUNCTION nightreel.tell_decisions")
