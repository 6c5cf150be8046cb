"""Policies in layers: a lower layer that only tightens comes in force, one that loosens is refused with the reason."""

import json

import pytest

from journeys.installation import Installation, get, openai_client, sekisho, until

LAYERS = 'layers = ["nation", "ministry", "organisation"]\n'
NATION = """
@id("nation.training") @title("Nothing is sent to who trains on it") @title_ja("学習に使う先へは送信できません")
@enforce("always")
forbid (principal, action, resource) when { context.labels.contains(Label::"jp.my_number") };
"""
MINISTRY = """
@id("ministry.staff") @title("Staff may use what callers may") @title_ja("職員は利用者と同じ範囲で利用できます")
permit (principal in Role::"caller", action == Action::"sendRaw", resource) when { context.class_rank <= 1 };
"""
LOOSER = """
@id("our.analysts") @title("Analysts may send anything") @title_ja("分析担当者は何でも送信できます")
permit (principal in Role::"analyst", action in [Action::"sendRaw", Action::"sendRedacted"], resource)
when { [Jurisdiction::"JP", Jurisdiction::"US"].containsAll(resource.processing) };
"""
TIGHTER = """
@id("our.restricted") @title("Restricted data stay") @title_ja("極秘データは送信できません")
forbid (principal, action, resource) when { context.class == DataClass::"restricted" };
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Installation(tmp_path_factory.mktemp("layers") / "site") as installation:
        boundary = installation.root / "declarations" / "boundary.toml"
        boundary.write_text(LAYERS + boundary.read_text(encoding="utf-8"), encoding="utf-8")
        for layer, text in (("nation", NATION), ("ministry", MINISTRY)):
            policy(installation, layer, "rules").parent.mkdir()
            policy(installation, layer, "rules").write_text(text, encoding="utf-8")
        installation.start()
        yield installation


def policy(installation, layer, name):
    return installation.root / "declarations" / "policies" / layer / f"{name}.cedar"


def status(running):
    return json.loads(get(f"{running.control}/api/status")[1])


def test_layers_that_tighten_are_in_force_and_are_counted(running):
    checked = sekisho("check", running.root)
    assert "Policies by layer: nation 11, ministry 1, organisation 0. Each layer only tightens" in checked.stdout
    until(lambda: status(running)["declarations"].startswith("in force"), what="their settling")
    said = json.loads(sekisho("explain", running.root, "--model", "manual", "--text", "hi", "--json").stdout)
    (deployment,) = said["deployments"]
    files = [one["file"] for one in deployment["raw"]["policies"]]
    assert files == ["packs/jp-residency/10_callers.cedar", "policies/ministry/rules.cedar"]


def test_a_lower_layer_that_loosens_is_refused_with_a_case_and_the_old_declarations_stay(running):
    before = status(running)["snapshot"]
    file = policy(running, "organisation", "analysts")
    file.parent.mkdir()
    file.write_text(LOOSER, encoding="utf-8")
    checked = sekisho("check", running.root, check=False)
    assert checked.returncode == 1
    assert "policies/organisation/analysts.cedar: line 2, our.analysts\n    permits sending data" in checked.stdout
    assert "role analyst" in checked.stdout
    assert "which no permit of the layers nation, ministry covers" in checked.stdout
    refused = until(lambda: (now := status(running))["mistakes"] and now, what="the refusal")
    assert refused["declarations"].startswith("refused")
    assert refused["snapshot"] == before
    with openai_client(running) as client:
        assert client.chat.completions.create(model="manual", messages=[{"role": "user", "content": "A receipt?"}])
    file.write_text(TIGHTER, encoding="utf-8")  # in a directory of a directory: it is watched too
    until(lambda: (now := status(running))["snapshot"] != before and now["mistakes"] == 0, what="the taking over")
    # A layer's file is part of a backup.
    backup = running.root.parent / "backup"
    sekisho("backup", running.root, backup)
    assert (backup / "files" / "declarations" / "policies" / "organisation" / "analysts.cedar").is_file()
