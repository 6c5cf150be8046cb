"""Persons with keys of their own, and acts for them to approve."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho.catalog.interfaces import ApprovalRule
from sekisho.identity.acts import STOP_LIFT, Act
from sekisho.identity.approvals import APPROVER, ASKER, Approval, Wanted, signed, with_signature
from sekisho.identity.interfaces import PersonKey
from sekisho.kernel.ids import IdSource

NOW_US = 1_790_000_000_000_000
HOUR_US = 3_600_000_000
ORIGIN = "sekisho-0a1b2c3d.internal/local/4e5f6a7b"
LIFT = {"kind": "provider", "name": "tokyo"}
WANTED = Wanted(STOP_LIFT, LIFT, ORIGIN)
ASKING, *APPROVERS = PEOPLE = ("s-001", "s-002", "s-003", "s-004")
RULE = ApprovalRule(act=STOP_LIFT, approvers=PEOPLE, needed=2)


def key_of(person: str, number: int = 0) -> Ed25519PrivateKey:
    """The same key each time."""
    return Ed25519PrivateKey.from_private_bytes(f"{person}/{number}".encode().ljust(32, b"."))


def enrolled(*people: str, number: int = 0, retired_at: int | None = None) -> list[PersonKey]:
    return [
        PersonKey(person, key_of(person, number).public_key().public_bytes_raw().hex(), NOW_US - HOUR_US, retired_at)
        for person in people
    ]


def an_act(**changes) -> Act:
    fields = {
        "act": STOP_LIFT,
        "parameters": LIFT,
        "asked_by": ASKING,
        "asked_at": NOW_US,
        "valid_until": NOW_US + HOUR_US,
        "origin": ORIGIN,
        "id": IdSource().new(NOW_US),
    }
    return Act(**{**fields, **changes})


def asked(act: Act | None = None, by: str = ASKING) -> Approval:
    act = act or an_act()
    return with_signature(Approval(act, ()), signed(act, ASKER, key_of(by)))


def approved(*people: str, act: Act | None = None, by: str = ASKING) -> Approval:
    approval = asked(act, by)
    for person in people:
        approval = with_signature(approval, signed(approval.act, APPROVER, key_of(person)))
    return approval
