"""The current tables of schema `nightreel`. sql/migrations makes them.

Analysts never see these tables: they read the views of schema `reporting` (sql/views).
"""

from nightreel.database.schema.access import (
    passwords,
    preferences,
    saved_searches,
    sessions,
    sign_in_failures,
    sign_in_links,
    tokens,
    users,
)
from nightreel.database.schema.audits import audit_items, audit_strata, audits, golden_items, golden_labels
from nightreel.database.schema.columns import metadata
from nightreel.database.schema.devices import memory_leases, memory_peaks
from nightreel.database.schema.erased import ONLY_ERASE_WRITES, erasures, legal_holds, tombstones
from nightreel.database.schema.feature_cache import cache_keys, features
from nightreel.database.schema.judged import verdicts, video_verdicts
from nightreel.database.schema.measured import answers
from nightreel.database.schema.model_recipes import current_recipes, models, recipe_prompts, recipes
from nightreel.database.schema.prompt_sets import kept_prompt_sets, policies, prompts, questions
from nightreel.database.schema.requests import requests
from nightreel.database.schema.review import (
    ADDED_TO,
    case_events,
    cases,
    decisions,
    findings,
    queue_policies,
    queues,
    views_seen,
)
from nightreel.database.schema.search import documents, embedding_models, search_index, vectors
from nightreel.database.schema.shards import backfill_shards, backfills
from nightreel.database.schema.site import site
from nightreel.database.schema.webhooks import webhook_deliveries, webhooks
from nightreel.database.schema.whole_videos import notes, whole_answers
from nightreel.database.schema.work import analyses, failed_segments, runs, segments, videos

__all__ = [
    "ADDED_TO",
    "ONLY_ERASE_WRITES",
    "analyses",
    "answers",
    "audit_items",
    "audit_strata",
    "audits",
    "backfill_shards",
    "backfills",
    "cache_keys",
    "case_events",
    "cases",
    "current_recipes",
    "decisions",
    "documents",
    "embedding_models",
    "erasures",
    "failed_segments",
    "features",
    "findings",
    "golden_items",
    "golden_labels",
    "kept_prompt_sets",
    "legal_holds",
    "memory_leases",
    "memory_peaks",
    "metadata",
    "models",
    "notes",
    "passwords",
    "policies",
    "preferences",
    "prompts",
    "questions",
    "queue_policies",
    "queues",
    "recipe_prompts",
    "recipes",
    "requests",
    "runs",
    "saved_searches",
    "search_index",
    "segments",
    "sessions",
    "sign_in_failures",
    "sign_in_links",
    "site",
    "tokens",
    "tombstones",
    "users",
    "vectors",
    "verdicts",
    "video_verdicts",
    "videos",
    "views_seen",
    "webhook_deliveries",
    "webhooks",
    "whole_answers",
]
