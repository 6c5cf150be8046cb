"""G2: whatever is declared, ruled, asked and broken, no deployment receives what its policy forbids.

Random catalogues, policies, keys and requests go through the real snapshot, decider, inspector and pipeline, with
upstreams that fail so that requests are tried again elsewhere. What arrives is judged by an oracle in plain Python,
by the bytes that arrived and not by what the gateway says of them.
"""

import asyncio
import random
from collections import Counter
from pathlib import Path

import orjson
import pytest
from generated_policies import (
    CLASSES,
    JURISDICTIONS,
    KEY_HOLDERS,
    NAMES,
    ORGANISATIONS,
    PERMIT,
    UNKNOWN,
    Asked,
    annotated,
    forbid_label,
    permits,
    policies,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway_fakes import FakeClient, FakeCommitments, FakeExchange, FakeKeys, FakeResponder, FakeWriter, Script
from sekisho.catalog.interfaces import (
    JURISDICTION_FACTS,
    PROVIDER_JURISDICTION_FACTS,
    PROVIDER_TEXT_FACTS,
    WORD_FACTS,
    Boundary,
    Catalogue,
    DataClass,
    Deployment,
    Fact,
    Grade,
    Model,
    Organisation,
    PolicyText,
    Provider,
    Site,
)
from sekisho.gateway.attempt import Recorder
from sekisho.gateway.dialects.operations import CHAT, COMPLETIONS, EMBEDDINGS, OPERATIONS
from sekisho.gateway.dialects.surfaces import AZURE, OPENAI, Call
from sekisho.gateway.errors import NotFound, NotPermitted, Unauthenticated, UpstreamFailed
from sekisho.gateway.halts import Halts
from sekisho.gateway.http1.errors import UpstreamClosed, UpstreamUnreachable
from sekisho.gateway.http1.interfaces import InboundRequest, Peer
from sekisho.gateway.metrics import Metrics
from sekisho.gateway.pipeline import Pipeline
from sekisho.gateway.routing import Router
from sekisho.gateway.sign_in import SignIns
from sekisho.gateway.upstreams import put_in_force
from sekisho.identity.interfaces import Principal
from sekisho.inspection.rules import compile_inspector, rules_bytes
from sekisho.kernel.ids import IdSource
from sekisho.policy.check import compile_policies
from sekisho.policy.engine import CedarDecider
from sekisho.snapshot.build import build_snapshot
from sekisho.snapshot.store import SnapshotStore

NOW_US = 1_800_000_000_000_000
EVENT = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
ANSWER = b'{"choices":[]}'
TARGETS = {"openai": "/v1{1}", "azure": "/v1/openai/deployments/{0}{1}?api-version=2024-10-21"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
REMOTE = {"type": "image_url", "image_url": {"url": "https://pictures.example/a.png"}}
# What content is made of: a text, what of it must not be readable once it is redacted, and the label it earns.
VALUES = (
    ("個人番号は123456789018です。", "123456789018", "jp.my_number"),
    ("Write to taro.yamada@example.co.jp please.", "taro.yamada@example.co.jp", "email"),
    ("Use AKIAIOSFODNN7EXAMPLE for it.", "AKIAIOSFODNN7EXAMPLE", "secret.api_key"),
)


class FixedClock:
    def now_us(self) -> int:
        return NOW_US


places = st.one_of(
    st.just(("unknown",)),
    st.sets(st.sampled_from(JURISDICTIONS), min_size=1).map(lambda codes: tuple(sorted(codes))),
    st.just((*JURISDICTIONS, "anywhere")),
    st.just(("JP",)),
    st.just(("JP",)),
)


@st.composite
def facts(draw, values) -> Fact:
    value = draw(values)
    if value == ("unknown",):
        return UNKNOWN
    expires = draw(st.sampled_from((None, None, NOW_US - 5, NOW_US, NOW_US + 1_000_000_000)))
    return Fact(value, draw(st.sampled_from((Grade.DECLARED, Grade.CONTRACTUAL, Grade.OBSERVED))), "s", 1, expires)


@st.composite
def deployments(draw, name: str) -> Deployment:
    every = {
        key: draw(facts(places)) if key in ("processing", "storage", "support_staff") else UNKNOWN
        for key in JURISDICTION_FACTS
    }
    every |= dict.fromkeys(WORD_FACTS, UNKNOWN)
    every["key_holder"] = draw(facts(st.sampled_from(KEY_HOLDERS).map(lambda word: (word,))))
    model = draw(st.sampled_from(("m", "m", "m", "n")))
    dialect, version = draw(st.sampled_from((("openai", None), ("azure", "2024-10-21"))))
    return Deployment(
        name, model, "p", f"http://{name}/v1", dialect, "openai-compatible", every, f"{name}-{model}", "home", version
    )


residencies = st.sampled_from((("JP",), ("JP", "SG"), ("US", "JP"), ("anywhere",), ("anywhere",)))
maybe_class = st.sampled_from((None, None, None, *CLASSES))
maybe_residency = st.one_of(st.none(), st.none(), residencies)


@st.composite
def worlds(draw):
    """A catalogue and policies of its own that compile with it."""
    names = NAMES[: draw(st.integers(2, len(NAMES)))]
    packs = draw(st.sampled_from((("jp-residency",), ())))
    boundary = Boundary(
        home=draw(st.sampled_from((("JP",), ("JP", "SG")))),
        jurisdictions=JURISDICTIONS,
        classes=tuple(DataClass(name, name, name) for name in CLASSES),
        default_class=draw(st.sampled_from(CLASSES)),
        default_residency=draw(residencies),
        packs=packs,
    )
    provider_facts = dict.fromkeys((*PROVIDER_JURISDICTION_FACTS, *PROVIDER_TEXT_FACTS), UNKNOWN)
    catalogue = Catalogue(
        boundary=boundary,
        organisations=tuple(Organisation(n, n, draw(maybe_class), draw(maybe_residency)) for n in ORGANISATIONS),
        sites=(Site("home", "Home", "JP"),),
        providers=(Provider("p", "P", provider_facts),),
        models=(Model("m", "M"), Model("n", "N")),
        deployments=tuple(draw(deployments(name)) for name in names),
    )
    own = draw(st.lists(policies(names), max_size=4))
    if draw(st.booleans()):
        own.append(forbid_label(draw(st.sampled_from(VALUES))[2]))  # what makes redaction matter
    if not packs and (draw(st.booleans()) or not any(policy.effect == "permit" for policy in own)):
        own.append(PERMIT)  # else hardly anything would ever be permitted
    return catalogue, own


@st.composite
def principals(draw) -> Principal:
    organisation = draw(st.sampled_from(("default",) * 4 + ("other",) * 3 + ("undeclared",)))
    roles = draw(st.sampled_from((("caller",),) * 4 + (("batch", "caller"), ("batch",), ())))
    return Principal("key-k1", organisation, roles, draw(maybe_class), draw(maybe_residency))


@st.composite
def requests(draw):
    """(call, principal, headers, document, labels by their values, labels that can't be redacted)."""
    operation = draw(st.sampled_from((CHAT, CHAT, COMPLETIONS, EMBEDDINGS)))
    values = [VALUES[index] for index in draw(st.sampled_from(((), (0,), (1,), (2,), (0, 1), (0, 2))))]
    document = {"model": draw(st.sampled_from(("m", "m", "m", "m", "n"))), "stream": draw(st.booleans())}
    text = "".join(["Hello. ", *(value[0] for value in values)])
    fixed = set()
    content: object = text
    extra = draw(st.sampled_from(("", "", "", "", "", "", "image", "remote", "tool", "key")))
    if extra in ("image", "remote"):
        fixed.add("opaque" if extra == "image" else "egress.url")
        if operation is CHAT:
            content = [{"type": "text", "text": text}, IMAGE if extra == "image" else REMOTE]
        elif extra == "image":  # what nobody can read, in the other operations
            content = draw(st.sampled_from(([1, 2, 3], [[1, 2], [3]])))
            document["suffix"] = text
        else:
            document["vendor"] = REMOTE
    elif extra == "tool":
        document["tools"] = [{"type": "web_search"}]
        fixed.add("egress.tool")
    elif extra == "key":
        document["metadata"] = {"個人番号 123456789018": "x"}
        fixed.add("jp.my_number")
    if operation is CHAT:
        document["messages"] = [{"role": "user", "content": content}]
    else:
        several = content is text and draw(st.booleans())
        document["prompt" if operation is COMPLETIONS else "input"] = ["Good day.", text] if several else content
    call = Call(operation, draw(st.sampled_from((OPENAI, AZURE))), draw(st.sampled_from((None, document["model"]))))
    headers = {b"authorization": b"Bearer sk-good"}
    if (name := draw(maybe_class)) is not None:
        headers[b"x-sekisho-data-class"] = name.encode()
    if (codes := draw(maybe_residency)) is not None:
        headers[b"x-sekisho-residency"] = ", ".join(codes).encode()
    return call, draw(principals()), headers, document, {value: label for _, value, label in values}, frozenset(fixed)


class ChancyClient(FakeClient):
    """Every upstream fails now and then, in every way that makes the pipeline try elsewhere."""

    def __init__(self, trace: list[str], chance: random.Random, failing: float, streaming: bool) -> None:
        super().__init__(trace)
        self._streaming = streaming
        self._chance = chance
        self._failing = failing

    def exchange(self, endpoint) -> FakeExchange:
        self.scripts[endpoint.host] = [self._script()]
        return super().exchange(endpoint)

    def _script(self) -> Script:
        if self._chance.random() >= self._failing:
            if self._streaming:
                return Script(chunks=(EVENT, DONE), headers={b"content-type": b"text/event-stream"})
            return Script(body=ANSWER)
        return self._chance.choice(
            (
                Script(error=UpstreamUnreachable("refused", phase="connect")),
                Script(error=UpstreamClosed("closed", phase="head"), reused=True),
                Script(status=503),
                Script(status=429),
                Script(status=404),
                Script(body=b"<html>"),
                Script(
                    chunks=(UpstreamClosed("broke", phase="body"),), headers={b"content-type": b"text/event-stream"}
                ),
            )
        )


class Governed:
    """One request's passage: what the caller was told, what arrived where, what was recorded."""

    def __init__(self, in_force, call, principal, headers, document, chance: random.Random, failing: float) -> None:
        self.trace: list[str] = []
        self.writer = FakeWriter(self.trace)
        self.client = ChancyClient(self.trace, chance, failing, document["stream"])
        keys = FakeKeys()
        keys.principal = principal
        keys.live = chance.random() > 0.05
        clock, ids, metrics = FixedClock(), IdSource(), Metrics()
        pipeline = Pipeline(
            keys=keys,
            in_force=lambda: in_force,
            recorder=Recorder(self.writer, clock, ids, metrics),
            commitments=FakeCommitments(),
            client=self.client,
            router=Router(chance),
            in_flight_max=10,
            explain=lambda _, __: [],
            halts=Halts(),
        )
        peer = Peer("127.0.0.1", 1, None)
        request = InboundRequest("POST", "/", "", headers, orjson.dumps(document), peer)
        self.live = keys.live
        self.error: Exception | None = None
        try:
            self.status = asyncio.run(pipeline.serve(call, ids.new(NOW_US), request, FakeResponder(self.trace)))
        except (NotPermitted, UpstreamFailed, Unauthenticated, NotFound) as error:
            self.error, self.status = error, error.status

    def sent(self):
        """(deployment, target, document) in order."""
        return [(e.endpoint.host, e.target, orjson.loads(e.sent)) for e in self.client.exchanges if e.written]


class Oracle:
    """Judges one request against the declarations, from what the caller declared and what arrived."""

    def __init__(self, catalogue, own, principal, headers, labels, fixed) -> None:
        self._catalogue, self._own, self._principal = catalogue, own, principal
        self._labels, self._fixed = labels, fixed
        boundary = catalogue.boundary
        organisation = next((o for o in catalogue.organisations if o.name == principal.organisation), None)
        classes = [(organisation and organisation.default_class) or boundary.default_class]
        classes += [principal.data_class] if principal.data_class else []
        classes += [headers[b"x-sekisho-data-class"].decode()] if b"x-sekisho-data-class" in headers else []
        self._class = max(classes, key=CLASSES.index)
        named = organisation.default_residency if organisation else None
        residencies = [boundary.default_residency if named is None else named]
        residencies += [principal.residency] if principal.residency is not None else []
        if b"x-sekisho-residency" in headers:
            residencies.append(tuple(headers[b"x-sekisho-residency"].decode().split(", ")))
        everywhere = frozenset((*JURISDICTIONS, "anywhere"))
        self._residency = everywhere
        for codes in residencies:
            self._residency &= everywhere if "anywhere" in codes else frozenset(codes)

    def may(self, deployment: Deployment, action: str, labels: frozenset[str]) -> bool:
        home = frozenset(self._catalogue.boundary.home)
        asked = Asked(self._principal, action, deployment, labels, self._class, self._residency, home, NOW_US)
        return permits(asked, self._own, self._catalogue.boundary.packs)

    @property
    def all_labels(self) -> frozenset[str]:
        return frozenset(self._labels.values()) | self._fixed

    def arrived(self, document) -> tuple[str, frozenset[str]]:
        """(action, labels) of what arrived, by its bytes."""
        text = orjson.dumps(document).decode()
        readable = {value for value in self._labels if value in text}
        assert readable in (set(self._labels), set()), "partly redacted"
        if self._labels and not readable:
            assert not self._fixed, "redacted, though not all of it can be"
            return "sendRedacted", frozenset()
        return "sendRaw", self.all_labels

    def permitted(self, model: str) -> set[tuple[str, str]]:
        """Every (deployment, action) that may be."""
        found = set()
        for deployment in self._catalogue.deployments:
            if deployment.model == model:
                if self.may(deployment, "sendRaw", self.all_labels):
                    found.add((deployment.name, "sendRaw"))
                if self._labels and not self._fixed and self.may(deployment, "sendRedacted", frozenset()):
                    found.add((deployment.name, "sendRedacted"))
        return found


def judge(passage, oracle: Oracle, catalogue: Catalogue, asked, failing: float, tally: Counter) -> None:
    operation, document = asked
    by_name = {deployment.name: deployment for deployment in catalogue.deployments}
    actions = []
    for name, target, arrived in passage.sent():
        deployment = by_name[name]
        assert deployment.model == document["model"]
        assert arrived["model"] == deployment.upstream_model
        assert target == TARGETS[deployment.dialect].format(deployment.upstream_model, operation.path)
        action, labels = oracle.arrived(arrived)
        assert oracle.may(deployment, action, labels), f"{name} received what is forbidden: {action} {set(labels)}"
        actions.append({"action": action, "deployment": name})
    require_own_decisions(passage, actions)
    permitted = oracle.permitted(document["model"])
    if not permitted:
        assert isinstance(passage.error, NotPermitted)
        assert passage.sent() == []
    elif failing == 0 and passage.live:  # the other way round: what is permitted and works is not refused
        assert passage.status == 200, passage.error
    tally["denied" if not permitted else "permitted"] += 1
    tally["sent"] += len(actions)
    tally[f"sent {operation.name}"] += len(actions)
    tally["redacted"] += sum(1 for action in actions if action["action"] == "sendRedacted")
    tally["tried again"] += len(actions) > 1
    tally["some forbidden"] += bool(actions) and len({name for name, _ in permitted}) < sum(
        1 for deployment in catalogue.deployments if deployment.model == document["model"]
    )


def require_own_decisions(passage: Governed, actions) -> None:
    """Each send comes after its own decision, durable, which names that deployment and that action."""
    decisions = iter(passage.writer.bodies("decision"))
    expected = iter(actions)
    decided = None
    for step in passage.trace:
        if step == "decision":
            decided, durable = next(decisions), False
        elif step == "durable":
            durable = True
        elif step.startswith("send "):
            assert decided is not None, "a send without a decision of its own"
            assert durable
            assert decided["chosen"] == next(expected)
            decided = None


def run(data_max: int, derandomize: bool, root: Path) -> Counter:
    inspector = compile_inspector(rules_bytes(("jp",)))
    store = SnapshotStore(root, make_inspector=lambda _: inspector, make_decider=CedarDecider)
    tally: Counter = Counter()

    @settings(
        max_examples=data_max,
        derandomize=derandomize,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(worlds(), st.lists(requests(), min_size=2, max_size=6), st.integers(0, 2**32), st.sampled_from((0.0, 0.6)))
    def never(world, asked, seed, failing):
        catalogue, own = world
        text = "".join(annotated(policy, number) for number, policy in enumerate(own))
        built = build_snapshot(
            catalogue,
            (PolicyText("policies/own.cedar", text),),
            inspection_rules=rules_bytes(("jp",)),
            labels=inspector.labels(),
            compile_policies=compile_policies,
        )
        in_force = put_in_force(store.load(store.save(built), NOW_US), root, SignIns(None, FixedClock()))
        chance = random.Random(seed)
        for call, principal, headers, document, labels, fixed in asked:
            oracle = Oracle(catalogue, own, principal, headers, labels, fixed)
            passage = Governed(in_force, call, principal, headers, document, chance, failing)
            judge(passage, oracle, catalogue, (call.operation, document), failing, tally)

    never()
    return tally


@pytest.mark.parametrize(
    ("examples", "derandomize"), [pytest.param(200, True), pytest.param(3000, False, marks=pytest.mark.long)]
)
def test_no_deployment_receives_what_its_policy_forbids(tmp_path, examples, derandomize):
    tally = run(examples, derandomize, tmp_path / "snapshots")
    # Else the generators would have drifted to where nothing can be seen.
    counted = ("denied", "permitted", "sent", "redacted", "tried again", "some forbidden")
    for what in (*counted, *(f"sent {operation.name}" for operation in OPERATIONS)):
        assert tally[what] >= examples // 50, f"{what}: {tally}"
