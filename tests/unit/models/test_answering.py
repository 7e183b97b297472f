"""Scores and texts become answers: doubtful ones become unknown, failed ones an error, never a "no"."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from fixtures.judged import Judged, judged

from nightreel.domain import Band, Prompt, PromptKind, VerdictState
from nightreel.domain.numbers import read_number
from nightreel.models import answering
from nightreel.models.answering import Distribution, YesNo
from nightreel.models.inprocess import scoring
from nightreel.models.inprocess.answer_tokens import AnswerTokens
from nightreel.models.inprocess.prefix import Scores

_WORDS = ("yes", "Yes", "Ġyes", "YES", "no", "No", "Ġno", "nothing", "yesterday", "in", "In", "out", "Out", "side", "Ġ")


class _WordTokenizer:
    """The part of a tokenizer that AnswerTokens uses, with whole words as tokens."""

    eos_token_id = None

    def __init__(self, words: Sequence[str] = _WORDS) -> None:
        self._ids = {word: index for index, word in enumerate(words)}

    def get_vocab(self) -> dict[str, int]:
        return dict(self._ids)

    def decode(self, ids: Sequence[int]) -> str:
        words = list(self._ids)
        return "".join(words[index] for index in ids).replace("Ġ", " ")

    def __call__(self, text: str, *, add_special_tokens: bool) -> _Encoding:
        assert not add_special_tokens
        ids, rest = [], text.replace(" ", "Ġ")
        while rest:
            word = max((word for word in self._ids if rest.startswith(word)), key=len)
            ids.append(self._ids[word])
            rest = rest.removeprefix(word)
        return _Encoding(ids)


class _Encoding:
    def __init__(self, input_ids: list[int]) -> None:
        self.input_ids = input_ids


def answer_scores(prompt: Prompt, scores: Sequence[Scores], answer_tokens: AnswerTokens, *, tokens: int) -> Judged:
    return judged(prompt, scoring.answer_scores(prompt.question, scores, answer_tokens, tokens=tokens))


def answer_yes_no(prompt: Prompt, measured: YesNo) -> Judged:
    return judged(prompt, answering.measured_yes_no(prompt.question, measured, tokens=1))


def answer_tags(prompt: Prompt, measured: Sequence[YesNo | None]) -> Judged:
    return judged(prompt, answering.measured_tags(prompt.question, measured, tokens=1))


def answer_best(prompt: Prompt, measured: Distribution) -> Judged:
    return judged(prompt, answering.measured_best(prompt.question, measured, tokens=1))


def answer_text(prompt: Prompt, text: str, *, tokens: int, generated: int) -> Judged:
    return judged(prompt, answering.written(prompt.question, text, tokens=tokens, generated=generated))


def _scores(probabilities: dict[str, float], branches: tuple[tuple[float, ...], ...] = ()) -> Scores:
    logs = torch.full((len(_WORDS),), -math.inf)
    for word, probability in probabilities.items():
        logs[_WORDS.index(word)] = math.log(probability)
    return Scores(logs, branches, (), ended=False)


def _prompt(kind: PromptKind, **more: object) -> Prompt:
    return Prompt.of(name="q", kind=kind, text="Well?", **more)  # type: ignore[arg-type]


@pytest.fixture
def answer_tokens() -> AnswerTokens:
    return AnswerTokens(_WordTokenizer())


def _yes_no(answer_tokens: AnswerTokens, probabilities: dict[str, float], **more: object) -> Judged:
    prompt = _prompt(PromptKind.YES_NO, **more)
    return answer_scores(prompt, [_scores(probabilities)], answer_tokens, tokens=7)


def test_all_forms_of_yes_and_no_count(answer_tokens: AnswerTokens) -> None:
    answer = _yes_no(answer_tokens, {"yes": 0.1, "Yes": 0.2, "Ġyes": 0.2, "YES": 0.1, "No": 0.2, "nothing": 0.2})
    assert answer.p == pytest.approx(0.75)
    assert (answer.text, answer.value, answer.prompt_tokens) == ("yes", True, 7)


def test_p_of_a_no_is_the_probability_of_yes(answer_tokens: AnswerTokens) -> None:
    answer = _yes_no(answer_tokens, {"yes": 0.1, "no": 0.9})
    assert (answer.text, answer.value, answer.p) == ("no", False, pytest.approx(0.1))


def test_the_threshold_decides_between_yes_and_no(answer_tokens: AnswerTokens) -> None:
    assert _yes_no(answer_tokens, {"yes": 0.3, "no": 0.7}, band=Band(0.25, 0.25)).text == "yes"
    assert _yes_no(answer_tokens, {"yes": 0.8, "no": 0.2}, band=Band(0.9, 0.9)).text == "no"


def test_a_probability_equal_to_a_bound_passes_it() -> None:
    yes_no = _prompt(PromptKind.YES_NO, band=Band(0.25, 0.25), min_mass=0.5)
    assert answer_yes_no(yes_no, YesNo(p=0.25, mass=0.5)).text == "yes"
    tags = _prompt(PromptKind.TAGS, choices=("in", "out"), band=Band(0.25, 0.25), min_mass=0.5)
    measured = (YesNo(p=0.25, mass=0.5), YesNo(p=math.nextafter(0.25, 0), mass=0.5))
    assert answer_tags(tags, measured).value == ["in"]


def test_too_little_mass_on_yes_and_no_is_unknown(answer_tokens: AnswerTokens) -> None:
    answer = _yes_no(answer_tokens, {"no": 0.02, "nothing": 0.98}, min_mass=0.1)
    assert answer.state is VerdictState.UNKNOWN
    assert answer.value is None
    assert "min_mass" in (answer.reason or "")


def _tied(answer: Judged) -> bool:
    return (answer.state, answer.value) == (VerdictState.UNKNOWN, None) and "equally likely" in (answer.reason or "")


@pytest.mark.parametrize(
    "probabilities",
    [{"a": 0.5, "b": 0.5}, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, {"a": 0.1, "b": 0.45, "c": 0.45 + 1e-7}],
)
def test_choices_and_numbers_that_are_equally_likely_are_unknown(probabilities: dict[str, float]) -> None:
    prompt = _prompt(PromptKind.CHOICE, choices=tuple(probabilities))
    assert _tied(answer_best(prompt, Distribution(probabilities, 0.9)))
    numbers = dict(zip("123", probabilities.values(), strict=False))
    bounds = {"minimum": 1.0, "maximum": float(len(numbers))}
    assert _tied(answer_best(_prompt(PromptKind.NUMBER, **bounds), Distribution(numbers, 0.9)))


def test_a_tie_behind_the_best_answer_does_not_matter() -> None:
    prompt = _prompt(PromptKind.CHOICE, choices=("a", "b", "c"))
    assert answer_best(prompt, Distribution({"a": 0.25, "b": 0.25, "c": 0.5}, 0.9)).text == "c"


def test_the_only_allowed_number_is_no_tie() -> None:
    prompt = _prompt(PromptKind.NUMBER, minimum=3.0, maximum=3.0)
    assert answer_best(prompt, Distribution({"3": 1.0}, 0.9)).value == 3


def test_a_choice_that_the_model_excludes_does_not_spoil_the_others(answer_tokens: AnswerTokens) -> None:
    prompt = _prompt(PromptKind.CHOICE, choices=("in", "out"))
    branches = ((math.log(0.8),),) * 4 + ((-math.inf,),) * 4
    answer = answer_scores(prompt, [_scores({"in": 0.8}, branches)], answer_tokens, tokens=1)
    assert (answer.text, answer.p) == ("in", 1.0)


def test_a_probability_within_the_doubt_is_unknown(answer_tokens: AnswerTokens) -> None:
    answer = _yes_no(answer_tokens, {"yes": 0.45, "no": 0.55}, band=Band.around(0.5, 0.2))
    assert answer.state is VerdictState.UNKNOWN
    assert answer.p == pytest.approx(0.45)


def test_nan_scores_are_an_error_and_not_a_no(answer_tokens: AnswerTokens) -> None:
    broken = Scores(torch.full((len(_WORDS),), math.nan), (), (), ended=False)
    prompt = _prompt(PromptKind.YES_NO)
    assert answer_scores(prompt, [broken], answer_tokens, tokens=1).state is VerdictState.ERROR
    tags = _prompt(PromptKind.TAGS, choices=("in", "out"))
    good = _scores({"yes": 0.9, "no": 0.1})
    assert answer_scores(tags, [broken, broken], answer_tokens, tokens=1).state is VerdictState.ERROR
    partly = answer_scores(tags, [good, broken], answer_tokens, tokens=1)
    assert (partly.value, partly.verdict.labels) == (["in"], {"in": "yes", "out": "unknown"})
    choice = _prompt(PromptKind.CHOICE, choices=("in", "out"))
    assert (
        answer_scores(choice, [_scores({"in": 1.0}, ((math.nan,),) * 8)], answer_tokens, tokens=1).state
        is VerdictState.ERROR
    )


def test_words_of_several_tokens_are_scored_as_sequences() -> None:
    answer_tokens = AnswerTokens(_WordTokenizer(list("yesnoYNĠ")))
    assert answer_tokens.yes_no.single is None
    prompt = _prompt(PromptKind.YES_NO)
    yes, no = ((0, 1, 2), (5, 1, 2), (7, 0, 1, 2), (7, 5, 1, 2)), ((3, 4), (6, 4), (7, 3, 4), (7, 6, 4))
    assert answer_tokens.branches(prompt.question) == yes + no
    # joint probabilities: yes 0.25 + 0.05, no 0.1 + 0.1, none with a space
    logs = tuple(
        tuple(math.log(p) if p else -math.inf for p in branch)
        for branch in ((0.5, 0.5, 1), (0.1, 0.5, 1), (0,), (0,), (0.2, 0.5), (0.1, 1), (0,), (0,))
    )
    answer = answer_scores(prompt, [Scores(torch.zeros(8), logs, (), ended=False)], answer_tokens, tokens=1)
    assert answer.p == pytest.approx(0.3 / 0.5)


def test_each_tag_is_decided_separately(answer_tokens: AnswerTokens) -> None:
    prompt = _prompt(PromptKind.TAGS, choices=("in", "out", "side"))
    scores = [_scores({"yes": p, "no": 1 - p}) for p in (0.9, 0.2, 0.7)]
    answer = answer_scores(prompt, scores, answer_tokens, tokens=1)
    assert (answer.value, answer.text) == (["in", "side"], "in, side")
    assert answer.p == pytest.approx(0.9)
    assert answer.scores == pytest.approx({"in": 0.9, "out": 0.2, "side": 0.7})


def test_no_tags_is_a_valid_answer(answer_tokens: AnswerTokens) -> None:
    prompt = _prompt(PromptKind.TAGS, choices=("in",))
    answer = answer_scores(prompt, [_scores({"yes": 0.1, "no": 0.9})], answer_tokens, tokens=1)
    assert (answer.state, answer.value) == (VerdictState.ANSWERED, [])


def test_the_choice_with_the_best_mean_over_its_tokens_wins(answer_tokens: AnswerTokens) -> None:
    prompt = _prompt(PromptKind.CHOICE, choices=("in", "outside"))
    # forms in order: in, In, both with a space, out+side, ...; two tokens at 0.5 beat one at 0.4
    inside = ((0.4,), (0.1,), (0.1, 0.1), (0.1, 0.1))
    outside = ((0.5, 0.5), (0.1, 0.5), (0.1, 0.1, 0.1), (0.1, 0.1, 0.1))
    branches = tuple(tuple(map(math.log, branch)) for branch in inside + outside)
    answer = answer_scores(prompt, [_scores({"in": 0.4, "out": 0.5}, branches)], answer_tokens, tokens=1)
    assert answer.text == answer.value == "outside"
    assert answer.p == pytest.approx(0.5 / 0.9)


def test_a_choice_without_mass_on_its_words_is_unknown(answer_tokens: AnswerTokens) -> None:
    prompt = _prompt(PromptKind.CHOICE, choices=("in", "out"), min_mass=0.5)
    branches = ((math.log(0.1),),) * 8
    answer = answer_scores(
        prompt, [_scores({"in": 0.1, "out": 0.1, "nothing": 0.8}, branches)], answer_tokens, tokens=1
    )
    assert answer.state is VerdictState.UNKNOWN


def _counted(logs: Sequence[float], **more: object) -> Judged:
    """The answer of a model that writes 0, 1 and 2 as one token each, with or without a space."""
    answer_tokens = AnswerTokens(_WordTokenizer([*_WORDS, "0", "1", "2"]))
    prompt = _prompt(PromptKind.NUMBER, minimum=0.0, maximum=2.0, **more)
    return answer_scores(prompt, [_scores({}, tuple((log,) for log in logs))], answer_tokens, tokens=5)


def test_a_bounded_number_is_the_likeliest_number_of_its_range() -> None:
    answer = _counted([math.log(p) for p in (0.1, 0.1, 0.3, 0.1, 0.1, 0.1)])
    assert (answer.text, answer.value, answer.p) == ("1", 1.0, pytest.approx(0.5))
    assert answer.scores == pytest.approx({"0": 0.25, "1": 0.5, "2": 0.25})


def test_a_bounded_number_needs_mass_margin_and_finite_scores() -> None:
    thin = [math.log(p) for p in (0.1, 0.1, 0.11, 0.1, 0.1, 0.1)]
    for doubt in ({"min_mass": 0.9}, {"min_margin": 0.1}):
        answer = _counted(thin, **doubt)
        assert (answer.state, answer.value) == (VerdictState.UNKNOWN, None)
        assert next(iter(doubt)) in (answer.reason or "")
    assert _counted([math.nan, *thin[1:]]).state is VerdictState.ERROR
    assert _counted([-math.inf] * 6).state is VerdictState.ERROR


def test_a_whole_number_ends_where_the_turn_ends() -> None:
    words = [*_WORDS, "1", "2", "<end>"]
    tokenizer = _WordTokenizer(words)
    tokenizer.eos_token_id = words.index("<end>")  # type: ignore[assignment]
    spelt = [[words[token] for token in form] for form in AnswerTokens(tokenizer).whole(12)]
    assert spelt == [["1", "2", "<end>"], ["Ġ", "1", "2", "<end>"]]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3), ("There are 12 people.", 12), ("Three.", 3), ("three (3)", 3), ("1,200 birds", 1200),
        ("-4.5 degrees", -4.5), ("None.", 0), ("zero", 0), ("2 or 3", None), ("many", None), ("", None),
        ("no idea", None), ("mp3", None), ("9" * 400, None), ("-" + "9" * 400, None), ("1 or " + "9" * 400, None),
        ("a lot of them", None),
    ],
)  # fmt: skip
def test_a_number_is_read_only_if_the_text_has_exactly_one(text: str, number: float | None) -> None:
    assert read_number(text) == number


def test_a_number_that_cannot_be_read_is_unknown() -> None:
    answer = answer_text(_prompt(PromptKind.NUMBER), "quite a few", tokens=3, generated=4)
    assert (answer.state, answer.value) == (VerdictState.UNKNOWN, None)
    assert "quite a few" in (answer.reason or "")


def test_a_number_out_of_range_is_unknown() -> None:
    prompt = _prompt(PromptKind.NUMBER, minimum=0.0, maximum=20.0)
    assert answer_text(prompt, "20", tokens=3, generated=4).value == 20
    for text in ("21", "-1"):
        answer = answer_text(prompt, text, tokens=3, generated=4)
        assert (answer.state, answer.value) == (VerdictState.UNKNOWN, None)
        assert "range 0 to 20" in (answer.reason or "")


@pytest.mark.parametrize("kind", [PromptKind.CAPTION, PromptKind.TEXT, PromptKind.NUMBER])
@pytest.mark.parametrize("text", ["", " \n", "\u3000\t"])
def test_an_empty_text_is_unknown(kind: PromptKind, text: str) -> None:
    answer = answer_text(_prompt(kind), text, tokens=3, generated=2)
    reason = "no single number in ''" if kind is PromptKind.NUMBER else "the model generated no text"
    assert (answer.state, answer.reason) == (VerdictState.UNKNOWN, reason)
    assert (answer.prompt_tokens, answer.generated_tokens) == (3, 2)


def test_a_caption_is_trimmed() -> None:
    assert answer_text(_prompt(PromptKind.CAPTION), " A cat. \n", tokens=3, generated=2).text == "A cat."
