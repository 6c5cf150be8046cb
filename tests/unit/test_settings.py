"""`sekisho.toml`: read once, strictly."""

import re

import pytest

from sekisho.settings import FORMAT, TEMPLATE, DataDirectory, FormatUnknown, SettingsError, load_settings, split_address

MINIMAL = '[installation]\norigin = "a.internal/local/b"\n'


def write(root, text):
    DataDirectory(root).settings.write_text(text, encoding="utf-8")
    return root


def filled():
    return TEMPLATE.format(
        origin="a.internal/local/b", gateway="127.0.0.1:8400", control="127.0.0.1:8401", manual="127.0.0.1:8402"
    )


def test_the_template_is_valid_and_its_comments_show_the_defaults(tmp_path):
    plain = load_settings(write(tmp_path, filled()))
    uncommented = re.sub(r"^# ([a-z_]+ = )", r"\1", filled(), flags=re.MULTILINE)
    assert uncommented != filled()
    assert load_settings(write(tmp_path, uncommented)) == plain
    assert plain.engines["manual"].listen == "127.0.0.1:8402"


def test_what_is_left_out_has_its_default(tmp_path):
    settings = load_settings(write(tmp_path, MINIMAL))
    assert settings.gateway.listen == "127.0.0.1:8400"
    assert settings.engines == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "lacks origin$"),
        (MINIMAL + "[gatway]\n", "gatway"),
        (MINIMAL + "[gateway]\nworker = 2\n", "worker"),
        (MINIMAL + '[gateway]\nworkers = "2"\n', "int"),
        (MINIMAL + "[gateway]\nworkers = true\n", "int"),
        (MINIMAL + "[gateway]\nworkers = 0\n", "positive"),
        (MINIMAL + '[gateway]\nlisten = "8400"\n', "not an address"),
        (MINIMAL + '[gateway]\nlisten = "0.0.0.0:8400"\n', "no TLS"),
        (MINIMAL + '[gateway]\ntls_certificate_file = "c.pem"\n', "belong together"),
        (MINIMAL + '[gateway]\ntls_client_ca_file = "ca.pem"\n', "without tls_certificate_file"),
        (MINIMAL + '[control]\nlisten = "192.0.2.1:8401"\n', "loopback"),
        (MINIMAL + '[witness]\nlisten = "0.0.0.0:8403"\n', "no TLS"),
        (MINIMAL + '[witness]\nlisten = "8403"\n', "not an address"),
        (MINIMAL + '[witness]\nlisten = "127.0.0.1:8403"\ntls_key_file = "k.pem"\n', "belong together"),
        (MINIMAL + '[engines.x]\nkind = "magic"\nlisten = "127.0.0.1:1"\n', "magic"),
        (MINIMAL + '[engines.x]\nkind = "manual"\nlisten = "192.0.2.1:1"\n', "loopback"),
        (MINIMAL + '[engines.x]\nkind = "llama.cpp"\nlisten = "127.0.0.1:1"\nmodel = "x"\n', "needs"),
        (MINIMAL + '[engines.x]\nkind = "manual"\nlisten = "127.0.0.1:1"\nfile = "x.gguf"\n', "llama.cpp"),
        (MINIMAL + '[engines.x]\nkind = "manual"\nlisten = "127.0.0.1:1"\nparallel = 0\n', "positive"),
        (MINIMAL + '[engines.x]\nkind = "manual"\nlisten = "127.0.0.1:1"\nmodel = "--listen"\n', "not a name"),
        (MINIMAL + "[ledger]\nsegment_bytes = 4096\n", "segment_bytes"),
        (MINIMAL + "gateway = 1\n", "gateway"),
        ("installation = [", "sekisho.toml"),
        (MINIMAL + "[probes]\nvalid_seconds = 2592001\n", "30 days"),
        (MINIMAL + "[probes]\nvalid_seconds = 1000\n", "less than two rounds"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, text, says):
    with pytest.raises(SettingsError, match=says) as raised:
        load_settings(write(tmp_path, text))
    assert "sekisho.toml" in raised.value.message


def test_a_folder_without_settings_is_no_installation(tmp_path):
    with pytest.raises(SettingsError, match="is not an installation") as raised:
        load_settings(tmp_path)
    assert "sekisho init" in raised.value.remedy


@pytest.mark.parametrize("text", [f"{FORMAT + 1}", "10000000000000", "0", "-1", "", "one", "1.5", "１"])
def test_a_format_that_is_newer_or_none_is_refused_before_all_else(tmp_path, text):
    DataDirectory(tmp_path).format.write_text(text, encoding="utf-8")
    write(tmp_path, "what a newer program writes, this one can't even read")
    with pytest.raises(FormatUnknown, match="touched") as raised:
        load_settings(tmp_path)
    assert raised.value.remedy


@pytest.mark.parametrize("text", [None, f"{FORMAT}", f"{FORMAT}\n"])
def test_a_format_that_is_known_is_read(tmp_path, text):
    if text is not None:
        DataDirectory(tmp_path).format.write_text(text)
    assert load_settings(write(tmp_path, MINIMAL)).installation.origin == "a.internal/local/b"


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:8400", ("127.0.0.1", 8400)), ("[::1]:1", ("::1", 1)), ("localhost:0", ("localhost", 0))],
)
def test_addresses(text, address):
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "8400", ":8400", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:１"])
def test_what_is_no_address(text):
    with pytest.raises(SettingsError):
        split_address(text)
