"""The rule set as data: what a snapshot stores and a gateway compiles.

A rule finds a value in three steps. `anchor` (hyperscan) finds its place in one pass over all text: hyperscan says
where an anchor ends, and Python's `re` where it begins, at most `reach` bytes before. (Hyperscan can say both, and
has crashed doing so.) `shape` (`re`) gives the exact extent with look-arounds: with a `tail`, it must begin where the
anchor does, and may go on for `tail` bytes beyond it; without, it is looked for from `lead` bytes before the anchor
to a small margin after it. With `before`, the value begins with what this matches in the `lead` bytes that end at
the anchor, and the shape at the anchor. `sign`, where given, is a pattern that occurs wherever the anchor does and is
cheaper to look for: what tells whether to look for places at all. `check` names a function. With `context`, one of
these words must stand near, and none of `unless` nearer before. Patterns work on UTF-8 bytes of folded text
(`normalise`). Borders are written as ASCII classes: a Unicode `\\b` sees none between a Japanese letter and a digit.

A rule without a shape is an operator's own: a pattern over characters that runs in hyperscan and re2 alone, so that
nothing of it runs in an engine that can be made to backtrack.
"""

from collections.abc import Callable
from typing import Final

import msgspec

FORMAT: Final = 2  # 1 relied on hyperscan for where an anchor begins
TAIL_MAX: Final = 20_000  # a PEM file of an RSA key of 16,384 bits has 12.8 kB
LEAD_MAX: Final = 256  # an address, a connection string
REACH_MAX: Final = 512  # a passport's zone has 44, a private key's first line 60

MARK: Final = "mark"
REFUSE: Final = "refuse"
REDACTIONS: Final = (MARK, REFUSE)

Check = Callable[[bytes], bool]


class RuleData(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One rule as it stands in the snapshot.

    `redaction`: "mark" replaces a value by its label; "refuse" makes a body that holds one not redactable.
    """

    label: str
    anchor: str
    sign: str = ""
    shape: str = ""
    before: str = ""
    reach: int = 96
    check: str = "always"
    tail: int = 0
    context: list[str] = []
    lead: int = 0
    unless: list[str] = []
    ignore_case: bool = False
    redaction: str = MARK


class RuleSetData(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`names`: the profiles whose finder of personal names is to run."""

    format: int
    rules: list[RuleData]
    names: list[str] = []
