"""What a server can do, read from its answers to a few small requests, not from its name.

`identity` calls it when a model is found, so that a run knows its layout before it exists. `frame_limits` then checks
the sampling plan of the run.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from nightreel.domain import bare
from nightreel.errors import PermanentError, SettingsError
from nightreel.models.served.chat_endpoint import ChatEndpoint
from nightreel.models.served.completions import chosen_probabilities, read_completion
from nightreel.models.served.layouts import Layout, Sending, Shown
from nightreel.models.served.trials import Trials, is_refusal, with_times
from nightreel.models.served.vocabulary import Vocabulary
from nightreel.reasons import Reason
from nightreel.settings import Settings

_FRAMES = 8
_CANDIDATES = (20, 5)  # OpenAI's limit, the lower limit of some servers
_SIDE = 112  # a multiple of the patches of common vision towers
_TIMES_FLAG = (
    "vLLM: start it with --trust-request-mm-kwargs, so that it takes the times of frames and more than 32 of them"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server of one model, as it showed itself.

    Args:
        layout: how frames are shown to it.
        least_frames: of a video. Models that merge two frames refuse one.
        remembers: it takes a name instead of frames that it was sent before.
        version: as it says; empty if it does not.
        candidates: first tokens that it lists with their probabilities: 20, OpenAI's limit, or fewer; 0: none.
        scores_tokens: it gives the probabilities of chosen tokens. scores_prompts: of all tokens of a prompt.
        chooses: it writes one of given texts.
        context: the most tokens of a request with its answer; None: it does not say.
        lacks: what would make answers better or faster, with the flag of the server.
    """

    layout: Layout
    least_frames: int = 1
    remembers: bool = False
    candidates: int = 0
    scores_tokens: bool = False
    scores_prompts: bool = False
    chooses: bool = False
    version: str = ""
    context: int | None = None
    lacks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        facts = [
            f"server {self.version}" if self.version else "server of unknown version",
            f"frames as {self.layout}",
            "each video sent once" if self.remembers else "frames sent with each question",
            "probabilities of chosen tokens" if self.scores_tokens else f"probabilities of {self.candidates} tokens",
            f"context of {self.context:,} tokens" if self.context else "",
        ]
        return ", ".join(filter(None, facts))


def probe_server(endpoint: ChatEndpoint, settings: Settings, *, model: str, listed: dict[str, Any]) -> Server:
    """Find out what a server can do.

    Args:
        model: its name on the server.
        listed: its entry in the server's list.

    Raises:
        SettingsError: the server does not take the layout of `remote_layout`.
        NightreelError: as `ChatEndpoint.post`.
    """
    trials = Trials(endpoint, model, height=_SIDE, width=_SIDE)
    layout, why = _find_layout(trials, Layout(settings.remote_layout) if settings.remote_layout != "auto" else None)
    context = listed.get("max_model_len")
    return Server(
        layout=layout,
        least_frames=1 if layout is Layout.PICTURES or _takes(trials, trials.shown(1, layout)) else 2,
        remembers=_remembers(trials, layout),
        candidates=next((number for number in _CANDIDATES if _accepts(trials, logprobs=True, top_logprobs=number)), 0),
        scores_tokens=_scores_tokens(trials),
        scores_prompts=bool(_reply(trials, prompt_logprobs=0).get("prompt_logprobs")),
        chooses=all(_writes(trials, word) for word in ("no", "yes")),
        version=_version(endpoint),
        context=context if type(context) is int and context > 0 else None,
        lacks=why,
    )


def _version(endpoint: ChatEndpoint) -> str:
    try:
        said = endpoint.get("/version", is_trial=True).get("version")
    except PermanentError:  # of vLLM; other servers do not know it
        return ""
    return said[:40] if isinstance(said, str) and said.isprintable() else ""


def _find_layout(trials: Trials, wanted: Layout | None) -> tuple[Layout, tuple[str, ...]]:
    """The first layout that the server takes, and why it does not take those before it."""
    lacks: list[str] = []
    for layout in Layout if wanted is None else (wanted,):
        problem = _problem(trials, layout)
        if not problem:
            return layout, tuple(lacks)
        if wanted:
            raise SettingsError(
                f"NIGHTREEL_REMOTE_LAYOUT={wanted}: the server at {trials.endpoint.url} does not take frames as "
                f"{wanted}: {problem}"
            )
        lacks.append(f"it does not take frames as {layout}: {problem}")
    raise AssertionError("pictures are checked with the sampling plan")


def _problem(trials: Trials, layout: Layout) -> str:
    """Why frames cannot be shown to the server in this layout; empty if they can."""
    if layout is Layout.PICTURES:
        return ""  # `frame_limits` checks them
    video = trials.shown(_FRAMES, layout)
    try:
        tokens = trials.tokens(video)
    except PermanentError as error:
        if not is_refusal(error):
            raise
        flag = f"; {_TIMES_FLAG}" if layout is Layout.TIMED_VIDEO else ""
        return f"{error.detail}{flag}"
    if tokens <= trials.tokens(trials.shown(0, layout)):
        return "it counts no tokens for a video, so the model may not see it"
    if layout is Layout.TIMED_VIDEO and _takes(trials, with_times(video, [0])):
        return f"it accepts one time for {_FRAMES} frames, so it does not read their times; use a newer vLLM"
    return ""


def _takes(trials: Trials, shown: Shown) -> bool:
    try:
        trials.request(shown)
    except PermanentError as error:
        if not is_refusal(error):
            raise
        return False
    return True


def _remembers(trials: Trials, layout: Layout) -> bool:
    """Whether the server takes a name instead of frames, and shows the model the same."""
    shown = trials.shown(_FRAMES if layout is not Layout.PICTURES else 1, layout)
    try:
        sent = trials.tokens(shown, sending=Sending.BYTES_WITH_NAME)
        return 0 < sent == trials.tokens(shown, sending=Sending.NAME)
    except PermanentError as error:
        if not is_refusal(error):
            raise
        return False


def _scores_tokens(trials: Trials) -> bool:
    try:
        ids = {token.id for token in Vocabulary(trials.endpoint, trials.model).of("yes")}
    except PermanentError as error:
        if not is_refusal(error) and error.reason is not Reason.MODEL_PROTOCOL:
            raise
        return False
    reply = _reply(trials, logprobs=True, logprob_token_ids=sorted(ids), return_tokens_as_token_ids=True)
    return bool(ids) and chosen_probabilities(reply, ids) is not None


def _writes(trials: Trials, word: str) -> bool:
    """Whether the server writes a word that is the only one allowed. It writes each, so it is no chance."""
    reply = _reply(trials, structured_outputs={"choice": [word]}, max_tokens=8)
    return bool(reply) and bare(read_completion(reply).text) == word


def _accepts(trials: Trials, **options: Any) -> bool:
    return bool(_reply(trials, **options))


def _reply(trials: Trials, **options: Any) -> dict[str, Any]:
    """The reply to a question without frames; empty if the server refuses it."""
    try:
        return trials.request(trials.shown(0, Layout.PICTURES), **options)
    except PermanentError as error:
        if not is_refusal(error):
            raise
        return {}
