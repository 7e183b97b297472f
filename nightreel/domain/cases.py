"""The state of a case, computed from what is to be judged and from the decisions that stand. Nothing else changes it.

    open ──decide──▶ closed
     │  └─a second person judges too─▶ second ──agrees──▶ closed
     └──escalate──▶ escalated ◀──disagrees─┘
                        └──a lead decides──▶ closed ──appeal──▶ appealed ──a lead decides──▶ closed

An undone decision does not stand, so the state is again what it would be without it. A label that is found later, in a
closed case, opens the case. `empty`: nothing is left to judge, and nothing was decided.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from nightreel.domain.findings import Label


class CaseState(StrEnum):
    """What a case waits for."""

    OPEN = "open"  # a first decision
    SECOND = "second"  # the decision of a second person
    ESCALATED = "escalated"  # the decision of a lead
    APPEALED = "appealed"  # the decision of a lead about an appeal
    CLOSED = "closed"  # nothing: all labels are decided
    EMPTY = "empty"  # nothing: there is nothing to judge


class Stage(StrEnum):
    """In which part of a case's life a decision was made."""

    FIRST = "first"
    SECOND = "second"
    ESCALATION = "escalation"
    APPEAL = "appeal"


class Ruling(StrEnum):
    """What a person makes of a label."""

    CONFIRM = "confirm"  # the label is right: it is in the video
    REJECT = "reject"  # the label is wrong: it is not in the video
    UNSURE = "unsure"  # a person cannot tell either
    ESCALATE = "escalate"  # a lead should decide


STAGES = {
    CaseState.OPEN: Stage.FIRST,
    CaseState.SECOND: Stage.SECOND,
    CaseState.ESCALATED: Stage.ESCALATION,
    CaseState.APPEALED: Stage.APPEAL,
}
"""The stage of a decision that is made in a state. In the other states, none is made."""
OF_LEADS = frozenset({CaseState.ESCALATED, CaseState.APPEALED})
"""The states in which a lead decides."""
_MOST_URGENT = (CaseState.OPEN, CaseState.ESCALATED, CaseState.SECOND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A decision that stands: it is not undone.

    Args:
        id: decisions are in the order of their ids.
        needs_second: a second person judges this label too. Only a decision of the first stage can.
        appeal_id: the appeal that it answers.
    """

    id: int
    label: Label
    stage: Stage
    ruling: Ruling
    user_id: int
    needs_second: bool = False
    appeal_id: int | None = None


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """All that the state of a case depends on.

    Args:
        found: the labels that are to be judged now.
        decisions: those that stand about its content, in the order of their ids.
        appeal_id: the newest appeal; None: there was none.
    """

    found: frozenset[Label]
    decisions: Sequence[Decision] = ()
    appeal_id: int | None = None

    @property
    def state(self) -> CaseState:
        if self._appeal_is_open:
            return CaseState.APPEALED
        states = {self._state_of(label) for label in self.found}
        if not states:
            return CaseState.CLOSED if self.decisions else CaseState.EMPTY
        return next((state for state in _MOST_URGENT if state in states), CaseState.CLOSED)

    @property
    def to_decide(self) -> frozenset[Label]:
        """The labels that wait for a decision in the current state."""
        state = self.state
        if state is CaseState.APPEALED:
            return self.found | {decision.label for decision in self.decisions}
        return frozenset(label for label in self.found if self._state_of(label) is state and state in STAGES)

    def settles(self, label: Label) -> bool:
        """Whether the decisions about a label need no other one."""
        return self._state_of(label) is CaseState.CLOSED

    def rests_on(self, decision: Decision) -> bool:
        """Whether a later stage rests on this decision, so that it cannot be undone first."""
        return any(
            other.label == decision.label and other.id > decision.id and other.stage is not decision.stage
            for other in self.decisions
        )

    def hidden(self) -> frozenset[int]:
        """The decisions that a second person must not see: they wait for a second review."""
        return frozenset(
            own[-1].id
            for label in {decision.label for decision in self.decisions}
            if (own := self._of(label)) and label_state(own) is CaseState.SECOND
        )

    def without(self, ids: Collection[int]) -> CaseFacts:
        """The facts if these decisions were undone."""
        return CaseFacts(self.found, tuple(one for one in self.decisions if one.id not in ids), self.appeal_id)

    def _state_of(self, label: Label) -> CaseState:
        return label_state(self._of(label))

    def _of(self, label: Label) -> list[Decision]:
        return [decision for decision in self.decisions if decision.label == label]

    @property
    def _appeal_is_open(self) -> bool:
        return self.appeal_id is not None and all(one.appeal_id != self.appeal_id for one in self.decisions)


def label_state(decisions: Iterable[Decision]) -> CaseState:
    """What a label waits for, given the standing decisions about it in the order of their ids.

    >>> first = Decision(id=1, label=(7, ""), stage=Stage.FIRST, ruling=Ruling.CONFIRM, user_id=1, needs_second=True)
    >>> label_state([]), label_state([first])
    (<CaseState.OPEN: 'open'>, <CaseState.SECOND: 'second'>)
    """
    newest = {decision.stage: decision for decision in decisions}
    if Stage.APPEAL in newest or Stage.ESCALATION in newest:
        return CaseState.CLOSED
    first, second = newest.get(Stage.FIRST), newest.get(Stage.SECOND)
    if first is None:
        return CaseState.OPEN
    if first.ruling is Ruling.ESCALATE:
        return CaseState.ESCALATED
    if not first.needs_second:
        return CaseState.CLOSED
    if second is None:
        return CaseState.SECOND
    return CaseState.CLOSED if second.ruling is first.ruling else CaseState.ESCALATED
