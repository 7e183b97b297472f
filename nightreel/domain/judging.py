"""The judge: what an answer means under a policy. Every verdict about a segment comes from here.

Conditions of follow-ups, the write stage, re-judging, previews, the demo and `nightreel ask` call it. It reads nothing
but its arguments. As p rises, a verdict goes from "no" over unknown to "yes", and never back.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

from nightreel.domain.answers import Answer, AnswerState, bare
from nightreel.domain.numbers import read_number
from nightreel.domain.policies import Band, Policy, Review
from nightreel.domain.questions import PromptKind, Question
from nightreel.domain.second_looks import names_of, reaches, second_look_is_due, words_of
from nightreel.domain.structures import KEYWORDS, normalised, read_object, text_of
from nightreel.domain.verdicts import UNSURE, Value, Verdict, VerdictState, saw, too_little

TIE = 1e-5
"""Probabilities closer than this are equal: scores of the same tokens differ as much from batch to batch."""
_WORDS_DECIDE_AT = Band(0.5, 0.5)  # a greedy "yes" without probabilities says no more than that yes is likelier
_NOT_FINITE = "the model's scores are not finite"
_MOST_QUOTED = 80


def judge(question: Question, answer: Answer, policy: Policy) -> Verdict:
    """The verdict on one answer."""
    verdict = _unflagged(question, answer, policy)
    verdict = with_flags(
        verdict,
        policy,
        flags=[flag for flag in policy.flags if verdict.says(flag)],
        is_whole=not _too_little(answer, policy),
    )
    start_s, end_s = _range(question, answer, policy, verdict)
    looks_again = second_look_is_due(question, answer, policy)
    return replace(verdict, look_again=looks_again, start_s=start_s, end_s=end_s)


def _unflagged(question: Question, answer: Answer, policy: Policy) -> Verdict:
    if answer.state is AnswerState.ERROR:
        verdict = Verdict(state=VerdictState.ERROR, reason=answer.reason)
    elif answer.state is AnswerState.UNMEASURED:
        verdict = _unknown(answer.reason or "")
    else:
        match question.kind:
            case PromptKind.YES_NO:
                verdict = _yes_no(question, answer, policy)
            case PromptKind.TAGS:
                verdict = _tags(question, answer, policy)
            case PromptKind.CHOICE:
                verdict = _choice(question, answer, policy)
            case PromptKind.NUMBER:
                verdict = _number(question, answer, policy)
            case PromptKind.KEYWORDS | PromptKind.OBJECT:
                verdict = _form(question, answer)
            case _:
                verdict = _text(answer)
    if question.kind is PromptKind.TAGS and answer.state is not AnswerState.MEASURED:
        verdict = replace(verdict, labels=dict.fromkeys(question.choices, UNSURE))
    return verdict


def probability(question: Question, answer: Answer) -> float | None:
    """The probability by which answers are found: of "yes", of the likeliest tag or choice; None if not scored."""
    scores = {name: p for name, p in (answer.scores or {}).items() if math.isfinite(p)}
    return scores.get("yes") if question.kind is PromptKind.YES_NO else max(scores.values(), default=None)


# -- kinds -------------------------------------------------------------------------------------------------------


def _yes_no(question: Question, answer: Answer, policy: Policy) -> Verdict:
    if answer.scores is None:
        decided = _by_words(answer.text or "", policy, policy.band)
    elif doubt := _little_mass(answer.mass, policy):
        return _unknown(doubt)
    else:
        decided = _side("yes", answer, policy.band)
    if decided is not True and decided is not False:
        return _unknown(decided)
    if decided is False and (doubt := _why_no_is_unsure("yes", question, answer, policy)):
        return _unknown(doubt)
    return _answered(decided, "yes" if decided else "no")


def _tags(question: Question, answer: Answer, policy: Policy) -> Verdict:
    """Each tag on its own: one that is unsure hides no other."""
    words = words_of(question, answer)
    scores = answer.scores or {}
    unsure: dict[str, str] = {}
    tags: list[str] = []
    for tag in question.choices:
        band = policy.band_of(tag)
        mass = answer.mass.get(tag) if isinstance(answer.mass, Mapping) else answer.mass
        if tag not in scores and answer.text is not None:
            decided = _by_words(words[tag], policy, band) if words else "no answer for each tag"
        else:
            decided = _little_mass(mass, policy) or _side(tag, answer, band)
        if decided is False:
            decided = _why_no_is_unsure(tag, question, answer, policy) or False
        if decided is True:
            tags.append(tag)
        elif decided is not False:
            unsure[tag] = decided
    labels = {tag: "yes" if tag in tags else UNSURE for tag in question.choices if tag in tags or tag in unsure}
    if unsure and not tags:
        reasons = dict.fromkeys(unsure.values())
        where = f"{', '.join(unsure)}: " if len(unsure) < len(question.choices) else ""
        return replace(_unknown(where + next(iter(reasons))), labels=labels)
    return replace(_answered(tags, ", ".join(tags)), labels=labels)


def _choice(question: Question, answer: Answer, policy: Policy) -> Verdict:
    said = None
    if answer.text is not None:
        said = next((choice for choice in question.choices if bare(choice) == bare(answer.text)), None)
        if said is None:
            return _unknown(f"none of the choices: {answer.text[:_MOST_QUOTED]!r}")
    if answer.scores is None:
        if policy.min_mass or policy.min_margin:
            return _unknown("min_mass and min_margin need a probability; the server gives none")
        return _unknown("no choice") if said is None else _answered(said, said)
    best = _best(answer, policy)
    if isinstance(best, Verdict):
        return best
    if said is not None and said != best:
        return _unknown(f"the text is {said!r}, but {best!r} starts with likelier tokens")
    return _answered(best, best)


def _number(question: Question, answer: Answer, policy: Policy) -> Verdict:
    if answer.scores is not None:
        best = _best(answer, policy)
        if isinstance(best, Verdict):
            return best
        number: float | None = float(best)
    elif policy.min_mass or policy.min_margin:
        return _unknown("min_mass and min_margin need a probability; a generated number has none")
    else:
        number = read_number(answer.text or "")
    if number is None:
        return _unknown(f"no single number in {(answer.text or '')[:_MOST_QUOTED]!r}")
    low = -math.inf if question.minimum is None else question.minimum
    high = math.inf if question.maximum is None else question.maximum
    if not low <= number <= high:
        return _unknown(f"{number:.15g} is not in the range {low:g} to {high:g}")
    if number == 0 and _too_little(answer, policy):
        return _unknown(saw(answer.covered_s, answer.expected_s))
    return _answered(number, f"{number:.15g}")


def _text(answer: Answer) -> Verdict:
    return _answered(answer.text, answer.text) if answer.text else _unknown("the model generated no text")


# -- deciding ----------------------------------------------------------------------------------------------------


def _side(name: str, answer: Answer, band: Band) -> bool | str:
    """On which side of a band a probability is; a sentence if it is between, or if its bounds are not on one side."""
    p = (answer.scores or {}).get(name)
    if p is None or not math.isfinite(p):
        return _NOT_FINITE
    low, high = (answer.bounds or {}).get(name, (p, p))
    if not (math.isfinite(low) and math.isfinite(high)):
        return _NOT_FINITE
    if low >= band.yes_from:
        return True
    if high < band.no_below:
        return False
    if low < high and (p < band.no_below or p >= band.yes_from):
        return f"the server does not list all tokens: the probability is between {low:.3g} and {high:.3g}"
    return f"the probability {p:.3g} is in doubt"


def _why_no_is_unsure(name: str, question: Question, answer: Answer, policy: Policy) -> str:
    """Why a "no" is unknown: too little was seen, or a second look is due; empty if it is sure."""
    if _too_little(answer, policy):
        return saw(answer.covered_s, answer.expected_s)
    return "a second look is due" if reaches(name, question, answer, policy) else ""


def _by_words(text: str, policy: Policy, band: Band) -> bool | str:
    word = bare(text)
    if word not in ("yes", "no"):
        return f"neither yes nor no: {text[:_MOST_QUOTED]!r}"
    if policy.min_mass or band != _WORDS_DECIDE_AT:
        return "thresholds, doubt and min_mass need a probability; the server gives none"
    return word == "yes"


def _best(answer: Answer, policy: Policy) -> str | Verdict:
    """The likeliest answer; or unknown, if it does not lead."""
    assert answer.scores is not None
    if not answer.scores or not all(map(math.isfinite, answer.scores.values())):
        return _unknown(_NOT_FINITE)
    if doubt := _little_mass(answer.mass, policy):
        return _unknown(doubt)
    best, *others = sorted(answer.scores, key=answer.scores.__getitem__, reverse=True)
    if others and answer.scores[best] - answer.scores[others[0]] < TIE:
        return _unknown("the two likeliest answers are equally likely")
    bounds = answer.bounds or {}
    least, _ = bounds.get(best, (answer.scores[best], 1.0))
    most = max((bounds.get(other, (0.0, answer.scores[other]))[1] for other in others), default=0.0)
    if not least > most:
        return _unknown("the server does not list all tokens: another answer can be as likely")
    if least - most < policy.min_margin:
        return _unknown(f"the best answer leads by {least - most:.3g}, less than min_margin {policy.min_margin:g}")
    return best


def _little_mass(mass: float | Mapping[str, float] | None, policy: Policy) -> str:
    if not policy.min_mass:
        return ""
    if mass is None or isinstance(mass, Mapping) or not math.isfinite(mass):
        return "min_mass needs the probability of the allowed answers together, which was not kept"
    if mass < policy.min_mass:
        return f"the allowed answers have a probability of {mass:.3g}, less than min_mass {policy.min_mass:g}"
    return ""


def _form(question: Question, answer: Answer) -> Verdict:
    found = read_object(answer.text or "", question.form)
    if isinstance(found, str):
        return _unknown(found)
    if question.kind is PromptKind.OBJECT:
        return _answered(found, text_of(found))
    keywords = normalised(found[KEYWORDS], most=question.most)
    return _answered(keywords, ", ".join(keywords))


def _too_little(answer: Answer, policy: Policy) -> bool:
    return too_little(answer.covered_s, answer.expected_s, policy.coverage)


def _range(
    question: Question, answer: Answer, policy: Policy, verdict: Verdict
) -> tuple[float, float] | tuple[None, None]:
    """From the first to the last window of a second look that says what is flagged, or else what is answered."""
    said = [name for name in names_of(question) if verdict.says(name)]
    wanted = [name for name in said if name in policy.flags] or said
    found = []
    for window in answer.windows:
        own = _unflagged(question, window.answer, policy)
        if any(own.says(name) for name in wanted):
            found.append(window)
    if not found:
        return None, None
    return min(window.start_s for window in found), max(window.end_s for window in found)


# -- verdicts ----------------------------------------------------------------------------------------------------


def _answered(value: Value | None, text: str | None) -> Verdict:
    return Verdict(state=VerdictState.ANSWERED, value=value, text=text)


def _unknown(reason: str) -> Verdict:
    return Verdict(state=VerdictState.UNKNOWN, reason=reason)


def with_flags(verdict: Verdict, policy: Policy, *, flags: Collection[str], is_whole: bool) -> Verdict:
    """The verdict with its flags, its severity, and whether a person should look.

    Args:
        flags: the flags of the policy that hold.
        is_whole: all was answered, and enough was seen.
    """
    severities = [severity for flag in flags if (severity := policy.severity_of(flag)) is not None]
    in_doubt = not is_whole or (verdict.state is not VerdictState.ANSWERED and not verdict.labels)
    unsure = in_doubt or any(verdict.labels.get(flag) == UNSURE for flag in policy.flags)
    wanted = {
        Review.ALL: True,
        Review.NONE: False,
        Review.FLAGGED: bool(flags),
        Review.FLAGGED_OR_UNKNOWN: bool(flags) or (bool(policy.flags) and unsure),
    }
    return replace(
        verdict, flagged=bool(flags), severity=max(severities, default=None), needs_review=wanted[policy.review]
    )
