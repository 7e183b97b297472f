"""Questions, policies and verdicts: what was measured, apart from what it means.

Until now a prompt's thresholds were part of its identity, and an answer was the verdict of the moment. Now a question
is what a model is given; an answer keeps what was measured; a policy says what answers mean; verdicts follow from both.
Answers to prompts that differ in policy alone become answers to one question: the newest counts, the others stay in
`answers`, superseded. The verdicts are made after the migration (`nightreel db upgrade`), by the same code as always.
"""

import hashlib
import json
from collections import defaultdict

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_WORDING_VERSION = 1
_SCORED = ("yes_no", "choice", "tags")
_MOST_SCORED_NUMBERS = 20
_GREEDY = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0, "repetition_penalty": 1.0, "beams": 1}
_KEPT_VIEWS = ("answers", "video_answers")

# The prompt sets that were shipped under these names until now, by the texts of their prompts.
_SHIPPED = {
    "moderation": {
        "violence": "Does this video show physical violence?",
        "weapons": "Is a weapon visible in this video?",
        "nudity": "Does this video show nudity or sexual acts?",
        "self_harm": "Does this video show self-harm?",
        "why_violent": "Explain what makes it violent.",
    },
    "tagging": {
        "caption": "Describe what happens in this video in one or two sentences.",
        "people": "How many people can be seen?",
        "setting": "Where does it take place?",
        "topics": "Is this video about the following topic?",
        "text_on_screen": "Is there readable text on the screen?",
    },
}

_TABLES = """
    CREATE TABLE nightreel.prompts (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        set_name TEXT NOT NULL,
        name TEXT NOT NULL,
        question_id BIGINT NOT NULL,
        policy_id BIGINT,
        created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT prompts_pkey PRIMARY KEY (id),
        CONSTRAINT prompts_set_name_name_key UNIQUE (set_name, name),
        CONSTRAINT prompts_question_id_fkey FOREIGN KEY(question_id) REFERENCES nightreel.questions (id)
    );

    CREATE TABLE nightreel.policies (
        id BIGINT GENERATED ALWAYS AS IDENTITY,
        prompt_id BIGINT NOT NULL,
        hash TEXT NOT NULL,
        definition JSONB NOT NULL,
        origin TEXT NOT NULL,
        made_by TEXT NOT NULL,
        since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        progress JSONB,
        applied_at TIMESTAMP WITH TIME ZONE,
        CONSTRAINT policies_pkey PRIMARY KEY (id),
        CONSTRAINT policies_prompt_id_fkey FOREIGN KEY(prompt_id) REFERENCES nightreel.prompts (id),
        CONSTRAINT policies_origin_check CHECK (origin IN ('file', 'applied', 'upgrade'))
    );

    CREATE INDEX policies_prompt_id_idx ON nightreel.policies (prompt_id, id);

    ALTER TABLE nightreel.prompts
        ADD CONSTRAINT prompts_policy_id_fkey FOREIGN KEY(policy_id) REFERENCES nightreel.policies (id);

    CREATE TABLE nightreel.recipe_prompts (
        recipe_id BIGINT NOT NULL,
        place INTEGER NOT NULL,
        prompt_id BIGINT NOT NULL,
        question_id BIGINT NOT NULL,
        CONSTRAINT recipe_prompts_pkey PRIMARY KEY (recipe_id, place),
        CONSTRAINT recipe_prompts_recipe_id_prompt_id_key UNIQUE (recipe_id, prompt_id),
        CONSTRAINT recipe_prompts_recipe_id_fkey FOREIGN KEY(recipe_id) REFERENCES nightreel.recipes (id),
        CONSTRAINT recipe_prompts_prompt_id_fkey FOREIGN KEY(prompt_id) REFERENCES nightreel.prompts (id),
        CONSTRAINT recipe_prompts_question_id_fkey FOREIGN KEY(question_id) REFERENCES nightreel.questions (id)
    );

    CREATE TABLE nightreel.current_recipes (
        source TEXT NOT NULL,
        set_name TEXT NOT NULL,
        recipe_id BIGINT NOT NULL,
        made_by TEXT NOT NULL,
        since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        shown_up_to BIGINT,
        CONSTRAINT current_recipes_pkey PRIMARY KEY (source, set_name),
        CONSTRAINT current_recipes_recipe_id_fkey FOREIGN KEY(recipe_id) REFERENCES nightreel.recipes (id)
    );

    CREATE TABLE nightreel.verdicts (
        answer_id BIGINT NOT NULL,
        prompt_id BIGINT NOT NULL,
        policy_id BIGINT NOT NULL,
        state TEXT NOT NULL,
        text TEXT,
        value JSONB,
        reason TEXT,
        labels JSONB,
        severity INTEGER,
        lane TEXT,
        flagged BOOLEAN NOT NULL,
        needs_review BOOLEAN NOT NULL,
        due BOOLEAN DEFAULT 'true' NOT NULL,
        shown BOOLEAN DEFAULT 'false' NOT NULL,
        outdated TEXT,
        judged_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT verdicts_pkey PRIMARY KEY (answer_id, prompt_id),
        CONSTRAINT verdicts_answer_id_fkey FOREIGN KEY(answer_id) REFERENCES nightreel.answers (id) ON DELETE CASCADE,
        CONSTRAINT verdicts_prompt_id_fkey FOREIGN KEY(prompt_id) REFERENCES nightreel.prompts (id),
        CONSTRAINT verdicts_policy_id_fkey FOREIGN KEY(policy_id) REFERENCES nightreel.policies (id),
        CONSTRAINT verdicts_state_check CHECK (state IN ('answered', 'unknown', 'error')),
        CONSTRAINT verdicts_severity_check CHECK (severity BETWEEN 1 AND 4)
    );

    CREATE INDEX verdicts_flagged_idx ON nightreel.verdicts (prompt_id, answer_id DESC) WHERE flagged AND shown;

    CREATE TABLE nightreel.video_verdicts (
        video_id BIGINT NOT NULL,
        prompt_id BIGINT NOT NULL,
        policy_id BIGINT NOT NULL,
        state TEXT NOT NULL,
        text TEXT,
        value JSONB,
        reason TEXT,
        labels JSONB,
        severity INTEGER,
        lane TEXT,
        flagged BOOLEAN NOT NULL,
        needs_review BOOLEAN NOT NULL,
        max_p DOUBLE PRECISION,
        first_flagged_s DOUBLE PRECISION,
        segments INTEGER NOT NULL,
        unknown INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        covered_s DOUBLE PRECISION,
        expected_s DOUBLE PRECISION,
        judged_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
        CONSTRAINT video_verdicts_pkey PRIMARY KEY (video_id, prompt_id),
        CONSTRAINT video_verdicts_video_id_fkey FOREIGN KEY(video_id)
            REFERENCES nightreel.videos (id) ON DELETE CASCADE,
        CONSTRAINT video_verdicts_prompt_id_fkey FOREIGN KEY(prompt_id) REFERENCES nightreel.prompts (id),
        CONSTRAINT video_verdicts_policy_id_fkey FOREIGN KEY(policy_id) REFERENCES nightreel.policies (id),
        CONSTRAINT video_verdicts_state_check CHECK (state IN ('answered', 'unknown', 'error')),
        CONSTRAINT video_verdicts_severity_check CHECK (severity BETWEEN 1 AND 4)
    );

    CREATE INDEX video_verdicts_flagged_idx ON nightreel.video_verdicts (prompt_id, video_id DESC) WHERE flagged;

    CREATE TABLE nightreel.kept_prompt_sets (
        name TEXT NOT NULL,
        means TEXT NOT NULL,
        CONSTRAINT kept_prompt_sets_pkey PRIMARY KEY (name)
    );
"""

# What an old answer measured. The reason of a doubtful one was its verdict: it is judged again.
_MEASURED = """
UPDATE nightreel.answers AS answer
SET state = CASE WHEN answer.state = 'error' THEN 'error'
                 WHEN answer.scores IS NOT NULL OR answer.state = 'answered' THEN 'measured'
                 ELSE 'unmeasured'
            END,
    reason = CASE WHEN answer.state = 'error' THEN answer.reason
                  WHEN answer.scores IS NOT NULL OR answer.state = 'answered' THEN NULL
                  ELSE coalesce(answer.reason, 'not measured')
             END,
    text = CASE WHEN answer.scores IS NOT NULL THEN NULL
                WHEN answer.state = 'answered' AND question.kind = 'tags' THEN (
                    SELECT string_agg(CASE WHEN answer.value ? choice THEN 'yes' ELSE 'no' END, ',' ORDER BY place)
                    FROM unnest(question.choices) WITH ORDINALITY AS tag (choice, place))
                ELSE answer.text
           END,
    p = CASE WHEN answer.scores IS NULL THEN NULL
             WHEN question.kind = 'tags' THEN (SELECT max(value::float8) FROM jsonb_each_text(answer.scores))
             ELSE answer.p
        END
FROM nightreel.questions AS question
WHERE question.id = answer.question_id
"""


def upgrade() -> None:
    connection = op.get_bind()
    for view in _KEPT_VIEWS:
        _empty(connection, view)
    op.execute("DROP VIEW IF EXISTS nightreel.newest_answers")
    op.execute("DROP FUNCTION IF EXISTS nightreel.too_little, nightreel.saw, nightreel.is_no")
    coverage = connection.execute(sa.text("SELECT min_coverage FROM nightreel.judging")).scalar()
    op.drop_table("judging", schema="nightreel")
    old = _old_prompts(connection)
    question_of = _make_questions(connection, old)
    _change_answers()
    op.execute(_TABLES)
    uses = _uses(connection, old)
    prompt_ids = _make_prompts(connection, old, uses, question_of, coverage=0.8 if coverage is None else coverage)
    _change_recipes(connection, question_of, prompt_ids)
    _make_current(connection)


# -- views -------------------------------------------------------------------------------------------------------


def _empty(connection: sa.Connection, view: str) -> None:
    """Cut a view off from its tables, with its columns. Rights on it and views of others that use it stay."""
    columns = connection.execute(
        sa.text(
            "SELECT quote_ident(attname), format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(:view) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        ),
        {"view": f"reporting.{view}"},
    ).all()
    if columns:
        nothing = ", ".join(f"NULL::{kind} AS {name}" for name, kind in columns)
        op.execute(f"CREATE OR REPLACE VIEW reporting.{view} AS SELECT {nothing} WHERE false")


# -- questions ---------------------------------------------------------------------------------------------------


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _old_prompts(connection: sa.Connection) -> dict[str, dict]:
    """The prompts of the version before, by hash, the oldest first."""
    rows = connection.execute(sa.text("SELECT * FROM nightreel.prompts ORDER BY id")).mappings()
    return {row["hash"]: dict(row) for row in rows}


def _question(row: dict) -> dict:
    definition = row["definition"]
    return {
        "kind": row["kind"],
        "text": row["text"],
        "choices": list(row["choices"]),
        "max_new_tokens": definition.get("max_new_tokens", 64),
        "minimum": definition.get("minimum"),
        "maximum": definition.get("maximum"),
        "decoding": {**_GREEDY, **(definition.get("decoding") or {})},
        "language": "en",
    }


def _question_hash(question: dict) -> str:
    low, high = question["minimum"], question["maximum"]
    narrow = (
        question["kind"] == "number"
        and low is not None
        and high is not None
        and question["decoding"] == _GREEDY
        and high - low <= _MOST_SCORED_NUMBERS
        and int(high // 1) >= -int(-low // 1)
    )
    scored = question["kind"] in _SCORED or narrow
    return _hash(
        {
            "wording": _WORDING_VERSION,
            "kind": question["kind"],
            "text": question["text"],
            "choices": question["choices"],
            "max_new_tokens": None if scored else question["max_new_tokens"],
            "range": [low, high],
            "decoding": None if scored else question["decoding"],
        }
    )


def _make_questions(connection: sa.Connection, old: dict[str, dict]) -> dict[str, int]:
    """Turn the prompts into questions. Returns the id of the question of each old prompt, by the prompt's hash."""
    for statement in (
        "ALTER TABLE nightreel.prompts RENAME TO questions",
        "ALTER TABLE nightreel.questions RENAME CONSTRAINT prompts_pkey TO questions_pkey",
        "ALTER TABLE nightreel.questions RENAME CONSTRAINT prompts_hash_key TO questions_hash_key",
        "ALTER SEQUENCE nightreel.prompts_id_seq RENAME TO questions_id_seq",
        "ALTER TABLE nightreel.answers RENAME COLUMN prompt_id TO question_id",
        "ALTER TABLE nightreel.answers RENAME CONSTRAINT answers_prompt_id_fkey TO answers_question_id_fkey",
        "ALTER TABLE nightreel.answers DROP CONSTRAINT answers_segment_id_prompt_id_model_id_key",
        "ALTER TABLE nightreel.questions DROP COLUMN name, DROP COLUMN set_name, DROP COLUMN flag",
        "ALTER TABLE nightreel.answers ADD COLUMN superseded BOOLEAN DEFAULT 'false' NOT NULL",
    ):
        op.execute(statement)
    groups: dict[str, list[dict]] = defaultdict(list)
    for row in old.values():
        groups[_question_hash(_question(row))].append(row)
    question_of = {}
    for number, (key, rows) in enumerate(groups.items()):
        kept = rows[-1]["id"]
        others = [row["id"] for row in rows[:-1]]
        question_of |= {row["hash"]: kept for row in rows}
        if others:
            connection.execute(
                sa.text("UPDATE nightreel.answers SET question_id = :kept WHERE question_id = ANY (:others)"),
                {"kept": kept, "others": others},
            )
            connection.execute(
                sa.text(
                    "UPDATE nightreel.answers SET superseded = true FROM (SELECT id, row_number() OVER (PARTITION BY "
                    "segment_id, model_id ORDER BY state = 'error', answered_at DESC, id DESC) AS place "
                    "FROM nightreel.answers WHERE question_id = :kept) AS ranked "
                    "WHERE ranked.id = answers.id AND ranked.place > 1"
                ),
                {"kept": kept},
            )
            connection.execute(sa.text("DELETE FROM nightreel.questions WHERE id = ANY (:ids)"), {"ids": others})
        connection.execute(
            sa.text(
                "UPDATE nightreel.questions SET hash = :hash, definition = CAST(:definition AS jsonb) WHERE id = :id"
            ),
            {"hash": f"{number}:{key}", "definition": json.dumps(_question(rows[-1])), "id": kept},
        )
    # In two steps, because a new hash may be an old one of another row.
    op.execute("UPDATE nightreel.questions SET hash = split_part(hash, ':', 2)")
    return question_of


def _change_answers() -> None:
    for statement in (
        "ALTER TABLE nightreel.answers ADD COLUMN mass JSONB, ADD COLUMN bounds JSONB",
        "ALTER TABLE nightreel.answers DROP CONSTRAINT answers_state_check, DROP CONSTRAINT answers_value_check",
        _MEASURED,
        "ALTER TABLE nightreel.answers DROP COLUMN value",
        "ALTER TABLE nightreel.answers ADD CONSTRAINT answers_state_check "
        "CHECK (state IN ('measured', 'unmeasured', 'error'))",
        "ALTER TABLE nightreel.answers ADD CONSTRAINT answers_reason_check "
        "CHECK ((state = 'measured') = (reason IS NULL))",
        "CREATE UNIQUE INDEX answers_segment_id_question_id_model_id_key "
        "ON nightreel.answers (segment_id, question_id, model_id) WHERE NOT superseded",
        "CREATE INDEX answers_question_id_p_idx ON nightreel.answers (question_id, p, id)",
        "CREATE INDEX answers_bounded_idx ON nightreel.answers (question_id, id) WHERE bounds IS NOT NULL",
    ):
        op.execute(statement)


# -- prompts and policies ----------------------------------------------------------------------------------------


def _uses(connection: sa.Connection, old: dict[str, dict]) -> dict[tuple[str, str], list[dict]]:
    """The uses of each (set, name), the latest first: the hash of the old prompt, and its condition."""
    uses: dict[tuple[str, str], list[dict]] = defaultdict(list)
    recipes = connection.execute(
        sa.text(
            "SELECT recipe.prompts FROM nightreel.recipes AS recipe LEFT JOIN nightreel.runs AS run "
            "ON run.recipe_id = recipe.id GROUP BY recipe.id ORDER BY max(run.id) DESC NULLS LAST, recipe.id DESC"
        )
    ).scalars()
    for prompts in recipes:
        for one in prompts:
            if one["hash"] in old:
                known = uses[_renamed(one["set"], one["name"], old[one["hash"]])]
                if one["hash"] not in {use["hash"] for use in known}:
                    known.append({"hash": one["hash"], "when": one.get("when") or {}})
    for row in reversed(old.values()):
        known = uses[_renamed(row["set_name"], row["name"], row)]
        if row["hash"] not in {use["hash"] for use in known}:
            known.append({"hash": row["hash"], "when": {}})
    return uses


def _renamed(set_name: str, name: str, row: dict) -> tuple[str, str]:
    """The sets that were shipped as `moderation` and `tagging` are now `moderation_2026` and `tagging_2026`."""
    shipped = _SHIPPED.get(set_name, {}).get(name)
    return (f"{set_name}_2026" if shipped == row["text"] else set_name), name


def _policy(row: dict, when: dict, coverage: float) -> dict:
    definition = row["definition"]
    threshold = definition.get("threshold", 0.5)
    margin = definition.get("min_margin", 0.0) or 0.0
    banded = row["kind"] in ("yes_no", "tags")
    half = margin / 2 if banded else 0.0
    threshold = threshold if banded else 0.5
    return {
        "band": [max(0.0, round(threshold - half, 9)), min(1.0, round(threshold + half, 9))],
        "bands": {},
        "min_mass": definition.get("min_mass", 0.0) or 0.0,
        "min_margin": 0.0 if banded else margin,
        "flags": [row["flag"]] if row["flag"] else [],
        "severity": None,
        "severities": {},
        "lane": None,
        "review": "flagged_or_unknown",
        "roll_up": None,
        "coverage": coverage,
        "text": "",
        "codes": {},
        "when": when,
        "look_again": None,
    }


def _make_prompts(
    connection: sa.Connection,
    old: dict[str, dict],
    uses: dict[tuple[str, str], list[dict]],
    question_of: dict[str, int],
    *,
    coverage: float,
) -> dict[tuple[str, str], int]:
    """Prompts and their policies, the one in force last. Returns the id of each (set, name)."""
    ids = {}
    for (set_name, name), own in sorted(uses.items()):
        prompt_id = connection.execute(
            sa.text(
                "INSERT INTO nightreel.prompts (set_name, name, question_id) VALUES (:set, :name, :question) "
                "RETURNING id"
            ),
            {"set": set_name, "name": name, "question": question_of[own[0]["hash"]]},
        ).scalar_one()
        ids[set_name, name] = prompt_id
        policy_id = None
        for use in reversed(own):
            definition = _policy(old[use["hash"]], use["when"], coverage)
            policy_id = connection.execute(
                sa.text(
                    "INSERT INTO nightreel.policies (prompt_id, hash, definition, origin, made_by, since) "
                    "VALUES (:prompt, :hash, CAST(:definition AS jsonb), 'upgrade', 'upgrade', :since) "
                    "RETURNING id"
                ),
                {
                    "prompt": prompt_id,
                    "hash": _hash(definition),
                    "definition": json.dumps(definition),
                    "since": old[use["hash"]]["created_at"],
                },
            ).scalar_one()
        connection.execute(
            sa.text("UPDATE nightreel.prompts SET policy_id = :policy WHERE id = :id"),
            {"policy": policy_id, "id": prompt_id},
        )
    # Earlier policies are history. Those in force are applied by the code that runs after the migration.
    op.execute(
        "UPDATE nightreel.policies SET applied_at = now() "
        "WHERE id NOT IN (SELECT policy_id FROM nightreel.prompts WHERE policy_id IS NOT NULL)"
    )
    for shipped in _SHIPPED:
        if any(set_name == f"{shipped}_2026" for set_name, _ in ids):
            connection.execute(
                sa.text("INSERT INTO nightreel.kept_prompt_sets (name, means) VALUES (:name, :means)"),
                {"name": shipped, "means": f"{shipped}_2026"},
            )
    return ids


# -- recipes -----------------------------------------------------------------------------------------------------


def _change_recipes(
    connection: sa.Connection, question_of: dict[str, int], prompt_ids: dict[tuple[str, str], int]
) -> None:
    """Give recipes their new hashes. Of those that now ask the same, the latest used one keeps the work."""
    questions = connection.execute(sa.text("SELECT id, hash, text FROM nightreel.questions")).all()
    hashes = {row.id: row.hash for row in questions}
    texts = {row.id: row.text for row in questions}
    rows = connection.execute(
        sa.text(
            "SELECT recipe.id, recipe.hash, recipe.plan_hash, recipe.prompts, model.hash AS model_hash "
            "FROM nightreel.recipes AS recipe JOIN nightreel.models AS model ON model.id = recipe.model_id "
            "LEFT JOIN nightreel.runs AS run ON run.recipe_id = recipe.id "
            "GROUP BY recipe.id, model.hash ORDER BY max(run.id) DESC NULLS LAST, recipe.id DESC"
        )
    ).all()
    kept: dict[str, int] = {}
    for row in rows:
        asked = []
        for one in row.prompts:
            question = question_of.get(one["hash"])
            if question is None:
                continue
            asked.append((*_renamed(one["set"], one["name"], {"text": texts[question]}), question))
        prompts = sorted([set_name, name, hashes[question]] for set_name, name, question in asked)
        key = _hash({"model": row.model_hash, "plan": row.plan_hash, "prompts": prompts})
        for place, (set_name, name, question) in enumerate(asked):
            connection.execute(
                sa.text(
                    "INSERT INTO nightreel.recipe_prompts (recipe_id, place, prompt_id, question_id) "
                    "VALUES (:recipe, :place, :prompt, :question) ON CONFLICT DO NOTHING"
                ),
                {"recipe": row.id, "place": place, "prompt": prompt_ids[set_name, name], "question": question},
            )
        if key in kept:
            connection.execute(
                sa.text(
                    "UPDATE nightreel.analyses SET recipe_id = :kept WHERE recipe_id = :id AND NOT EXISTS ("
                    "SELECT FROM nightreel.analyses AS other WHERE other.video_id = analyses.video_id "
                    "AND other.recipe_id = :kept)"
                ),
                {"kept": kept[key], "id": row.id},
            )
        connection.execute(
            sa.text("UPDATE nightreel.recipes SET hash = :hash WHERE id = :id"),
            {"hash": f"superseded by {kept[key]}: {row.hash}" if key in kept else f"new {key}", "id": row.id},
        )
        kept.setdefault(key, row.id)
    op.execute("UPDATE nightreel.recipes SET hash = substr(hash, 5) WHERE hash LIKE 'new %'")
    op.drop_column("recipes", "prompts", schema="nightreel")


def _make_current(connection: sa.Connection) -> None:
    """The recipe of a source's latest night or backfill is current for its prompt sets, else that of any run."""
    connection.execute(
        sa.text(
            """
            INSERT INTO nightreel.current_recipes (source, set_name, recipe_id, made_by, shown_up_to)
            SELECT DISTINCT ON (run.source, prompt.set_name)
                   run.source, prompt.set_name, run.recipe_id, 'upgrade', 0
            FROM nightreel.runs AS run
            JOIN nightreel.recipe_prompts AS asked ON asked.recipe_id = run.recipe_id
            JOIN nightreel.prompts AS prompt ON prompt.id = asked.prompt_id
            ORDER BY run.source, prompt.set_name,
                     (run.shard_id IS NOT NULL OR coalesce(run.name, '') LIKE 'night%') DESC, run.id DESC
            """
        )
    )


def downgrade() -> None:
    """Back to answers that are verdicts. Superseded answers are dropped, because there is one answer again."""
    connection = op.get_bind()
    for view in _KEPT_VIEWS:
        op.execute(f"DROP VIEW IF EXISTS reporting.{view} CASCADE")
    op.execute("DROP VIEW IF EXISTS reporting.answers_all, reporting.policies, reporting.recipes CASCADE")
    op.execute("DROP FUNCTION IF EXISTS reporting.changes")
    op.execute("DROP VIEW IF EXISTS nightreel.all_answers")
    op.create_table(
        "judging",
        sa.Column("only", sa.Boolean, nullable=False, server_default="true"),
        sa.Column("min_coverage", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("only", name="judging_pkey"),
        sa.CheckConstraint('"only"', name="judging_only_check"),
        sa.CheckConstraint("min_coverage >= 0 AND min_coverage <= 1", name="judging_min_coverage_check"),
        schema="nightreel",
    )
    for statement in (
        "ALTER TABLE nightreel.recipes ADD COLUMN prompts JSONB NOT NULL DEFAULT '[]'",
        "ALTER TABLE nightreel.recipes ALTER COLUMN prompts DROP DEFAULT",
        "UPDATE nightreel.recipes SET prompts = asked.prompts FROM (SELECT asked.recipe_id, jsonb_agg("
        "jsonb_build_object('name', prompt.name, 'set', prompt.set_name, 'hash', question.hash, 'when', "
        "coalesce(policy.definition -> 'when', '{}')) ORDER BY asked.place) AS prompts "
        "FROM nightreel.recipe_prompts AS asked JOIN nightreel.prompts AS prompt ON prompt.id = asked.prompt_id "
        "JOIN nightreel.questions AS question ON question.id = asked.question_id "
        "LEFT JOIN nightreel.policies AS policy ON policy.id = prompt.policy_id GROUP BY asked.recipe_id) AS asked "
        "WHERE asked.recipe_id = recipes.id",
        "ALTER TABLE nightreel.answers ADD COLUMN value JSONB",
        "ALTER TABLE nightreel.answers DROP CONSTRAINT answers_state_check, DROP CONSTRAINT answers_reason_check",
        "UPDATE nightreel.answers AS answer SET state = verdict.state, value = verdict.value, "
        "text = coalesce(verdict.text, answer.text), reason = verdict.reason FROM (SELECT DISTINCT ON (answer_id) * "
        "FROM nightreel.verdicts ORDER BY answer_id, prompt_id) AS verdict WHERE verdict.answer_id = answer.id",
        "UPDATE nightreel.answers SET state = 'unknown', text = NULL, value = NULL, "
        "reason = coalesce(reason, 'not judged') WHERE state IN ('measured', 'unmeasured')",
        "DROP TABLE nightreel.video_verdicts, nightreel.verdicts, nightreel.kept_prompt_sets, "
        "nightreel.current_recipes, nightreel.recipe_prompts",
        "ALTER TABLE nightreel.prompts DROP CONSTRAINT prompts_policy_id_fkey",
        "DROP TABLE nightreel.policies",
        "DELETE FROM nightreel.answers WHERE superseded",
        "DROP INDEX nightreel.answers_segment_id_question_id_model_id_key, nightreel.answers_question_id_p_idx, "
        "nightreel.answers_bounded_idx",
        "ALTER TABLE nightreel.answers DROP COLUMN superseded, DROP COLUMN mass, DROP COLUMN bounds",
        "ALTER TABLE nightreel.questions ADD COLUMN name TEXT, ADD COLUMN set_name TEXT, ADD COLUMN flag TEXT",
        "UPDATE nightreel.questions SET name = coalesce(one.name, 'unnamed'), set_name = coalesce(one.set_name, '') "
        "FROM nightreel.questions AS self LEFT JOIN (SELECT DISTINCT ON (question_id) * FROM nightreel.prompts "
        "ORDER BY question_id, id DESC) AS one ON one.question_id = self.id WHERE self.id = questions.id",
        "ALTER TABLE nightreel.questions ALTER COLUMN name SET NOT NULL, ALTER COLUMN set_name SET NOT NULL",
        "DROP TABLE nightreel.prompts",
        "ALTER TABLE nightreel.questions RENAME TO prompts",
        "ALTER TABLE nightreel.prompts RENAME CONSTRAINT questions_pkey TO prompts_pkey",
        "ALTER TABLE nightreel.prompts RENAME CONSTRAINT questions_hash_key TO prompts_hash_key",
        "ALTER SEQUENCE nightreel.questions_id_seq RENAME TO prompts_id_seq",
        "ALTER TABLE nightreel.answers RENAME COLUMN question_id TO prompt_id",
        "ALTER TABLE nightreel.answers RENAME CONSTRAINT answers_question_id_fkey TO answers_prompt_id_fkey",
        "ALTER TABLE nightreel.answers ADD CONSTRAINT answers_segment_id_prompt_id_model_id_key "
        "UNIQUE (segment_id, prompt_id, model_id)",
        "ALTER TABLE nightreel.answers ADD CONSTRAINT answers_state_check "
        "CHECK (state IN ('answered', 'unknown', 'error'))",
        "ALTER TABLE nightreel.answers ADD CONSTRAINT answers_value_check "
        "CHECK ((state = 'answered') = (value IS NOT NULL))",
    ):
        connection.execute(sa.text(statement))
