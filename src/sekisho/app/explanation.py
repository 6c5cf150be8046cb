"""Explaining requests over a data directory: which snapshot, and who asks."""

import threading
from collections.abc import Mapping
from typing import Any, Final

import orjson

from sekisho.app.installation import build_declared, snapshot_store
from sekisho.console.interfaces import ExplainAsked
from sekisho.gateway.declared import CLASS_HEADER, RESIDENCY_HEADER
from sekisho.gateway.explanation import Assumed, Question, explain_request
from sekisho.identity.interfaces import KeyChanges, Principal
from sekisho.identity.register_look import look_at_key, look_at_register
from sekisho.identity.stops import Stops
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.words import alternatives
from sekisho.policy.explain import explain
from sekisho.policy.interfaces import CALLER, STALENESS_ROLES
from sekisho.policy.schema import STANDING_LABELS
from sekisho.settings import DataDirectory
from sekisho.snapshot.interfaces import Snapshot

REQUEST_BYTES_MAX: Final = 4 * 1024 * 1024  # of one that is explained: it is read and inspected while others wait
NOBODY: Final = "explain"  # the principal's id where a role is asked about and no key


def chat_body(model: str, text: str) -> bytes:
    """A chat request with one message."""
    return orjson.dumps({"messages": [{"content": text, "role": "user"}], "model": model})


def with_model(body: bytes, model: str) -> bytes:
    """`body` for another model; what is no JSON object stays as it is, to be explained as such."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    return orjson.dumps({**document, "model": model}) if isinstance(document, dict) else body


class Explainer:
    """Explains with the snapshot in force, or with the declarations as they stand. Safe to call from any thread.

    What is loaded is kept until another snapshot or epoch is in force. Blocking.
    """

    def __init__(self, directory: DataDirectory, clock: Clock) -> None:
        self._directory = directory
        self._store = snapshot_store(directory)
        self._clock = clock
        self._lock = threading.Lock()  # a decider and an inspector belong to one thread at a time
        self._snapshot: Snapshot | None = None

    def explain(self, asked: ExplainAsked) -> dict[str, Any]:
        """See `gateway.explanation`. Raises GatewayError for what a gateway would answer before deciding, UsageError
        for a key, organisation or role that can't be, DeclarationsRefused for declarations with mistakes."""
        if len(asked.body) > REQUEST_BYTES_MAX:
            raise UsageError(f"a request of more than {REQUEST_BYTES_MAX >> 20} MiB is not explained")
        with self._lock:
            now_us = self._clock.now_us()
            if asked.at_us is not None and asked.at_us > now_us:
                snapshot = self._at(asked.at_us, asked.declarations)
            else:
                snapshot = self._declared(now_us) if asked.declarations else self._in_force(now_us)
            question = Question(
                _headers(asked), asked.body, self._principal(asked, snapshot), _assumed(asked, snapshot)
            )
            return explain_request(question, snapshot, self._stops(), explain)

    def organisations(self) -> tuple[str, ...]:
        """Those declared in the snapshot in force."""
        with self._lock:
            return tuple(self._in_force(self._clock.now_us()).organisations)

    def _declared(self, now_us: int) -> Snapshot:
        return self._store.assemble(build_declared(self._directory, proved=False)[1], now_us)

    def _at(self, instant_us: int, declarations: bool) -> Snapshot:
        """As it will be then, if nothing is declared anew."""
        if declarations:
            return self._declared(instant_us)
        digest = self._in_force(self._clock.now_us()).digest
        return self._store.load(digest, instant_us)

    def _in_force(self, now_us: int) -> Snapshot:
        digest = self._store.current()
        if digest is None:
            raise SekishoError("no snapshot is in force", remedy="Run `sekisho check`, then start control")
        kept = self._snapshot
        if kept is None or kept.digest != digest or (kept.epoch_until is not None and now_us >= kept.epoch_until):
            kept = self._snapshot = self._store.load(digest, now_us)
        return kept

    def _principal(self, asked: ExplainAsked, snapshot: Snapshot) -> Principal:
        if asked.key_id is not None:
            if asked.organisation is not None or asked.roles or asked.principal is not None:
                raise UsageError("a key brings its organisation and roles", remedy="Name a key, or these two")
            return self._of_key(asked.key_id)
        organisation = asked.organisation
        if organisation is None:
            if len(snapshot.organisations) != 1:
                known = alternatives("", snapshot.organisations)
                raise UsageError("it is not clear who asks", remedy=f"Name a key, or an organisation: {known}")
            organisation = next(iter(snapshot.organisations))
        elif organisation not in snapshot.organisations:
            known = alternatives(organisation, snapshot.organisations)
            raise UsageError(f"no organisation {organisation!r} is declared", remedy=f"There is: {known}")
        return Principal(
            asked.principal or NOBODY, organisation, tuple(sorted(set(asked.roles or (CALLER,)))), None, None
        )

    def _stops(self) -> Stops:
        stops = Stops()
        stops.apply(KeyChanges(0, (), look_at_register(self._directory.state).stops))
        return stops

    def _of_key(self, key_id: str) -> Principal:
        key = look_at_key(self._directory.state, key_id)
        if key is None:
            raise UsageError(f"there is no key {key_id!r}", remedy="`sekisho keys list` shows the ids of all keys")
        if key.revoked_at is not None:
            raise UsageError(f"the key {key_id} is revoked: its requests are answered 401")
        return key.principal


def _assumed(asked: ExplainAsked, snapshot: Snapshot) -> Assumed:
    if asked.labels is None and asked.labels_left is not None:
        raise UsageError("what is left of labels is supposed, but not what labels there are", remedy="Name both")
    known = {*snapshot.inspector.labels(), *STANDING_LABELS}
    for label in (*(asked.labels or ()), *(asked.labels_left or ())):
        if label not in known:
            raise UsageError(f"there is no label {label!r}", remedy=f"There is: {alternatives(label, known)}")
    ages = dict(asked.staleness)
    for role, days in ages.items():
        if role not in STALENESS_ROLES or days < 0:
            raise UsageError(f"{role!r} can't be {days} days old", remedy=f"Name one of {', '.join(STALENESS_ROLES)}")
    labels, left = (None if some is None else tuple(sorted(set(some))) for some in (asked.labels, asked.labels_left))
    return Assumed(labels, left, tuple((role, ages.get(role, 0)) for role in STALENESS_ROLES) if ages else ())


def _headers(asked: ExplainAsked) -> Mapping[bytes, bytes]:
    headers = {b"content-type": b"application/json"}
    for name, value in ((CLASS_HEADER, asked.data_class), (RESIDENCY_HEADER, asked.residency)):
        if value is not None:
            headers[name] = value.encode("latin-1", "replace")
    return headers
