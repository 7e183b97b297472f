"""Signs webhooks as the Standard Webhooks specification says: HMAC-SHA256 with a secret that the receiver has too."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"
_BYTES = 32


def new_secret() -> str:
    """A random secret of 32 bytes: `whsec_` and its base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def sign(secrets_of_receiver: Sequence[str], *, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of the header `webhook-signature`: a signature with each secret, of which the receiver knows one.

    Args:
        secrets_of_receiver: of `new_secret`. timestamp: of this attempt, Unix seconds.

    The secret, id, time and body of the specification's example:

    >>> sign(
    ...     ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    ...     message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
    ...     timestamp=1614265330,
    ...     body=b'{"test": 2432232314}',
    ... )
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    content = b".".join((message_id.encode(), str(timestamp).encode(), body))
    keys = [base64.b64decode(secret.removeprefix(PREFIX), validate=True) for secret in secrets_of_receiver]
    return " ".join(f"v1,{base64.b64encode(hmac.digest(key, content, 'sha256')).decode()}" for key in keys)
