"""Answers whose tokens cannot be told apart are recognised for every kind of tokenizer, and others are not refused."""

from __future__ import annotations

import string
from collections.abc import Sequence

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from nightreel.domain import AnswerState, PromptKind, Question
from nightreel.models.inprocess.answer_tokens import AnswerTokens
from nightreel.models.inprocess.prefix import Scores
from nightreel.models.inprocess.scoring import answer_scores

_CORPUS = ["yes no indoors outdoors in a studio, a car or a car park; sport and sports, 1 2 3 4 5 6 7 8 9 0 café"] * 3
_SPECIAL = ["</s>", "<unk>"]


def _words(*, normalizer: normalizers.Normalizer | None = None) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizer or normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(_CORPUS, trainers.WordLevelTrainer(special_tokens=_SPECIAL))
    return tokenizer


def _bytes() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(_CORPUS, trainers.BpeTrainer(special_tokens=_SPECIAL, initial_alphabet=alphabet))
    return tokenizer


def _characters() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    alphabet = list(string.printable)
    tokenizer.train_from_iterator(_CORPUS, trainers.BpeTrainer(special_tokens=_SPECIAL, initial_alphabet=alphabet))
    return tokenizer


def _without_unknown_token() -> Tokenizer:
    """A vocabulary that leaves unknown letters out, without a token in their place."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    alphabet = list(string.ascii_lowercase)
    tokenizer.train_from_iterator(_CORPUS, trainers.BpeTrainer(special_tokens=_SPECIAL, initial_alphabet=alphabet))
    return tokenizer


def _without_accents() -> Tokenizer:
    return _words(normalizer=normalizers.BertNormalizer(strip_accents=True))


_TOKENIZERS = {
    "words": _words,
    "bytes": _bytes,
    "characters": _characters,
    "no unknown token": _without_unknown_token,
    "no accents": _without_accents,
}


def _answer_tokens(kind: str, *, end: str | None = "</s>") -> AnswerTokens:
    unknown = None if kind == "no unknown token" else "<unk>"
    return AnswerTokens(PreTrainedTokenizerFast(tokenizer_object=_TOKENIZERS[kind](), eos_token=end, unk_token=unknown))


def _choice(*choices: str, kind: PromptKind = PromptKind.CHOICE) -> Question:
    return Question(kind=kind, text="Which?", choices=choices)


def _number(minimum: float, maximum: float) -> Question:
    return Question(kind=PromptKind.NUMBER, text="How many?", minimum=minimum, maximum=maximum)


_YES_NO = Question(kind=PromptKind.YES_NO, text="Is it?")


@pytest.mark.parametrize("kind", _TOKENIZERS)
@pytest.mark.parametrize(
    "prompt",
    [
        _choice("indoors", "outdoors", "studio"),
        _choice("indoors", "outdoors", kind=PromptKind.TAGS),
        _choice("sport", "sports"),
        _choice("car", "car park"),
        _YES_NO,
        _number(0, 9),
        Question(kind=PromptKind.TEXT, text="室内?"),
        Question(kind=PromptKind.NUMBER, text="室内?"),
    ],
    ids=lambda prompt: f"{prompt.kind} {prompt.choices}",
)
def test_answers_that_a_tokenizer_can_write_have_no_problem(kind: str, prompt: Question) -> None:
    assert _answer_tokens(kind).problem(prompt) is None


@pytest.mark.parametrize("kind", [kind for kind in _TOKENIZERS if kind != "bytes"])
@pytest.mark.parametrize("asked", [PromptKind.CHOICE, PromptKind.TAGS])
@pytest.mark.parametrize(
    ("choices", "unknown"),
    [
        (("室内", "室外", "工作室"), "'室内', '室外', '工作室'"),
        (("indoors", "室外"), "'室外'"),
        (("indoors 室", "outdoors 室"), "'indoors 室', 'outdoors 室'"),
        (("внутри", "снаружи"), "'внутри', 'снаружи'"),
        (("😀", "indoors"), "'😀'"),
    ],
)
def test_choices_that_a_tokenizer_cannot_write_are_named(
    kind: str, asked: PromptKind, choices: Sequence[str], unknown: str
) -> None:
    problem = _answer_tokens(kind).problem(_choice(*choices, kind=asked))
    assert problem == f"this tokenizer has no tokens for {unknown}"


def test_a_tokenizer_of_bytes_can_write_everything() -> None:
    for choices in (("室内", "室外", "工作室"), ("café", "cafe"), ("😀", "😁")):
        assert _answer_tokens("bytes").problem(_choice(*choices)) is None


def test_numbers_that_a_tokenizer_cannot_write_are_named() -> None:
    assert _answer_tokens("words").problem(_number(8, 11)) == "this tokenizer has no tokens for '10', '11'"


@pytest.mark.parametrize("asked", [PromptKind.CHOICE, PromptKind.TAGS])
def test_choices_with_the_same_tokens_are_named(asked: PromptKind) -> None:
    answer_tokens = _answer_tokens("no accents")
    expected = "this tokenizer writes 'café' and 'cafe' with the same tokens"
    assert answer_tokens.problem(_choice("studio", "café", "cafe", kind=asked)) == expected


def test_choices_that_differ_in_case_alone_are_named() -> None:
    assert "same tokens" in (_answer_tokens("bytes").problem(_choice("studio", "Studio")) or "")


def test_a_tokenizer_without_yes_and_no_can_answer_neither_yes_no_nor_tags() -> None:
    tokenizer = Tokenizer(models.WordLevel({"</s>": 0, "<unk>": 1, "oui": 2, "non": 3}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    answer_tokens = AnswerTokens(
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")
    )
    for prompt in (_YES_NO, _choice("oui", "non", kind=PromptKind.TAGS)):
        assert answer_tokens.problem(prompt) == "this tokenizer has no tokens for 'yes', 'no'"
    assert answer_tokens.problem(_choice("oui", "non")) is None


@pytest.mark.parametrize("prompt", [_choice("sport", "sports"), _choice("car park", "car"), _number(1, 12)])
def test_an_answer_that_starts_another_needs_a_token_that_ends_a_turn(prompt: Question) -> None:
    assert _answer_tokens("characters").problem(prompt) is None
    problem = _answer_tokens("characters", end=None).problem(prompt) or ""
    assert problem.endswith("and this tokenizer has no token that ends a turn")


def test_only_choices_that_start_another_are_scored_with_the_end_of_the_turn() -> None:
    answer_tokens = _answer_tokens("bytes")
    plain = answer_tokens.branches(_choice("indoors", "outdoors"))
    assert all(0 not in branch for branch in plain)
    ended = answer_tokens.branches(_choice("car", "car park", "outdoors"))
    assert all(branch[-1] == 0 and 0 not in branch[:-1] for branch in ended)


def test_scores_of_answers_that_cannot_be_told_apart_are_unknown() -> None:
    answer_tokens = _answer_tokens("words")
    sure = Scores(torch.tensor([-5.0] * 50), ((-0.01,), (-3.0,)) * 20, (), ended=False)
    for prompt in (_choice("室内", "室外"), _number(8, 11), _choice("indoors", "室外", kind=PromptKind.TAGS)):
        answer = answer_scores(prompt, [sure, sure], answer_tokens, tokens=3)
        assert (answer.state, answer.scores) == (AnswerState.UNMEASURED, None)
        assert "has no tokens for" in (answer.reason or "")


def test_spellings_that_a_tokenizer_cannot_write_do_not_count() -> None:
    cased = Tokenizer(models.WordLevel({"</s>": 0, "<unk>": 1, "black": 2, "white": 3}, unk_token="<unk>"))
    cased.pre_tokenizer = pre_tokenizers.Whitespace()
    answer_tokens = AnswerTokens(PreTrainedTokenizerFast(tokenizer_object=cased, eos_token="</s>", unk_token="<unk>"))
    assert answer_tokens.forms("black") == ((2,),), "not <unk>, which is how it reads 'Black'"
    assert answer_tokens.problem(_choice("black", "white")) is None
