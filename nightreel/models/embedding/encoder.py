"""From settings to a dual encoder: its identity without loading it, its memory, and the loaded encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nightreel.errors import SettingsError
from nightreel.models.checkpoints import DEMO_ENCODER_DIRECTORY
from nightreel.models.checkpoints.checkpoint import find_checkpoint, read_json, require_unchanged
from nightreel.models.checkpoints.digests import FileDigests
from nightreel.models.checkpoints.revisions import StoredRevisions
from nightreel.models.embedding.spec import EncoderSpec, FoundEncoder, SegmentEncoder
from nightreel.settings import Settings

_SUPPORTED = ("siglip", "siglip2", "clip", "xclip")


def find_encoder(settings: Settings, *, used: Mapping[str, str] | None = None) -> FoundEncoder | None:
    """Find the dual encoder that the settings name and pin its identity, from small files. None: they name none.

    Args:
        used: commits of hub models that runs of the same database used, by `revisions.key`.

    Raises:
        SettingsError: it is not of a supported architecture.
        SettingsError, PermanentError, TransientError: as `checkpoint.find_checkpoint`.
    """
    name = settings.encoder
    if name is None:
        return None
    stored = StoredRevisions(path=settings.work_dir / "models" / "revisions.json", used=used or {})
    is_demo = name == "demo"
    checkpoint = find_checkpoint(
        str(DEMO_ENCODER_DIRECTORY) if is_demo else name,
        settings.embedding_model_revision,
        _digests(settings),
        stored=stored,
        with_code=settings.trust_remote_code,
        setting="NIGHTREEL_EMBEDDING_MODEL",
    )
    if is_demo:
        checkpoint = replace(checkpoint, name="demo")
    model_type = str(read_json(checkpoint.directory / "config.json").get("model_type"))
    if model_type not in _SUPPORTED:
        raise SettingsError(
            f"NIGHTREEL_EMBEDDING_MODEL={name!r} is of the type {model_type[:40]!r}: expected one of "
            f"{', '.join(_SUPPORTED)}, or none"
        )
    spec = EncoderSpec(name=checkpoint.name, revision=checkpoint.revision, model_type=model_type)
    return FoundEncoder(spec=spec, checkpoint=checkpoint)


def load_encoder(settings: Settings, found: FoundEncoder, *, device: str = "cpu") -> SegmentEncoder:
    """Load a dual encoder. Imports torch.

    Args:
        device: as torch names it: "cpu", "cuda:0".

    Raises:
        PermanentError: as `models.loading.load_model`.
        TransientError: `hub_unreachable`.
    """
    require_unchanged(found.checkpoint, _digests(settings), with_code=settings.trust_remote_code)
    from nightreel.models.embedding.dual import DualEncoder

    return DualEncoder.load(found, trusted=settings.trust_remote_code, device=device)


def measure_encoder(settings: Settings, found: FoundEncoder) -> int:
    """Estimate the bytes that an encoder takes on a device, from its small files only. Imports torch.

    Raises:
        PermanentError: `unsupported_model`.
    """
    from nightreel.models.embedding.dual import measure

    return measure(found, trusted=settings.trust_remote_code)


def _digests(settings: Settings) -> FileDigests:
    return FileDigests(settings.work_dir / "models" / "digests.json")
