"""`sekisho plan` and `sekisho shadow` over a real gateway's traffic: what a person sees before rules come in force."""

import json
import shutil
from fractions import Fraction

import httpx
import pytest

from journeys.installation import Installation, get, inside, sekisho, until
from sekisho.app.shadow import shadow_state
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.log_files import LogFiles
from sekisho.settings import DataDirectory

RULE = """@id("no-confidential")
@title("Confidential data stays out of models")
@title_ja("機密データはモデルに送信できません")
forbid (principal, action, resource) when { context.class_rank >= 2 };
"""
ABROAD = """model = "manual"
provider = "cloud"
type = "openai-compatible"
url = "https://a.example/v1"
[facts]
processing = { value = ["JP"], grade = "contractual", source = "contract 7" }
storage = { value = ["US"], grade = "contractual", source = "contract 7" }
"""
NUMBER = "123456789018"


def ask(site, text="hello", data_class=None, model="manual"):
    headers = {"authorization": f"Bearer {site.key}"}
    if data_class:
        headers["x-sekisho-data-class"] = data_class
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.post(f"{site.base}/v1/chat/completions", json=body, headers=headers)


def entries(site):
    files = LogFiles(site.root / "ledger")
    size = read_checkpoint(files.checkpoint()).size
    return [json.loads(one) for _, some in files.entries(0, size) for one in some]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Installation(tmp_path_factory.mktemp("plan") / "site") as site:
        site.start()
        for _ in range(3):
            assert ask(site).status_code == 200
        assert ask(site, data_class="confidential").status_code == 200
        last = ask(site, f"個人番号は{NUMBER}です").headers["x-sekisho-receipt"]
        site.receipt(last)  # merged, and with it all before
        yield site


@pytest.fixture(scope="module")
def proposed(site, tmp_path_factory):
    """A tree that forbids a class, and adds a deployment elsewhere."""
    tree = tmp_path_factory.mktemp("proposed") / "declarations"
    shutil.copytree(site.root / "declarations", tree)
    (tree / "policies" / "class.cedar").write_text(RULE)
    (tree / "providers" / "cloud.toml").write_text('title = "Cloud"\n')
    (tree / "deployments" / "abroad.toml").write_text(ABROAD)
    return tree


def plan(site, *words, **kwargs):
    done = inside("plan", site.root, "--json", "--from-time", "2020-01-01", *words, **kwargs)
    return json.loads(done.stdout)


def test_the_declarations_in_force_change_nothing(site):
    said = plan(site)
    assert (said["requests"], said["changed"], said["differences"]) == (5, 0, [])
    assert said["fates"]["recorded"] == said["fates"]["before"] == said["fates"]["after"] == {"raw": 5}
    assert said["unreadable"] == 0


def test_a_proposal_is_told_in_words_and_numbers(site, proposed):
    said = plan(site, "--declarations", proposed)
    assert (said["newly_denied"], said["newly_permitted"], said["changed"]) == (1, 4, 5)
    assert [(one["kind"], one["name"], one["what"]) for one in said["differences"]] == [
        ("providers", "cloud", "added"),
        ("deployments", "abroad", "added"),
        ("policies", "no-confidential", "added"),
    ]
    (denied,) = [one for one in said["listed"] if one["after"] == "denied"]
    assert denied["class"] == "confidential"
    assert "no-confidential" in denied["causes"]
    assert {one["name"]: (one["before"], one["after"], one["new"]) for one in said["deployments"]} == {
        "abroad": (0, 4, True),
        "manual-local": (5, 4, False),
    }
    words = ("--declarations", proposed, "--from-time", "2020-01-01")
    english = sekisho("plan", site.root, *words, "--language", "en").stdout
    assert "policy no-confidential: added (Confidential data stays out of models)" in english
    assert "1: permitted as they are → denied" in english
    assert denied["request"] in english
    japanese = sekisho("plan", site.root, *words, "--language", "ja").stdout
    assert "ポリシー no-confidential: 追加 (機密データはモデルに送信できません)" in japanese
    assert NUMBER not in english + japanese + json.dumps(said)


def test_a_pipeline_can_fail_on_what_would_be_denied(site, proposed):
    words = ("plan", site.root, "--declarations", proposed, "--from-time", "2020-01-01")
    assert sekisho(*words, "--fail-on-denied", 0, check=False).returncode == 3


def test_what_would_go_unserved_without_a_provider(site, proposed):
    said = plan(site, "--without", "provider:local")
    assert said["removed"] == ["manual-local"]
    without = said["without"]
    assert (without["unserved"]["requests"], without["used"]["requests"], without["elsewhere"]["requests"]) == (5, 5, 0)
    assert without["unserved"]["organisations"] == {"default": 5}
    assert without["unserved"]["tokens"] > 0
    elsewhere = plan(site, "--declarations", proposed, "--without", "deployment:manual-local")["without"]
    assert elsewhere["elsewhere"]["requests"] == 4  # all but the confidential one
    (costs,) = elsewhere["costs"]
    assert (costs["organisation"], costs["model"], costs["requests"], costs["unserved"]) == ("default", "manual", 5, 1)
    assert (costs["used"]["not_priced"], costs["cheapest"]["not_priced"]) == (5, 4)


def test_what_it_would_cost_without_a_deployment(site, proposed, tmp_path):
    tree = tmp_path / "declarations"
    shutil.copytree(proposed, tree)
    for name, prompt, completion in (("manual-local", "300", "1200.5"), ("abroad", '"500"', "0")):
        with (tree / "deployments" / f"{name}.toml").open("a") as file:
            file.write(f'\n[price]\ncurrency = "JPY"\nprompt = {prompt}\ncompletion = {completion}\n')
    words = ("--declarations", tree, "--without", "deployment:manual-local")
    (costs,) = plan(site, *words)["without"]["costs"]
    prompt, completion = costs["tokens_prompt"], costs["tokens_completion"]
    used = Fraction(costs["used"]["amounts"]["JPY"])
    assert used == (300 * prompt + Fraction("1200.5") * completion) / 1_000_000 > 0
    assert costs["cheapest"]["deployments"] == {"abroad": 4}
    assert costs["difference"]["requests"] == 4


def test_another_gateways_log_is_replayed_and_its_content_stays_out(site, tmp_path):
    log = tmp_path / "spend.jsonl"
    row = {"request_id": "r-1", "startTime": "2026-11-20T01:02:03Z", "model_group": "gpt", "team_id": "team-a"}
    row |= {"prompt_tokens": 3, "completion_tokens": 4, "status": "success"}
    row |= {"messages": json.dumps([{"role": "user", "content": "-----BEGIN PRIVATE KEY-----\nMIIB"}])}
    log.write_text(json.dumps(row) + "\n" + json.dumps(row | {"request_id": "r-2", "messages": "{}"}) + "\n")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('format = "litellm"\n[model]\ndefault = "manual"\n[model.values]\ngpt = "manual"\n'
                       '[organisation.values]\nteam-a = "default"\n')  # fmt: skip
    done = sekisho("plan", site.root, "--from", log, "--mapping", mapping, "--json")
    said = json.loads(done.stdout)
    assert (said["requests"], said["newly_denied"], said["without_content"]) == (2, 0, 1)
    (masked,) = said["listed"]
    assert (masked["request"], masked["before"], masked["after"]) == ("r-1", "raw", "redacted")
    assert masked["labels"] == ["secret.private_key"]
    assert "BEGIN" not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def console(site):
    """A session of an operator at control, for programs."""
    token = sekisho("console", "token", site.root).stdout.strip().rpartition("#")[2]
    with httpx.Client(base_url=site.control, headers={"origin": site.control}, trust_env=False, timeout=120) as client:
        assert client.post("/sign-in", data={"token": token}).status_code == 303
        yield client


def test_a_plan_over_http_says_what_the_command_says(site, proposed, console):
    files = {str(file.relative_to(proposed)): file.read_text() for file in proposed.rglob("*") if file.is_file()}
    answer = console.post("/api/plan", json={"declarations": files, "from": "2020-01-01"})
    assert answer.status_code == 200
    said, over_http = plan(site, "--declarations", proposed), answer.json()
    assert over_http | {"to": ""} == said | {"to": ""}  # both are up to now
    broken = console.post("/api/plan", json={"declarations": files | {"policies/broken.cedar": "permit ("}})
    assert broken.status_code == 409
    assert {one["file"] for one in broken.json()["mistakes"]} == {"policies/broken.cedar"}
    unknown = console.post("/api/plan", json={"without": ["provider:nobody"]})
    assert unknown.status_code == 400
    assert "There is: " in unknown.json()["error"]["message"]
    assert not (site.root / "run" / "plan").exists()
    assert httpx.post(f"{site.control}/api/plan", json={}, headers={"origin": site.control}).status_code == 401


def test_a_shadow_judges_live_traffic_and_decides_nothing(site, proposed, console):
    sekisho("shadow", site.root, "--declarations", proposed)

    def compared():
        return shadow_state(DataDirectory(site.root))

    until(compared, what="control's taking up of the shadow")
    refused_there = ask(site, data_class="confidential")
    assert refused_there.status_code == 200  # the shadow would deny it
    assert refused_there.headers["x-sekisho-deployment"] == "manual-local"
    assert ask(site).status_code == 200
    until(lambda: compared().decisions == 2, what="the comparison of both requests")
    told = json.loads(sekisho("shadow", site.root, "status", "--json").stdout)
    assert told["differences"] == 2
    assert console.get("/api/shadow").json() | {"cursor": 0} == told | {"cursor": 0}  # which goes on
    assert told["changes"] == {"raw->denied": 1, "routes": 1}
    named = {one["change"]: one for one in told["listed"]}
    assert named["raw->denied"]["request"] == refused_there.headers["x-sekisho-receipt"]
    assert "no-confidential" in named["raw->denied"]["causes"]
    words = sekisho("shadow", site.root, "status", "--language", "ja").stdout
    assert "機密データはモデルに送信できません [no-confidential]" in words
    metrics = get(f"{site.control}/metrics")[1].decode()
    assert 'sekisho_shadow_differences_total{change="raw->denied"} 1.0' in metrics
    assert "sekisho_shadow_decisions_total 2" in metrics

    def observed():
        return [one for one in entries(site) if one["body"].get("observed") == "shadow.differences"]

    (entry,) = until(observed, what="the observation's entry")
    assert entry["kind"] == "observation"
    assert entry["body"]["shadow"] == told["digest"]
    assert set(entry["body"]) == {"changes", "differences", "observed", "requests", "shadow"}
    sekisho("shadow", site.root, "off")
    until(lambda: compared() is None, what="the end of the account")
    assert ask(site).status_code == 200
    until(lambda: "sekisho_shadow_set" not in get(f"{site.control}/metrics")[1].decode(), what="the shadow's end")


def test_the_acts_are_in_the_ledger_and_the_log_still_holds(site):
    """An audit of everything: the acts and observations of a shadow are entries like any others."""

    def acts():
        bodies = [one["body"] for one in entries(site)]
        return [body["act"] for body in bodies if body.get("act") in ("shadow.set", "shadow.off")]

    until(lambda: len(acts()) == 2, what="the entries of both acts")
    assert acts() == ["shadow.set", "shadow.off"]
    done = until(
        lambda: (d := sekisho("audit", site.root, "--json", check=False)).returncode == 0 and d, what="a whole audit"
    )
    assert json.loads(done.stdout)["holds"]
