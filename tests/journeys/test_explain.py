"""`sekisho explain`: with nothing running, with declarations that are not in force yet, and on bad words."""

import json

import pytest

from journeys.installation import Installation, inside, sekisho

NUMBER = "123456789018"
ABROAD = """
model = "abroad"
provider = "local"
type = "openai-compatible"
url = "https://a.example/v1"
[facts]
processing = { value = ["JP", "US"], grade = "contractual", source = "contract 7" }
"""


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    return Installation(tmp_path_factory.mktemp("explain") / "site")


def explained(installation, *words, **kwargs):
    return json.loads(inside("explain", installation.root, "--json", *words, **kwargs).stdout)


def test_it_answers_in_both_languages_with_nothing_running(installation):
    words = ("--model", "manual", "--text", f"個人番号は{NUMBER}です")
    english = sekisho("explain", installation.root, *words, "--language", "en").stdout
    assert english.startswith("WOULD BE SENT, as it is, to: manual-local")
    assert "$.messages[0].content  個人番号は[jp.my_number]です" in english
    assert "packs/jp-residency/10_callers.cedar" in english
    japanese = sekisho("explain", installation.root, *words, "--language", "ja").stdout
    assert japanese.startswith("送信されます")
    assert NUMBER not in english + japanese


def test_a_key_asks_as_itself_until_it_is_revoked(installation):
    made = sekisho("keys", "create", "--name", "x", "--residency", "US", "--dir", installation.root)
    key = made.stderr.split()[1]
    said = explained(installation, "--model", "manual", "--text", "x", "--key-id", key)
    assert said["principal"]["id"] == f"key-{key}"
    assert said["residency"] == {
        "from": [{"by": "boundary", "value": ["JP"]}, {"by": "key", "value": ["US"]}],
        "value": [],
    }
    assert not said["outcome"]["permitted"]
    sekisho("keys", "revoke", key, "--dir", installation.root)
    refused = sekisho("explain", installation.root, "--model", "manual", "--text", "x", "--key-id", key, check=False)
    assert refused.returncode == 2
    assert "revoked" in refused.stderr


def test_declarations_are_explained_before_they_are_in_force(installation):
    installation.declare("models", "abroad", 'title = "Abroad"\n')
    installation.declare("deployments", "abroad", ABROAD)
    words = ("--model", "abroad", "--text", "x", "--organisation", "default", "--role", "caller")
    now = sekisho("explain", installation.root, *words, check=False)
    assert now.returncode == 1
    assert "does not exist" in now.stderr
    said = explained(installation, *words, "--declarations")
    assert [fact["source"] for fact in said["deployments"][0]["facts"]] == ["contract 7"]
    assert (installation.root / "snapshots" / "current").read_text().strip() != said["snapshot"]
    installation.declare("models", "broken", "nonsense")
    assert "mistake" in sekisho("explain", installation.root, *words, "--declarations", check=False).stderr


def test_a_request_is_read_as_the_gateway_reads_it(installation, tmp_path):
    body = {"model": "manual", "messages": [{"role": "user", "content": "x"}], "tools": [{"type": "web_search"}]}
    file = tmp_path / "request.json"
    file.write_text(json.dumps(body))
    said = explained(installation, "--request", file)
    assert said["labels"]["found"] == [{"excerpt": "", "kind": "structure", "label": "egress.tool", "path": "$.tools"}]
    assert not said["outcome"]["permitted"]
    assert explained(installation, "--request", "-", input=file.read_text()) == said
    file.write_text('{"model": "manual"}')
    refused = sekisho("explain", installation.root, "--request", file, check=False)
    assert (refused.returncode, "messages" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "--request FILE"),
        (("--text", "x"), "--model"),
        (("--text", "x", "--model", "manual", "--request", "x"), "or two"),
        (("--text", "x", "--model", "manual", "--organisation", "x"), "There is: default"),
        (("--text", "x", "--model", "manual", "--key-id", "x"), "keys list"),
        (("--text", "x", "--model", "manual", "--key-id", "x", "--role", "y"), "brings its organisation"),
    ],
)
def test_wrong_words_say_what_would_be_right(installation, words, says):
    refused = inside("explain", installation.root, *words, check=False)
    assert refused.returncode == 2
    assert says in refused.stderr
