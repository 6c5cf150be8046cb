"""What Azure's resource API says of a deployment, in the shapes of its REST documentation (2025-09-01)."""

import copy

import pytest

from sekisho.catalog.azure_management import RESOURCE, Told, page, told
from sekisho.catalog.errors import ManagementError

ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/accountName"
ACCOUNT = {
    "id": ID,
    "name": "accountName",
    "type": "Microsoft.CognitiveServices/accounts",
    "location": "japaneast",
    "sku": {"name": "S0"},
    "kind": "OpenAI",
    "etag": 'W/"datetime"',
    "properties": {"endpoint": "https://accountname.openai.azure.com/", "provisioningState": "Succeeded"},
}
HOST = "accountname.openai.azure.com"


def deployment(name, sku, **properties):
    return {
        "id": f"{ID}/deployments/{name}",
        "name": name,
        "type": "Microsoft.CognitiveServices/accounts/deployments",
        "sku": {"name": sku, "capacity": 1},
        "properties": {
            "model": {"format": "OpenAI", "name": "gpt-4o", "version": "2024-11-20"},
            "provisioningState": "Succeeded",
            **properties,
        },
    }


def account(location="japaneast", **properties):
    made = copy.deepcopy(ACCOUNT)
    made["location"] = location
    made["properties"] |= properties
    return made


@pytest.mark.parametrize(
    ("location", "sku", "processing"),
    [
        ("japaneast", "Standard", ("JP",)),
        ("Japan East", "ProvisionedManaged", ("JP",)),
        ("japaneast", "GlobalStandard", ("anywhere",)),
        ("japaneast", "GlobalProvisionedManaged", ("anywhere",)),
        ("japaneast", "GlobalBatch", ("anywhere",)),
        ("japaneast", "DeveloperTier", ("anywhere",)),
        ("eastus2", "DataZoneStandard", ("US",)),
        ("eastus2", "Standard", ("US",)),
        ("japaneast", "DataZoneStandard", ("unknown",)),  # a zone whose extent is not published
        ("japaneast", "QuantumStandard", ("unknown",)),  # a type that came later
        ("japaneast", "engine", ("unknown",)),  # our own word, not one of theirs
        ("japaneast", "openai-compatible", None),
        ("moonbase", "Standard", ("unknown",)),
        ("moonbase", "GlobalStandard", ("anywhere",)),
    ],
)
def test_the_type_and_the_region_say_where_it_processes(location, sku, processing):
    if processing is None:
        with pytest.raises(ManagementError):
            told(account(location), [deployment("tokyo", sku)], "tokyo", HOST)
        return
    said = told(account(location), [deployment("x", "GlobalStandard"), deployment("tokyo", sku)], "Tokyo", HOST)
    assert said.processing == processing
    assert said.skus == (sku,)


def test_a_zone_of_the_union_is_all_of_it():
    said = told(account("swedencentral"), [deployment("d", "DataZoneProvisionedManaged")], "d", HOST)
    assert {"DE", "FR", "SE"} < set(said.processing)
    assert "GB" not in said.processing


def test_what_spills_over_processes_there_too():
    both = [
        deployment("ptu", "ProvisionedManaged", spilloverDeploymentName="overflow"),
        deployment("overflow", "GlobalStandard"),
    ]
    said = told(account(), both, "ptu", HOST)
    assert said == Told(("ProvisionedManaged", "GlobalStandard"), ("japaneast",), ("JP", "anywhere"), "provider")
    with pytest.raises(ManagementError, match="spills over to what is not there"):
        told(account(), both[:1], "ptu", HOST)
    endless = [deployment("a", "Standard", spilloverDeploymentName="a")]
    with pytest.raises(ManagementError, match="more than 4 times"):
        told(account(), endless, "a", HOST)


def test_an_account_in_several_regions_processes_in_each():
    regions = {"routingMethod": "Performance", "regions": [{"name": "japaneast"}, {"name": "West US"}]}
    said = told(account(locations=regions), [deployment("d", "Standard")], "d", HOST)
    assert said.processing == ("JP", "US")
    assert said.regions == ("japaneast", "westus")


@pytest.mark.parametrize(
    ("encryption", "holder"),
    [
        (None, "provider"),
        ({"keySource": "Microsoft.CognitiveServices"}, "provider"),
        ({"keySource": "Microsoft.KeyVault", "keyVaultProperties": {"keyName": "k"}}, "customer"),
        ({"keySource": "Someone.Else"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_it_says_who_holds_the_key(encryption, holder):
    properties = {} if encryption is None else {"encryption": encryption}
    assert told(account(**properties), [deployment("d", "Standard")], "d", HOST).key_holder == holder


@pytest.mark.parametrize(
    ("properties", "host", "serves"),
    [
        ({}, HOST.upper(), True),
        ({}, "other.openai.azure.com", False),
        ({"customSubDomainName": "Other"}, "other.openai.azure.com", True),
        ({"customSubDomainName": "other"}, "other.openai.azure.com.evil.example", False),
        ({"endpoints": {"OpenAI": "https://named.openai.azure.com/"}}, "named.openai.azure.com", True),
        ({"endpoint": None}, HOST, False),
    ],
)
def test_only_the_account_that_serves_the_url_is_believed(properties, host, serves):
    rows = [deployment("d", "Standard")]
    if serves:
        assert told(account(**properties), rows, "d", host).processing == ("JP",)
    else:
        with pytest.raises(ManagementError, match="another host"):
            told(account(**properties), rows, "d", host)


@pytest.mark.parametrize(
    ("broken", "row"),
    [
        ({**ACCOUNT, "properties": None}, deployment("d", "Standard")),
        ({**ACCOUNT, "location": None}, deployment("d", "Standard")),
        ({**ACCOUNT, "location": "../../etc"}, deployment("d", "Standard")),
        (account(locations=["westus"]), deployment("d", "Standard")),
        (account(locations={"regions": ["westus"]}), deployment("d", "Standard")),
        (account(locations={"regions": [{"name": f"r{n}"} for n in range(1000)]}), deployment("d", "Standard")),
        (account(endpoint="https://[broken"), deployment("d", "Standard")),
        (ACCOUNT, {**deployment("d", "Standard"), "sku": None}),
        (ACCOUNT, {**deployment("d", "Standard"), "sku": {"name": "<b>Standard</b>"}}),
        (ACCOUNT, {**deployment("d", "Standard"), "properties": []}),
        (ACCOUNT, deployment("another", "Standard")),
    ],
)
def test_answers_of_another_shape_say_nothing(broken, row):
    with pytest.raises(ManagementError):
        told(broken, [row], "d", HOST)


def test_a_list_goes_on_where_its_link_leads_on_the_same_host():
    rows = [deployment("d", "Standard")]
    assert page({"value": rows}) == (rows, None)
    link = "https://management.azure.com/subscriptions/s/x?api-version=2025-09-01&$skiptoken=abc"
    assert page({"value": [], "nextLink": link}) == ([], "/subscriptions/s/x?api-version=2025-09-01&$skiptoken=abc")
    # Asked of the host that is declared: a link that leads away leads nowhere.
    assert page({"value": [], "nextLink": "https://evil.example/x?y"}) == ([], "/x?y")
    for document in (
        None,
        {},
        {"value": {}},
        {"value": [1]},
        {"value": [], "nextLink": 5},
        {"value": [], "nextLink": "x"},
        {"value": [], "nextLink": "https://[broken/x?y"},
        {"value": [], "nextLink": "https://m.example/x y HTTP/1.1?z"},  # would be a request line of its own
        {"value": [], "nextLink": "https://m.example/東京?z"},
    ):
        with pytest.raises(ManagementError):
            page(document)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        (ID, True),
        (ID.lower(), True),
        (ID + "/deployments/d", False),
        (ID.replace("CognitiveServices", "Web"), False),
        (ID + "?x=1", False),
        ("https://management.azure.com" + ID, False),
        (ID.replace("/g/", "/../"), False),
        (ID.replace("/g/", "/東京.1/"), True),
    ],
)
def test_a_resource_id_is_one_of_an_account(text, fits):
    assert bool(RESOURCE.fullmatch(text)) is fits
