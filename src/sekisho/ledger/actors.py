"""What an audit knows of who acts: the keys and sessions that the log itself tells of. Pure.

An act reaches the log by way of an outbox, up to some time after it counts, so that entries of another writer may
stand before it. Times decide, not places; what is missing is said at the end.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sekisho.kernel.ids import is_uuid7, uuid7_time_us
from sekisho.ledger.audit_kinds import ACTOR_UNKNOWN, KEY_DIFFERS, KEY_REVOKED, KEY_UNKNOWN
from sekisho.ledger.findings import Findings

KEY_PREFIX: Final = "key-"
PSEUDONYM_PREFIXES: Final = ("oidc-", "cert-")  # of callers whom an organisation's declaration lets in
STANDING: Final = frozenset({"control", "init", "operator", "publisher"})
REVOCATION_US: Final = 2_000_000  # gateways follow within a second
UNKNOWN_KEPT_MAX: Final = 10_000
KNOWN_MAX: Final = 500_000  # of keys, and of sessions: some 400 MB; a log that tells of more has others as strangers


class _Key(NamedTuple):
    organisation: str
    roles: tuple[str, ...]


class _Use(NamedTuple):
    """A request's arrival, and where its decision stands."""

    arrived_us: int
    leaf: int
    id: str
    request: str


class Actors:
    """`see_…` each entry in the log's order, then `finish`. Memory grows with keys and sessions, up to a bound."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._keys: dict[str, _Key] = {}
        self._revoked: dict[str, int] = {}
        self._last_use: dict[str, _Use] = {}
        self._unknown: dict[str, tuple[_Use, Mapping[str, Any]]] = {}
        self._sessions: set[str] = set()
        self._strangers: set[str] = set()

    def see_act(self, index: int, envelope: Mapping[str, Any]) -> None:
        body, actor = envelope["body"], envelope["actor"]
        act, key = body.get("act"), body.get("key")
        if act == "console.sign_in" and isinstance(body.get("session"), str) and len(self._sessions) < KNOWN_MAX:
            self._sessions.add(body["session"])
        if actor not in STANDING and actor not in self._sessions and actor.removeprefix(KEY_PREFIX) not in self._keys:
            self._note_stranger(index, envelope["id"], actor)
        if not isinstance(key, str):
            return
        if act == "key.create":
            self._created(key, body)
        elif act == "key.revoke" and (key in self._keys or len(self._revoked) < KNOWN_MAX):
            self._revoked[key] = envelope["at"]
            use = self._last_use.get(key)
            if use is not None:
                self._require_live(key, use)

    def see_decision(self, index: int, envelope: Mapping[str, Any], principal: Mapping[str, Any]) -> None:
        actor, request = envelope["actor"], envelope["request"]
        if not actor.startswith(KEY_PREFIX):
            if not actor.startswith(PSEUDONYM_PREFIXES):
                self._note_stranger(index, envelope["id"], actor)
            return
        key = actor.removeprefix(KEY_PREFIX)
        arrived_us = uuid7_time_us(request) if is_uuid7(request) else envelope["at"]
        use = _Use(arrived_us, index, envelope["id"], request)
        last = self._last_use.get(key)
        if (last is None and len(self._last_use) < KNOWN_MAX) or (last is not None and last.arrived_us < arrived_us):
            self._last_use[key] = use
        known = self._keys.get(key)
        if known is not None:
            self._require_same(known, principal, use)
            if key in self._revoked:
                self._require_live(key, use)
        elif len(self._unknown) < UNKNOWN_KEPT_MAX:
            self._unknown.setdefault(key, (use, principal))

    def finish(self) -> None:
        for key, (use, _) in self._unknown.items():
            self._findings.add(KEY_UNKNOWN, f"first used here by {KEY_PREFIX}{key:.80}", use.leaf, use.id, use.request)

    def _created(self, key: str, body: Mapping[str, Any]) -> None:
        roles = body.get("roles")
        known = _Key(str(body.get("organisation")), tuple(map(str, roles if isinstance(roles, list) else ())))
        if len(self._keys) < KNOWN_MAX:
            self._keys[key] = known
        waiting = self._unknown.pop(key, None)
        if waiting is not None:  # the act was relayed after the key's first use
            self._require_same(known, waiting[1], waiting[0])

    def _require_same(self, known: _Key, principal: Mapping[str, Any], use: _Use) -> None:
        roles = principal.get("roles")
        found = _Key(str(principal.get("organisation")), tuple(map(str, roles if isinstance(roles, list) else ())))
        if found != known:
            detail = f"created with {known.organisation} {','.join(known.roles)}"
            detail += f", decided with {found.organisation:.80} {','.join(found.roles):.200}"
            self._findings.add(KEY_DIFFERS, detail, use.leaf, use.id, use.request)

    def _require_live(self, key: str, use: _Use) -> None:
        late_us = use.arrived_us - self._revoked[key]
        if late_us > REVOCATION_US:
            detail = f"{late_us / 1_000_000:.3f} s after {KEY_PREFIX}{key} was revoked"
            self._findings.add(KEY_REVOKED, detail, use.leaf, use.id, use.request)

    def _note_stranger(self, index: int, identifier: str, actor: str) -> None:
        if actor not in self._strangers and len(self._strangers) < UNKNOWN_KEPT_MAX:
            self._strangers.add(actor)
            self._findings.add(ACTOR_UNKNOWN, f"{actor!r:.80}, here for the first time", index, identifier)
