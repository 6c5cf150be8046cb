"""What demands approval in an installation, read from its snapshot in force."""

from sekisho.identity.persons_sql import Rules
from sekisho.kernel.errors import SekishoError
from sekisho.settings import DataDirectory, load_settings
from sekisho.snapshot.store import SnapshotStore


def rules_of(directory: DataDirectory, store: SnapshotStore) -> Rules:
    """Raises SekishoError if they can't be read: what nobody can look up is not taken for "none"."""
    origin = load_settings(directory.root).installation.origin
    digest = store.current()
    if digest is None:
        raise SekishoError(
            "no snapshot is in force, so nobody knows which acts need approval",
            remedy="Put the declarations in force first: sekisho up",
        )
    return Rules(store.catalogue(digest).approvals, digest, origin)
