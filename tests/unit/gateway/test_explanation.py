"""What an explanation says, over a real decider and inspector; that it agrees with the gateway is a journey's."""

import json

import orjson
import pytest

from sekisho.catalog.interfaces import Fact, Grade, PolicyText
from sekisho.gateway.errors import BadRequest, NotFound, OrganisationStopped
from sekisho.gateway.explanation import Question, explain_request, explanation_bytes
from sekisho.identity.interfaces import KeyChanges, Principal, Stop
from sekisho.identity.stops import Stops
from sekisho.inspection.rules import compile_inspector, rules_bytes
from sekisho.policy.check import compile_policies
from sekisho.policy.engine import CedarDecider
from sekisho.policy.explain import explain
from sekisho.snapshot.build import build_snapshot
from sekisho.snapshot.store import SnapshotStore
from support_decide import ANYWHERE, catalogue, declared, deployment

NUMBER = "123456789018"
TEXT = f"個人番号は{NUMBER}です"
CALLER = Principal("key-k1", "default", ("caller",), None, None)
CONTRACT = Fact(("JP", "US"), Grade.CONTRACTUAL, "contract 7", None, 2_000_000_000_000_000)


KEEP = """
@id("keep") @title("t") @title_ja("題") @retain_days("30")
permit (principal, action == Action::"retain", resource)
unless { context.labels.contains(Label::"jp.my_number") };
"""


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return assembled(tmp_path_factory)


def assembled(tmp_path_factory, *policies):
    inspector = compile_inspector(rules_bytes(("jp",)))
    built = build_snapshot(
        catalogue(
            deployment("tokyo", processing=declared("JP"), storage=declared("JP")),
            deployment("both", processing=CONTRACT, storage=CONTRACT),
            deployment("world", model="n", processing=declared(*ANYWHERE)),
        ),
        policies,
        inspection_rules=rules_bytes(("jp",)),
        labels=inspector.labels(),
        compile_policies=compile_policies,
    )
    root = tmp_path_factory.mktemp("nothing-is-stored")
    store = SnapshotStore(root, make_inspector=compile_inspector, make_decider=CedarDecider)
    made = store.assemble(built, 1_000_000_000_000_000)
    assert list(root.iterdir()) == []
    return made


def outcome(action, deployments):
    return {
        "action": action,
        "deployments": deployments,
        "exemptions": (),
        "monitored": False,
        "permitted": True,
        "retain": [],
        "rewrite": [],
        "stopped": (),
    }


def explained(snapshot, text="hello", model="m", principal=CALLER, **headers):
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": text}]})
    names = {b"x-sekisho-" + name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return explain_request(Question(names, body, principal), snapshot, Stops(), explain)


def deployment_of(explanation, name):
    return next(item for item in explanation["deployments"] if item["name"] == name)


def test_it_says_which_policies_and_facts_decided_for_each_candidate(snapshot):
    said = explained(snapshot, TEXT)
    assert said["outcome"] == outcome("sendRaw", ("tokyo",))
    both = deployment_of(said, "both")
    assert [policy["id"] for policy in both["raw"]["policies"]] == ["jp-residency.processing", "jp-residency.my-number"]
    assert [policy["id"] for policy in both["redacted"]["policies"]] == ["jp-residency.processing"]
    assert both["facts"] == [
        {
            "expires": 2_000_000_000_000_000,
            "grade": "contractual",
            "name": "processing",
            "observed_at": None,
            "source": "contract 7",
            "value": ("JP", "US"),
        }
    ]
    policy = both["raw"]["policies"][0]
    assert policy["reads"] == {"deployment": ("processing",), "request": ("residency",)}
    assert policy["title_ja"]
    assert policy["file"].endswith("20_places.cedar")
    assert deployment_of(said, "tokyo")["facts"] == []  # its permit looks at none


def test_it_says_where_class_and_residency_came_from(snapshot):
    key = Principal("key-k1", "default", ("caller",), "confidential", ("JP", "US"))
    said = explained(snapshot, principal=key, data_class="internal", residency="US")
    assert said["class"] == {
        "from": [
            {"by": "boundary", "value": "internal"},
            {"by": "key", "value": "confidential"},
            {"by": "request", "value": "internal"},
        ],
        "value": "confidential",
    }
    assert [item["by"] for item in said["residency"]["from"]] == ["boundary", "key", "request"]
    assert said["residency"]["value"] == ()
    assert not said["outcome"]["permitted"]
    assert all("no jurisdiction is left" in item["raw"]["errors"][0] for item in said["deployments"])


def test_it_says_what_would_be_kept(tmp_path_factory):
    keeping = assembled(tmp_path_factory, PolicyText("policies/keep.cedar", KEEP))
    kept = [{"days": 30, "deployment": "tokyo", "policies": ("keep",)}]
    assert explained(keeping)["outcome"]["retain"] == kept
    assert explained(keeping, TEXT)["outcome"]["retain"] == []  # it would leave with the number in it
    assert explained(keeping, residency="US")["outcome"]["retain"] == []  # nothing would be sent


def test_redaction_is_explained_as_far_as_it_helps(snapshot):
    said = explained(snapshot, TEXT, residency="JP")
    assert said["labels"]["raw"] == ("jp.my_number",)
    assert said["labels"]["redacted"] == ()
    assert said["labels"]["redactable"]
    key = explained(snapshot, "sk-" + "a" * 20 + "T3BlbkFJ" + "b" * 20)
    assert key["labels"]["raw"] == ("secret.api_key",)
    assert key["outcome"] == {
        "action": "sendRedacted",
        "deployments": ("tokyo",),
        "exemptions": (),
        "monitored": False,
        "permitted": True,
        "retain": [],
        "rewrite": [],
        "stopped": (),
    }


def test_the_value_itself_is_nowhere(snapshot):
    said = explained(snapshot, TEXT)
    assert NUMBER not in explanation_bytes(said).decode()
    (found,) = said["labels"]["found"]
    assert (found["path"], found["excerpt"]) == ("$.messages[0].content", "個人番号は[jp.my_number]です")


def test_anywhere_is_a_word_and_no_list(snapshot):
    world = deployment_of(explained(snapshot, model="n"), "world")
    assert [fact["value"] for fact in world["facts"]] == [("anywhere",)]


def test_without_a_role_nothing_is_permitted_and_no_policy_decided(snapshot):
    said = explained(snapshot, principal=CALLER._replace(roles=("nobody",)))
    tokyo = deployment_of(said, "tokyo")
    assert tokyo["raw"] == {"errors": (), "exempted": [], "exemptions": (), "permitted": False, "policies": []}
    assert tokyo["facts"] == []
    assert any("no policy permits it" in sentence for sentence in said["words"]["en"])
    assert said["words"]["ja"]


@pytest.mark.parametrize(
    ("change", "error"),
    [({"model": "x"}, NotFound), ({"data_class": "secret"}, BadRequest), ({"residency": "XX"}, BadRequest)],
)
def test_what_is_answered_before_deciding_is_raised(snapshot, change, error):
    with pytest.raises(error):
        explained(snapshot, **change)


def test_it_is_json(snapshot):
    said = json.loads(explanation_bytes(explained(snapshot, TEXT)))
    assert sorted(said) == [
        "assumed", "class", "deployments", "epoch_from", "epoch_until", "labels", "model", "operation", "outcome",
        "principal", "residency", "snapshot", "words",
    ]  # fmt: skip


def test_stopped_deployments_are_left_out_and_a_stopped_organisation_is_refused(snapshot):
    body = orjson.dumps({"model": "m", "input": TEXT})
    stops = Stops()
    stops.apply(KeyChanges(1, (), (Stop("deployment", "tokyo", "", 1, None, 1),)))
    said = explain_request(Question({}, body, CALLER), snapshot, stops, explain)
    assert said["operation"] == "embeddings"
    assert said["outcome"]["permitted"]
    assert said["outcome"]["stopped"] == ("tokyo",)
    assert "tokyo" not in said["outcome"]["deployments"]
    stops.apply(KeyChanges(2, (), (Stop("organisation", "default", "", 2, None, 2),)))
    with pytest.raises(OrganisationStopped):
        explain_request(Question({}, body, CALLER), snapshot, stops, explain)
