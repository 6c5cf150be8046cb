"""Networks to countries by the registries' files: what is held where, and never more than they say."""

import datetime
import hashlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.catalog import delegations as module
from sekisho.catalog.delegations import Delegation, Delegations, read_directory
from sekisho.catalog.errors import DelegationsError

HEAD = "2|apnic|20261124|6|19830613|20261124|+1000\n"
# A cut of what APNIC publishes, in the extended form: comments, summaries, asn, odd sizes, and what nobody holds.
APNIC = (
    HEAD
    + """#  statistics are for resource holders
apnic|*|asn|*|2|summary
apnic|*|ipv4|*|4|summary
apnic|*|ipv6|*|2|summary
apnic|JP|asn|173|1|20020801|allocated|A91A7381
apnic|AU|ipv4|1.0.0.0|256|20110811|assigned|A91872ED
apnic|CN|ipv4|1.0.1.0|768|20110414|allocated|A92E1062
apnic|JP|ipv4|1.0.16.0|4096|20110412|allocated|A92D9378
apnic||ipv4|1.178.0.0|256||available
apnic|ZZ|ipv4|1.179.0.0|256|20110412|reserved|
apnic|AP|ipv4|43.224.0.0|256|20140707|assigned|A92E1063
apnic|JP|ipv6|2001:200::|35|19990813|allocated|A9173591
apnic|SG|ipv6|2001:c00:8000::|33|20020101|assigned|A9173592
"""
)
RIPE = "2.3|ripencc|1700000000|1|19830705|20261110|+0100\nripencc|DE|ipv4|2.16.0.0|8192|20100712|allocated|abc\n"
RIPE += "ripencc|EU|ipv4|2.56.0.0|1024|20190101|allocated|def\n"


def delegations(*texts):
    return Delegations((f"file-{number}", text.encode().splitlines(keepends=True)) for number, text in enumerate(texts))


def country(found, address):
    held = found.find(ipaddress.ip_address(address))
    return None if held is None else held.country


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("1.0.0.0", "AU"),
        ("1.0.0.255", "AU"),
        ("1.0.1.0", "CN"),
        ("1.0.3.255", "CN"),
        ("1.0.4.0", None),
        ("1.0.16.0", "JP"),
        ("1.0.31.255", "JP"),
        ("1.0.32.0", None),
        ("0.255.255.255", None),
        ("1.178.0.1", None),
        ("1.179.0.1", None),
        ("43.224.0.1", None),
        ("2001:200::1", "JP"),
        ("2001:200:1fff:ffff:ffff:ffff:ffff:ffff", "JP"),
        ("2001:200:2000::", None),
        ("2001:c00:8000::1", "SG"),
        ("2001:c00:7fff::1", None),
        ("2.16.31.255", "DE"),
        ("2.56.0.1", None),
    ],
)
def test_an_address_is_in_the_country_of_who_holds_its_block(address, expected):
    assert country(delegations(APNIC, RIPE), address) == expected


def test_a_block_is_told_as_a_network_where_it_is_one():
    found = delegations(APNIC)
    assert found.find(ipaddress.ip_address("1.0.16.9")) == Delegation("JP", "1.0.16.0/20")
    assert found.find(ipaddress.ip_address("1.0.1.9")) == Delegation("CN", "1.0.1.0-1.0.3.255")
    assert found.find(ipaddress.ip_address("2001:200::1")) == Delegation("JP", "2001:200::/35")


def test_files_tell_their_registry_and_last_day():
    found = delegations(APNIC, RIPE)
    assert [(one.registry, one.date) for one in found.published] == [
        ("apnic", datetime.date(2026, 11, 24)),
        ("ripencc", datetime.date(2026, 11, 10)),
    ]
    assert found.oldest.registry == "ripencc"
    assert delegations().oldest is None


def test_of_what_two_files_give_to_different_countries_nothing_is_known():
    other = "2|arin|20261124|1|19830613|20261124|-0500\narin|US|ipv4|1.0.17.0|256|20260101|assigned|x\n"
    found = delegations(APNIC, other)
    assert country(found, "1.0.17.1") is None
    assert country(found, "1.0.16.1") is None
    assert country(found, "1.0.0.1") == "AU"


def test_the_same_block_in_two_files_is_one():
    assert country(delegations(APNIC, APNIC), "1.0.16.1") == "JP"
    assert delegations(APNIC, APNIC).records == delegations(APNIC).records


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("<html>\n", "line 1 is not the head"),
        ("3|apnic|1|1|19830613|20261124|+1000\n", "line 1 is not the head"),
        ("2|whois|1|1|19830613|20261124|+1000\n", "line 1 is not the head"),
        ("2|apnic|1|1|19830613|20261345|+1000\n", "line 1 is not the head"),
        ("inf|apnic|1|1|19830613|20261124|+1000\n", "line 1 is not the head"),
        ("2.x|apnic|1|1|19830613|20261124|+1000\n", "line 1 is not the head"),
        ("2|apnic|1|1|19830613|2026-1-1|+1000\n", "line 1 is not the head"),
        (HEAD + "apnic|JP|ipv4|1.0.16.0|0|20110412|allocated\n", "line 2 is not a record"),
        (HEAD + "apnic|JP|ipv4|1.0.16.0|-4096|20110412|allocated\n", "line 2 is not a record"),
        (HEAD + "apnic|JP|ipv6|2001:200::|-1|20110412|allocated\n", "line 2 is not a record"),
        (HEAD + "apnic|JP|ipv6|2001:200::|129|20110412|allocated\n", "line 2 is not a record"),
        (HEAD + "apnic|" + "J" * 2_000 + "\n", "line 2 is too long"),
        (HEAD + "apnic|JP|ipv4|1.0.16|4096|20110412|allocated\n", "line 2 is not a record"),
        (HEAD + "apnic|JP|ipv4|1.0.16.0|many|20110412|allocated\n", "line 2 is not a record"),
        (HEAD + "apnic|JP|ipv4|255.255.255.0|4096|20110412|allocated\n", "line 2 is not a record"),
        (HEAD + "apnic|JP|ipv6|1.0.16.0|32|20110412|allocated\n", "line 2 is not a record"),
        (HEAD + "apnic|JP|ipv4|1.0.16.0\n", "line 2 is not a record"),
        ("\x1f\x8b\x08 packed", "line 1 is not the head"),
    ],
)
def test_another_file_is_refused_with_its_line(text, where):
    with pytest.raises(DelegationsError, match=where):
        delegations(text)


COUNTRIES = ("AU", "JP", "US")
RECORDS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20), st.sampled_from(COUNTRIES)), max_size=12)


@given(records=RECORDS, address=st.integers(0, 90))
def test_what_overlaps_is_one_and_known_only_if_all_of_it_agrees(records, address):
    """Against the plain reading: the records that touch one another, and the countries that they name."""
    lines = [f"apnic|{code}|ipv4|10.0.0.{first}|{count}|20110412|allocated\n" for first, count, code in records]
    around = [one for one in records if one[0] <= address < one[0] + one[1]]
    while more := [one for one in records if one not in around and any(_touches(one, other) for other in around)]:
        around += more
    said = {code for _, _, code in around}
    expected = said.pop() if len(said) == 1 else None
    assert country(delegations(HEAD + "".join(lines)), f"10.0.0.{address}") == expected


def _touches(one, other):
    return one[0] < other[0] + other[1] and other[0] < one[0] + one[1]


def test_a_directory_is_read_whole_and_hidden_files_are_passed_over(tmp_path):
    assert read_directory(tmp_path / "registry").published == ()
    (tmp_path / "apnic").write_text(APNIC)
    (tmp_path / "ripe").write_text(RIPE)
    (tmp_path / ".apnic.swp").write_text("x")
    assert len(read_directory(tmp_path).published) == 2
    (tmp_path / "notes.txt").write_text("about these files")
    with pytest.raises(DelegationsError, match=r"notes\.txt: line 1"):
        read_directory(tmp_path)


def test_a_directory_is_told_from_its_digest_and_a_file_that_is_one_line_is_not_held_whole(tmp_path, monkeypatch):
    (tmp_path / "apnic").write_text(APNIC)
    [published] = read_directory(tmp_path).published
    assert published.sha256 == hashlib.sha256(APNIC.encode()).hexdigest()
    with (tmp_path / "apnic").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing: held whole, it would be the end of the process
    with pytest.raises(DelegationsError, match="line 1 is too long"):
        read_directory(tmp_path)
    (tmp_path / "apnic").write_text(APNIC + "#\n" * 100)
    monkeypatch.setattr(module, "FILE_BYTES_MAX", len(APNIC) + 10)
    with pytest.raises(DelegationsError, match="larger than all registries' files"):
        read_directory(tmp_path)


def test_more_records_than_there_can_be_are_refused(monkeypatch):
    monkeypatch.setattr(module, "RECORDS_MAX", 3)
    with pytest.raises(DelegationsError, match="larger than all registries' files"):
        delegations(APNIC)
