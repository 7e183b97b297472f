"""The interface of a video model: an identity and two methods, `encode` and `ask`.

`loading.py` makes one, tasks hold one per process, `local.py` and `remote.py` implement it. This module does not
import torch, so that a night without new videos can get a model's identity without that import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from nightreel.domain import Answer, Features, FrameBatch, MemoryPeak, Note, Prompt, Segment, Verdict, content_hash
from nightreel.models.inquiry import Seen

_UNUSED = {
    "quantization": None,
    "tf32": False,
    "adapter": None,
    "adapter_revision": None,
    "engine": None,
    "positions": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """The exact identity of a model: the row of table `models`.

    Args:
        name: hub id, or the last part of the directory's path.
        revision: commit of a hub model; `sha256:...` over the files of a directory.
        backend: `local`, `remote`, or `vllm`, which this process starts.
        model_class: the architecture that config.json names, e.g. InternVLForConditionalGeneration.
        dtype: of the weights: "float32", "bfloat16" or "float16".
        attention: attention implementation: "sdpa", "eager" or "flash_attention_2".
        device: where it runs, as in the settings ("auto", "cpu", "cuda:1"): not part of the identity.
        processor_hash: SHA-256 over the configuration files of processor and tokenizer.
        transformers_version: of the installed library.
        parameters: number of weights according to the safetensors headers; None if the weights are not available.
        quantization: scheme of the weights, as the settings name it; None for none.
        tf32: whether float32 products use TF32.
        adapter, adapter_revision: name and revision of the merged LoRA adapter, in the same form as the model's.
        engine: what computes the language side instead of transformers: version and arguments of vLLM.
        positions: "after_largest" where the text after a video has other positions than transformers gives it.
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
    engine: str | None = None
    positions: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """The values that must be equal for features and answers to be comparable. Excludes a directory's name.

        Unused options are left out, so that a new option does not change the identity of existing models.
        """
        values = asdict(self)
        for field, unused in _UNUSED.items():
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
    """A loaded model. Several threads may call `encode`, while one calls `ask`."""

    spec: ModelSpec
    frame_size: int | None
    """Smallest short side, in pixels, at which the processor loses no detail; None if it takes frames unresized."""

    def encode(
        self, batches: Sequence[FrameBatch], *, segments: Sequence[Segment], keys: Sequence[str]
    ) -> list[Features]:
        """Encode the frames of segments into features, in order: `keys[i]` is the feature key of `batches[i]`.

        Raises:
            PermanentError: `unencodable_frames` if the processor refuses the frames of a segment (too few pixels, an
                extreme aspect ratio): encode the others without it. `out_of_memory` if one segment alone does not
                fit. `unsupported_model` if the processor does something that cannot be cached.
        """
        ...

    def ask(
        self,
        features: Sequence[Features],
        questions: Sequence[Sequence[Prompt]],
        *,
        known: Sequence[Mapping[str, Verdict]] | None = None,
        seen: Sequence[Seen] | None = None,
    ) -> list[list[Answer]]:
        """Ask `questions[i]` of `features[i]`; segments and prompts share forward passes where possible.

        Args:
            features: from `encode` of this model, or read back from the cache.
            questions: the prompts for each segment, in the order of their set; lists may differ by segment.
            known: verdicts that each segment already has, by prompt name: `when` conditions are checked against them.
            seen: how much of each segment was seen; None: all of it.

        Returns:
            One list per segment, in the order asked, with one Answer per question. A follow-up whose condition
            does not hold has no Answer.

        Raises:
            PermanentError: `stale_feature` if another model, processor or library version made the features.
                `out_of_memory` if one segment alone does not fit.
            SettingsError: a prompt contains special tokens of this model.
        """
        ...

    def ask_over_notes(
        self, notes: Sequence[Sequence[Note]], questions: Sequence[Sequence[Prompt]], *, seen: Sequence[Seen]
    ) -> list[list[Answer]]:
        """Ask `questions[i]` over `notes[i]`, what was said of the segments of a video. The model sees no frames.

        Args:
            questions: of level video, without conditions. seen: how much of each video was seen.

        Returns:
            As `ask`.

        Raises:
            NightreelError: as `ask`.
        """
        ...

    def take_peaks(self) -> list[MemoryPeak]:
        """Return the memory peaks that are new since the last call.

        Pass them to `load_model` next time. A model in another process has none.
        """
        ...

    def close(self) -> None:
        """Close the connections to another process. Device memory is freed with the last reference."""
        ...
