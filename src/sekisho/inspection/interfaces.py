"""Inspection, as other contexts see it."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from sekisho.inspection.errors import HeldTooMuch as HeldTooMuch
from sekisho.inspection.errors import RulesError as RulesError
from sekisho.inspection.normalise import SEPARATOR as SEPARATOR

OPAQUE: Final = "opaque"
EGRESS_TOOL: Final = "egress.tool"
EGRESS_URL: Final = "egress.url"
PERSON_NAME: Final = "person.name"  # found only where a policy or the boundary asks for it: it costs the most
# What stands for a value that may be put back: its label, and a number for each different value.
PLACEHOLDER: Final = re.compile(r"\[([a-z0-9][a-z0-9._-]*)#[0-9]+\]", re.ASCII)
PLACEHOLDER_MAX: Final = 128  # characters


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


class ReversibleRedaction(NamedTuple):
    """A redaction whose marks are placeholders, and the value of each; of labels that are not put back, plain marks.

    In memory for one request only: `values` is content.
    """

    body: Any
    labels: tuple[str, ...]
    values: Mapping[str, str]

    def __repr__(self) -> str:
        return f"ReversibleRedaction(…, {len(self.values)} values)"


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


class MaskedText(Protocol):
    """One text that comes in pieces. What comes out is the same however it is cut, and as `Masking.whole` gives it."""

    @property
    def held(self) -> int:
        """Characters that came and did not go on."""
        ...

    def feed(self, piece: str) -> str:
        """What can go on, masked. Raises HeldTooMuch; then nothing of this text may follow."""
        ...

    def end(self) -> str:
        """The text is over: the rest of it, masked."""
        ...


class Masking(Protocol):
    """Masks the values of some labels in texts. Belongs to one thread."""

    labels: frozenset[str]

    def text(self, found: Counter[str], *, separated: bool = False, fields: tuple[str, ...] = ()) -> MaskedText:
        """Values masked in it are counted in `found`, by label. `separated`: SEPARATOR stands in it between texts that
        are near each other: as many come out as went in, and no value reaches across one. `fields`: the names of
        those that hold the text; they count as words before it.
        """
        ...

    def whole(self, text: str, found: Counter[str], *, fields: tuple[str, ...] = ()) -> str:
        """A whole text, masked. Raises HeldTooMuch."""
        ...


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

    def redact_reversibly(self, body: Any, labels: frozenset[str]) -> ReversibleRedaction:
        """`redact`, with placeholders for values of these labels: none that the body has already, in any writing."""
        ...

    def masking(self, labels: frozenset[str]) -> Masking:
        """What masks these labels. Made once (some 100 ms: make it beside the loop) and remembered, a few of them.

        Raises RulesError for labels that nothing finds, or whose rules can't be followed through a text in pieces.
        """
        ...

    def has_masking(self, labels: frozenset[str]) -> bool:
        """Whether it is made already."""
        ...

    def locate(self, body: Any) -> tuple[Location, ...]:
        """Where the labels stand, for people; sorted and bounded. Not for the request path."""
        ...
