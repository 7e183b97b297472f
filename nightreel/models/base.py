"""What a video model is to the rest of the project: an identity and two verbs, `encode` and `ask`.

`loading.py` makes one, tasks hold one per process, `local.py` and `remote.py` implement it. This module knows
nothing of torch, so that a night with nothing new can ask for a model's identity without importing it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from nightreel.domain import Answer, Features, FrameBatch, MemoryPeak, Prompt, Segment, content_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Which model, exactly: the row of table `models`.

    Args:
        name: hub id, or the last part of the directory's path.
        revision: commit of a hub model; `sha256:...` over the files of a directory.
        backend: `local` or `remote`.
        model_class: the architecture that config.json names, e.g. InternVLForConditionalGeneration.
        dtype: of the weights: "float32", "bfloat16" or "float16".
        attention: attention implementation: "sdpa", "eager" or "flash_attention_2".
        device: where it runs, as the settings say it ("auto", "cpu", "cuda:1"): not part of the identity.
        processor_hash: SHA-256 over the configuration files of processor and tokenizer.
        transformers_version: of the installed library.
        parameters: number of weights by the safetensors headers; None where they are not at hand.
        quantization: scheme of the weights, as the settings name it; None for none.
        tf32: whether float32 products are made with TF32.
        adapter, adapter_revision: the LoRA adapter that is merged in, named as a model is.
    """

    name: str
    revision: str
    backend: str = "local"
    model_class: str
    dtype: str
    attention: str
    device: str
    processor_hash: str
    transformers_version: str
    parameters: int | None = None
    quantization: str | None = None
    tf32: bool = False
    adapter: str | None = None
    adapter_revision: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What makes features and answers of two models comparable. A directory's name is no part of it.

        Options that are not used are left out: a new one makes no old answer another model's.
        """
        values = asdict(self)
        for field, unused in (("quantization", None), ("tf32", False), ("adapter", None), ("adapter_revision", None)):
            if values[field] == unused:
                del values[field]
        for field in ("device", "parameters"):
            del values[field]
        if self.revision.startswith("sha256:"):
            del values["name"]
        if (self.adapter_revision or "").startswith("sha256:"):
            del values["adapter"]
        return values

    @property
    def hash(self) -> str:
        return content_hash(self.identity)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class VideoModel(Protocol):
    """A loaded model. Not thread-safe: one thread at a time, behind the caller's lock."""

    spec: ModelSpec
    frame_size: int | None
    """Short side in pixels from which the processor loses nothing; None where it takes frames as they are."""

    def encode(
        self, batches: Sequence[FrameBatch], *, segments: Sequence[Segment], keys: Sequence[str]
    ) -> list[Features]:
        """Frames of segments to features, in order: `keys[i]` is the feature key of `batches[i]`.

        Raises:
            PermanentError: `unencodable_frames` when the processor refuses frames of a segment (too few pixels, an
                absurd aspect ratio): encode the others without it. `out_of_memory` when one segment alone does not
                fit. `unsupported_model` when the processor does something that cannot be cached.
        """
        ...

    def ask(
        self,
        features: Sequence[Features],
        questions: Sequence[Sequence[Prompt]],
        *,
        known: Sequence[Mapping[str, Answer]] | None = None,
    ) -> list[list[Answer]]:
        """Ask `questions[i]` of `features[i]`; segments and prompts share forward passes as far as they can.

        Args:
            features: from `encode`, or read back from the cache; of this very model.
            questions: prompts wanted of each segment, in the order of their set; lists may differ by segment.
            known: answers each segment already has, by prompt name: `when` conditions are checked against them too.

        Returns:
            One list a segment, in the order asked, one Answer a prompt hash. A follow-up whose condition does not
            hold has no Answer.

        Raises:
            PermanentError: `stale_feature` when features were made by another model, processor or library version.
                `out_of_memory` when one segment alone does not fit.
            SettingsError: a prompt that this model cannot be asked (it contains its special tokens).
        """
        ...

    def take_peaks(self) -> list[MemoryPeak]:
        """What batches took of memory, as far as that was measured and is news since this was last called.

        Hand them to `load_model` the next time. A model in another process has none.
        """
        ...
