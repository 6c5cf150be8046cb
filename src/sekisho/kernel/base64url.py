"""base64url as JOSE writes it (RFC 7515 section 2). Pure."""

import base64


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
