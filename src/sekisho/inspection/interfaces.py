"""Inspection, as other contexts see it."""

from typing import Any, Final, NamedTuple, Protocol

OPAQUE: Final = "opaque"
EGRESS_TOOL: Final = "egress.tool"
EGRESS_URL: Final = "egress.url"
PERSON_NAME: Final = "person.name"  # found only where a policy or the boundary asks for it: it costs the most


class Span(NamedTuple):
    """A labelled stretch of one string: code-point offsets into the original text, end exclusive."""

    start: int
    end: int
    label: str


class BodyInspection(NamedTuple):
    """What a request body holds.

    `labels` is sorted. `redactable` is False when a label sits where no text can be replaced (an object key, a
    number), or is `opaque` or `egress.*`; it is True for a body without labels too.
    """

    labels: tuple[str, ...]
    redactable: bool


class BodyRedaction(NamedTuple):
    """The body as it would leave, every labelled span replaced by `[label]`, and the labels left in it."""

    body: Any
    labels: tuple[str, ...]


class Location(NamedTuple):
    """Where a label stands. `path` is JSONPath, with what a key may hold hidden.

    `kind`: "text", "key" (of an object), "number", "parts" (text that stands in several parts of a message),
    "structure" (a link, a tool, something unreadable) or "whole" (too much of it everywhere). `excerpt` is the text
    around it with every labelled value replaced by its mark; empty where there is no text.
    """

    path: str
    label: str
    kind: str
    excerpt: str


class Inspector(Protocol):
    """Reads JSON bodies (plain Python values as a JSON parser gives them). Linear in the input, bounded per rule."""

    large_bytes: int  # bodies of more are to be inspected beside whatever must not wait for it
    rules_digest: str  # hex SHA-256 of the canonical rule set, a part of the snapshot

    def labels(self) -> tuple[str, ...]:
        """Every label that can be found, sorted; the policy schema enumerates them."""
        ...

    def inspect(self, body: Any) -> BodyInspection:
        """Labels of every string, object key and number in `body`, but for the values of structural fields."""
        ...

    def redact(self, body: Any) -> BodyRedaction:
        """A copy of a redactable body without its labelled spans, inspected again. `body` is not changed."""
        ...

    def locate(self, body: Any) -> tuple[Location, ...]:
        """Where the labels stand, for people; sorted and bounded. Not for the request path."""
        ...
