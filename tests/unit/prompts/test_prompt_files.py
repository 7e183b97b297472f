"""Prompt sets: shipped and own files are read, and every mistake is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightreel.domain import Band, GenerationOptions, Language, LookAgain, Prompt, PromptKind, Review, RollUp
from nightreel.errors import SettingsError
from nightreel.prompts.loading import load_prompt_sets, shipped_sets
from nightreel.prompts.wording import texts_of

_HEAD = "name: mine\nprompts:\n"
_VIOLENCE = '  - {name: violence, kind: yes_no, text: "Is there violence?"}\n'


def _write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_all_shipped_sets_load_and_can_be_combined() -> None:
    assert {"tagging", "moderation", "tagging.zh", "moderation.zh", "tagging_2026"} <= set(shipped_sets())
    for name in shipped_sets():
        assert {prompt.set_name for prompt in load_prompt_sets([name]).prompts} == {name.replace(".", "_")}
    names = ["demo", "demo_moderation", "demo_tagging", "tagging", "moderation"]
    combined = load_prompt_sets(names)
    assert combined.name == "+".join(names)
    assert len({prompt.name for prompt in combined.prompts}) == len(combined)


@pytest.mark.parametrize("name", ["moderation", "tagging"])
def test_the_chinese_sets_mirror_the_english_ones(name: str) -> None:
    for english, chinese in zip(
        load_prompt_sets([name]).prompts, load_prompt_sets([f"{name}.zh"]).prompts, strict=True
    ):
        assert (english.name, english.question.kind) == (chinese.name, chinese.question.kind)
        assert (english.question.language, chinese.question.language) == (Language.ENGLISH, Language.CHINESE)
        one, other = english.policy, chinese.policy
        assert (one.band, one.severity, one.lane, one.review) == (other.band, other.severity, other.lane, other.review)
        places = [
            [prompt.question.possible_answers.index(flag) for flag in prompt.policy.flags]
            for prompt in (english, chinese)
        ]
        assert places[0] == places[1]
        assert list(dict(one.severities).values()) == list(dict(other.severities).values())
        assert _codes(english) == _codes(chinese)
        assert bool(one.text) == bool(other.text)


def _codes(prompt: Prompt) -> dict[str, object]:
    """The codes of a prompt; those of single answers by the place of the answer."""
    places = {answer: place for place, answer in enumerate(prompt.question.possible_answers)}
    return {
        taxonomy: {places[answer]: code for answer, code in codes.items()} if isinstance(codes, dict) else codes
        for taxonomy, codes in prompt.policy.codes.items()
    }


def test_every_category_has_a_severity_and_a_policy_text() -> None:
    prompts = load_prompt_sets(["moderation"]).prompts
    categories = [prompt for prompt in prompts if prompt.question.kind is PromptKind.YES_NO]
    assert len(categories) == 12
    assert all(prompt.policy.severity and prompt.policy.text and prompt.policy.flags for prompt in categories)
    (minors,) = [prompt for prompt in categories if prompt.policy.lane]
    assert (minors.name, minors.policy.lane) == ("minors_at_risk", "restricted")


def test_the_keys_of_a_policy_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nlanguage: zh\ntaxonomies: {iab: {title: a, version: b, date: c, url: d}}\nprompts:\n"
        "  - {name: a, kind: yes_no, text: b, threshold: 0.6, doubt: 0.1, flag: 'yes', severity: 3, lane: restricted,\n"
        "     review: all, roll_up: share 0.3, coverage: 0.5, policy_text: what counts, codes: {iab: ['1']},\n"
        "     look_again: {from: 0.2, plan: 'fps:2:64', window_s: 5}}\n"
        "  - {name: c, kind: tags, text: d, choices: [x, y], no_below: 0.2, yes_from: 0.7, thresholds: {x: 0.4},\n"
        "     flag: [x, y], severity: 1, severities: {y: 4}, min_mass: 0.1}\n"
    )
    first, second = load_prompt_sets([str(path)], coverage=0.9).prompts
    policy = first.policy
    assert (policy.band, policy.flags, policy.severity, policy.lane) == (Band(0.55, 0.65), ("yes",), 3, "restricted")
    assert (policy.review, policy.roll_up, policy.coverage) == (Review.ALL, RollUp.parse("share 0.3"), 0.5)
    assert (policy.text, policy.codes) == ("what counts", {"iab": ["1"]})
    assert policy.look_again == LookAgain(from_p=0.2, plan="fps:2:64", window_s=5)
    assert first.question.language is Language.CHINESE
    policy = second.policy
    assert (policy.band, policy.band_of("x"), policy.coverage) == (Band(0.2, 0.7), Band(0.4, 0.4), 0.9)
    assert (policy.severity_of("x"), policy.severity_of("y")) == (1, 4)


def test_sets_are_combined_in_the_given_order() -> None:
    first, second = (load_prompt_sets([name]).prompts for name in ("moderation", "tagging"))
    assert load_prompt_sets(["moderation", "tagging"]).prompts == first + second


def test_yaml_scalars_stay_text(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        _HEAD + "  - {name: q, kind: yes_no, text: 'Really?', flag: yes}\n"
        "  - {name: n, kind: choice, text: 'Which?', choices: [007, off, 1.50], flag: off, when: {q: no}}\n",
    )
    really, which = load_prompt_sets([path]).prompts
    assert really.policy.flags == ("yes",)
    assert which.question.choices == ("007", "off", "1.50")
    assert (which.policy.flags, which.policy.when) == (("off",), (("q", "no"),))


def test_a_number_gets_few_tokens_unless_the_file_sets_more(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        _HEAD + "  - {name: a, kind: number, text: 'How many?'}\n"
        "  - {name: b, kind: number, text: 'How many?', max_new_tokens: 40}\n",
    )
    assert [prompt.question.max_new_tokens for prompt in load_prompt_sets([path]).prompts] == [16, 40]


def test_decoding_and_ranges_are_read(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        _HEAD + "  - {name: a, kind: text, text: b, temperature: 0.7, top_k: 40, top_p: 0.9, seed: 3,\n"
        "     repetition_penalty: 1.1}\n"
        "  - {name: c, kind: number, text: d, minimum: 0, maximum: 20, beams: 4}\n",
    )
    drawn, counted = (prompt.question for prompt in load_prompt_sets([path]).prompts)
    assert drawn.decoding == GenerationOptions(temperature=0.7, top_k=40, top_p=0.9, seed=3, repetition_penalty=1.1)
    assert (counted.minimum, counted.maximum, counted.decoding) == (0, 20, GenerationOptions(beams=4))


def test_policy_and_names_do_not_change_the_hash(tmp_path: Path) -> None:
    head = _HEAD + '  - {name: dark, kind: yes_no, text: "Is it dark?"}\n'
    hashes = {
        load_prompt_sets([_write(tmp_path, head + entry)]).prompts[1].question.hash
        for entry in (
            _VIOLENCE,
            '  - {name: again, kind: yes_no, text: "Is there violence?", flag: "yes", when: {dark: "no"}}\n',
            '  - {name: violence, kind: yes_no, text: "Is there violence?", threshold: 0.9, min_mass: 0.1}\n',
            "  - {name: violence, kind: yes_no, text: ' Is there violence? ', severity: 2, flag: 'yes'}\n",
        )
    }
    assert len(hashes) == 1


def test_two_prompts_of_a_file_may_ask_one_question(tmp_path: Path) -> None:
    strict = '  - {name: strict, kind: yes_no, text: "Is there violence?", threshold: 0.9}\n'
    first, second = load_prompt_sets([_write(tmp_path, _HEAD + _VIOLENCE + strict)]).prompts
    assert first.question == second.question
    assert first.policy != second.policy


@pytest.mark.parametrize(
    ("one", "other"),
    [("in", "IN"), ("a b", "a  b"), ("caf\u00e9", "cafe\u0301"), ("AB", "\uff21\uff22"), ("ﬁlm", "film")],
)
def test_choices_that_look_the_same_are_refused(tmp_path: Path, one: str, other: str) -> None:
    path = _write(tmp_path, f"{_HEAD}  - {{name: q, kind: choice, text: 'Which?', choices: ['{one}', '{other}']}}\n")
    with pytest.raises(SettingsError, match=r"mine\.yaml:3: prompt 'q': key 'choices': .* appears twice"):
        load_prompt_sets([path])


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{name: q, kind: yes_no, text: a, treshold: 1}", "'treshold': unknown key: did you mean 'threshold'"),
        ("{name: q, kind: yes_no, text: a, zzz: 1}", "'zzz': unknown key: expected name, kind, text"),
        ("{name: q, kind: yesno, text: a}", "'kind': 'yesno' is not a kind: expected caption, text, yes_no"),
        ("{name: q, text: a}", "'kind': is missing"),
        ("{kind: text, text: a}", "'name': is missing"),
        ("{name: q, kind: text}", "'text': is missing"),
        ("{name: q, kind: text, text: '  '}", "'text': is empty"),
        ("{name: Q 1, kind: text, text: a}", "'name': 'Q 1': expected lower-case letters"),
        ("{name: violence, kind: text, text: a}", "'name': an earlier prompt of the set has the same name"),
        ("{name: q, name: r, kind: text, text: a}", "'name': the key appears twice"),
        ("{name: q, kind: choice, text: a}", "'choices': a prompt of kind choice needs at least 2, got 0"),
        ("{name: q, kind: choice, text: a, choices: [x]}", "'choices': a prompt of kind choice needs at least 2, got"),
        ("{name: q, kind: choice, text: a, choices: [x, X]}", "'choices': 'X' appears twice"),
        ("{name: q, kind: choice, text: a, choices: [x, '']}", "'choices': is empty"),
        ("{name: q, kind: choice, text: a, choices: x}", "'choices': 'x': expected a list, such as [a, b]"),
        ("{name: q, kind: tags, text: a, choices: []}", "'choices': a prompt of kind tags needs at least 1, got 0"),
        ("{name: q, kind: yes_no, text: a, choices: [x, y]}", "'choices': not allowed for kind yes_no"),
        ("{name: q, kind: yes_no, text: a, max_new_tokens: 3}", "'max_new_tokens': not allowed for kind yes_no"),
        ("{name: q, kind: text, text: a, max_new_tokens: 0}", "'max_new_tokens': '0': input should be greater than"),
        ("{name: q, kind: text, text: a, max_new_tokens: many}", "'max_new_tokens': 'many': input should be a valid"),
        ("{name: q, kind: yes_no, text: a, threshold: 1.5}", "'threshold': '1.5': input should be less than or equal"),
        ("{name: q, kind: yes_no, text: a, threshold: nan}", "'threshold': 'nan': input should be"),
        ("{name: q, kind: choice, text: a, choices: [x, y], threshold: 0.5}", "'threshold': not allowed for kind"),
        ("{name: q, kind: yes_no, text: a, min_mass: -1}", "'min_mass': '-1': input should be greater than or equal"),
        ("{name: q, kind: text, text: a, min_margin: 0.1}", "'min_margin': not allowed for kind text"),
        (
            "{name: q, kind: yes_no, text: a, min_margin: 0.1}",
            "'min_margin': not allowed for kind yes_no: its doubt is a band around the threshold; at threshold 0.5, "
            "write `doubt: 0.1`",
        ),
        ("{name: q, kind: tags, text: a, choices: [x], min_margin: 0.2, threshold: 0.3}", "0.3, write `doubt: 0.2`"),
        ("{name: q, kind: yes_no, text: a, doubt: 2}", "'doubt': '2': input should be less than or equal to 1"),
        ("{name: q, kind: choice, text: a, choices: [x, y], doubt: 0.1}", "'doubt': not allowed for kind choice"),
        ("{name: q, kind: yes_no, text: a, no_below: 0.2}", "'no_below': no_below and yes_from belong together"),
        ("{name: q, kind: yes_no, text: a, no_below: 0.7, yes_from: 0.2}", "'yes_from': 0.2 is less than no_below 0.7"),
        (
            "{name: q, kind: yes_no, text: a, no_below: 0.2, yes_from: 0.7, doubt: 0.1}",
            "'doubt': cannot be combined with no_below and yes_from",
        ),
        ("{name: q, kind: tags, text: a, choices: [x], thresholds: {y: 0.2}}", "'thresholds': 'y' is not a possible"),
        (
            "{name: q, kind: tags, text: a, choices: [x], thresholds: {x: 2}}",
            "'thresholds': '2' of 'x': input should be less",
        ),
        ("{name: q, kind: choice, text: a, choices: [x, y], thresholds: {x: 0.2}}", "'thresholds': not allowed for"),
        ("{name: q, kind: yes_no, text: a, severity: 3}", "'severity': has no effect without a flag"),
        ("{name: q, kind: yes_no, text: a, flag: 'yes', severity: 5}", "'severity': '5': input should be less than or"),
        (
            "{name: q, kind: tags, text: a, choices: [x, y], flag: x, severities: {y: 2}}",
            "'severities': 'y' is not flagged: add it to `flag`",
        ),
        ("{name: q, kind: yes_no, text: a, lane: 'A b'}", "'lane': 'A b': expected lower-case letters"),
        (
            "{name: q, kind: yes_no, text: a, review: often}",
            "'review': 'often' is not known: expected flagged_or_unknown",
        ),
        ("{name: q, kind: yes_no, text: a, roll_up: most}", "'roll_up': 'most': expected any, all, share X"),
        ("{name: q, kind: yes_no, text: a, roll_up: share 2}", "'roll_up': 'share 2': expected any, all, share X"),
        (
            "{name: q, kind: yes_no, text: a, roll_up: mean}",
            "'roll_up': 'mean' is not for kind yes_no: expected any, all",
        ),
        ("{name: q, kind: caption, text: a, roll_up: any}", "'roll_up': not allowed for kind caption"),
        ("{name: q, kind: yes_no, text: a, coverage: -1}", "'coverage': '-1': input should be greater than or equal"),
        ("{name: q, kind: yes_no, text: a, policy_text: ' '}", "'policy_text': is empty"),
        ("{name: q, kind: yes_no, text: a, codes: {iab: ['1']}}", "'codes': 'iab' is not in `taxonomies` at the top"),
        (
            "{name: q, kind: yes_no, text: a, look_again: {from: 0.2, plan: often, window_s: 5}}",
            "'look_again': sampling plan 'often': expected uniform:N",
        ),
        (
            "{name: q, kind: yes_no, text: a, look_again: {from: 0.2, plan: 'fps:2:8'}}",
            "'look_again': 'window_s' is missing",
        ),
        (
            "{name: q, kind: text, text: a, look_again: {from: 0, plan: 'fps:2:8', window_s: 5}}",
            "'look_again': not allowed",
        ),
        (
            "{name: q, kind: yes_no, text: a, flag: maybe}",
            "'flag': 'maybe' is not a possible answer: expected 'yes' or",
        ),
        ("{name: q, kind: tags, text: a, choices: [x], flag: y}", "'flag': 'y' is not a possible answer: expected 'x'"),
        ("{name: q, kind: caption, text: a, flag: a}", "'flag': not allowed for kind caption"),
        ("{name: q, kind: text, text: a, when: {later: x}}", "'when': 'later' is not an earlier prompt of the set"),
        ("{name: q, kind: text, text: a, when: {q: x}}", "'when': 'q' is not an earlier prompt of the set"),
        ("{name: q, kind: text, text: a, when: {violence: maybe}}", "'when': 'violence' never answers 'maybe'"),
        ("{name: q, kind: text, text: a, when: {}}", "'when': is empty"),
        ("{name: q, kind: text, text: a, when: violence}", "'when': 'violence': expected keys and values"),
        ("{name: q, kind: number, text: a, minimum: 3, maximum: 2}", "'maximum': 2 is less than minimum 3"),
        ("{name: q, kind: number, text: a, minimum: inf}", "'minimum': 'inf': input should be a finite number"),
        (
            "{name: q, kind: number, text: a, minimum: 0, maximum: 21, min_mass: 0.5}",
            "'min_mass': not allowed for kind number unless its minimum and maximum are at most 20 apart",
        ),
        ("{name: q, kind: text, text: a, minimum: 3}", "'minimum': not allowed for kind text"),
        ("{name: q, kind: yes_no, text: a, temperature: 1}", "'temperature': not allowed for kind yes_no"),
        ("{name: q, kind: text, text: a, temperature: -1}", "'temperature': '-1': input should be greater than or"),
        ("{name: q, kind: text, text: a, top_p: 0}", "'top_p': '0': input should be greater than 0"),
        ("{name: q, kind: text, text: a, top_k: 5}", "'top_k': has no effect without a temperature above 0"),
        ("{name: q, kind: text, text: a, seed: 5}", "'seed': has no effect without a temperature above 0"),
        ("{name: q, kind: text, text: a, beams: 2, temperature: 1}", "'beams': beam search finds the likeliest"),
        ("{name: q, kind: text, text: a, beams: 0}", "'beams': '0': input should be greater than or equal to 1"),
        ("{name: q, kind: text, text: a, repetition_penalty: 0}", "'repetition_penalty': '0': input should be greater"),
        (
            "{name: q, kind: yes_no, text: a, min_margin: 0.1, no_below: 0.2, yes_from: 0.3}",
            "its doubt is a band around the threshold; no_below and yes_from are its limits",
        ),
        ("{name: q, kind: yes_no, text: a, flag: }", "'flag': is empty"),
        ("{name: q, kind: yes_no, text: a, threshold: }", "'threshold': '': input should be a valid number"),
        ("{name: q, kind: choice, text: a, choices: [x, null]}", "'choices': None: expected text"),
        ("{name: q, kind: tags, text: a, choices: [x], flag: {x: 4}}", "'flag': {'x': '4'}: expected a list"),
        (
            "{name: q, kind: tags, text: a, choices: [x], flag: x, severities: {x: 9}}",
            "'severities': '9' of 'x': input",
        ),
        ("{name: q, kind: yes_no, text: a, codes: 1}", "'codes': '1': expected keys and values"),
        ("{name: q, kind: yes_no, text: a, codes: {iab: ['']}}", "'codes': 'iab' is empty"),
        ("{name: q, kind: yes_no, text: a, look_again: often}", "'look_again': 'often': expected keys and values"),
        (
            "{name: q, kind: yes_no, text: a, look_again: {from: 0, from_p: 1, plan: 'fps:2:8', window_s: 5}}",
            "'look_again': unknown key 'from_p'",
        ),
        ("{name: q, kind: yes_no, text: " + "a" * 5000 + "}", f"'text': '{'a' * 79}...: string should have at most"),
        ("just words", "expected a prompt, such as {name: ..., kind: ..., text: ...}"),
    ],
)
def test_an_error_names_file_line_prompt_and_key(tmp_path: Path, entry: str, expected: str) -> None:
    path = _write(tmp_path, f"{_HEAD}{_VIOLENCE}  - {entry}\n")
    with pytest.raises(SettingsError) as caught:
        load_prompt_sets([path])
    (message,) = str(caught.value).splitlines()
    assert message.startswith(f"{path}:4: ")
    assert expected in message
    if entry.startswith("{name: q,") and "twice" not in expected:
        assert "prompt 'q'" in message


def test_free_text_cannot_be_a_condition(tmp_path: Path) -> None:
    path = _write(
        tmp_path, _HEAD + "  - {name: a, kind: caption, text: b}\n  - {name: c, kind: text, text: d, when: {a: x}}\n"
    )
    with pytest.raises(SettingsError, match=r"mine\.yaml:4: prompt 'c': key 'when': 'a' is of kind caption"):
        load_prompt_sets([path])


def test_all_mistakes_of_a_file_are_reported_together(tmp_path: Path) -> None:
    path = _write(tmp_path, "nane: mine\nprompts:\n  - {name: a, kind: b}\n  - 3\n")
    with pytest.raises(SettingsError) as caught:
        load_prompt_sets([path])
    lines = [line.removeprefix(f"{path}:").split(":")[0] for line in str(caught.value).splitlines()]
    assert sorted(lines) == ["1", "1", "3", "3", "4"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1: expected the keys name and prompts"),
        ("- a\n", ":1: expected the keys name and prompts"),
        ("name: mine\nprompts: []\n", ":2: key 'prompts': expected a list with at least one prompt"),
        ("name: mine\n", "key 'prompts': expected a list with at least one prompt"),
        ("name: mine\nlanguage: de\nprompts: []\n", ":2: key 'language': 'de' is not known: expected en, zh"),
        ("name: mine\ntaxonomies: {iab: {title: a}}\n", ":2: key 'taxonomies': 'version' is missing"),
        ("name: mine\ntaxonomies: {iab: here}\n", ":2: key 'taxonomies': 'here' of 'iab': expected keys and values"),
        ("name: mine\nprompts: {a: b}\n", "key 'prompts': expected a list with at least one prompt"),
        ("name: mine\nprompts: [\n", "not valid YAML"),
        ("name: &a mine\nprompts: *a\n", ":2: aliases (*name) are not allowed"),
        ("a: " + "[" * 5000 + "]" * 5000, ":1: nested more than 8 levels deep"),
        ("name: \x07", "not valid YAML"),
    ],
)
def test_a_file_that_is_not_a_prompt_file_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_prompt_sets([_write(tmp_path, text)])
    assert expected in str(caught.value)


def test_a_name_in_two_sets_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, _HEAD + "  - {name: weapons, kind: yes_no, text: 'Any?'}\n")
    with pytest.raises(SettingsError, match="'weapons' is in set 'moderation' and in set 'mine'"):
        load_prompt_sets(["moderation", path])


def test_an_unknown_set_is_refused_with_the_shipped_names() -> None:
    with pytest.raises(
        SettingsError, match=r"'taging' does not .* one of demo, demo_moderation, demo_tagging, moderation"
    ):
        load_prompt_sets(["taging"])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load_prompt_sets([str(tmp_path / "gone.yaml")])


def test_an_empty_list_of_sets_is_refused() -> None:
    with pytest.raises(SettingsError, match="no prompt set"):
        load_prompt_sets([])


@pytest.mark.parametrize(
    ("entry", "english", "chinese"),
    [
        ("kind: caption", ["Q"], ["Q"]),
        ("kind: text", ["Q"], ["Q"]),
        ("kind: yes_no", ["Q Answer yes or no."], ["Q请回答 yes 或 no。"]),
        ("kind: number", ["Q Answer with a number."], ["Q请用一个数字回答。"]),
        ("kind: choice, choices: [x, y]", ["Q Answer with one of: x, y."], ["Q请从以下选项中选择一个回答：x、y。"]),
        (
            "kind: tags, choices: [x, y]",
            ["Q x? Answer yes or no.", "Q y? Answer yes or no."],
            ["Qx？请回答 yes 或 no。", "Qy？请回答 yes 或 no。"],
        ),
    ],
)
def test_a_model_gets_the_text_and_an_instruction_in_its_language(
    tmp_path: Path, entry: str, english: list[str], chinese: list[str]
) -> None:
    for language, texts in (("en", english), ("zh", chinese)):
        path = _write(tmp_path, f"name: mine\nlanguage: {language}\nprompts:\n  - {{name: q, text: Q, {entry}}}\n")
        (prompt,) = load_prompt_sets([path]).prompts
        assert texts_of(prompt.question) == tuple(texts)
