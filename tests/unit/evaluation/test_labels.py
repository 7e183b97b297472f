from __future__ import annotations

from pathlib import Path

import pytest

from nightreel.domain import PromptKind
from nightreel.errors import SettingsError
from nightreel.evaluation.labels import read_labels


def test_csv_names_prompts_and_parts_of_videos(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        '\ufefffile,prompt,answer,start_s,end_s,note\r\na/b.mp4,violence,yes,3,4.5,x\r\n"c,d.mp4",people,2,,,\r\n'
    )
    first, second = read_labels(path)
    assert (first.file, first.prompt, first.answer, first.start_s, first.end_s) == (
        "a/b.mp4",
        "violence",
        "yes",
        3,
        4.5,
    )
    assert (second.file, second.prompt, second.answer, second.start_s, second.end_s) == (
        "c,d.mp4",
        "people",
        "2",
        0,
        None,
    )


def test_json_lines_ask_questions_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(
        '{"file": "a.mp4", "question": "Is it red?", "type": "yesno", "answer": true}\n\n'
        '{"file": "a.mp4", "question": "How many?", "type": "count", "answer": 3}\n'
    )
    first, second = read_labels(path)
    assert (first.question, first.kind, first.answer, first.asked) == (
        "Is it red?",
        PromptKind.YES_NO,
        "yes",
        "Is it red?",
    )
    assert (second.kind, second.answer, second.line) == (PromptKind.NUMBER, "3", 3)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("[1]", "expected a JSON object"),
        ("{", "expected a JSON object"),
        ("[" * 100_000, "expected a JSON object"),
        ('{"prompt": "violence", "answer": "yes"}', "no 'file'"),
        ('{"file": "a", "prompt": "violence"}', "no 'answer'"),
        ('{"file": {"a": 1}, "prompt": "violence", "answer": "yes"}', "no 'file'"),
        ('{"file": "a", "answer": "yes"}', "either a 'prompt' or a 'question'"),
        ('{"file": "a", "prompt": "b", "question": "c", "answer": "yes"}', "either a 'prompt' or a 'question'"),
        ('{"file": "a", "question": "c", "type": "yes_or_no", "answer": "yes"}', "type 'yes_or_no' is unknown"),
        ('{"file": "a", "prompt": "b", "answer": "yes", "start_s": -1}', "start_s=-1: expected seconds"),
        ('{"file": "a", "prompt": "b", "answer": "yes", "start_s": NaN}', "start_s=nan: expected seconds"),
        ('{"file": "a", "prompt": "b", "answer": "yes", "start_s": 3, "end_s": 2}', "end_s=2 is not after start_s=3"),
    ],
)
def test_a_mistake_names_its_line(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(f'{{"file": "a", "prompt": "b", "answer": "yes"}}\n{line}\n')
    with pytest.raises(SettingsError) as caught:
        read_labels(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert why in str(caught.value)


def test_all_mistakes_are_shown_up_to_twenty(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("file,prompt,answer\n" + "a,,yes\n" * 25)
    with pytest.raises(SettingsError, match="and 5 more mistakes"):
        read_labels(path)


@pytest.mark.parametrize("content", [b"", b"file,prompt,answer\n", b"\xff\xfe\x00"])
def test_a_file_without_labels_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"labels\.csv"):
        read_labels(path)
