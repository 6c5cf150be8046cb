"""What requests cost where they went, and at the cheapest deployment that would still be permitted."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.assurance.costs import Costs, cheapest, costs_without, exact, rounded
from sekisho.assurance.plan import Plan, Recorded, Row, RowKey
from sekisho.catalog.interfaces import Price
from sekisho.policy.fate import Fate, Met
from sekisho.policy.interfaces import SEND_RAW, SEND_REDACTED

YEN = Price("JPY", 300_000_000, 1_200_000_000)  # 300 and 1,200 a million tokens
CHEAP = Price("JPY", 100_000_000, 1_300_000_000)
DEAR = Price("JPY", 500_000_000, 2_000_000_000)
DOLLAR = Price("USD", 150_000, 600_000)  # 0.15 and 0.60
UNIT = 10**12


def met(*names, action=SEND_RAW):
    return Met(Fate.RAW if action == SEND_RAW else Fate.REDACTED, tuple((action, name) for name in names))


def plan(*rows):
    made = Plan()
    for organisation, model, used, after, row in rows:
        key = RowKey(organisation, model, met(used), after, Recorded(Fate.RAW, (SEND_RAW, used)))
        made.rows[key] = row
    return made


def only(found):
    (costs,) = found.values()
    return costs


def test_the_cheapest_of_what_is_permitted_is_taken_and_the_difference_told():
    made = plan(("bank", "m", "tokyo", met("dear", "cheap"), Row(10, 2_000_000, 1_000_000, 10)))
    costs = only(costs_without(made, {"tokyo"}, {"tokyo": YEN, "cheap": CHEAP, "dear": DEAR}))
    assert (costs.used, costs.elsewhere, costs.difference) == (
        {"JPY": 1_800 * UNIT}, {"JPY": 1_500 * UNIT}, {"JPY": -300 * UNIT},
    )  # fmt: skip
    assert (costs.at, costs.compared, costs.unserved, costs.used_unpriced) == ({"cheap": 10}, 10, 0, 0)


def test_which_is_cheapest_depends_on_the_tokens():
    prices = {"cheap": CHEAP, "even": YEN}
    assert cheapest(Row(1, 10, 0), prices, prices, "JPY").deployment == "cheap"
    assert cheapest(Row(1, 0, 10), prices, prices, "JPY").deployment == "even"


def test_what_goes_as_it_is_is_not_priced_masked():
    after = Met(Fate.RAW, ((SEND_RAW, "dear"), (SEND_REDACTED, "cheap")))
    costs = only(costs_without(plan(("o", "m", "t", after, Row(1, 1, 1))), {"t"}, {"dear": DEAR, "cheap": CHEAP}))
    assert costs.at == {"dear": 1}
    masked = met("cheap", action=SEND_REDACTED)
    costs = only(costs_without(plan(("o", "m", "t", masked, Row(1, 1, 1))), {"t"}, {"cheap": CHEAP}))
    assert costs.at == {"cheap": 1}


def test_currencies_are_neither_summed_nor_compared():
    tokens = Row(1, 1_000_000, 0)
    made = plan(("o", "m", "tokyo", met("us"), tokens), ("o", "m", "us", met("tokyo", "us2"), tokens))
    prices = {"tokyo": YEN, "us": DOLLAR, "us2": Price("USD", 200_000, 0)}
    costs = only(costs_without(made, {"tokyo", "us"}, prices))
    assert costs.used == {"JPY": 300 * UNIT, "USD": UNIT * 15 // 100}
    assert costs.elsewhere == {"USD": UNIT * 35 // 100}  # of the first in the only currency there is
    assert (costs.difference, costs.compared) == ({"USD": UNIT * 5 // 100}, 1)
    # Two currencies, and neither is that of where it went: nobody can say which is cheaper.
    made = plan(("o", "m", "gone", met("tokyo", "us"), tokens))
    costs = only(costs_without(made, {"gone"}, prices | {"gone": Price("EUR", 1, 1)}))
    assert (costs.elsewhere, costs.elsewhere_unpriced, costs.compared) == ({}, 1, 0)


def test_what_has_no_price_and_what_goes_nowhere_are_said_as_such():
    made = plan(
        ("a", "m", "tokyo", met("free"), Row(2, 5, 5, 2)),
        ("a", "m", "tokyo", Met(Fate.DENIED), Row(3, 5, 5, 3)),
        ("b", "m", "other", met("free"), Row(4, 5, 5, 4)),
        ("c", "m", "osaka", met("tokyo"), Row(5, 5, 5, 5)),  # not of those that are gone
    )
    found = costs_without(made, {"tokyo", "other"}, {"tokyo": YEN})
    assert set(found) == {("a", "m"), ("b", "m")}
    one, other = found["a", "m"], found["b", "m"]
    assert (one.tokens.requests, one.unserved, one.elsewhere_unpriced, one.used_unpriced) == (5, 3, 2, 0)
    assert one.used == {"JPY": 10 * (YEN.prompt + YEN.completion)}
    assert (other.used, other.used_unpriced, other.elsewhere_unpriced) == ({}, 4, 4)


@given(st.integers(-(10**30), 10**30))
def test_amounts_are_written_without_loss(amount):
    text = exact(amount)
    assert Fraction(text) == Fraction(amount, UNIT)
    assert not text.endswith(".")
    assert "e" not in text.lower()


@pytest.mark.parametrize(
    ("amount", "signed", "said"),
    [
        (0, True, "0"),
        (1, False, "0.000000000001"),
        (1_234_567 * UNIT + UNIT // 2, True, "+1,234,567.50"),
        (-3 * UNIT, True, "-3.00"),
        (UNIT // 1_000, True, "+0.001"),
    ],
)
def test_amounts_for_people_are_rounded_and_never_to_nothing(amount, signed, said):
    assert rounded(amount, signed=signed) == said


def test_costs_add_up():
    costs = Costs()
    for _ in range(3):
        costs.add(Row(1, 10, 20, 1), YEN, met("cheap"), {"cheap": CHEAP})
    assert costs.used == {"JPY": 3 * (10 * YEN.prompt + 20 * YEN.completion)}
    assert (costs.tokens.requests, costs.tokens.prompt, costs.at) == (3, 30, {"cheap": 3})
