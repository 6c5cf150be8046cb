"""Principal ids for callers that someone else named: what their name was can't be told from the id. Pure."""

import base64
import hmac
from typing import Final

_DIGEST_BYTES: Final = 20  # 160 bits, 32 characters: collisions don't happen, and the id stays short enough to read


def pseudonym(prefix: str, organisation_key: bytes, *parts: str) -> str:
    """`prefix` and 32 of `a-z2-7`: the first 160 bits of HMAC-SHA256(organisation's key, parts, each after its length).

    Keyed, because subjects are often user names: whoever has a list of names could find them in plain digests. The
    same caller has one id for as long as the organisation's key lives, and none that anybody knows afterwards.
    """
    message = b"".join(len(data).to_bytes(4, "big") + data for data in (part.encode() for part in (prefix, *parts)))
    digest = hmac.digest(organisation_key, message, "sha256")[:_DIGEST_BYTES]
    return prefix + base64.b32encode(digest).decode().lower()
