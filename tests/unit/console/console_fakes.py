"""The console's ports, in memory."""

import secrets

from sekisho.console.errors import ExplainRefused, NotAllowed
from sekisho.console.interfaces import Panel, Ports, Served, Status
from sekisho.identity.errors import KeyUnknown, RegisterUnavailable, SessionsFull, SignInRefused
from sekisho.identity.interfaces import ConsoleSession
from sekisho.policy.interfaces import PolicyTitle

HOST = "127.0.0.1:8401"
ORIGIN = f"http://{HOST}"
COOKIE = "sekisho_session_8401"
NOW_US = 1_790_000_000_000_000
REQUEST = "01a21113-e2b0-72ac-a15a-ba5ff5ee0d73"
RECEIPT = b'{"format":"sekisho.receipt/1"}'


class FakeSignIn:
    """`tokens` maps those that may be used to their roles."""

    def __init__(self):
        self.tokens = {"operator-token": "operator", "auditor-token": "auditor"}
        self.sessions = {}
        self.is_full = False

    def sign_in(self, token):
        if token not in self.tokens:
            raise SignInRefused
        if self.is_full:
            raise SessionsFull
        session = ConsoleSession("s1", self.tokens.pop(token), NOW_US + 3_600_000_000)
        secret = secrets.token_urlsafe(32)
        self.sessions[secret] = session
        return session, secret

    def session(self, secret):
        return self.sessions.get(secret)

    def sign_out(self, secret):
        self.sessions.pop(secret, None)


class FakeReceipts:
    word = "complete"
    failure = None  # of making the file

    def state(self, request_id):
        return self.word if request_id == REQUEST else "unknown"

    def of_any(self, request_id):
        if self.failure is not None:
            raise self.failure
        return RECEIPT if self.state(request_id) == "complete" else b""


class FakeAuditors:
    """`keys` maps what may come as Authorization to whether its role is auditor; `admitted` are those that were."""

    def __init__(self):
        self.keys = {"Bearer sk-auditor": True, "Bearer sk-caller": False}
        self.admitted = []
        self.broken = False

    def admit(self, authorization):
        if self.broken:
            raise RegisterUnavailable("the register is away")
        if authorization not in self.keys:
            raise KeyUnknown("This API key is not known here")
        if not self.keys[authorization]:
            raise NotAllowed("this key may not read the log's entries")
        self.admitted.append(authorization)


class World:
    """`ports` and what they were asked: `now_us` can be moved, `asked` is what was to be explained."""

    def __init__(self, log):
        self.now_us = NOW_US
        self.log = log
        self.sign_in = FakeSignIn()
        self.receipts = FakeReceipts()
        self.auditors = FakeAuditors()
        self.asked = []
        self.status = Status("<b>origin</b>", 7, "2" * 64, "http://127.0.0.1:8400", "in force", 0, "0.1.0")
        self.panel = Panel("ready", (), 1_000_000, ())
        self.facts = []
        self.titles = (PolicyTitle("r.one", "Title <one>", "題名", "forbid", "r.cedar"),)
        self.ports = Ports(
            status=lambda: self.status,
            panel=lambda: self.panel,
            log=log,
            receipts=self.receipts,
            titles=lambda digest: self.titles,
            explain=self.explain,
            prove=self.prove,
            compliance=self.compliance,
            plan=self.plan,
            shadow=lambda: {"shadow": None},
            sign_in=self.sign_in,
            auditors=self.auditors,
            site_key=lambda: "site+00000000+AQ==",
            organisations=lambda: ("default",),
            now_us=lambda: self.now_us,
            facts=lambda: self.facts,
        )

    def prove(self, statement, *, declarations, anything):
        self.asked.append((statement, declarations, anything))
        if statement == "no":
            raise ExplainRefused(400, "the statement ends too early")
        return {"proofs": [{"outcome": "holds"}]}

    def compliance(self, words):
        self.asked.append(words)
        return {"rows": []}

    def plan(self, declarations, words):
        self.asked.append((declarations, words))
        return {"mistakes": []} if declarations == {} else {"requests": 1}

    def explain(self, asked):
        self.asked.append(asked)
        if b'"no-such"' in asked.body:
            raise ExplainRefused(404, "the model does not exist here", remedy="GET /v1/models lists the models")
        return {
            "class": {"from": [{"by": "key", "value": "internal"}], "value": "internal"},
            "deployments": [],
            "labels": {"found": [], "raw": [], "redactable": True, "redacted": []},
            "outcome": {
                "action": None,
                "deployments": [],
                "exemptions": [],
                "monitored": False,
                "permitted": False,
                "retain": [{"days": 30, "deployment": "tokyo", "policies": ["keep.<all>"]}],
                "rewrite": [{"deployment": "tokyo", "mask": ["email"], "policies": ["a.<b>"], "restore": ["phone"]}],
                "stopped": [],
            },
            "residency": {"from": [{"by": "request", "value": ["JP"]}], "value": ["JP"]},
            "snapshot": "2" * 64,
            "words": {"en": ["Because."], "ja": ["理由。"]},
        }


SERVED = Served(frozenset({HOST, "localhost:8401"}), False, COOKIE)
SECURE = Served(frozenset({"console.example.jp"}), True, "__Host-sekisho_session")
