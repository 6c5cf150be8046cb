"""Proving over a data directory: counter-examples are requests that explain permits, now or when a fact has ended."""

import threading

import msgspec
import pytest

from sekisho.app.explanation import Explainer
from sekisho.app.installation import (
    DeclarationsRefused,
    Listen,
    check_declarations,
    create_installation,
    put_declarations_in_force,
)
from sekisho.app.prove import ProofUnderWay, Proving
from sekisho.catalog.interfaces import Exemption
from sekisho.cli.prove import EXIT_FAILS, EXIT_OPEN, _described, exit_status
from sekisho.console.interfaces import ExplainAsked
from sekisho.console.routes import _Request as Request
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import UsageError
from sekisho.settings import DataDirectory

ABROAD = 'model = "abroad"\nprovider = "local"\ntype = "openai-compatible"\nurl = "https://a.example/v1"\n[facts]\n'
OWN = """
@id("own.open") @title("Research may use whatever it likes") @title_ja("研究部門は何でも利用できます")
permit (principal in Role::"research", action in [Action::"sendRaw", Action::"sendRedacted"], resource)
when { context.class_rank < 2 && context.staleness.policy_days > 30 };
@id("own.one") @title("One may do this") @title_ja("特定の利用者")
permit (principal == Principal::"cert-7", action == Action::"sendRaw", resource);
@id("own.masked") @title("My Numbers leave masked only") @title_ja("マイナンバーは伏せて送信します")
forbid (principal, action == Action::"sendRaw", resource)
when { context.labels.contains(Label::"jp.my_number") };
@id("own.shared") @title("Nothing to dedicated capacity") @title_ja("専有環境には送信しません")
forbid (principal, action, resource == Deployment::"dedicated")
when { resource.tenancy == Tenancy::"dedicated" };
"""
STATEMENT = '[[statements]]\nid = "s"\ntitle = "t"\ntitle_ja = "題"\ntext = "{text}"\n'


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    root = tmp_path_factory.mktemp("prove") / "site"
    create_installation(root, Listen())
    directory = DataDirectory(root)
    tree = directory.declarations
    (tree / "models" / "abroad.toml").write_text('title = "Abroad"\n')
    (tree / "deployments" / "abroad.toml").write_text(ABROAD + 'processing = ["JP"]\nstorage = ["JP"]\n')
    facts = 'processing = ["JP"]\ntenancy = { value = "dedicated", expires = 2199-01-01 }\n'
    (tree / "deployments" / "dedicated.toml").write_text(ABROAD + facts)
    (tree / "policies" / "own.cedar").write_text(OWN, encoding="utf-8")
    put_declarations_in_force(directory)
    return directory


@pytest.fixture(scope="module")
def explainer(directory):
    return Explainer(directory, SystemClock())


def asked_of(body):
    """What the console makes of the body that a counter-example gives for POST /api/explain."""
    request = msgspec.json.decode(msgspec.json.encode(body), type=Request)
    return ExplainAsked(
        bytes(request.request), None, request.organisation, request.roles, request.data_class, request.residency,
        request.declarations, request.labels, request.labels_left, request.principal,
        tuple(sorted(request.staleness.items())), request.at,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "form"),
    [
        ("no class:confidential+ to model:abroad", "raw"),
        ("no label:opaque", "raw"),
        ("no redacted to processing within JP", "redacted"),
        ("no redacted and label:jp.my_number", "redacted"),
        ("no policy older than 30 from role:research and not role:caller", "raw"),
        ("no data from not role:caller and not role:research", "raw"),
        ("no residency within JP from not role:auditor to deployment:abroad", "raw"),
        ("no data to deployment:dedicated", "raw"),
    ],
)
def test_a_counter_example_is_permitted_where_it_is_explained(directory, explainer, statement, form):
    (proof,) = Proving(directory, SystemClock()).prove(statement)["proofs"]
    example = proof["counter_example"]
    assert proof["outcome"] == "fails"
    said = explainer.explain(asked_of(example["explain"]))
    (verdict,) = [one[form] for one in said["deployments"] if one["name"] == example["deployment"]]
    assert verdict["permitted"]
    assert [policy["id"] for policy in verdict["policies"]] == list(example["permits"])
    assert said["labels"]["raw"] == example["labels"]
    assert bool(example["at"]) is ("dedicated" in statement)


def test_statements_are_proved_with_the_declarations_and_keep_them_from_force(directory):
    file = directory.declarations / "statements.toml"
    try:
        file.write_text(STATEMENT.format(text="no class:confidential+ to model:abroad"), encoding="utf-8")
        (mistake,) = check_declarations(directory).mistakes
        assert (mistake.file, mistake.key) == ("statements.toml", "s")
        assert "own.one permit class confidential with no labels" in mistake.problem
        with pytest.raises(DeclarationsRefused):
            put_declarations_in_force(directory)
        (proof,) = Proving(directory, SystemClock()).prove(None, declarations=True)["proofs"]
        assert (proof["id"], proof["outcome"]) == ("s", "fails")
        asked = asked_of(proof["counter_example"]["explain"])
        assert Explainer(directory, SystemClock()).explain(asked)["outcome"]["permitted"]
        file.write_text(STATEMENT.format(text="no data to processing outside JP"), encoding="utf-8")
        assert check_declarations(directory).mistakes == []
    finally:
        file.unlink()
    with pytest.raises(UsageError, match="no statement is declared"):
        Proving(directory, SystemClock()).prove(None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (STATEMENT.format(text="no clas:x"), "is not something about data, at 'clas:x'"),
        (STATEMENT.format(text="no data") + STATEMENT.format(text="no data"), "stands twice"),
        (STATEMENT.format(text="no data").replace("text", "txt"), "is not a known key"),
        (STATEMENT.format(text="no data").replace('"s"', '"S!"'), "is not a name"),
        ("statements = 1", "are no list of tables"),
    ],
)
def test_statements_that_can_not_be_read_are_mistakes(directory, text, says):
    file = directory.declarations / "statements.toml"
    file.write_text(text, encoding="utf-8")
    try:
        assert any(says in mistake.problem for mistake in check_declarations(directory).mistakes)
    finally:
        file.unlink()


def test_exemptions_that_have_not_ended_are_named(directory, monkeypatch):
    digest, catalogue, parts = Proving(directory, SystemClock())._rules(False)
    now_us = SystemClock().now_us()
    exemptions = tuple(
        Exemption(name, "cd" * 32, "default", ("own.one",), ("internal",), until, "w", "c")
        for name, until in (("ended", now_us), ("trial", now_us + 3_600_000_000))
    )
    exempt = msgspec.structs.replace(catalogue, exemptions=exemptions)
    monkeypatch.setattr(Proving, "_rules", lambda *_: (digest, exempt, parts))
    found = Proving(directory, SystemClock()).prove("no data to model:abroad")
    assert found["exemptions"] == ["trial"]
    assert "proved without these exemptions: trial" in _described(found["proofs"][0], found, "site", "en")


def test_what_does_not_hold_tells_before_what_is_not_decided():
    assert exit_status(["holds", "undecided", "fails", "too_many"]) == EXIT_FAILS
    assert exit_status(["holds", "too_many"]) == EXIT_OPEN
    assert exit_status(["holds", "holds"]) == 0


def test_one_statement_is_proved_at_a_time(directory):
    entered, leave = threading.Event(), threading.Event()

    class Waiting(SystemClock):
        def now_us(self):
            entered.set()
            assert leave.wait(60)
            return super().now_us()

    proving = Proving(directory, Waiting())
    first = threading.Thread(target=proving.prove, args=("no data to processing unknown",))
    first.start()
    assert entered.wait(60)
    with pytest.raises(ProofUnderWay):
        proving.prove("no data")
    leave.set()
    first.join(60)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"labels": ("jp.my_numbr",)}, "there is no label 'jp.my_numbr'"),
        ({"labels_left": ()}, "but not what labels there are"),
        ({"staleness": (("polcy", 3),)}, "'polcy' can't be 3 days old"),
        ({"principal": "x", "key_id": "k"}, "a key brings its organisation"),
    ],
)
def test_what_can_not_be_supposed_is_refused(explainer, changes, says):
    body = b'{"model": "manual", "messages": [{"role": "user", "content": "x"}]}'
    with pytest.raises(UsageError) as refused:
        explainer.explain(ExplainAsked(body, **changes))
    assert says in str(refused.value)
