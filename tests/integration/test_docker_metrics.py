"""Every metric that docker/ draws or alerts on exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from nightreel.metrics import RunMetrics, metrics_text
from nightreel.settings import Settings

DOCKER = Path(__file__).parents[2] / "docker"
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
# From other exporters: Prometheus itself, NVIDIA's DCGM exporter with its default counters.
_OF_OTHERS = {"up", "DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED"}


def exported(database) -> set[str]:
    run = RunMetrics()
    run.show_busy_seconds(dict)
    text = metrics_text(Settings(), database=database) + generate_latest(run.registry).decode()
    families = [family for family in text_string_to_metric_families(text) if not family.name.endswith("_created")]
    return {family.name + suffix for family in families for suffix in _SUFFIXES[family.type]}


def expressions() -> list[str]:
    dashboard = json.loads((DOCKER / "grafana" / "dashboards" / "nightreel.json").read_text())
    alerts = yaml.safe_load((DOCKER / "alerts.yml").read_text())
    return [
        *(target["expr"] for panel in dashboard["panels"] for target in panel["targets"]),
        *(rule["expr"] for group in alerts["groups"] for rule in group["rules"]),
    ]


def metrics_in(expression: str) -> set[str]:
    bare = re.sub(r'"[^"]*"', '""', expression)
    words = re.findall(r"[A-Za-z_][A-Za-z0-9_]*", re.sub(r"\{[^}]*\}|\b(by|on|without) *\([^)]*\)|\[\w+\]", "", bare))
    return {word for word in words if word.startswith(("nightreel_", "process_", "DCGM_")) or word == "up"}


def test_dashboard_and_alerts_use_only_existing_metrics(database):
    asked = [metrics_in(expression) for expression in expressions()]
    assert all(asked), "an expression without a metric"
    assert set().union(*asked) - exported(database) - _OF_OTHERS == set()


def test_every_exported_metric_is_drawn_or_alerted_on(database):
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in exported(database) if "nightreel_" in name}
    asked = {re.sub(r"_(total|bucket|sum|count)$", "", name) for text in expressions() for name in metrics_in(text)}
    assert families - asked == {"nightreel_video_failures"}, "nightreel_failed_analyses is drawn instead"
