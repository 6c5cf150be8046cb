"""What requests cost where they went, and what they would cost without those deployments. Pure.

Amounts are whole millionths of a millionth of a currency's unit (tokens times millionths of it for a million tokens),
so that nothing is rounded. Amounts of different currencies are neither summed nor compared.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from sekisho.assurance.plan import Plan, Row
from sekisho.catalog.interfaces import Price
from sekisho.policy.fate import Met
from sekisho.policy.interfaces import SEND_RAW

_AMOUNT_DECIMALS: Final = 12


class Chosen(NamedTuple):
    """The cheapest deployment for some requests, and its amount for their tokens."""

    deployment: str
    currency: str
    amount: int


@dataclass(slots=True)
class Costs:
    """Of requests that went to deployments that would be gone. Counts are of requests, amounts by currency.

    `elsewhere`: where a permitted deployment has a price in the same currency, else in the only one there is, at the
    cheapest (`at`, by requests). `compared` of them have an amount on both sides in one currency: `difference` is of
    these, positive where it gets dearer.
    """

    tokens: Row = field(default_factory=Row)
    unserved: int = 0
    used: Counter[str] = field(default_factory=Counter)
    used_unpriced: int = 0
    elsewhere: Counter[str] = field(default_factory=Counter)
    elsewhere_unpriced: int = 0
    at: Counter[str] = field(default_factory=Counter)
    difference: Counter[str] = field(default_factory=Counter)
    compared: int = 0

    def add(self, row: Row, used: Price | None, after: Met, prices: Mapping[str, Price]) -> None:
        self.tokens.add(row)
        if used is None:
            self.used_unpriced += row.requests
        else:
            self.used[used.currency] += cost(row, used)
        names = candidates(after)
        if not names:
            self.unserved += row.requests
            return
        found = cheapest(row, names, prices, None if used is None else used.currency)
        if found is None:
            self.elsewhere_unpriced += row.requests
            return
        self.elsewhere[found.currency] += found.amount
        self.at[found.deployment] += row.requests
        if used is not None and used.currency == found.currency:
            self.difference[used.currency] += found.amount - cost(row, used)
            self.compared += row.requests


def costs_without(plan: Plan, gone: Collection[str], prices: Mapping[str, Price]) -> dict[tuple[str, str], Costs]:
    """(organisation, model) → what its requests cost that went to `gone`, and what they would."""
    found: dict[tuple[str, str], Costs] = {}
    for key, row in plan.rows.items():
        route = key.recorded.route
        if route is not None and route[1] in gone:
            costs = found.setdefault((key.organisation, key.model), Costs())
            costs.add(row, prices.get(route[1]), key.after, prices)
    return found


def candidates(after: Met) -> tuple[str, ...]:
    """Where it would be sent: what may go as it is does, and is not sent masked anywhere."""
    raw = tuple(name for action, name in after.routes if action == SEND_RAW)
    return raw or tuple(name for _, name in after.routes)


def cheapest(row: Row, names: Iterable[str], prices: Mapping[str, Price], currency: str | None) -> Chosen | None:
    """The cheapest of those with a price in `currency`; in the only one there is, where none has. None: nobody can say.

    Requests of a row are alike, and stay together: they are compared by the tokens of all of them.
    """
    priced = [(name, prices[name]) for name in names if name in prices]
    alike = [(name, price) for name, price in priced if price.currency == currency]
    if not alike and len({price.currency for _, price in priced}) == 1:
        alike = priced
    chosen = (Chosen(name, price.currency, cost(row, price)) for name, price in alike)
    return min(chosen, key=lambda one: (one.amount, one.deployment), default=None)


def cost(row: Row, price: Price) -> int:
    return row.prompt * price.prompt + row.completion * price.completion


def exact(amount: int) -> str:
    """An amount in units of its currency, as a decimal number without loss: `12.5`, `-0.000001`, `0`."""
    sign, digits = "-" if amount < 0 else "", f"{abs(amount):0{_AMOUNT_DECIMALS + 1}d}"
    whole, fraction = digits[:-_AMOUNT_DECIMALS], digits[-_AMOUNT_DECIMALS:].rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def rounded(amount: int, *, signed: bool = False) -> str:
    """For people: two decimals, thousands apart; what they would show as nothing in full."""
    value = Decimal(exact(amount))
    sign = "+" if signed and amount > 0 else ""
    return f"{sign}{value:,.2f}" if abs(value) >= Decimal("0.005") else f"{sign}{value:f}"
