"""What a deployment costs: `[price]` of its declaration, for who asks what a change would cost.

No policy sees a price, so it is no part of the catalogue, of a snapshot, or of any entry: another price puts no other
rules in force.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from sekisho.catalog.interfaces import Price
from sekisho.catalog.table import Table, shown

PRICE: Final = "price"
MILLION: Final = 1_000_000
PRICE_MAX: Final = 1_000_000_000  # of a million tokens, in any currency in use
_DECIMALS: Final = 6
_CURRENCY: Final = re.compile(r"[A-Z]{3}", re.ASCII)
_AMOUNT: Final = re.compile(r"\d{1,10}(\.\d{1,6})?", re.ASCII)
_REMEDY: Final = f"Give the price of a million tokens: 0 to {PRICE_MAX}, at most {_DECIMALS} decimals"


def read_price(table: Table) -> Price | None:
    """The `price` of a deployment's table; None where there is none, or with mistakes noted."""
    inner = table.take_table(PRICE)
    if inner is None:
        return None
    currency = inner.take_text("currency", remedy="Name it by its ISO 4217 code of three letters")
    if currency is not None and not _CURRENCY.fullmatch(currency):
        inner.mistake("currency", f"{shown(currency)} is not a currency", "Write its ISO 4217 code of three letters")
        currency = None
    prompt, completion = _amount(inner, "prompt"), _amount(inner, "completion")
    inner.finish()
    return None if currency is None or prompt is None or completion is None else Price(currency, prompt, completion)


def prices_of(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Price]:
    """Deployment → its price, of parsed files by name in which `catalogue_of` found no mistake."""
    prices = {}
    for file, content in tables.items():
        kind, _, base = file.partition("/")
        price = read_price(Table(dict(content), file, [])) if kind == "deployments" else None
        if price is not None:
            prices[base.removesuffix(".toml")] = price
    return prices


def _amount(table: Table, key: str) -> int | None:
    """In millionths. A number of TOML is taken as it is written, which up to fifteen digits its shortest form is."""
    value = table.take(key)
    if value is None:
        table.missing(key, _REMEDY)
        return None
    if type(value) is int and 0 <= value <= PRICE_MAX:
        return value * MILLION
    text = f"{Decimal(repr(value)):f}" if type(value) is float else value
    if not isinstance(text, str) or not _AMOUNT.fullmatch(text) or Decimal(text) > PRICE_MAX:
        table.mistake(key, "is not a price", _REMEDY)  # not shown: TOML's integers may have any length
        return None
    return int(Decimal(text) * MILLION)
