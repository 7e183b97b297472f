"""Turn a model's Scores into probabilities of the allowed answers, and these into an Answer.

`local` calls it for each scored prompt. `domain.judging` decides what the answer means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from nightreel.domain import Answer, PromptKind, Question
from nightreel.models import answering
from nightreel.models.answering import Distribution, YesNo
from nightreel.models.inprocess.answer_tokens import AnswerTokens, YesNoForms
from nightreel.models.inprocess.prefix import Scores


def answer_scores(question: Question, scores: Sequence[Scores], answer_tokens: AnswerTokens, *, tokens: int) -> Answer:
    """The answer to a scored question, from the scores of each of its texts.

    It is unmeasured if the tokens of the allowed answers cannot be told apart, whatever their scores are.

    Args:
        tokens: number of prompt tokens, for the Answer.
    """
    if problem := answer_tokens.problem(question):
        return answering.unmeasured(question, problem, tokens=tokens)
    match question.kind:
        case PromptKind.YES_NO:
            return answering.measured_yes_no(question, _yes_no(scores[0], answer_tokens.yes_no), tokens=tokens)
        case PromptKind.TAGS:
            measured = [_yes_no(one, answer_tokens.yes_no) for one in scores]
            return answering.measured_tags(question, measured, tokens=tokens)
        case PromptKind.CHOICE:
            return answering.measured_best(question, _choice(question, scores[0], answer_tokens), tokens=tokens)
    assert question.numbers, f"{question.kind = } is not scored"
    return answering.measured_best(question, _number(question, scores[0], answer_tokens), tokens=tokens)


def _yes_no(scores: Scores, forms: YesNoForms) -> YesNo | None:
    """The probabilities of yes and no; None if scores are not finite."""
    if forms.single is not None:
        yes, no = (torch.logsumexp(scores.next_token[list(ids)].double(), 0).item() for ids in forms.single)
    else:
        split = len(forms.branches[0])
        yes, no = (
            torch.logsumexp(torch.tensor([sum(branch) for branch in part], dtype=torch.float64), 0).item()
            for part in (scores.branches[:split], scores.branches[split:])
        )
    if math.isnan(yes) or math.isnan(no) or not math.isfinite(max(yes, no)):
        return None
    return YesNo(p=1 / (1 + math.exp(min(no - yes, 700.0))), mass=math.exp(yes) + math.exp(no))


def _choice(question: Question, scores: Scores, answer_tokens: AnswerTokens) -> Distribution | None:
    """A softmax over the choices' mean log-probability per token, with the best surface form of each choice."""
    best: list[float] = []
    first_tokens: set[int] = set()
    start = 0
    for choice in question.choices:
        forms = answer_tokens.forms(choice)
        own = scores.branches[start : start + len(forms)]
        start += len(forms)
        best.append(max(sum(branch) / len(branch) for branch in own))
        first_tokens.update(form[0] for form in forms)
    if any(map(math.isnan, best)) or not math.isfinite(max(best)):
        return None
    mass = scores.next_token[sorted(first_tokens)].exp().sum().item()
    return Distribution(_softmax(question.choices, best), mass)


def _number(question: Question, scores: Scores, answer_tokens: AnswerTokens) -> Distribution | None:
    """The probability of each number as the whole answer, summed over its forms."""
    logs: list[float] = []
    start = 0
    for number in question.numbers:
        forms = len(answer_tokens.whole(number))
        own = torch.tensor([sum(branch) for branch in scores.branches[start : start + forms]], dtype=torch.float64)
        start += forms
        logs.append(torch.logsumexp(own, 0).item())
    if any(map(math.isnan, logs)) or not math.isfinite(max(logs)):
        return None
    return Distribution(_softmax(tuple(map(str, question.numbers)), logs), sum(map(math.exp, logs)))


def _softmax(answers: Sequence[str], logs: Sequence[float]) -> dict[str, float]:
    probabilities = torch.softmax(torch.tensor(logs, dtype=torch.float64), 0).tolist()
    return dict(zip(answers, probabilities, strict=True))
