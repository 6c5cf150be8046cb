"""Credentials are read by reference, and no error tells them."""

import os

import pytest

from sekisho.catalog.credentials import CREDENTIAL_BYTES_MAX, Credentials
from sekisho.catalog.errors import CredentialError
from sekisho.catalog.interfaces import CredentialReference

SECRET = "sk-very-secret-0123456789"


def write(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)


def test_a_file_and_a_variable(tmp_path):
    write(tmp_path / "k", SECRET + "\n")
    credentials = Credentials(tmp_path, {"KEY": SECRET})
    assert credentials.secret(CredentialReference("file", "k")) == SECRET
    assert credentials.secret(CredentialReference("env", "KEY")) == SECRET


def test_a_changed_file_is_read_again(tmp_path):
    write(tmp_path / "k", "first")
    credentials = Credentials(tmp_path, {})
    assert credentials.secret(CredentialReference("file", "k")) == "first"
    write(tmp_path / "new", "second-secret")
    os.rename(tmp_path / "new", tmp_path / "k")
    assert credentials.secret(CredentialReference("file", "k")) == "second-secret"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o604, 0o644, 0o666])
def test_a_file_open_to_others_is_refused_with_the_remedy(tmp_path, mode):
    write(tmp_path / "k", SECRET, mode)
    with pytest.raises(CredentialError) as raised:
        Credentials(tmp_path, {}).secret(CredentialReference("file", "k"))
    assert "chmod 600" in raised.value.remedy
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o400, 0), (0o640, 1), (0o440, 1)])
def test_a_file_that_its_group_may_read_is_used_and_warned_of_once(tmp_path, caplog, mode, warned):
    write(tmp_path / "k", SECRET, mode)
    credentials = Credentials(tmp_path, {})
    for _ in range(3):
        assert credentials.secret(CredentialReference("file", "k")) == SECRET
    assert len([record for record in caplog.records if "chmod 600 k" in record.getMessage()]) == warned
    assert SECRET not in caplog.text


def test_a_pem_file_is_read_whole_and_again_when_it_changes(tmp_path):
    write(tmp_path / "c.pem", "one\ntwo\n")
    credentials = Credentials(tmp_path, {})
    assert credentials.pem("c.pem") == b"one\ntwo\n"
    write(tmp_path / "c.pem", "another\n")
    assert credentials.pem("c.pem") == b"another\n"


def test_nothing_that_was_read_is_kept(tmp_path):
    credentials = Credentials(tmp_path, {})
    write(tmp_path / "k", SECRET)
    write(tmp_path / "c.pem", SECRET)
    credentials.secret(CredentialReference("file", "k"))
    credentials.pem("c.pem")
    assert SECRET not in repr(vars(credentials)), "its declaration may be gone"
    times = (tmp_path / "k").stat().st_mtime_ns
    (tmp_path / "k").write_text(SECRET[::-1])
    os.utime(tmp_path / "k", ns=(times, times))
    assert credentials.secret(CredentialReference("file", "k")) == SECRET[::-1]


@pytest.mark.parametrize("text", ["", "  \n", f"{SECRET}\r\nX-Evil: 1", f"{SECRET}\x00", f"{SECRET}é"])
def test_what_would_break_a_header_is_refused_untold(tmp_path, text):
    write(tmp_path / "k", text)
    with pytest.raises(CredentialError) as raised:
        Credentials(tmp_path, {}).secret(CredentialReference("file", "k"))
    assert SECRET not in str(raised.value)


def test_what_is_not_there_or_no_file_or_too_large(tmp_path):
    credentials = Credentials(tmp_path, {})
    (tmp_path / "d").mkdir()
    write(tmp_path / "big", "a" * (CREDENTIAL_BYTES_MAX + 1))
    for reference in (("file", "nothing"), ("file", "d"), ("file", "big"), ("env", "NOTHING"), ("hsm", "x")):
        with pytest.raises(CredentialError):
            credentials.secret(CredentialReference(*reference))
