"""Reading where a deployment's provider tells what it is: the `[management]` table."""

from typing import Final

import msgspec

from sekisho.catalog.azure_management import API_VERSION, API_VERSION_FORM, RESOURCE, SCOPE, TOKEN_RESOURCE, URL
from sekisho.catalog.interfaces import EntraSignIn, ManagedIdentitySignIn, Management, SignIn
from sekisho.catalog.observations import AZURE_TYPES
from sekisho.catalog.sign_in import TokenTarget, read_sign_in
from sekisho.catalog.table import Table, shown
from sekisho.catalog.urls import take_path, take_url

KINDS: Final = ("azure",)
TARGET: Final = TokenTarget(SCOPE, TOKEN_RESOURCE)


def read_management(
    table: Table, deployment_type: str | None, upstream_model: str | None, sign_in: SignIn | None
) -> Management | None:
    """The table, or None with mistakes noted (none where it isn't there). `sign_in`: the deployment's own, which is
    used with the management API's scope where the table has none.
    """
    inner = table.take_table("management")
    if inner is None:
        return None
    kind = inner.take_choice("kind", KINDS, "a management API that is known")
    resource = inner.take_text("resource", remedy="Give the account's resource id: /subscriptions/…/accounts/NAME")
    url = take_url(inner, "url")
    name = inner.take_text("deployment", default=upstream_model)
    api_version = inner.take_text("api_version", default=API_VERSION)
    ca_file = take_path(inner, "ca_file")
    if api_version is not None and not (API_VERSION_FORM.fullmatch(api_version) and api_version >= API_VERSION):
        remedy = f'Leave it out, or name "{API_VERSION}" or a later one: earlier ones tell nothing of spillover'
        inner.mistake("api_version", f"{shown(api_version)} is not a version that tells enough", remedy)
    if name is not None and upstream_model is not None and name.lower() != upstream_model.lower():
        problem = f"{shown(name)} is another than upstream_model, which is the one that requests go to"
        inner.mistake("deployment", problem, "Leave it out: what is said of one deployment supports nothing of another")
    own = read_sign_in(inner, TARGET)
    inner.finish()
    if deployment_type is not None and deployment_type not in AZURE_TYPES:
        inner.mistake("kind", f"tells nothing of the type {deployment_type}", "Remove the table, or correct `type`")
    if resource is not None and not RESOURCE.fullmatch(resource):
        remedy = "It is /subscriptions/ID/resourceGroups/GROUP/providers/Microsoft.CognitiveServices/accounts/NAME"
        inner.mistake("resource", f"{shown(resource)} is not the id of an account", remedy)
        resource = None
    used = own if "sign_in" in inner.values else _of_deployment(sign_in)
    if used is None and "sign_in" not in inner.values:
        remedy = 'Add [management.sign_in] with kind = "entra" or "managed-identity"; the role Reader is enough'
        inner.missing("sign_in", remedy)
    elif used is not None and not isinstance(used, EntraSignIn | ManagedIdentitySignIn):
        inner.mistake("sign_in", "is not one that Azure's management API takes", 'Use "entra" or "managed-identity"')
        used = None
    if kind is None or resource is None or used is None or name is None or api_version is None:
        return None
    return Management(kind, resource, name, used, (url or URL).rstrip("/"), api_version, ca_file)


def _of_deployment(sign_in: SignIn | None) -> SignIn | None:
    """The same identity, asking for a token for the management API."""
    if isinstance(sign_in, EntraSignIn):
        return msgspec.structs.replace(sign_in, scope=SCOPE)
    if isinstance(sign_in, ManagedIdentitySignIn):
        return msgspec.structs.replace(sign_in, resource=TOKEN_RESOURCE)
    return None
