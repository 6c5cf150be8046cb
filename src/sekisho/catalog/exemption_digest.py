"""What names an exemption: the digest of everything that its file declares. Pure; needs no package beside ours.

Canonical JSON of the parsed TOML and the exemption's name; dates and times stand in ISO 8601. So comments, blanks and
the order of keys may change, and nothing else may.
"""

import datetime
import hashlib
from collections.abc import Mapping
from typing import Any

from sekisho.kernel import canonical


def exemption_digest(name: str, table: Mapping[str, Any]) -> str:
    """Hex SHA-256. Raises CanonicalError for what has no canonical form (a number beyond 2^53, a lone surrogate)."""
    return hashlib.sha256(canonical.encode({"declared": _plain(dict(table)), "name": name})).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value
