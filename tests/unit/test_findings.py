"""The labels of a verdict: one for each tag that is flagged or not known, one for other kinds of prompts."""

from __future__ import annotations

import pytest

from nightreel.domain import Policy, PromptKind, Review
from nightreel.domain.findings import Found, category_of, labels_found

TAGS = Policy(flags=("blood", "gun"), severity=2, severities=(("gun", 4),))


def labels(kind: PromptKind, policy: Policy, **verdict):
    given = {"state": "answered", "flagged": False, "severity": None, "labels": {}} | verdict
    return list(labels_found(kind, policy, **given))


@pytest.mark.parametrize(
    ("kind", "policy", "verdict", "expected"),
    [
        (PromptKind.YES_NO, Policy(), {"flagged": True, "severity": 3}, [("", Found.FLAGGED, 3)]),
        (PromptKind.YES_NO, Policy(), {"state": "unknown"}, [("", Found.UNKNOWN, None)]),
        (PromptKind.YES_NO, Policy(), {"state": "error"}, [("", Found.ERROR, None)]),
        (PromptKind.CAPTION, Policy(review=Review.ALL), {}, [("", Found.ANSWERED, None)]),
        (PromptKind.TAGS, TAGS, {"flagged": True, "labels": {"gun": "yes"}}, [("gun", Found.FLAGGED, 4)]),
        (PromptKind.TAGS, TAGS, {"labels": {"gun": "unknown"}}, [("gun", Found.UNKNOWN, None)]),
        (PromptKind.TAGS, TAGS, {"state": "error"}, [("", Found.ERROR, None)]),
        (PromptKind.TAGS, TAGS, {"state": "unknown", "labels": {"tree": "unknown"}}, [("", Found.UNKNOWN, None)]),
    ],
)
def test_the_labels_of_a_verdict(kind, policy, verdict, expected):
    assert labels(kind, policy, **verdict) == expected


def test_a_prompt_belongs_to_the_category_that_it_follows():
    assert category_of("violence", Policy()) == "violence"
    assert category_of("violence_kinds", Policy(when=(("violence", "yes"),))) == "violence"
