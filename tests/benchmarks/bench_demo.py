"""Measure the accuracy of the demo models and write their model cards. `make bench-demo`.

300 unseen clips (seeds for neither training nor tuning) pass through the whole flow into Postgres. A plain `generate()`
loop in fp32 answers the same questions. The same scenes are also written in the forms of real files: sizes, frame
rates, rotation tags, compression, codecs. Clips of 30 s with a warning sign of 2 s show what a second look finds. A
gallery of clips that all show something else measures the dual encoder, and its card is written too.

    python -m benchmarks.bench_demo [clips [clips of each form [clips with a short sign [clips of the gallery]]]]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from benchmarks.bench_pipeline import environment
from benchmarks.demo_sides import FORMS, SETS, answers_in_postgres, by_place, plain_answers, plain_share
from benchmarks.gallery_sides import find_gallery
from benchmarks.harness import Report, Row
from benchmarks.second_look_sides import LOOK, find_signs, write_signs

from nightreel.demo.clips import Clip, draw_clip, write_clip
from nightreel.demo.grading import Grade, grade_answers, share_right
from nightreel.demo.scenes import draw_scene
from nightreel.demo.training.card import write_card, write_encoder_card
from nightreel.domain import PromptKind
from nightreel.models.checkpoints import DEMO_DIRECTORY, DEMO_ENCODER_DIRECTORY
from nightreel.prompts.loading import load_prompt_sets
from nightreel.services import open_services
from nightreel.settings import load_settings
from nightreel.statistics.calibration import Judged, reliability

_ONE_LONG_IN = 15
_LONG_S = (30.0, 30.0, 10.0)
_PLAIN = "plain generate()"


def main(clips: int = 300, of_each_form: int = 40, signs: int = 40, gallery: int = 200) -> None:
    torch.set_num_threads(1)  # such a small model gains nothing from more, and is much slower on a busy machine
    report = Report("demo", versions=("torch", "transformers", "decord", "av"))
    prompts = load_prompt_sets(SETS).prompts
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        held_out = _held_out(root / "held-out", clips)
        with environment(NIGHTREEL_WORK_DIR=str(root / "work"), NIGHTREEL_MODEL="demo"), open_services(load_settings()):
            rows = answers_in_postgres(root / "held-out")
            grades = grade_answers(rows, held_out, prompts)
            plain = plain_answers(root / "held-out", prompts, by_place(grades))
            _add_accuracy(report, grades, plain)
            report.add(_calibration(rows, grades))
            same = [by_place([one])[key] == plain[key] for one in grades for key in by_place([one])]
            report.add(_row("answers identical to the plain loop's", sum(same) / len(same), 1.0, _PLAIN,
                            goal=1.0, note=f"{sum(same)} of {len(same)}; fp32"))  # fmt: skip
            _add_forms(report, root / "forms", of_each_form)
            _add_second_looks(report, root / "signs", signs)
            find_gallery(report, root / "gallery", gallery)
    results = report.finish()
    write_card(DEMO_DIRECTORY, results)
    write_encoder_card(DEMO_ENCODER_DIRECTORY, results)


def _held_out(directory: Path, count: int) -> dict[str, Clip]:
    """Short clips of one scene; every 15th clip has 70 s of three scenes."""
    directory.mkdir()
    clips = {}
    for number in range(count):
        clip = draw_clip(f"held out {number}")
        if number % _ONE_LONG_IN == 0:
            clip = Clip.of(*((draw_scene(f"held out {number}.{part}"), length) for part, length in enumerate(_LONG_S)))
        clips[f"{number:04}.mp4"] = clip
        write_clip(directory / f"{number:04}.mp4", clip)
    return clips


def _add_accuracy(report: Report, grades: Sequence[Grade], plain: Mapping) -> None:
    groups: dict[str, tuple[list[Grade], float]] = {}
    for kind, goal in {
        PromptKind.CAPTION: 0.97, PromptKind.TEXT: 0.97, PromptKind.YES_NO: 0.99, PromptKind.NUMBER: 0.99,
        PromptKind.CHOICE: 0.99, PromptKind.TAGS: 0.99,
    }.items():  # fmt: skip
        groups[f"{kind}: right"] = [one for one in grades if one.prompt.question.kind is kind], goal
    groups["about absent things: right"] = [one for one in grades if one.of_nothing], 0.98
    groups["empty clips: right"] = [one for one in grades if not one.scene.things], 0.98
    groups["segments of clips of several scenes: right"] = [one for one in grades if _is_long(one)], 0.98
    for name, (own, goal) in groups.items():
        note = f"{sum(one.right for one in own)} of {len(own)}"
        report.add(_row(name, share_right(own), plain_share(own, plain), _PLAIN, goal=goal, note=note))


def _is_long(grade: Grade) -> bool:
    return int(grade.clip.split(".")[0]) % _ONE_LONG_IN == 0


def _calibration(rows: Sequence[Mapping[str, Any]], grades: Sequence[Grade]) -> Row:
    """The calibration error over all yes/no answers: of yes/no prompts, and of each choice of the tags."""
    truths = {(one.clip, one.start_s, one.prompt.name): one.truth for one in grades}
    judged = []
    for row in rows:
        true = truths[row["uri"].rsplit("/", 1)[-1], row["start_s"], row["prompt"]]
        if row["kind"] == "yes_no":
            judged.append(Judged(row["p"], true == "yes"))
        elif row["kind"] == "tags":
            judged += [Judged(p, tag in true.split(", ")) for tag, p in row["scores"].items()]
    found = reliability(judged)
    assert found is not None
    error = found.error
    met, note = error <= 0.03, f"10 bins, {len(judged)} probabilities"
    return Row("calibration error of yes and no", error, 0.03, "the goal", "", error / 0.03, "<= 1", met, note)


def _add_forms(report: Report, directory: Path, count: int) -> None:
    clips = [draw_clip(f"form {number}") for number in range(count)]
    usual = 1.0
    for index, form in enumerate(FORMS):
        folder = directory / f"{index:02}"
        folder.mkdir(parents=True)
        named = {f"{number:03}{form.suffix}": clip for number, clip in enumerate(clips)}
        for name, clip in named.items():
            form.write(folder / name, clip)
        grades = grade_answers(answers_in_postgres(folder), named, load_prompt_sets(SETS).prompts)
        share = share_right(grades)
        usual = share if index == 0 else usual
        note = f"{sum(one.right for one in grades)} of {len(grades)}"
        report.add(_row(f"form: {form.name}", share, usual, "the first form", goal=usual - 0.02, note=note))


def _add_second_looks(report: Report, folder: Path, count: int) -> None:
    starts = write_signs(folder / "clips", count)
    first = find_signs(folder / "clips", starts, look="", folder=folder)
    for least, goal in ((0.2, 0.0), (1e-6, 0.0), (0.0, 0.9)):
        found = find_signs(folder / "clips", starts, look=LOOK.format(least), folder=folder)
        note = f"{found.windows:.1f} windows a clip, {found.false_alarms} false alarms in {count} clips without a sign"
        report.add(
            _row(f"signs of 2 s in 30 s found, second look from p {least:g}", found.recall, first.recall,
                 "no second look", goal=goal, note=note)
        )  # fmt: skip
        report.add(
            Row(f"time of the flag, second look from p {least:g}", found.error_s, first.error_s, "no second look", "s",
                found.error_s / first.error_s, "<= 2.5 s", found.error_s <= 2.5, f"at most {found.worst_s:.2g} s off")
        )  # fmt: skip


def _row(name: str, ours: float, other: float, other_is: str, *, goal: float, note: str) -> Row:
    """A row of shares, in percent."""
    ratio = ours / other if other else 1.0
    return Row(name, 100 * ours, 100 * other, other_is, "%", ratio, f">= {100 * goal:.3g} %", ours >= goal, note)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
