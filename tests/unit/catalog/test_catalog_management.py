"""What is declared so that facts can be looked at: management APIs, pins, places; each mistake with its remedy."""

import base64

import pytest

from sekisho.catalog.declarations import catalogue_of
from sekisho.catalog.interfaces import EntraSignIn, Extent, ManagedIdentitySignIn
from sekisho.catalog.places import EXTENTS, extents_of

RESOURCE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/bank"
ENTRA = {"kind": "entra", "tenant": "t.example", "client_id": "abc", "secret": {"file": "keys/s"}}
MANAGED = {"kind": "managed-identity"}
PIN = "ab" * 32


def read(deployment=None, site=None, boundary=None):
    tables = {
        "boundary.toml": {
            "home": ["JP"],
            "classes": [{"name": "internal"}],
            "default_class": "internal",
            "default_residency": ["JP"],
            "packs": [],
            **(boundary or {}),
        },
        "organisations/default.toml": {},
        "sites/local.toml": {"jurisdiction": "JP", **(site or {})},
        "providers/azure.toml": {},
        "models/m.toml": {},
        "deployments/d.toml": {
            "model": "m",
            "provider": "azure",
            "url": "https://bank.openai.azure.com",
            "type": "Standard",
            "region": "japaneast",
            "dialect": "azure",
            "api_version": "2024-10-21",
            "upstream_model": "gpt",
            **(deployment or {}),
        },
    }
    return catalogue_of(tables)


def management(**values):
    table = {"kind": "azure", "resource": RESOURCE, "sign_in": MANAGED} | values
    return {"management": {key: value for key, value in table.items() if value is not None}}


def only(**given):
    catalogue, mistakes = read(**given)
    assert mistakes == ()
    return catalogue.deployments[0]


def test_a_management_api_is_asked_for_the_deployment_by_its_upstream_name():
    made = only(deployment=management()).management
    assert (made.kind, made.resource, made.deployment) == ("azure", RESOURCE, "gpt")
    assert (made.url, made.api_version) == ("https://management.azure.com", "2025-09-01")
    assert made.sign_in == ManagedIdentitySignIn(
        "https://management.azure.com", "http://169.254.169.254/metadata/identity/oauth2/token"
    )


def test_the_deployments_own_identity_is_used_with_the_scope_of_the_api():
    both = only(deployment=management(sign_in=None) | {"sign_in": ENTRA})
    assert isinstance(both.management.sign_in, EntraSignIn)
    assert both.management.sign_in.scope == "https://management.azure.com/.default"
    assert both.sign_in.scope == "https://cognitiveservices.azure.com/.default"
    managed = only(deployment=management(sign_in=None) | {"sign_in": MANAGED})
    assert managed.management.sign_in.resource == "https://management.azure.com"
    assert only(deployment=management(sign_in=ENTRA)).management.sign_in.scope.startswith("https://management")


def test_pins_are_kept_in_one_form():
    curl = "sha256//" + base64.b64encode(bytes.fromhex(PIN)).decode()
    assert only(deployment={"tls": {"pins": [curl]}}).tls.pins == (PIN,)
    assert only(deployment={"tls": {"pins": [PIN, "cd" * 32]}}).tls.pins == (PIN, "cd" * 32)


def test_a_site_has_a_place_and_a_boundary_may_say_where_jurisdictions_lie():
    catalogue, mistakes = read(
        site={"latitude": 35.68, "longitude": -139}, boundary={"extents": {"TH": [[5, 97, 21, 106]]}}
    )
    assert mistakes == ()
    assert (catalogue.sites[0].latitude, catalogue.sites[0].longitude) == (35_680_000, -139_000_000)
    extents = extents_of(catalogue.boundary.extents)
    assert extents["TH"] == (Extent(5, 97, 21, 106),)
    assert extents["JP"] == EXTENTS["JP"]
    assert extents_of({"JP": (Extent(1, 1, 2, 2),)})["JP"] == (Extent(1, 1, 2, 2),)


CASES = [
    ({"deployment": management(kind="aws")}, "management.kind", "azure"),
    ({"deployment": management(kind=None)}, "management.kind", "missing"),
    ({"deployment": management(resource=None)}, "management.resource", "missing"),
    ({"deployment": management(resource="/subscriptions/s")}, "management.resource", "not the id of an account"),
    ({"deployment": management(url="http://m.example")}, "management.url", "https"),
    ({"deployment": management(deployment="other")}, "management.deployment", "another than upstream_model"),
    ({"deployment": management(api_version="2024-10-01")}, "management.api_version", "nothing of spillover"),
    ({"deployment": management(api_version="2025-06-01-preview")}, "management.api_version", "2025-09-01"),
    ({"deployment": management(api_version="latest")}, "management.api_version", "2025-09-01"),
    ({"deployment": management(sign_in=None)}, "management.sign_in", "Reader"),
    ({"deployment": management(sign_in=None) | {"sign_in": {"kind": "bearer", "secret": {"env": "X"}}}},
     "management.sign_in", "missing"),
    ({"deployment": management(sign_in={"kind": "bearer", "secret": {"env": "X"}})}, "management.sign_in", "entra"),
    ({"deployment": management(sign_in={"kind": "entra"})}, "management.sign_in.tenant", "missing"),
    ({"deployment": management(regoin="x")}, "management.regoin", "not a known key"),
    ({"deployment": management() | {"type": "openai-compatible"}}, "management.kind", "tells nothing of the type"),
    ({"deployment": {"management": "azure"}}, "management", "not a table"),
    ({"deployment": {"tls": {"pins": ["sha256//not base64"]}}}, "tls.pins", "sha256//BASE64"),
    ({"deployment": {"tls": {"pins": ["abcd"]}}}, "tls.pins", "not a pin"),
    ({"deployment": {"tls": {"pins": []}}}, "tls.pins", "0 items"),
    ({"site": {"latitude": 35.6}}, "latitude", "belong together"),
    ({"site": {"latitude": 91, "longitude": 0}}, "latitude", "-90 to 90"),
    ({"site": {"latitude": True, "longitude": 0}}, "latitude", "degrees"),
    ({"site": {"latitude": 0, "longitude": "east"}}, "longitude", "degrees"),
    ({"boundary": {"extents": {"XX": [[1, 2, 3, 4]]}}}, "extents.XX", "jurisdiction"),
    ({"boundary": {"extents": {"TH": [5, 97, 21, 106]}}}, "extents.TH", "boxes"),
    ({"boundary": {"extents": {"TH": [[21, 97, 5, 106]]}}}, "extents.TH", "boxes"),
    ({"boundary": {"extents": {"TH": [[5.5, 97, 21, 106]]}}}, "extents.TH", "whole degrees"),
    ({"boundary": {"extents": {"TH": []}}}, "extents.TH", "boxes"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "key", "says"), CASES)
def test_each_mistake_is_named_with_its_key_and_a_remedy(given, key, says):
    catalogue, mistakes = read(**given)
    assert catalogue is None
    found = [one for one in mistakes if one.key == key]
    assert found, mistakes
    assert any(says in f"{one.problem} {one.remedy}" for one in found), found
    assert all(one.remedy for one in mistakes)
