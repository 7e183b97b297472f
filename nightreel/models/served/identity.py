"""The identity of a model on a server: its address in the settings, and what the server reports.

    NIGHTREEL_MODEL=openai:http://host:8000/v1#Qwen/Qwen2.5-VL-7B-Instruct
                           `---- root of the API ' `---- one of the models that it lists ----'

`loading` and `remote` call it. It does not import torch: a night without new videos needs only the identity.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from nightreel.domain import content_hash
from nightreel.errors import PermanentError, SettingsError
from nightreel.models.base import ModelSpec
from nightreel.models.served.chat_endpoint import CHAT, ChatEndpoint
from nightreel.models.served.layouts import VERSIONS, Layout
from nightreel.models.served.probe import Server, probe_server
from nightreel.reasons import Reason
from nightreel.settings import Settings

SCHEME = "openai:"
_BY_THE_SERVER = "server"  # only the server knows the value
_FOR_LOCAL_MODELS = (
    "dtype",
    "attention",
    "quantization",
    "adapter",
    "tf32",
    "compile",
    "cuda_graphs",
    "trust_remote_code",
)
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Address:
    """Root of an API, and the name of a model; an empty name means the only model of the server."""

    url: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse `openai:http://host:port/v1#name`.

        Raises:
            SettingsError: on any other text; the message never repeats a password.

        >>> Address.parse("openai:http://127.0.0.1:8000/v1/#org/model")
        Address(url='http://127.0.0.1:8000/v1', name='org/model')
        """
        expected = "expected openai:http://host:port/v1#name-of-the-model"
        try:
            parts = urlsplit(text.removeprefix(SCHEME))
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            raise SettingsError(f"NIGHTREEL_MODEL has an invalid server URL: {expected}") from None
        if "@" in parts.netloc or parts.query:
            raise SettingsError(
                "NIGHTREEL_MODEL: a server's URL must not contain a user, password or query, because it is printed "
                "and stored: put the key into NIGHTREEL_REMOTE_API_KEY"
            )
        path = parts.path.rstrip("/")
        if not text.startswith(SCHEME) or parts.scheme not in ("http", "https") or not parts.hostname or not path:
            raise SettingsError(f"NIGHTREEL_MODEL={text!r}: {expected}")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(f"{parts.scheme}://{host}{port}{path}", parts.fragment)


def is_served(model: str) -> bool:
    """Whether a model setting names a model on a server."""
    return model.startswith(SCHEME)


def connect(settings: Settings) -> ChatEndpoint:
    """Prepare the connection to the server that the settings name, without sending anything.

    Raises:
        SettingsError: the address is invalid, or an option is set that only the server's operator can set.
    """
    for name in _FOR_LOCAL_MODELS:
        value = getattr(settings, name)
        if value != Settings.model_fields[name].default:
            raise SettingsError(
                f"NIGHTREEL_{name.upper()}={value!r} does not apply to a model on a server: unset it, and start the "
                "server with this option"
            )
    return ChatEndpoint(
        Address.parse(settings.model).url,
        api_key=settings.remote_api_key,
        timeout_s=settings.remote_timeout_s,
        patience_s=settings.remote_patience_s,
        connections=settings.remote_concurrency,
    )


def describe_served(endpoint: ChatEndpoint, settings: Settings) -> tuple[ModelSpec, Server]:
    """The identity of a served model, and what its server can do.

    The identity is the server's list entry under the model's name, and how frames are shown to it.

    A server that loads weights on demand may serve models that it does not list. An unlisted model is therefore asked
    for one token.

    Raises:
        SettingsError: the settings name none of several models, or the server does not accept the key or the layout.
        PermanentError: `model_not_found` if the server does not serve the model; `model_protocol`.
        TransientError: `model_unreachable`.
    """
    wanted = Address.parse(settings.model).name
    listed = _listed(endpoint)
    name = wanted or (next(iter(listed)) if len(listed) == 1 else "")
    if not name:
        raise SettingsError(
            f"NIGHTREEL_MODEL={settings.model!r}: append # and a model's name; the server lists {_names(listed)}"
        )
    if name not in listed:
        _require_answer(endpoint, name, listed)
    server = probe_server(endpoint, settings, model=name, listed=listed.get(name, {}))
    spec = ModelSpec(
        name=name,
        revision=_revision(listed.get(name, {}), name, settings.model_revision),
        backend="remote",
        model_class=_BY_THE_SERVER,
        dtype=_BY_THE_SERVER,
        attention=_BY_THE_SERVER,
        device=_BY_THE_SERVER,
        processor_hash=identity_of_frames(server.layout, settings),
        transformers_version=_BY_THE_SERVER,
    )
    return spec, server


def identity_of_frames(layout: Layout, settings: Settings) -> str:
    """What the identity of a model contains of the frames that its server is shown."""
    return content_hash(
        {
            "layout": VERSIONS[layout],
            "short_side": settings.remote_frame_size,
            "quality": settings.remote_jpeg_quality,
        }
    )


def _listed(endpoint: ChatEndpoint) -> dict[str, dict[str, Any]]:
    data = endpoint.get("models").get("data")
    if not isinstance(data, list):
        raise PermanentError(
            Reason.MODEL_PROTOCOL,
            f"{endpoint.url}/models has no list `data`: set NIGHTREEL_MODEL to the root of an OpenAI-compatible API",
        )
    return {item["id"]: item for item in data if isinstance(item, dict) and isinstance(item.get("id"), str)}


def _require_answer(endpoint: ChatEndpoint, name: str, listed: dict[str, dict[str, Any]]) -> None:
    body = {"model": name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "temperature": 0}
    try:
        endpoint.post(CHAT, body, stop=threading.Event())
    except SettingsError:
        raise
    except PermanentError as error:
        raise PermanentError(
            Reason.MODEL_NOT_FOUND, f"the server does not serve {name!r}; it lists {_names(listed)}: {error.detail}"
        ) from error


def _revision(item: dict[str, Any], name: str, pinned: str | None) -> str:
    """A revision from the stable fields of a list entry: vLLM generates `created` and `permission` for each request.

    >>> listing = {"id": "eyes", "root": "org/eyes-7b", "owned_by": "vllm", "parent": None, "created": 7}
    >>> _revision(listing, "eyes", "v2")
    'served:vllm:org/eyes-7b@v2'
    """
    said = [item.get(key) for key in ("owned_by", "parent", "root")]
    known = [part[:200] for part in said if isinstance(part, str) and part]
    if not isinstance(item.get("root"), str):
        known.append(name)
    return ":".join(["served", *known]) + (f"@{pinned}" if pinned else "")


def _names(listed: dict[str, dict[str, Any]]) -> str:
    shown = ", ".join(repr(name[:100]) for name in sorted(listed)[:_SHOWN]) or "none"
    return f"{shown} and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else shown
