"""The sides of bench_pipeline: the pipeline, and the plain script that a user would write instead.

Each runs in its own process. The functions import torch, transformers and Prefect: imports count on both sides.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nightreel.domain import Prompt

PROMPTS = """
name: bench
prompts:
  - {name: caption, kind: caption, text: "Describe what happens in this video.", max_new_tokens: 24}
  - {name: colours, kind: text, text: "Which colours can be seen?", max_new_tokens: 16}
  - {name: place, kind: text, text: "Where does it take place?", max_new_tokens: 16}
  - {name: people, kind: yes_no, text: "Are there people in this video?"}
  - {name: animals, kind: yes_no, text: "Are there animals in this video?"}
  - {name: outdoors, kind: yes_no, text: "Is it outdoors?"}
"""
FRAMES = 8

Answers = dict[str, dict[str, str]]


def ours(source: str, prompts: list[str]) -> dict[str, Any]:
    """The whole of `nightreel analyze`, then read the answers from Postgres."""
    from nightreel.cli.analyze import run
    from nightreel.options import AnalyzeOptions, settings_for

    summary = run(options := AnalyzeOptions(source=source, prompts=tuple(prompts)), settings_for(options), quiet=True)
    return {"answers": _stored(summary.run_id), "summary": summary.to_json()}


def ours_imported(source: str, prompts: list[str]) -> dict[str, Any]:
    """The same without the import of our own libraries, of Prefect, torch and transformers: `after_imports_s`."""
    from importlib import import_module

    from nightreel.models.loading import import_libraries

    for module in ("nightreel.cli.analyze", "flows.analyze_videos", "nightreel.orchestration.in_process"):
        import_module(module)
    import_libraries()
    started = time.perf_counter()
    result = ours(source, prompts)
    return {**result, "after_imports_s": time.perf_counter() - started}


def plain(source: str, prompts: list[str], model: str, database_url: str) -> dict[str, Any]:
    """decord, AutoProcessor, `generate()` per prompt, one INSERT per answer."""
    import psycopg

    from nightreel.prompts.loading import load_prompt_sets

    asked = PlainModel(model)
    started = time.perf_counter()
    asked.load()
    questions = load_prompt_sets(prompts).prompts
    answers: Answers = {}
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS plain (video text, prompt text, answer text)")
        for path in sorted(Path(source).glob("*.mp4")):
            answers[path.name] = asked.answers(path, questions)
            for name, said in answers[path.name].items():
                connection.execute("INSERT INTO plain VALUES (%s, %s, %s)", (path.name, name, said))
    return {"answers": answers, "after_imports_s": time.perf_counter() - started}


class PlainModel:
    """What a script does without Nightreel: it decodes a clip, and calls `generate()` for each prompt.

    Making it imports the libraries, `load` loads the model.
    """

    def __init__(self, model: str) -> None:
        import decord  # noqa: F401 - imported here, used below
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self._model, self._processors, self._models = model, AutoProcessor, AutoModelForImageTextToText

    def load(self) -> None:
        import torch

        self._processor = self._processors.from_pretrained(self._model)
        self._network = self._models.from_pretrained(self._model, dtype=torch.float32).eval()
        self._words = {word: self._processor.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no")}

    def answers(self, path: Path, prompts: Sequence[Prompt]) -> dict[str, str]:
        """The answers about a clip, by prompt."""
        import decord
        import torch

        reader = decord.VideoReader(str(path), num_threads=1)
        count, fps = len(reader), reader.get_avg_fps()
        indices = [int((index + 0.5) * count / FRAMES) for index in range(FRAMES)]
        frames = torch.from_numpy(reader.get_batch(indices).asnumpy()).permute(0, 3, 1, 2)
        metadata = {"total_num_frames": count, "fps": fps, "duration": count / fps, "frames_indices": indices,
                    "height": frames.shape[2], "width": frames.shape[3]}  # fmt: skip
        with torch.inference_mode():
            return {prompt.name: self._answer(prompt, frames, metadata) for prompt in prompts}

    def _answer(self, prompt: Prompt, frames: Any, metadata: dict[str, Any]) -> str:
        from nightreel.prompts.wording import texts_of

        processor, question = self._processor, prompt.question
        message = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": texts_of(question)[0]}]}
        text = processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
        inputs = processor(text=[text], videos=[frames], video_metadata=[metadata], do_sample_frames=False,
                           return_tensors="pt")  # fmt: skip
        length = 1 if question.kind.scored else question.max_new_tokens
        made = self._network.generate(**inputs, max_new_tokens=length, do_sample=False, output_logits=True,
                                      return_dict_in_generate=True)  # fmt: skip
        if question.kind.scored:
            logits = made.logits[0][0]
            return max(self._words, key=lambda word: logits[self._words[word]].item())
        tokens = made.sequences[0, inputs["input_ids"].shape[1] :]
        said: str = processor.decode(tokens, skip_special_tokens=True).strip()
        return said


def _stored(run_id: int) -> Answers:
    from nightreel.database import reports
    from nightreel.settings import load_settings
    from nightreel.stages.database import open_database

    answers: Answers = {}
    with open_database(load_settings()) as database, database.begin() as connection:
        for row in reports.answers(connection, run_id=run_id, limit=1_000_000):
            answers.setdefault(row["uri"].rsplit("/", 1)[-1], {})[row["prompt"]] = row["answer"]
    return answers
