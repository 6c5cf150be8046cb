"""A log behind a URL: which addresses are one, and that a key never travels in the clear."""

import pytest

from sekisho.kernel.errors import UsageError
from sekisho.ledger.remote_log import RemoteLog


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/", "https:///path", "https://host/?q=1", "https://host/#x", "https://me@host/",
        "https://host:99999/", "https://host:port/", "http://[::1", "https://a..b/", "https://host/\u53f0\u5e33/",
        "https://host/a b/", f"https://{'a' * 64}/",
    ],
)  # fmt: skip
def test_what_can_not_be_an_address_is_refused(url):
    with pytest.raises(UsageError, match="not the address of a log"):
        RemoteLog(url)


def test_a_key_goes_by_tls_or_to_this_machine_only():
    with pytest.raises(UsageError, match="in the clear"):
        RemoteLog("http://host/", key="k")
    for url in ("https://host/", "http://127.0.0.1:1/", "http://[::1]:1/", "http://localhost/"):
        RemoteLog(url, key="k")
