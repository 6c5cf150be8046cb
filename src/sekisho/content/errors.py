"""What can go wrong with kept content.

ContentError
├── ContentMissing          nothing is kept under that id, or not any more
├── ContentUnreadable       what is kept can't be decrypted: its key is destroyed, or its bytes were changed
├── ContentNoRoom           the disk's last space is the ledger's
├── ContentKeyUnusable      an organisation's key can't be read or made
└── ReadRefused             whoever asks may not read it; nothing was shown
"""

from sekisho.kernel.errors import SekishoError


class ContentError(SekishoError):
    """The root of this family."""


class ContentMissing(ContentError):
    pass


class ContentUnreadable(ContentError):
    pass


class ContentNoRoom(ContentError):
    pass


class ContentKeyUnusable(ContentError):
    pass


class ReadRefused(ContentError):
    pass
