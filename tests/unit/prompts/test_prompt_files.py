"""Prompt sets: shipped and own files are read, and every mistake is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightreel.domain import GenerationOptions, PromptKind
from nightreel.errors import SettingsError
from nightreel.prompts.loading import load_prompt_sets, shipped_sets
from nightreel.prompts.wording import questions_of

_HEAD = "name: mine\nprompts:\n"
_VIOLENCE = '  - {name: violence, kind: yes_no, text: "Is there violence?"}\n'


def _write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_all_shipped_sets_load_and_can_be_combined() -> None:
    names = shipped_sets()
    assert {"tagging", "moderation"} <= set(names)
    combined = load_prompt_sets(names)
    assert combined.name == "+".join(names)
    assert {prompt.set_name for prompt in combined.prompts} == set(names)
    assert len({prompt.name for prompt in combined.prompts}) == len(combined)


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
    assert really.flag == "yes"
    assert which.choices == ("007", "off", "1.50")
    assert (which.flag, which.when) == ("off", (("q", "no"),))


def test_a_number_gets_few_tokens_unless_the_file_sets_more(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        _HEAD + "  - {name: a, kind: number, text: 'How many?'}\n"
        "  - {name: b, kind: number, text: 'How many?', max_new_tokens: 40}\n",
    )
    assert [prompt.max_new_tokens for prompt in load_prompt_sets([path]).prompts] == [16, 40]


def test_decoding_and_ranges_are_read(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        _HEAD + "  - {name: a, kind: text, text: b, temperature: 0.7, top_k: 40, top_p: 0.9, seed: 3,\n"
        "     repetition_penalty: 1.1}\n"
        "  - {name: c, kind: number, text: d, minimum: 0, maximum: 20, beams: 4}\n",
    )
    drawn, counted = load_prompt_sets([path]).prompts
    assert drawn.decoding == GenerationOptions(temperature=0.7, top_k=40, top_p=0.9, seed=3, repetition_penalty=1.1)
    assert (counted.minimum, counted.maximum, counted.decoding) == (0, 20, GenerationOptions(beams=4))


def test_names_flags_and_conditions_do_not_change_the_hash(tmp_path: Path) -> None:
    head = _HEAD + '  - {name: dark, kind: yes_no, text: "Is it dark?"}\n'
    prompts = [
        load_prompt_sets([_write(tmp_path, head + entry)]).prompts[1].hash
        for entry in (
            _VIOLENCE,
            '  - {name: again, kind: yes_no, text: "Is there violence?", flag: "yes", when: {dark: "no"}}\n',
            '  - {name: violence, kind: yes_no, text: "Is there violence?", threshold: 0.9}\n',
        )
    ]
    assert prompts[0] == prompts[1] != prompts[2]


_SAME_QUESTIONS = {
    "another flag": ("kind: yes_no, text: 'Any?'", "kind: yes_no, text: 'Any?', flag: 'yes'"),
    "the opposite flag": ("kind: yes_no, text: 'Any?', flag: 'no'", "kind: yes_no, text: 'Any?', flag: 'yes'"),
    "a condition": ("kind: caption, text: 'What?'", "kind: caption, text: 'What?', when: {dark: 'yes'}"),
    "spaces around it": ("kind: text, text: 'What?'", "kind: text, text: '  What? '"),
    "the default written out": ("kind: yes_no, text: 'Any?'", "kind: yes_no, text: 'Any?', threshold: 0.5"),
    "choices": ("kind: choice, text: 'Who?', choices: [a, b]", "kind: choice, text: 'Who?', choices: [a, b], flag: a"),
    "tags": ("kind: tags, text: 'Is it', choices: [a, b]", "kind: tags, text: 'Is it', choices: [a, b], flag: b"),
    "a number whose length does not matter": (
        "kind: number, text: 'Count?', minimum: 0, maximum: 9",
        "kind: number, text: 'Count?', minimum: 0, maximum: 9, max_new_tokens: 4",
    ),
}


@pytest.mark.parametrize("same", _SAME_QUESTIONS)
def test_a_question_with_two_names_is_refused_in_one_file(tmp_path: Path, same: str) -> None:
    dark = '  - {name: dark, kind: yes_no, text: "Is it dark?"}\n'
    first, second = _SAME_QUESTIONS[same]
    path = _write(tmp_path, f"{_HEAD}{dark}  - {{name: first, {first}}}\n  - {{name: second, {second}}}\n")
    with pytest.raises(SettingsError) as caught:
        load_prompt_sets([path])
    assert str(caught.value) == (
        f"{path}:5: prompt 'second': key 'text': prompt 'first' asks the same question: an answer belongs to one name; "
        "remove one of the two prompts, or change its text"
    )


@pytest.mark.parametrize("same", [name for name in _SAME_QUESTIONS if name != "a condition"])
def test_a_question_with_two_names_is_refused_in_two_sets(tmp_path: Path, same: str) -> None:
    paths = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for path, entry in zip(paths, _SAME_QUESTIONS[same], strict=True):
        path.write_text(f"name: set_{path.stem}\nprompts:\n  - {{name: of_{path.stem}, {entry}}}\n")
    with pytest.raises(SettingsError) as caught:
        load_prompt_sets(["moderation", *map(str, paths)])
    assert "prompt 'of_two' of set 'set_two' asks the same question as prompt 'of_one' of set 'set_one'" in str(
        caught.value
    )


@pytest.mark.parametrize("other", ["threshold: 0.9", "min_margin: 0.2", "min_mass: 0.1"])
def test_a_question_that_is_judged_in_another_way_may_have_another_name(tmp_path: Path, other: str) -> None:
    entry = f'  - {{name: strict, kind: yes_no, text: "Is there violence?", {other}}}\n'
    path = _write(tmp_path, _HEAD + _VIOLENCE + entry)
    assert len({prompt.hash for prompt in load_prompt_sets([path]).prompts}) == 2


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
        ("{name: q, kind: choice, text: a, choices: x}", "'choices': 'x': input should be a valid list"),
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
            "{name: q, kind: yes_no, text: a, flag: maybe}",
            "'flag': 'maybe' is not a possible answer: expected 'yes' or",
        ),
        ("{name: q, kind: tags, text: a, choices: [x], flag: y}", "'flag': 'y' is not a possible answer: expected 'x'"),
        ("{name: q, kind: caption, text: a, flag: a}", "'flag': not allowed for kind caption"),
        ("{name: q, kind: text, text: a, when: {later: x}}", "'when': 'later' is not an earlier prompt of the set"),
        ("{name: q, kind: text, text: a, when: {q: x}}", "'when': 'q' is not an earlier prompt of the set"),
        ("{name: q, kind: text, text: a, when: {violence: maybe}}", "'when': 'violence' never answers 'maybe'"),
        ("{name: q, kind: text, text: a, when: {}}", "'when': {}: dictionary should have at least 1 item"),
        ("{name: q, kind: text, text: a, when: violence}", "'when': 'violence': input should be a valid dictionary"),
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
    with pytest.raises(SettingsError, match=r"'taging' does not .* one of demo, demo_moderation, moderation, tagging"):
        load_prompt_sets(["taging"])


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load_prompt_sets([str(tmp_path / "gone.yaml")])


def test_an_empty_list_of_sets_is_refused() -> None:
    with pytest.raises(SettingsError, match="no prompt set"):
        load_prompt_sets([])


def test_tags_become_one_question_per_choice(tmp_path: Path) -> None:
    path = _write(tmp_path, _HEAD + "  - {name: t, kind: tags, text: 'Which fit?', choices: [sports, news]}\n")
    (prompt,) = load_prompt_sets([path]).prompts
    assert prompt.kind is PromptKind.TAGS
    assert questions_of(prompt) == (
        "Which fit? sports? Answer yes or no.",
        "Which fit? news? Answer yes or no.",
    )
