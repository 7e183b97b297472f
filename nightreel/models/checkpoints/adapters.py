"""LoRA adapters of PEFT: found and pinned like a model, merged into its weights after loading.

`loading` calls it. Finding one needs neither torch nor peft, which is an optional dependency.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nightreel.errors import PermanentError, SettingsError
from nightreel.models.checkpoints.checkpoint import HUB_ID, Checkpoint, from_directory, read_json
from nightreel.models.checkpoints.digests import FileDigests
from nightreel.models.checkpoints.hub import find_on_hub
from nightreel.models.checkpoints.revisions import StoredRevisions
from nightreel.reasons import Reason
from nightreel.settings import Settings

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"


def find_adapter(settings: Settings, digests: FileDigests, *, stored: StoredRevisions) -> Checkpoint | None:
    """Find and pin the adapter that the settings name; None if they name none.

    Downloads a hub adapter completely, because it is small. Its commit is found and stored as that of a model.

    Raises:
        SettingsError: neither a directory with a LoRA adapter nor a hub id.
        TransientError: the hub cannot be reached.
        PermanentError: `model_not_found`; `no_safetensors` if its weights are pickled.
    """
    wanted, revision = settings.adapter, settings.adapter_revision
    if wanted is None:
        return None
    directory = Path(wanted).expanduser()
    if directory.is_dir():
        if revision is not None:
            raise SettingsError(
                f"NIGHTREEL_ADAPTER_REVISION={revision!r} pins an adapter on the hub, but {wanted!r} is a directory: "
                "unset it"
            )
        found = from_directory(directory, digests)
    elif HUB_ID.fullmatch(wanted):
        directory = find_on_hub(wanted, revision, stored=stored, patterns=[_CONFIG, _WEIGHTS], known_by=_WEIGHTS)
        found = Checkpoint(name=wanted, directory=directory, revision=directory.name)
    else:
        raise SettingsError(f"NIGHTREEL_ADAPTER={wanted!r}: expected an existing directory or a hub id like org/name")
    kind = read_json(found.directory / _CONFIG).get("peft_type")
    if kind != "LORA":
        raise SettingsError(f"NIGHTREEL_ADAPTER={wanted!r} is of type {kind!r}: expected LORA, others cannot be merged")
    if not (found.directory / _WEIGHTS).is_file():
        raise PermanentError(
            Reason.NO_SAFETENSORS,
            f"adapter {found.name!r} has no {_WEIGHTS}: save it as safetensors (pickles run code)",
        )
    return found


def merge_adapter(model: Any, adapter: Checkpoint) -> Any:
    """Add the weights of an adapter to those of a model, in the model's dtype.

    Raises:
        PermanentError: `unsupported_adapter` if the adapter was made for another model, or lacks weights.
    """
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    try:
        adapted = get_peft_model(model, LoraConfig.from_pretrained(str(adapter.directory)))
        report: Any = set_peft_model_state_dict(adapted, load_file(adapter.directory / _WEIGHTS))
    except (ValueError, RuntimeError, TypeError, OSError) as error:
        raise PermanentError(
            Reason.UNSUPPORTED_ADAPTER, f"adapter {adapter.name!r} does not fit {type(model).__name__}: {error}"
        ) from error
    lacking = sorted(name for name in report.missing_keys if "lora_" in name or "modules_to_save" in name)
    foreign = sorted(report.unexpected_keys)
    if lacking or foreign:
        raise PermanentError(
            Reason.UNSUPPORTED_ADAPTER,
            f"adapter {adapter.name!r} does not fit {type(model).__name__}: it lacks {len(lacking)} weights and has "
            f"{len(foreign)} unknown ones, such as {(lacking + foreign)[0]}",
        )
    return adapted.merge_and_unload()
