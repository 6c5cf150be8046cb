"""The provider's own Sekisho ledger as a record of our calls: it keeps the `x-request-id` that we sent along. Pure.

There our call is a request of its own, with attempts of its own; it counts once, with what its last attempt says.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sekisho.assurance.interfaces import UsageRecord
from sekisho.kernel.ids import is_uuid7

DECISION: Final = "decision"
OUTCOME: Final = "outcome"
OPEN_MAX: Final = 100_000  # requests that may still get an outcome: as many as a large gateway has in hours


def usage_of_log(entries: Iterable[tuple[int, Mapping[str, Any]]], organisation: str) -> Iterator[UsageRecord]:
    """Calls of `organisation` (what we are there), in about the log's order.

    A call that came without an id of ours, or with what is none, has the id of the provider's request, which no ledger
    of ours knows. The provider wrote them: what is no id is not kept.
    """
    open_calls: OrderedDict[str, UsageRecord] = OrderedDict()
    for index, envelope in entries:
        request, body = envelope.get("request"), envelope["body"]
        if not isinstance(request, str) or not is_uuid7(request):
            continue
        if envelope["kind"] == DECISION and _organisation(body) == organisation:
            given = body.get("caller_request")
            name = given if isinstance(given, str) and is_uuid7(given) else request
            open_calls.setdefault(request, UsageRecord(name, envelope["at"], None, None, None, index))
            if len(open_calls) > OPEN_MAX:
                yield open_calls.popitem(last=False)[1]
        elif envelope["kind"] == OUTCOME and request in open_calls:
            open_calls[request] = _ended(open_calls[request], body)
    yield from open_calls.values()


def _organisation(body: Mapping[str, Any]) -> str | None:
    try:
        organisation = body["input"]["principal"]["organisation"]
    except (KeyError, TypeError):
        return None
    return organisation if isinstance(organisation, str) else None


def _ended(call: UsageRecord, body: Mapping[str, Any]) -> UsageRecord:
    usage = body.get("usage")
    counted = isinstance(usage, dict) and usage.get("source") == "upstream"
    return call._replace(
        prompt=_count(usage.get("prompt")) if counted and isinstance(usage, dict) else None,
        completion=_count(usage.get("completion")) if counted and isinstance(usage, dict) else None,
        status=_count(body.get("status")),
    )


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
