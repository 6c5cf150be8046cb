"""Views for the console are made one at a time, in a process that ends when control does."""

import sys
import threading

import pytest

from sekisho.app import compliance
from sekisho.app.compliance import ComplianceApart
from sekisho.console.errors import ComplianceRefused, TooMany
from sekisho.kernel.errors import SekishoError
from sekisho.settings import DataDirectory


def running(script, tmp_path):
    """With a program of our own in the place of the command; `argv[1:]` are its words."""
    return ComplianceApart(DataDirectory(tmp_path), (sys.executable, "-c", script))


def test_what_the_command_prints_is_the_view(tmp_path):
    made = running("import json, sys; print(json.dumps(sys.argv[1:]))", tmp_path)(("--from=2026-11-01",))
    assert made == ["compliance", str(tmp_path), "--json", "--from=2026-11-01"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from=soon",), "--from is no time: 'soon'. Write 2026-11-01 or 2026-11-01T09:00+09:00"),
        (("--limit=x",), "argument --limit: invalid int value: 'x'"),
        (("--limit=0",), "the page's limit is out of range. Give 1 to 1000"),
        (("--policy=p",), "one count is named by three. Give --policy, --deployment and --fate together"),
    ],
)
def test_words_that_are_off_are_refused_with_what_is_wrong_about_them(tmp_path, words, said):
    (tmp_path / "ledger").mkdir()
    with pytest.raises(ComplianceRefused) as refused:
        ComplianceApart(DataDirectory(tmp_path))(words)
    assert str(refused.value) == said


def test_what_fails_says_why(tmp_path):
    with pytest.raises(SekishoError, match="could not be made: it burns") as failed:
        running("import sys; sys.exit('it burns')", tmp_path)(())
    assert not isinstance(failed.value, ComplianceRefused)


def test_one_is_made_at_a_time_and_the_end_of_control_ends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(compliance, "WAITED_S_MAX", 0.01)
    begun = tmp_path / "begun"
    views = running(f"import time; open({str(begun)!r}, 'w').close(); time.sleep(600)", tmp_path)
    failed = []

    def ask():
        try:
            views(())
        except SekishoError as error:
            failed.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    while not begun.exists():
        asking.join(0.01)
        assert asking.is_alive()
    with pytest.raises(TooMany):
        views(())
    views.close()
    asking.join(60)
    with pytest.raises(SekishoError, match="control is ending") as ended:
        views(())
    assert failed == [str(ended.value)]
