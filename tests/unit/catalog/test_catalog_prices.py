"""`[price]` of a deployment: read exactly, refused where it is none, and no part of what decides."""

import tomllib

import pytest

from sekisho.app.installation import Listen, build_declared, create_installation
from sekisho.catalog.files import read_declarations
from sekisho.catalog.interfaces import Price
from sekisho.catalog.prices import prices_of, read_price
from sekisho.catalog.table import Table
from sekisho.settings import DataDirectory


def read(text):
    mistakes = []
    return read_price(Table(tomllib.loads(text), "deployments/d.toml", mistakes)), mistakes


@pytest.mark.parametrize(
    ("prompt", "completion", "price"),
    [
        ("300", "1200", Price("JPY", 300_000_000, 1_200_000_000)),
        ("0.15", '"0.60"', Price("JPY", 150_000, 600_000)),
        ("0", "0.000001", Price("JPY", 0, 1)),
        ("123456789.123456", "1_000_000_000", Price("JPY", 123_456_789_123_456, 10**15)),
    ],
)
def test_prices_are_read_as_they_are_written(prompt, completion, price):
    text = f'[price]\ncurrency = "JPY"\nprompt = {prompt}\ncompletion = {completion}\n'
    assert read(text) == (price, [])
    assert prices_of({"deployments/d.toml": tomllib.loads(text), "models/d.toml": {}}) == {"d": price}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('price = 3', "price"),
        ('[price]\nprompt = 1\ncompletion = 1', "price.currency"),
        ('[price]\ncurrency = "yen"\nprompt = 1\ncompletion = 1', "price.currency"),
        ('[price]\ncurrency = "JPY"\nprompt = 1', "price.completion"),
        ('[price]\ncurrency = "JPY"\nprompt = 1\ncompletion = 1\nrequest = 1', "price.request"),
        *(
            (f'[price]\ncurrency = "JPY"\ncompletion = 1\nprompt = {value}', "price.prompt")
            for value in ("-1", "true", "inf", "nan", "1e-7", "1e300", '"1e3"', '"１"', '""', "1000000001", "[1]",
                          "0x" + "f" * 5_000, "0.1234567", '"-0"')
        ),
    ],
)  # fmt: skip
def test_what_is_no_price_is_a_mistake(text, key):
    _, mistakes = read(text)
    assert [one.key for one in mistakes] == [key]


def test_no_entries_and_no_snapshot_know_of_prices(tmp_path):
    """Another price puts no other rules in force: streams and connections outlive it."""
    root = tmp_path / "site"
    create_installation(root, Listen())
    directory = DataDirectory(root)
    before = build_declared(directory)
    (file,) = (root / "declarations" / "deployments").glob("*.toml")
    file.write_text(file.read_text() + '\n[price]\ncurrency = "JPY"\nprompt = 300\ncompletion = 1200\n')
    assert build_declared(directory) == before
    assert read_declarations(directory.declarations).prices == {file.stem: Price("JPY", 300_000_000, 1_200_000_000)}
    file.write_text(file.read_text() + "request = 3\n")
    declared = read_declarations(directory.declarations)
    assert (declared.prices, len(declared.mistakes)) == ({}, 1)
