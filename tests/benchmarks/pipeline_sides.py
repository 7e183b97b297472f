"""The sides of bench_pipeline: the pipeline, and the plain script that a user would write instead.

Each runs in its own process. The functions import torch, transformers and Prefect: imports count on both sides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def plain(source: str, prompts: list[str], model: str, database_url: str) -> dict[str, Any]:
    """decord, AutoProcessor, `generate()` per prompt, one INSERT per answer."""
    import decord
    import psycopg
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from nightreel.prompts.loading import load_prompt_sets
    from nightreel.prompts.wording import texts_of

    processor = AutoProcessor.from_pretrained(model)
    network = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval()
    words = {word: processor.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no")}
    questions = load_prompt_sets(prompts).prompts
    answers: Answers = {}
    with psycopg.connect(database_url, autocommit=True) as connection, torch.inference_mode():
        connection.execute("CREATE TABLE IF NOT EXISTS plain (video text, prompt text, answer text)")
        for path in sorted(Path(source).glob("*.mp4")):
            reader = decord.VideoReader(str(path), num_threads=1)
            count, fps = len(reader), reader.get_avg_fps()
            indices = [int((index + 0.5) * count / FRAMES) for index in range(FRAMES)]
            frames = torch.from_numpy(reader.get_batch(indices).asnumpy()).permute(0, 3, 1, 2)
            metadata = {"total_num_frames": count, "fps": fps, "duration": count / fps, "frames_indices": indices,
                        "height": frames.shape[2], "width": frames.shape[3]}  # fmt: skip
            for prompt in questions:
                message = {
                    "role": "user",
                    "content": [{"type": "video"}, {"type": "text", "text": texts_of(prompt.question)[0]}],
                }
                text = processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
                inputs = processor(text=[text], videos=[frames], video_metadata=[metadata], do_sample_frames=False,
                                   return_tensors="pt")  # fmt: skip
                length = 1 if prompt.question.kind.scored else prompt.question.max_new_tokens
                made = network.generate(**inputs, max_new_tokens=length, do_sample=False, output_logits=True,
                                        return_dict_in_generate=True)  # fmt: skip
                if prompt.question.kind.scored:
                    logits = made.logits[0][0]
                    said = max(words, key=lambda word: logits[words[word]].item())
                else:
                    tokens = made.sequences[0, inputs["input_ids"].shape[1] :]
                    said = processor.decode(tokens, skip_special_tokens=True).strip()
                connection.execute("INSERT INTO plain VALUES (%s, %s, %s)", (path.name, prompt.name, said))
                answers.setdefault(path.name, {})[prompt.name] = said
    return {"answers": answers}


def _stored(run_id: int) -> Answers:
    from nightreel.database import reports
    from nightreel.settings import load_settings
    from nightreel.stages.database import open_database

    answers: Answers = {}
    with open_database(load_settings()) as database, database.begin() as connection:
        for row in reports.answers(connection, run_id=run_id, limit=1_000_000):
            answers.setdefault(row["uri"].rsplit("/", 1)[-1], {})[row["prompt"]] = row["answer"]
    return answers
