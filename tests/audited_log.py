"""A log to audit: real snapshots and decisions, the publisher's own merge, and entries forged before it signs them."""

import itertools
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho.gateway.dialects.answers import Usage
from sekisho.gateway.entries import (
    DECISION,
    OUTCOME,
    DecisionEncoder,
    DecisionRecord,
    Ended,
    GatewayLifecycle,
    OutcomeRecord,
    outcome_body,
)
from sekisho.gateway.routing import Route
from sekisho.kernel import canonical
from sekisho.kernel.ids import IdSource
from sekisho.kernel.notes import NoteSigner
from sekisho.ledger.checkpoint import make_enrolment
from sekisho.ledger.commitments import Salts, commit
from sekisho.ledger.publisher import Identity, Publisher
from sekisho.ledger.sources import Batch, Position
from sekisho.policy.check import compile_policies
from sekisho.policy.engine import CedarDecider
from sekisho.policy.interfaces import SEND_RAW, SEND_REDACTED, PrincipalInput
from sekisho.snapshot.build import build_snapshot
from sekisho.snapshot.store import SnapshotStore
from support_decide import ANYWHERE, LABELS, PlainInspector, catalogue, decision_input, declared, deployment

ORIGIN = "bank.example/tokyo/node-1"
BEGINNING = Position(0, 0, bytes(4))
START_US = 1_790_000_000_000_000
COUNTED = Usage(3, 4, "upstream")
TOKYO = deployment("tokyo", processing=declared("JP"), storage=declared("JP"))
FARAWAY = deployment("faraway", processing=declared(*ANYWHERE), storage=declared("US"))


class Clock:
    def __init__(self, now_us=START_US):
        self.time_us = now_us

    def now_us(self):
        self.time_us += 100
        return self.time_us


class Writer:
    """A write-ahead log in memory: entries are made when the publisher asks, and forgotten when it has them."""

    def __init__(self, name, entries=()):
        self.name = name
        self.waiting = iter(entries)
        self.added = []
        self.seq = 0

    def read(self, position, *, bytes_max):
        taken, used = [], 0
        for entry in itertools.chain(self._added(), self.waiting):
            taken.append(entry)
            used += len(entry)
            if used >= bytes_max:
                break
        end = position.offset + len(taken)
        return Batch(tuple(taken), Position(end, end, end.to_bytes(8, "big")) if taken else position)

    def _added(self):
        while self.added:
            yield self.added.pop(0)

    def try_lock(self):
        return None

    def release(self, position):
        return 0


class AuditedLog:
    """Everything under `root`, like an installation without its private parts.

    `forge`, if set, is given each envelope before it is written and returns what is written in its place (None:
    nothing is, and the writer's next number stays).
    """

    def __init__(self, root, catalogued=None, policies=()):
        self.root = root
        self.clock, self.ids = Clock(), IdSource()
        self.site_key = NoteSigner("bank.example/tokyo", Ed25519PrivateKey.from_private_bytes(b"s" * 32))
        self.log_key = NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
        self.ledger = root / "ledger"
        self.ledger.mkdir(parents=True)
        (root / "site.vkey").write_text(f"{self.site_key.verifier.vkey}\n")
        (self.ledger / "enrolment").write_text(make_enrolment(self.site_key, ORIGIN, self.log_key.verifier))
        self.store = SnapshotStore(root / "snapshots", make_inspector=PlainInspector, make_decider=CedarDecider)
        self.forge = None
        self.gateway, self.control = Writer("w-gateway"), Writer("w-control")
        self.salts = Salts(b"k" * 32)
        self.install(catalogued or catalogue(TOKYO, FARAWAY), policies)
        self.publisher = None

    def install(self, catalogued, policies=()):
        """Store a snapshot and decide with it from now on."""
        built = build_snapshot(
            catalogued, policies, inspection_rules=b'{"rules":[]}', labels=LABELS, compile_policies=compile_policies
        )
        self.snapshot = self.store.load(self.store.save(built), self.clock.time_us)
        self.encoder = DecisionEncoder(self.snapshot.decider)
        return self.snapshot.digest

    # Entries

    def envelope(self, kind, body, actor="operator", request=None, at=None, identifier=None, site="home"):
        at = self.clock.now_us() if at is None else at
        made = {
            "actor": actor, "at": at, "body": body, "id": identifier or self.ids.new(at), "kind": kind, "seq": 0,
            "site": site, "v": 1, "writer": "",
        }  # fmt: skip
        return made if request is None else made | {"request": request}

    def write(self, envelope, writer=None):
        """Append to a write-ahead log; the writer gives its name and number."""
        writer = writer or self.gateway
        envelope |= {"writer": writer.name, "seq": writer.seq}
        if self.forge is not None:
            envelope = self.forge(envelope)
            if envelope is None:
                return None
        writer.seq += 1
        writer.added.append(canonical.encode(envelope))
        return envelope

    def create_key(self, key="1", organisation="default", roles=("caller",), **more):
        body = {"act": "key.create", "class": None, "key": key, "organisation": organisation, "residency": None}
        self.write(self.envelope("change", body | {"roles": list(roles)}, **more), self.control)

    def revoke_key(self, key="1", organisation="default"):
        body = {"act": "key.revoke", "key": key, "organisation": organisation}
        self.write(self.envelope("change", body), self.control)

    def activate(self, digest, at=None):
        body = {"act": "snapshot.activate", "before": None, "snapshot": digest}
        self.write(self.envelope("change", body, "control", at=at), self.control)

    def decided(self, **asked):
        """The decision on an input, in the snapshot and epoch of now."""
        value = decision_input(snapshot=self.snapshot.digest, epoch_from=self.snapshot.epoch_from, **asked)
        return self.snapshot.decider.decide(value)

    def decision(self, request, attempt=1, *, caller_request=None, monitored=False, route=None, at=None, **asked):
        """A decision's envelope: sent where it is permitted, else a denial."""
        decision = self.decided(**asked)
        at = self.clock.now_us() if at is None else at
        identifier = self.ids.new(at)
        if route is None and decision.permitted_raw:
            route = Route(decision.permitted_raw[0], SEND_RAW)
        elif route is None and decision.permitted_redacted:
            route = Route(decision.permitted_redacted[0], SEND_REDACTED)
        received = commit(self.salts.of(identifier, "received"), b"question")
        sent = None if route is None else commit(self.salts.of(identifier, "sent"), b"question out")
        asked, retain = decision.input, None
        if route is not None:
            labels = asked.labels_raw if route.action == SEND_RAW else asked.labels_redacted
            retain = self.snapshot.decider.retention(asked, route.deployment, labels)
        record = DecisionRecord("chat", attempt, route, 64, received, sent, monitored, caller_request, retain)
        body = json.loads(self.encoder.encode(decision, record))
        return self.envelope(DECISION, body, decision.input.principal.id, request, at, identifier)

    def outcome(self, decision, ended=Ended.COMPLETE, *, status=200, usage=COUNTED, **more):
        record = OutcomeRecord(
            decision["id"], decision["body"]["attempt"], ended, None, status, None, more.pop("written", True), 10, 20,
            usage, None,
        )  # fmt: skip
        body = json.loads(outcome_body(record))
        return self.envelope(OUTCOME, body, decision["actor"], decision["request"], **more)

    def arrival(self):
        return self.ids.new(self.clock.now_us())

    def request(self, request=None, *, failures=0, usage=COUNTED, **asked):
        """A whole request: attempts that failed, then one that answered, or a denial. Returns its id."""
        request = request or self.arrival()
        for attempt in range(1, failures + 2):
            decision = self.decision(request, attempt, **asked)
            self.write(decision)
            if decision["body"]["chosen"] is None:
                break
            if attempt <= failures:
                self.write(self.outcome(decision, Ended.UPSTREAM_FAILED, status=None, usage=usage))
            else:
                self.write(self.outcome(decision, usage=usage))
        return request

    def publish(self):
        """Merge everything that waits; returns the size."""
        if self.publisher is None:
            self.publisher = Publisher(
                self.ledger, Identity(self.log_key, "home"), GatewayLifecycle(), self.clock, self.ids,
                sources=lambda root: [self.control, self.gateway], beginning=BEGINNING,
            )  # fmt: skip
            self.publisher.start()
        while self.publisher.merge_once() or self.publisher.backlog:
            pass
        return self.publisher.size

    def close(self):
        if self.publisher is not None:
            self.publisher.close()
            self.publisher = None

    def fill(self, requests):
        """Requests of several kinds: permitted, denied, redacted, retried."""
        classes = ("public", "internal", "confidential")
        labels = ((), ("jp.my_number",), ("secret.api_key",), ("opaque",))
        for number in range(requests):
            found = labels[number % len(labels)]
            self.request(
                data_class=classes[number % len(classes)],
                labels_raw=found,
                labels_redacted=() if number % 2 else found,
                redactable=number % 2 == 1,
                failures=1 if number % 7 == 3 else 0,
                principal=PrincipalInput(f"key-{1 + number % 3}", "default", ("caller",)),
            )


def ready(root, requests=40, **options):
    """A published log with keys, and requests of several kinds."""
    log = AuditedLog(root, **options)
    for key in "123":
        log.create_key(key)
    log.fill(requests)
    log.publish()
    return log
