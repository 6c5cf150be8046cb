"""Words for messages."""

import difflib
from collections.abc import Iterable
from typing import Final

_LISTED_MAX: Final = 12  # more names than this are no help to anybody


def alternatives(wrong: str, known: Iterable[str]) -> str:
    """What could have been meant: all of `known` where they are few, else those nearest to `wrong`."""
    names = sorted(known)
    if len(names) > _LISTED_MAX:
        near = difflib.get_close_matches(wrong, names, n=3, cutoff=0.5) or names[:3]
        return f"{', '.join(near)} … ({len(names)} are known)"
    return ", ".join(names)
