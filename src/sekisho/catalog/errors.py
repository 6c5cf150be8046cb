"""What can go wrong in the catalogue.

CatalogError
├── CredentialError        a credential reference can't be resolved; the message never holds the secret
├── DelegationsError       a registry's file of delegations can't be read
└── ManagementError        a provider's management API doesn't say what it is documented to say

Mistakes in declarations are not exceptions: they are values (`catalog.interfaces.Mistake`), so that all of them can
be shown at once.
"""

from sekisho.kernel.errors import SekishoError


class CatalogError(SekishoError):
    """The root of this family."""


class CredentialError(CatalogError):
    """A credential can't be read where its reference points."""


class DelegationsError(CatalogError):
    """A file that is not what a regional registry publishes, or not of a form that is known."""


class ManagementError(CatalogError):
    """An answer of a management API that tells nothing of the deployment."""
