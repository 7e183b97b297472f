"""What leaves as a webhook: signed as the Standard Webhooks specification says, to addresses that are allowed.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from nightreel.webhooks.addresses import Allowed
from nightreel.webhooks.sending import Response, send
from nightreel.webhooks.signing import new_secret, sign
from nightreel.webhooks.urls import check_url

__all__ = ["Allowed", "Response", "check_url", "new_secret", "send", "sign"]
