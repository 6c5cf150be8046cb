"""An audit as a whole: what counts as a source, whose key counts, what is remembered, and what the report says."""

import json
import shutil
from pathlib import Path

import pytest

from audited_log import AuditedLog, ready
from sekisho.app.audit import AuditAsked, Auditor
from sekisho.assurance import kinds as assurance_kinds
from sekisho.cli.audit import ProgressBar
from sekisho.cli.audit_report import SHOWN_PER_KIND_MAX, describe_report, report_json
from sekisho.cli.main import build_parser, main
from sekisho.ledger import audit_kinds
from sekisho.ledger.findings import KEPT_PER_KIND_MAX, Findings, by_code

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    log = ready(tmp_path_factory.mktemp("audit") / "site", 150)
    log.close()
    return log


@pytest.fixture
def copy(whole, tmp_path):
    shutil.copytree(whole.root, tmp_path / "site")
    return tmp_path / "site"


def run(capsys, *words):
    status = main(["audit", *map(str, words), "--quiet"])
    said = capsys.readouterr()
    return status, said.out, said.err


def found(capsys, *words):
    status, out, err = run(capsys, *words, "--json")
    assert not err, err
    return status, json.loads(out)


def test_an_installation_is_audited_as_deep_as_can_be(copy, capsys):
    status, report = found(capsys, copy)
    assert (status, report["holds"], report["depth"]) == (0, True, 3)
    assert [gap["code"] for gap in report["not_done"]] == ["not_pinned"]
    status, report = found(capsys, copy, "--trust", copy / "site.vkey", "--depth", 2)
    assert (status, report["depth"], report["not_done"]) == (0, 2, [])
    status, report = found(capsys, copy, "--depth", 1)
    assert (report["depth"], report["kinds"]) == (1, {})


def test_a_copy_of_the_log_needs_a_key_to_say_whose_it_is(copy, capsys):
    status, _, err = run(capsys, copy / "ledger")
    assert status == 2
    assert "--trust" in err
    status, report = found(capsys, copy / "ledger", "--trust", copy / "site.vkey")
    assert (status, report["depth"]) == (0, 2)
    (copy / "ledger" / "enrolment").rename(copy / "enrolment")
    assert "--enrolment" in run(capsys, copy / "ledger", "--trust", copy / "site.vkey")[2]
    enrolled = ("--trust", copy / "site.vkey", "--enrolment", copy / "enrolment")
    assert found(capsys, copy / "ledger", *enrolled)[0] == 0


def test_the_logs_own_key_may_be_trusted_itself(whole, capsys):
    assert found(capsys, whole.ledger, "--trust", whole.log_key.verifier.vkey)[0] == 0


def test_another_sites_key_opens_nothing(copy, capsys, tmp_path):
    other = AuditedLog(tmp_path / "other").site_key.verifier
    vkey = other.vkey.replace(other.name, "other.example/x")
    status, _, err = run(capsys, copy, "--trust", vkey)
    assert (status, "key id" in err) == (2, True)
    log_key = AuditedLog(tmp_path / "another").log_key.verifier
    (copy / "site.vkey").write_text(log_key.vkey.replace("node-1", "node-1"))
    (copy / "ledger" / "checkpoint").write_text(
        (copy / "ledger" / "checkpoint").read_text().replace("node-1", "node-2")
    )
    status, report = found(capsys, copy)
    assert (status, report["found"]["by_code"]) == (1, {"checkpoint_invalid": 1})


@pytest.mark.parametrize("words", [["/nowhere"], ["ftp://x"], ["."], ["http://127.0.0.1:1", "--trust", "x"]])
def test_what_is_no_source_is_refused(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, *words)
    assert status == 2
    assert err.startswith("sekisho audit: ")


def test_a_missing_checkpoint_is_a_finding(copy, capsys):
    (copy / "ledger" / "checkpoint").unlink()
    status, report = found(capsys, copy)
    assert (status, report["found"]["by_code"], report["log"]["size"]) == (1, {"checkpoint_invalid": 1}, 0)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"", b"x" * 100_000, b"a note\n\nwithout a signature\n"])
def test_a_checkpoint_that_is_none_is_a_finding(copy, capsys, data):
    (copy / "ledger" / "checkpoint").write_bytes(data)
    status, report = found(capsys, copy)
    assert (status, report["found"]["by_code"]) == (1, {"checkpoint_invalid": 1})


@pytest.mark.parametrize("option", ["--since", "--enrolment", "--trust"])
def test_files_that_are_no_text_are_refused(copy, capsys, tmp_path, option):
    (tmp_path / "file").write_bytes(b"\xff\xfe")
    assert run(capsys, copy, option, tmp_path / "file")[0] == 2
    (copy / "site.vkey").write_bytes(b"\xff\xfe")
    assert run(capsys, copy)[0] == 2


def test_what_was_seen_is_remembered_and_a_log_that_was_cut_is_found(tmp_path, capsys):
    log = ready(tmp_path / "site", 30)
    before = tmp_path / "before"
    shutil.copytree(log.root, before)
    state = tmp_path / "state"
    assert found(capsys, log.root, "--state", state)[1]["held_against"] == []
    log.fill(30)
    log.publish()
    log.close()
    status, report = found(capsys, log.root, "--state", state)
    assert (status, len(report["held_against"])) == (0, 1)
    status, report = found(capsys, before, "--state", state)
    assert (status, report["found"]["by_code"]) == (1, {"history_forked": 1})
    assert found(capsys, log.root, "--state", state)[1]["held_against"] == [
        report["held_against"][0]
    ]  # it was not forgotten
    assert list((state).glob("sekisho-audit-*")) == []


def test_a_damaged_log_is_not_remembered(copy, capsys, tmp_path):
    (copy / "ledger" / "tile" / "0" / "000").unlink()
    assert found(capsys, copy, "--state", tmp_path / "state")[0] == 1
    assert not (tmp_path / "state" / "checkpoints").exists()


def test_a_checkpoint_kept_by_hand_is_held_against_it(copy, capsys, tmp_path):
    kept = tmp_path / "kept"
    shutil.copy(copy / "ledger" / "checkpoint", kept)
    assert found(capsys, copy, "--since", kept)[0] == 0
    kept.write_text(kept.read_text().replace("node-1", "node-2"))
    status, _, err = run(capsys, copy, "--since", kept)
    assert (status, "no checkpoint of this log" in err) == (2, True)


def test_a_policy_that_is_not_met_is_found(whole, capsys, tmp_path):
    witness = "witness.example+8c1f2fe1+BAAA"
    (tmp_path / "policy").write_text(f"log {whole.log_key.verifier.vkey}\nquorum none\n")
    assert found(capsys, whole.root, "--policy", tmp_path / "policy")[0] == 0
    assert found(capsys, whole.ledger, "--policy", tmp_path / "policy")[0] == 0  # the log that it lists is trusted
    (tmp_path / "policy").write_text(f"witness w {witness}\nquorum w\n")
    assert run(capsys, whole.root, "--policy", tmp_path / "policy")[0] == 2  # that is no policy


def test_an_incomplete_audit_has_an_exit_status_of_its_own(copy, capsys):
    shutil.rmtree(copy / "snapshots")
    (copy / "snapshots").mkdir()
    status, report = found(capsys, copy)
    assert (status, report["holds"], report["complete"]) == (3, True, False)
    assert found(capsys, copy, "--strict")[0] == 1  # a snapshot that is missing is a warning


def test_the_report_for_people_names_each_finding_in_both_languages(copy, capsys):
    bundle = copy / "ledger" / "tile" / "entries" / "000"
    bundle.write_bytes(bundle.read_bytes().replace(b'"tokyo"', b'"kyoto"'))
    status, english, _ = run(capsys, copy, "--language", "en")
    assert status == 1
    assert english.startswith("DOES NOT HOLD\n")
    assert "ERROR entry_altered" in english
    assert "and " in english
    assert english.count("in tile/entries/000, at place") == SHOWN_PER_KIND_MAX
    _, japanese, _ = run(capsys, copy, "--language", "ja")
    assert japanese.startswith("問題があります\n")
    assert audit_kinds.ENTRY_ALTERED.meaning.ja in japanese
    assert audit_kinds.ENTRY_ALTERED.remedy.ja in japanese


def test_text_from_a_log_can_not_move_a_terminals_cursor(whole, tmp_path):
    report = Auditor(whole.clock).audit(AuditAsked(str(whole.root)))
    report.findings.add(audit_kinds.ACTOR_UNKNOWN, "\x1b[2J\x07" + "x" * 1_000, 3)
    report.kinds["\x1b[31m"] = 1
    for language in ("en", "ja"):
        text = describe_report(report, language)
        assert "\x1b" not in text
        assert "\x07" not in text
    json.loads(report_json(report))


def test_findings_are_bounded_and_counted():
    findings = Findings()
    for number in range(KEPT_PER_KIND_MAX + 5):
        findings.add(audit_kinds.ID_TWICE, "x", number)
    assert len(findings.kept) == KEPT_PER_KIND_MAX
    assert findings.counts == {"id_twice": KEPT_PER_KIND_MAX + 5}
    assert findings.count("error") == KEPT_PER_KIND_MAX + 5


def test_every_kind_has_a_code_of_its_own_and_says_what_to_do_in_both_languages():
    table = by_code([*audit_kinds.KINDS, *assurance_kinds.KINDS])
    defined = [
        value.code
        for module in (audit_kinds, assurance_kinds)
        for value in vars(module).values()
        if type(value).__name__ == "Kind"
    ]
    assert sorted(defined) == sorted(table)
    for kind in table.values():
        for words in (kind.meaning, kind.remedy):
            assert words.en.replace("…", "").isascii()
            assert not words.ja.isascii()
        assert kind.code.replace("_", "").isalpha()


def test_snapshots_beside_a_copy_of_the_log_are_found(copy, capsys):
    shutil.copytree(copy / "snapshots", copy / "ledger" / "snapshots")
    assert found(capsys, copy / "ledger", "--trust", copy / "site.vkey")[1]["depth"] == 3


def test_the_progress_bar_is_one_line_and_leaves_nothing_behind(capsys):
    bar = ProgressBar()
    bar.clear()
    for done in (0, 500, 1_000):
        bar.show(done, 1_000)
    bar.clear()
    said = capsys.readouterr()
    assert said.out == ""
    assert "0 / 1,000" in said.err
    assert "\n" not in said.err
    assert said.err.endswith("\r\x1b[K")


def test_a_key_does_not_stand_on_the_command_line(capsys, whole):
    trust = ("--trust", whole.root / "site.vkey")
    status, _, err = run(capsys, "https://log.example.jp", *trust, "--key", "sk-secret")
    assert (status, "command line" in err) == (2, True)
    key = whole.root.parent / "key"
    key.write_text("sk-secret\n")
    status, _, err = run(capsys, "http://log.example.jp", *trust, "--key", key)
    assert (status, "in the clear" in err) == (2, True)


@pytest.mark.parametrize("name", ["audit.md", "audit.ja.md"])
def test_every_kind_of_finding_and_every_option_is_in_the_documents(name):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    for kind in (*audit_kinds.KINDS, *assurance_kinds.KINDS):
        words = (kind.meaning.ja, kind.remedy.ja) if name.endswith(".ja.md") else (kind.meaning.en, kind.remedy.en)
        assert f"| `{kind.code}` |" in text
        assert all(one in text for one in words), kind.code
    for action in build_parser("audit")._actions:
        for option in action.option_strings:
            if option.startswith("--") and option != "--help":
                assert f"`{option}" in text or f" {option} " in text, option
