"""What can go wrong with snapshots.

SnapshotError
├── SnapshotMissing         no such snapshot, or one of its parts isn't there
├── SnapshotDamaged         a manifest or part whose bytes are not those that it is named by
└── SnapshotTooNew          made for a newer software or format; what is in force stays in force
"""

from sekisho.kernel.errors import SekishoError


class SnapshotError(SekishoError):
    """The root of this family."""


class SnapshotMissing(SnapshotError):
    """A snapshot or a part that isn't on this disk."""


class SnapshotDamaged(SnapshotError):
    """Bytes that are not what their name says."""


class SnapshotTooNew(SnapshotError):
    """This software can't read the snapshot."""
