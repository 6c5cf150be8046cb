"""Facts with evidence, with real processes: what Azure says of a deployment raises its facts, and drift takes away."""

import asyncio
import json

import httpx
import pytest

from journeys.callers import ask
from journeys.installation import Installation, sekisho, until
from journeys.published_log import require_log_holds, require_well_formed
from journeys.scripted_azure import ACCOUNT, SECRET, TENANT, ScriptedAzure

DEPLOYMENT = """
model = "gpt"
provider = "azure"
type = "Standard"
region = "japaneast"
url = "{azure}"
dialect = "azure"
api_version = "2024-10-21"
upstream_model = "tokyo"
credential = {{ env = "HOME" }}

[management]
kind = "azure"
resource = "{account}"
url = "{azure}"

[management.sign_in]
kind = "entra"
tenant = "{tenant}"
client_id = "22222222-3333-4444-5555-666666666666"
secret = {{ file = "keys/azure-secret" }}
authority = "{azure}"
"""
OBSERVED_ONLY = """
@id("own.observed")
@title("Where it processes was not observed")
@title_ja("処理場所が確認されていません")
forbid (principal, action, resource)
unless { resource.processing_grade >= 3 };
"""
DOCUMENT = {"model": "gpt", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def azure():
    with ScriptedAzure({"osaka": "GlobalStandard", "tokyo": "Standard"}) as azure:
        yield azure


@pytest.fixture(scope="module")
def site(tmp_path_factory, azure):
    """Running, probing every second."""
    with Installation(tmp_path_factory.mktemp("facts") / "site") as site:
        secret = site.root / "keys" / "azure-secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        site.declare("models", "gpt", 'title = "GPT"\n')
        site.declare("providers", "azure", 'title = "Azure"\n')
        text = DEPLOYMENT.format(azure=azure.url, account=ACCOUNT, tenant=TENANT)
        site.declare("deployments", "gpt-tokyo", text)
        site.declare("policies", "observed", OBSERVED_ONLY)
        site.setting("probes", "interval_seconds", 1)
        settings = site.root / "sekisho.toml"
        settings.write_text(settings.read_text().replace("enabled = false\n", "enabled = true\n"))
        site.apply()
        site.start()
        yield site


def question(site, headers=""):
    return asyncio.run(ask(site.gateway_port, site.key, DOCUMENT, headers))


def last_round(site):
    """What control has left word of after its last round."""
    return json.loads((site.root / "run" / "probes.json").read_text())


def test_what_azure_confirms_is_observed_within_a_cycle(site, azure):
    until(lambda: question(site).status == 200, what="a fact that is graded observed")
    listed = json.loads(sekisho("models", "list", "--dir", site.root, "--json").stdout)
    [deployment] = next(model for model in listed if model["name"] == "gpt")["deployments"]
    assert deployment["processing"] == ["JP"]
    assert deployment["grade"] == "observed"
    assert azure.lists > 0


def test_a_type_that_changes_in_azure_denies_within_a_cycle(site, azure):
    azure.skus["tokyo"] = "GlobalStandard"
    refusal = until(lambda: (one := question(site)).status == 403 and one, what="the denial")
    assert b"may process data outside the jurisdictions" in refusal.body
    explained = json.loads(
        sekisho("explain", site.root, "--model", "gpt", "--text", "hi", "--json", "--organisation", "default").stdout
    )
    [deployment] = explained["deployments"]
    processing = next(fact for fact in deployment["facts"] if fact["name"] == "processing")
    assert processing["value"] == ["anywhere"]
    assert processing["grade"] == "declared"
    assert "GlobalStandard" in processing["source"]


def test_the_console_tells_it_to_who_is_signed_in(site):
    token = sekisho("console", "token", site.root, "--role", "auditor").stdout.strip().partition("#")[2]
    with httpx.Client(base_url=site.control, trust_env=False, headers={"origin": site.control}) as client:
        assert client.get("/api/facts").status_code == 401
        assert client.post("/sign-in", data={"token": token}).status_code == 303
        told = {one["name"]: one["facts"]["processing"] for one in client.get("/api/facts").json()}
        front, page = client.get("/?lang=en").text, client.get("/facts?lang=en").text
    assert told["gpt-tokyo"]["lowered"]
    assert told["gpt-tokyo"]["value"] == ["anywhere"]
    assert told["manual-local"]["grade"] == "declared"
    assert "A probe contradicts what is declared: gpt-tokyo: processing" in front
    assert page.index("gpt-tokyo") < page.index("manual-local")


def test_drift_stays_while_azure_does_not_answer(site, azure):
    azure.status = 403
    until(lambda: last_round(site)["failed"], what="a round that failed")
    assert question(site).status == 403
    azure.status = 200


def test_it_heals_when_azure_says_so(site, azure):
    azure.skus["tokyo"] = "Standard"
    until(lambda: question(site).status == 200, what="the fact, observed again")


def test_the_ledger_holds_readings_and_snapshots_and_an_audit_decides_the_same(site):
    site.stop()
    entries = require_well_formed(require_log_holds(site.root)).entries
    rows = [one["body"] for one in entries if one["kind"] == "observation"]
    skus = [row["evidence"]["sku"] for body in rows for row in body["readings"] if "sku" in row.get("evidence", {})]
    assert {"Standard", "GlobalStandard"} <= set(skus)
    text = json.dumps(rows)
    assert "127.0.0.1" not in text
    assert "bank-openai" not in text
    assert sum(one["body"].get("act") == "snapshot.activate" for one in entries) >= 3
    sekisho("audit", site.root, "--trust", site.root / "site.vkey", "--depth", "3", "--strict", "--json")
