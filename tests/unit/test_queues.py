"""Queues: which findings they take, who works them, and which decisions a second person makes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightreel.domain.findings import Finding, Found
from nightreel.domain.queues import Queue, Queues, SecondReview, draw_of
from nightreel.errors import SettingsError
from nightreel.review.queue_file import load_queues, shipped_queues

FINDING = Finding(
    prompt_id=1,
    tag="",
    prompt_set="moderation",
    prompt="violence",
    category="violence",
    found=Found.FLAGGED,
    severity=3,
    lane=None,
    reason=None,
    policy_id=1,
    video_id=1,
)


@pytest.mark.parametrize(
    ("queue", "takes"),
    [
        ({"categories": ("violence",)}, True),
        ({"categories": ("weapons",)}, False),
        ({"prompt_sets": ("tagging",)}, False),
        ({"min_severity": 3}, True),
        ({"min_severity": 4}, False),
        ({"max_severity": 2}, False),
        ({"lane": "restricted"}, False),
        ({}, True),
    ],
)
def test_a_queue_takes_what_meets_all_its_conditions(queue, takes):
    assert Queue(name="q", **queue).takes(FINDING) == takes
    assert Queue(name="q", **queue).takes_everything == (not queue)


@given(
    st.sampled_from([None, 1, 2, 3, 4]), st.sampled_from([None, "restricted", "other"]), st.sampled_from(list(Found))
)
def test_no_finding_is_left_without_a_queue(severity, lane, found):
    finding = replace(FINDING, severity=severity, lane=lane, found=found)
    expected = "restricted" if lane == "restricted" else "urgent" if severity == 4 else "general"
    assert shipped_queues().queue_of(finding).name == expected


def test_queues_survive_json():
    queues = shipped_queues()
    assert Queues.from_json(queues.to_json()) == queues


def test_a_share_of_second_reviews_is_that_share_of_contents():
    rule = SecondReview(share=0.2)
    drawn = sum(rule.wants(category="violence", severity=3, draw=draw_of(f"{number:064x}")) for number in range(10_000))
    assert 0.18 < drawn / 10_000 < 0.22


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("queues: [{name: a, min_severity: 2}]", "the last queue must take all findings"),
        ("queues: []", "at least 1"),
        ("queues: [{name: a}, {name: a}]", "appears twice"),
        ("queues: [{name: a, colour: red}]", "colour"),
        ("queues: [{name: 'A b'}]", "name"),
        ("queues: [{name: a, second_review: {share: 2}}]", "share"),
        ("queues: [{name: a, lock_minutes: .inf}]", "lock_minutes"),
        ("queues: [{name: a, golden_share: 1.1}]", "golden_share"),
        ("- 1", "file"),
        ("queues: [", "not valid YAML"),
        ("[" * 5000, "nested too deep"),
        ("#" * 100_000, "at most"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path, written, said):
    path = tmp_path / "queues.yaml"
    path.write_text(written)
    with pytest.raises(SettingsError, match=said):
        load_queues(path)


def test_a_file_that_is_missing_or_is_no_text_is_named(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        load_queues(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="UTF-8"):
        load_queues(tmp_path / "bytes.yaml")
