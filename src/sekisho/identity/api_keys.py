"""API keys: their text, their digest, what may be asked of a new one, and what the ledger is told about them."""

import hashlib
import re
import secrets
from typing import Final, NamedTuple

from sekisho.identity.errors import KeyRequestInvalid
from sekisho.identity.interfaces import KEY_PREFIX, ApiKey
from sekisho.kernel import canonical

TEXT_PREFIX: Final = "sk-"  # what OpenAI's SDKs and secret scanners expect a key to begin with
TEXT_RANDOM_BYTES: Final = 32  # 256 bits, written as 43 characters of URL-safe base64
ID_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648 section 6, in lower case
ID_LENGTH: Final = 10  # 50 bits: short enough to type; the register refuses the rare collision
NAME_LENGTH_MAX: Final = 100  # a label for people, shown in one line of a table
ROLES_MAX: Final = 16  # every role is a parent in each decision's entities, so their number is on the hot path
RESIDENCY_MAX: Final = 64
CHANGE_KIND: Final = "change"
ACCESS_KIND: Final = "access"
AUDITOR: Final = "auditor"  # the role whose keys may read the entries of the log, of every organisation

_TOKEN: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
_JURISDICTION: Final = re.compile(r"[A-Z]{2}", re.ASCII)  # ISO 3166-1 alpha-2


class KeyRequest(NamedTuple):
    """What is asked of a new key. `validated` gives the form that may be registered."""

    organisation: str
    name: str
    roles: tuple[str, ...]
    data_class: str | None = None
    residency: tuple[str, ...] | None = None


def validated(request: KeyRequest) -> KeyRequest:
    """`request` with roles and residency sorted and without duplicates; raises KeyRequestInvalid."""
    _require_token("the organisation", request.organisation)
    _require_name(request.name)
    if not request.roles:
        raise KeyRequestInvalid("a key without a role may do nothing", remedy="Give it at least one, such as caller")
    if len(request.roles) > ROLES_MAX:
        raise KeyRequestInvalid(f"more than {ROLES_MAX} roles on one key")
    for role in request.roles:
        _require_token("a role", role)
    if request.data_class is not None:
        _require_token("the data class", request.data_class)
    if request.residency is not None:
        _require_residency(request.residency)
    return request._replace(
        roles=tuple(sorted(set(request.roles))),
        residency=None if request.residency is None else tuple(sorted(set(request.residency))),
    )


def require_actor(actor: str) -> None:
    """Raises KeyRequestInvalid unless `actor` can stand in a ledger entry: an identifier, never a person's name."""
    _require_token("the actor", actor)


def new_text() -> str:
    """A fresh key: `sk-` and 43 characters that hold 256 random bits."""
    return TEXT_PREFIX + secrets.token_urlsafe(TEXT_RANDOM_BYTES)


def text_digest(text: bytes) -> bytes:
    """The SHA-256 of a key's text, 32 bytes: all that is kept of it.

    A plain hash is right here: a password needs a slow one because it can be guessed, 256 random bits can't.
    """
    return hashlib.sha256(text).digest()


def new_id() -> str:
    """A fresh key id: `k` and ten random characters. It names a key in commands and entries, and opens nothing."""
    return "k" + "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))


def principal_id(key_id: str) -> str:
    """The id of the principal that a key stands for."""
    return KEY_PREFIX + key_id


def created_body(key: ApiKey) -> bytes:
    """What the ledger is told about a new key (canonical JSON). Its name is free text and stays out (G6)."""
    principal = key.principal
    return canonical.encode(
        {
            "act": "key.create",
            "class": principal.data_class,
            "key": key.id,
            "organisation": principal.organisation,
            "residency": principal.residency,
            "roles": principal.roles,
        }
    )


def revoked_body(key: ApiKey) -> bytes:
    """What the ledger is told about a key's end (canonical JSON)."""
    return canonical.encode({"act": "key.revoke", "key": key.id, "organisation": key.principal.organisation})


def ledger_read_body(key_id: str, size: int, until: int) -> bytes:
    """What the ledger is told before a key reads entries in bulk (canonical JSON).

    `size`: of the log when it began; `until` (µs UTC): this entry tells of all that the key reads before then.
    """
    return canonical.encode({"act": "ledger.read", "key": key_id, "size": size, "until": until})


def _require_token(what: str, text: str) -> None:
    if _TOKEN.fullmatch(text) is None:
        raise KeyRequestInvalid(
            f"{what} can't be {text!r}",
            remedy="Use up to 64 of a-z, 0-9, '.', '_' and '-', beginning and ending with a letter or digit",
        )


def _require_name(name: str) -> None:
    if not name or name != name.strip() or len(name) > NAME_LENGTH_MAX or not name.isprintable():
        raise KeyRequestInvalid(
            f"a key can't be named {name[:NAME_LENGTH_MAX]!r}",
            remedy=f"Give it 1 to {NAME_LENGTH_MAX} printable characters, with no space at either end",
        )


def _require_residency(residency: tuple[str, ...]) -> None:
    if not residency:
        raise KeyRequestInvalid(
            "a residency that names no jurisdiction forbids every request",
            remedy="Name at least one, or leave it out to take the organisation's",
        )
    if len(residency) > RESIDENCY_MAX:
        raise KeyRequestInvalid(f"more than {RESIDENCY_MAX} jurisdictions on one key")
    for jurisdiction in residency:
        if _JURISDICTION.fullmatch(jurisdiction) is None:
            raise KeyRequestInvalid(
                f"{jurisdiction!r} is no jurisdiction", remedy="Use two capital letters (ISO 3166-1)"
            )
