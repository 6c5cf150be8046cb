"""Signing in to the console: one-time tokens and sessions. What they are, and what the ledger is told. Pure.

A token is issued by whoever has the data directory, is good for one sign-in within minutes, and is kept by digest
alone; so is a session's cookie. No passwords and no names: an operator is someone who was handed a token.
"""

import hashlib
import secrets
from typing import Final

from sekisho.identity.errors import SignInRefused
from sekisho.identity.interfaces import ConsoleSession
from sekisho.kernel import canonical

OPERATOR: Final = "operator"
AUDITOR: Final = "auditor"
ROLES: Final = (OPERATOR, AUDITOR)

TOKEN_LIFE_US: Final = 15 * 60 * 1_000_000  # to carry it from a terminal to a browser; no longer
SESSION_LIFE_US: Final = 8 * 3600 * 1_000_000  # a working day, whether used or not
RANDOM_BYTES: Final = 32  # 256 bits, for tokens and cookies: nobody guesses one, so plain SHA-256 keeps them
SECRET_LENGTH: Final = 43  # characters of the URL-safe base64 of those
TOKENS_LIVE_MAX: Final = 16  # unused ones at a time; more are of no use to anybody
SESSIONS_LIVE_MAX: Final = 256  # likewise
CHANGE: Final = "change"


def new_secret() -> str:
    return secrets.token_urlsafe(RANDOM_BYTES)


def new_id(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(5)}"


def secret_digest(secret: str) -> bytes:
    """SHA-256 of a token's or cookie's text. Raises SignInRefused for what can't be one: nothing is looked up then."""
    if len(secret) != SECRET_LENGTH or not secret.isascii():
        raise SignInRefused
    return hashlib.sha256(secret.encode()).digest()


def require_role(role: str) -> None:
    """Raises SignInRefused for a role that the console does not know."""
    if role not in ROLES:
        raise SignInRefused(f"the console has no role {role!r}", remedy=f"Use {' or '.join(ROLES)}")


def issued_body(token_id: str, role: str, expires_at: int) -> bytes:
    """What the ledger is told about a new token (canonical JSON)."""
    return canonical.encode({"act": "console.token.issue", "expires": expires_at, "role": role, "token": token_id})


def signed_in_body(token_id: str, session: ConsoleSession) -> bytes:
    """What the ledger is told about a token's use."""
    value = {"act": "console.sign_in", "role": session.role, "session": session.id, "token": token_id}
    return canonical.encode(value)


def signed_out_body(session: ConsoleSession) -> bytes:
    return canonical.encode({"act": "console.sign_out", "session": session.id})
