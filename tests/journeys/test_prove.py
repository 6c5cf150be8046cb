"""`sekisho prove`: what holds, counter-examples that explain accepts, statements that declarations must keep."""

import json
import shlex

import pytest

from journeys.installation import Installation, inside, sekisho

ABROAD = """
model = "abroad"
provider = "local"
type = "openai-compatible"
url = "https://a.example/v1"
[facts]
processing = { value = ["JP"], grade = "contractual", source = "contract 7" }
storage = ["JP"]
"""
OWN = """
@id("own.masked") @title("My Numbers leave masked only") @title_ja("マイナンバーは伏せて送信します")
forbid (principal, action == Action::"sendRaw", resource)
when { context.labels.contains(Label::"jp.my_number") };
"""
STATEMENT = """
[[statements]]
id = "confidential-at-home"
title = "Confidential data are processed at home"
title_ja = "機密データは国内で処理されます"
text = "{text}"
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    installation = Installation(tmp_path_factory.mktemp("prove") / "site")
    installation.declare("models", "abroad", 'title = "Abroad"\n')
    installation.declare("deployments", "abroad", ABROAD)
    policies = installation.root / "declarations" / "policies"
    (policies / "own.cedar").write_text(OWN, encoding="utf-8")
    return installation


def proved(installation, *words, code=0):
    done = inside("prove", *words, installation.root, "--declarations", "--json", check=False)
    assert done.returncode == code, done.stderr
    (proof,) = json.loads(done.stdout)["proofs"]
    return proof


def test_what_holds_is_said_with_what_was_enumerated(installation):
    proof = proved(installation, "no label:secret.api_key and raw to processing within JP")
    assert (proof["outcome"], proof["deployments"], proof["counter_example"]) == ("holds", 2, None)
    assert proof["cases"] > 100
    assert "context.residency" in proof["reads"]
    words = ("no data to processing unknown", installation.root, "--declarations")
    said = sekisho("prove", *words, "--language", "ja").stdout
    assert said.startswith("成立：")
    assert "配備先：登録 2" in said


def test_a_counter_example_is_a_request_that_explain_says_is_permitted(installation):
    """More of them, in one process: tests/unit/app/test_app_prove.py."""
    example = proved(installation, "no redacted and label:jp.my_number to model:abroad", code=3)["counter_example"]
    said = json.loads(sekisho("explain", installation.root, *example["command"], "--json").stdout)
    (verdict,) = [one["redacted"] for one in said["deployments"] if one["name"] == "abroad"]
    assert verdict["permitted"]
    assert [policy["id"] for policy in verdict["policies"]] == example["permits"]
    assert said["assumed"]["labels"] is True


def test_declarations_that_break_a_statement_are_refused_with_the_counter_example(installation):
    file = installation.root / "declarations" / "statements.toml"
    try:
        file.write_text(STATEMENT.format(text="no class:confidential+ to processing outside JP"), encoding="utf-8")
        assert "no mistakes" in sekisho("check", installation.root).stdout
        assert proved(installation, "--all")["id"] == "confidential-at-home"
        file.write_text(STATEMENT.format(text="no class:confidential+ to model:abroad"), encoding="utf-8")
        checked = sekisho("check", installation.root, check=False)
        assert checked.returncode == 1
        assert "statements.toml: confidential-at-home\n    does not hold" in checked.stdout
        command = shlex.split(checked.stdout.partition("see: ")[2].splitlines()[0])
        assert command[:2] == ["sekisho", "explain"]
        assert sekisho(*command[1:], "--language", "en").stdout.startswith("WOULD BE SENT, as it is, to: abroad")
        file.write_text(STATEMENT.format(text="no class:confidental to model:abroad"), encoding="utf-8")
        assert "there is no class 'confidental'" in sekisho("check", installation.root, check=False).stdout
    finally:
        file.unlink()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "say what to prove"),
        (("no data to nowhere",), "       ^^^^^^^\nSay deployment:"),
    ],
)
def test_wrong_words_say_what_would_be_right(installation, words, says):
    refused = sekisho("prove", *words, check=False, cwd=installation.root)
    assert refused.returncode == 2
    assert says in refused.stderr
