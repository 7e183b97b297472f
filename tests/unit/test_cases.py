"""The state of a case: what follows from any sequence of findings, decisions, undoing and appeals."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightreel.domain.cases import OF_LEADS, STAGES, CaseFacts, CaseState, Decision, Ruling, Stage, label_state
from nightreel.domain.findings import Label

LABELS: tuple[Label, ...] = ((1, ""), (2, "blood"), (2, "gun"))
RULINGS = tuple(Ruling)


@dataclass
class Case:
    """A case in memory, which people work on as `nightreel.review` lets them."""

    found: set[Label] = field(default_factory=set)
    made: list[Decision] = field(default_factory=list)
    undone: set[int] = field(default_factory=set)
    appeals: int = 0

    @property
    def facts(self) -> CaseFacts:
        standing = tuple(one for one in self.made if one.id not in self.undone)
        return CaseFacts(frozenset(self.found), standing, self.appeals or None)

    def decide(self, rulings: dict[Label, Ruling], *, twice: bool) -> None:
        facts = self.facts
        stage = STAGES[facts.state]
        for label in sorted(facts.to_decide):
            ruling = rulings[label]
            if facts.state in OF_LEADS and ruling is Ruling.ESCALATE:
                ruling = Ruling.UNSURE
            self.made.append(
                Decision(
                    id=len(self.made) + 1,
                    label=label,
                    stage=stage,
                    ruling=ruling,
                    user_id=len(self.made),
                    needs_second=twice and stage is Stage.FIRST,
                    appeal_id=self.appeals if stage is Stage.APPEAL else None,
                )
            )


rulings = st.fixed_dictionaries({label: st.sampled_from(RULINGS) for label in LABELS})
steps = st.lists(
    st.one_of(
        st.tuples(st.just("find"), st.sampled_from(LABELS)),
        st.tuples(st.just("lose"), st.sampled_from(LABELS)),
        st.tuples(st.just("decide"), st.tuples(rulings, st.booleans())),
        st.tuples(st.just("undo"), st.integers(1, 30)),
        st.tuples(st.just("appeal"), st.none()),
    ),
    max_size=25,
)


def play(case: Case, step: tuple) -> None:
    what, value = step
    facts = case.facts
    if what == "find":
        case.found.add(value)
    elif what == "lose":
        case.found.discard(value)
    elif what == "decide" and facts.state in STAGES:
        case.decide(value[0], twice=value[1])
    elif what == "undo":
        one = next((decision for decision in facts.decisions if decision.id == value), None)
        if one is not None and not facts.rests_on(one):
            case.undone.add(value)
    elif what == "appeal" and facts.state is CaseState.CLOSED:
        case.appeals += 1


@given(steps)
def test_a_case_waits_exactly_if_something_is_to_be_decided(played):
    case = Case()
    for step in played:
        play(case, step)
        facts = case.facts
        waits = facts.state in STAGES
        assert waits == bool(facts.to_decide)
        assert all(facts.settles(label) for label in facts.found) or waits
        if facts.state is CaseState.EMPTY:
            assert not facts.found
            assert not facts.decisions


@given(steps, rulings, st.booleans())
def test_undoing_brings_back_the_state_before(played, ruled, twice):
    case = Case()
    for step in played:
        play(case, step)
    before = case.facts
    if before.state not in STAGES:
        return
    case.decide(ruled, twice=twice)
    new = {decision.id for decision in case.facts.decisions} - {decision.id for decision in before.decisions}
    assert not any(case.facts.rests_on(decision) for decision in case.facts.decisions if decision.id in new)
    assert case.facts.without(new) == before
    assert case.facts.without(new).state is before.state


@given(steps, rulings)
def test_everybody_deciding_closes_a_case_in_at_most_three_rounds(played, ruled):
    """A first decision, a second person, a lead. With an appeal before it: one round more."""
    case = Case()
    for step in played:
        play(case, step)
    rounds = 0
    while case.facts.state in STAGES:
        case.decide(ruled, twice=True)
        rounds += 1
        assert rounds <= 4
    assert case.facts.state in (CaseState.CLOSED, CaseState.EMPTY)


@given(st.sampled_from(RULINGS), st.sampled_from(RULINGS))
def test_two_people_close_a_label_only_if_they_agree(first, second):
    one = Decision(id=1, label=LABELS[0], stage=Stage.FIRST, ruling=first, user_id=1, needs_second=True)
    two = Decision(id=2, label=LABELS[0], stage=Stage.SECOND, ruling=second, user_id=2)
    expected = CaseState.CLOSED if first is second and first is not Ruling.ESCALATE else CaseState.ESCALATED
    assert label_state([one, two]) is expected


@pytest.mark.parametrize("second_found", [True, False])
def test_a_decision_that_waits_for_a_second_person_is_hidden_from_them(second_found):
    one = Decision(id=1, label=LABELS[0], stage=Stage.FIRST, ruling=Ruling.REJECT, user_id=1, needs_second=True)
    found = frozenset(LABELS[:2] if second_found else LABELS[:1])
    facts = CaseFacts(found, (one,))
    assert facts.hidden() == {1}
    assert facts.state is (CaseState.OPEN if second_found else CaseState.SECOND)
    assert replace(facts, decisions=(replace(one, needs_second=False),)).hidden() == frozenset()
