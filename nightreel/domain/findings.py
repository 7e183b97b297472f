"""Findings: what a person judges about a content. A verdict on a video that a person should see makes one or more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nightreel.domain.policies import Policy, Review
from nightreel.domain.questions import PromptKind
from nightreel.domain.verdicts import UNSURE, VerdictState

Label = tuple[int, str]
"""What a decision is about: the number of a prompt, and a tag; the tag is empty for prompts of other kinds."""


class Found(StrEnum):
    """What the machine says of a label."""

    FLAGGED = "flagged"
    UNKNOWN = "unknown"
    ERROR = "error"
    ANSWERED = "answered"  # not flagged, of a prompt whose policy wants people to see all its verdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One label about one content that a person should judge.

    Args:
        tag: of a prompt with tags; empty for other kinds.
        category: the name of the prompt, or of the prompt on which it follows (`when`).
        severity: of the label, 1 to 4; None: it has none.
        lane: who may see it. reason: why it is unknown or failed.
        policy_id: the policy that made the verdict. video_id: the copy that the verdict is about.
        evidence: `answer_ids` and `model_ids` behind it, `p`, `first_s` and `ranges` in seconds, as JSON values.
    """

    prompt_id: int
    tag: str
    prompt_set: str
    prompt: str
    category: str
    found: Found
    severity: int | None
    lane: str | None
    reason: str | None
    policy_id: int
    video_id: int
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> Label:
        return self.prompt_id, self.tag


def category_of(prompt: str, policy: Policy) -> str:
    """The category that a prompt belongs to.

    >>> category_of("violence_kinds", Policy(when=(("violence", "yes"),)))
    'violence'
    """
    return policy.when[0][0] if policy.when else prompt


def labels_found(
    kind: PromptKind, policy: Policy, *, state: str, flagged: bool, severity: int | None, labels: Mapping[str, str]
) -> Iterator[tuple[str, Found, int | None]]:
    """The labels of a verdict on a video, each as (tag, what was found, severity).

    A verdict with tags has one for each tag that is flagged or not known; any other verdict has one, with an empty tag.

    >>> policy = Policy(flags=("blood", "gun"), severity=2)
    >>> labels = {"blood": "yes", "gun": "unknown", "tree": "yes"}
    >>> list(labels_found(PromptKind.TAGS, policy, state="answered", flagged=True, severity=2, labels=labels))
    [('blood', <Found.FLAGGED: 'flagged'>, 2), ('gun', <Found.UNKNOWN: 'unknown'>, None)]
    """
    of_tags = [
        (tag, _found_tag(said, is_flag=tag in policy.flags), policy.severity_of(tag) if said != UNSURE else None)
        for tag, said in sorted(labels.items())
        if tag in policy.flags or policy.review is Review.ALL
    ]
    if kind is PromptKind.TAGS and of_tags:
        yield from of_tags
    elif state == VerdictState.ANSWERED:
        yield "", Found.FLAGGED if flagged else Found.ANSWERED, severity
    else:
        yield "", Found(state), severity


def _found_tag(said: str, *, is_flag: bool) -> Found:
    if said == UNSURE:
        return Found.UNKNOWN
    return Found.FLAGGED if is_flag else Found.ANSWERED


def blind_finding(
    policy: Policy,
    *,
    prompt_id: int,
    tag: str,
    prompt_set: str,
    prompt: str,
    policy_id: int,
    video_id: int,
    evidence: Mapping[str, Any] | None = None,
) -> Finding:
    """A label that people judge without knowing what the machine says: it looks like one that is not known.

    Items of audits and golden items are such labels, so nobody can tell them apart.
    """
    return Finding(
        prompt_id=prompt_id,
        tag=tag,
        prompt_set=prompt_set,
        prompt=prompt,
        category=category_of(prompt, policy),
        found=Found.UNKNOWN,
        severity=None,
        lane=policy.lane,
        reason=None,
        policy_id=policy_id,
        video_id=video_id,
        evidence=evidence or {},
    )
