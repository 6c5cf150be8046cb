"""What can go wrong in the catalogue.

CatalogError
└── CredentialError        a credential reference can't be resolved; the message never holds the secret

Mistakes in declarations are not exceptions: they are values (`catalog.interfaces.Mistake`), so that all of them can
be shown at once.
"""

from sekisho.kernel.errors import SekishoError


class CatalogError(SekishoError):
    """The root of this family."""


class CredentialError(CatalogError):
    """A credential can't be read where its reference points."""
