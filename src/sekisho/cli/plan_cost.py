"""What a plan without deployments says of cost, in words and as JSON. Pure; docs/plan.md names the fields."""

from collections.abc import Mapping
from typing import Any, Final

from sekisho.app.plan import Planned
from sekisho.assurance.costs import Costs, costs_without, exact, rounded
from sekisho.ledger.findings import Words

ROWS_SHOWN_MAX: Final = 20  # of organisations and models, to people; JSON has all
_WORDS: Final[Mapping[str, Words]] = {
    "head": Words("Cost, by organisation and model", "費用（組織・モデル別）"),
    "no_prices": Words(
        "No deployment declares a price: cost is told in tokens",
        "価格（[price]）を宣言した配備先がないため、費用はトークン数で示します",
    ),
    "row": Words(
        "{organisation}, {model}: {requests} requests, {prompt} prompt and {completion} completion tokens",
        "{organisation}、{model}: {requests} 件、入力 {prompt} トークン、出力 {completion} トークン",
    ),
    "used": Words("where they went: {amounts}", "実際の送信先: {amounts}"),
    "elsewhere": Words("at the cheapest still permitted: {amounts}", "残る許可先のうち最安: {amounts}"),
    "difference": Words("difference: {amounts}", "差額: {amounts}"),
    "unserved": Words("served nowhere: {n}", "提供できないもの: {n} 件"),
    "unpriced": Words("{n} not priced", "価格の宣言なし {n} 件"),
    "of_compared": Words("of {n} requests", "{n} 件分"),
    "comma": Words(", ", "、"),
    "more": Words("… and {n} more", "… ほか {n} 件"),
}


def cost_lines(planned: Planned, place: int) -> list[str]:
    """Lines for people; `place` 0 is English, 1 Japanese."""
    words = {name: pair[place] for name, pair in _WORDS.items()}
    if not planned.prices:
        return [words["no_prices"]]
    rows = _ordered(planned)
    lines = [words["head"]] if rows else []
    for (organisation, model), costs in rows[:ROWS_SHOWN_MAX]:
        tokens = {name: f"{getattr(costs.tokens, name):,}" for name in ("requests", "prompt", "completion")}
        lines.append(f"  {words['row'].format(organisation=organisation, model=model, **tokens)}")
        for name in ("used", "elsewhere", "difference"):
            said = _said(costs, name, words)
            if said:
                lines.append(f"      {words[name].format(amounts=words['comma'].join(said))}")
        if costs.unserved:
            lines.append(f"      {words['unserved'].format(n=f'{costs.unserved:,}')}")
    if len(rows) > ROWS_SHOWN_MAX:
        lines.append(f"  {words['more'].format(n=f'{len(rows) - ROWS_SHOWN_MAX:,}')}")
    return lines


def _said(costs: Costs, name: str, words: Mapping[str, str]) -> list[str]:
    amounts = sorted(getattr(costs, name).items())
    said = [f"{rounded(amount, signed=name == 'difference')} {currency}" for currency, amount in amounts]
    if name == "elsewhere" and costs.at:
        said[-1] += f" ({', '.join(f'{deployment} {count:,}' for deployment, count in sorted(costs.at.items()))})"
    if name == "difference":
        return [*said, words["of_compared"].format(n=f"{costs.compared:,}")] if said else []
    unpriced = getattr(costs, f"{name}_unpriced")
    return [*said, words["unpriced"].format(n=f"{unpriced:,}")] if unpriced else said


def cost_values(planned: Planned) -> list[dict[str, Any]]:
    """For `--json`: amounts are decimal numbers as text, by currency."""
    return [
        {
            "organisation": organisation,
            "model": model,
            "requests": costs.tokens.requests,
            "tokens_prompt": costs.tokens.prompt,
            "tokens_completion": costs.tokens.completion,
            "readings": costs.tokens.readings,
            "unserved": costs.unserved,
            "used": {"amounts": _exact(costs.used), "not_priced": costs.used_unpriced},
            "cheapest": {
                "amounts": _exact(costs.elsewhere),
                "not_priced": costs.elsewhere_unpriced,
                "deployments": costs.at,
            },
            "difference": {"amounts": _exact(costs.difference), "requests": costs.compared},
        }
        for (organisation, model), costs in _ordered(planned)
    ]


def _ordered(planned: Planned) -> list[tuple[tuple[str, str], Costs]]:
    found = costs_without(planned.plan, frozenset(planned.removed), planned.prices)
    return sorted(found.items(), key=lambda item: (-item[1].tokens.requests, item[0]))


def _exact(amounts: Mapping[str, int]) -> dict[str, str]:
    return {currency: exact(amount) for currency, amount in sorted(amounts.items())}
