"""Every template gives declarations that hold, whose facts say no more than is known, and where they are from."""

import datetime
import itertools
import re
import tomllib

import msgspec
import pytest

from sekisho.catalog.declarations import catalogue_of
from sekisho.catalog.interfaces import DEPLOYMENT_TYPES, CredentialReference, Grade
from sekisho.catalog.provider_templates import (
    MODELS_MAX,
    ProviderRequest,
    filled,
    model_name,
    rendered,
    templates,
)
from sekisho.kernel.errors import UsageError

TEMPLATES = templates()
TODAY = datetime.date(2026, 11, 25)
KEY = CredentialReference("file", "keys/providers/p")
BASE = {
    "boundary.toml": {
        "home": ["JP"],
        "classes": [{"name": "internal"}],
        "default_class": "internal",
        "default_residency": ["JP"],
        "packs": [],
    },
    "organisations/default.toml": {},
    "sites/local.toml": {"jurisdiction": "JP"},
}
EVERY_TYPE = [(name, kind) for name, template in TEMPLATES.items() for kind in template.file.types]


def request_for(template, kind=None, /, **changes):
    """What a person would type for a template, complete."""
    file = TEMPLATES[template].file
    kind = kind or file.types[0]
    asked = {
        "name": "p",
        "url": None if file.url else "https://host.example/v1",
        "upstream_models": () if file.upstream_models else ("Vendor/Model:1",),
        "deployment_type": kind,
        "region": "japaneast" if kind in ("Standard", "ProvisionedManaged") else None,
        "zone": "EU" if kind.startswith("DataZone") else None,
        "credential": KEY if file.credential == "required" else None,
    }
    return ProviderRequest(**(asked | changes))


def files_for(template, kind=None, /, **changes):
    return rendered(TEMPLATES[template], request_for(template, kind, **changes), {"local": "JP"}, TODAY)


def catalogue_for(template, kind=None, /, **changes):
    return catalogue_from(files_for(template, kind, **changes))


def catalogue_from(files):
    catalogue, mistakes = catalogue_of(BASE | {file: tomllib.loads(text) for file, text in files.items()})
    assert mistakes == ()
    return catalogue


def only(catalogue):
    return catalogue.deployments[0]


@pytest.mark.parametrize(("name", "kind"), EVERY_TYPE)
def test_declarations_hold_for_every_type(name, kind):
    catalogue = catalogue_for(name, kind)
    deployment = only(catalogue)
    assert (deployment.provider, deployment.deployment_type) == ("p", kind)
    assert deployment.model == catalogue.models[0].name
    assert (deployment.credential is None) == (TEMPLATES[name].file.credential == "optional")


@pytest.mark.parametrize(("name", "kind"), EVERY_TYPE)
def test_no_fact_claims_more_than_a_declaration_and_each_has_its_source_and_date(name, kind):
    files = {file: tomllib.loads(text) for file, text in files_for(name, kind).items()}
    for content in files.values():
        for fact in content.get("facts", {}).values():
            assert fact["grade"] == "declared"
            assert fact["source"]
            assert isinstance(fact["observed_at"], datetime.date)
    catalogue = catalogue_for(name, kind)
    facts = [*catalogue.providers[0].facts.values(), *only(catalogue).facts.values()]
    assert all(fact.grade <= Grade.DECLARED for fact in facts)


@pytest.mark.parametrize("name", TEMPLATES)
def test_everything_written_is_commented_and_filled(name):
    for text in files_for(name).values():
        assert text.startswith("# ")
        assert "@" not in text
        assert text.endswith("\n")
        assert not text.endswith("\n\n")


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_not_known_can_be_uncommented(name):
    """Hints are declarations: with their "…" filled in, none of them is a mistake."""
    files = {}
    for file, text in files_for(name).items():
        files[file] = re.sub(r"^# (?=[a-z_]+ = )", "", text, flags=re.MULTILINE).replace('"…"', '"JP"')
    catalogue = catalogue_from(files)
    unknown = {key for key, fact in only(catalogue).facts.items() if fact.grade == Grade.UNKNOWN}
    assert unknown == set()
    assert Grade.UNKNOWN not in {fact.grade for fact in catalogue.providers[0].facts.values()}
    assert only(catalogue).networks
    assert only(catalogue).credential


def test_all_of_azures_types_are_offered():
    for name in ("azure-openai", "azure-openai-v1"):
        assert {*TEMPLATES[name].file.types} == {*DEPLOYMENT_TYPES} - {"engine", "openai-compatible"}


def test_azures_dated_api_is_spoken_in_its_dialect():
    deployment = only(catalogue_for("azure-openai", "Standard", url="https://r.openai.azure.com"))
    assert (deployment.dialect, deployment.api_version) == ("azure", "2024-10-21")
    asked = catalogue_for(
        "azure-openai", "Standard", url="https://r.openai.azure.com", api_version="2025-01-01-preview"
    )
    assert only(asked).api_version == "2025-01-01-preview"
    assert only(catalogue_for("azure-openai-v1", "Standard")).dialect == "openai"


def test_azures_sku_decides_and_the_region_does_not():
    everywhere = only(catalogue_for("azure-openai-v1", "GlobalStandard", region="japaneast"))
    assert "anywhere" in everywhere.facts["processing"].value
    assert everywhere.facts["storage"].value == ("JP",)
    regional = only(catalogue_for("azure-openai-v1", "Standard", region="japanwest"))
    assert regional.facts["processing"].value == ("JP",)
    zone = only(catalogue_for("azure-openai-v1", "DataZoneStandard", zone="US"))
    assert zone.facts["processing"].value == ("US",)
    assert zone.facts["storage"].grade == Grade.UNKNOWN


def test_a_geography_of_several_countries_says_nothing_of_storage():
    assert only(catalogue_for("azure-openai-v1", "Standard", region="westeurope")).facts["storage"].value == (
        "unknown",
    )


def test_a_vendor_that_states_nothing_leaves_processing_unknown():
    for name in ("plamo", "softbank", "openai-compatible"):
        assert only(catalogue_for(name)).facts["processing"].grade == Grade.UNKNOWN
    assert only(catalogue_for("sakura")).facts["processing"].value == ("JP",)


def test_an_engine_takes_its_facts_from_its_site():
    files = rendered(TEMPLATES["vllm"], request_for("vllm", site="paris"), {"local": "JP", "paris": "FR"}, TODAY)
    tables = {file: tomllib.loads(text) for file, text in files.items()}
    catalogue, mistakes = catalogue_of(BASE | {"sites/paris.toml": {"jurisdiction": "FR"}} | tables)
    assert mistakes == ()
    facts = only(catalogue).facts
    assert facts["processing"].value == facts["storage"].value == ("FR",)


@pytest.mark.parametrize("model", ["gpt-oss:120b-cloud", "GLM-4.6:cloud"])
def test_models_that_ollama_hands_on_are_no_engines(model):
    with pytest.raises(UsageError, match=r"ollama\.com"):
        files_for("ollama", upstream_models=(model,))


def test_several_models_become_several_deployments_of_one_provider():
    files = files_for("vllm", upstream_models=("Qwen/Qwen3-8B", "b"), models=("small", "b"))
    assert list(files) == [
        "providers/p.toml", "models/small.toml", "models/b.toml", "deployments/p-small.toml", "deployments/p-b.toml"
    ]  # fmt: skip
    assert 'upstream_model = "Qwen/Qwen3-8B"' in files["deployments/p-small.toml"]


def test_a_model_named_is_never_answered_by_a_templates_own():
    assert only(catalogue_for("sakura", models=("llm-jp",))).upstream_model == "llm-jp"
    assert only(catalogue_for("sakura")).upstream_model == TEMPLATES["sakura"].file.upstream_models[0]


def test_networks_certificates_and_credentials_are_declared_as_asked():
    deployment = only(
        catalogue_for(
            "foundry-azure-local",
            networks=("10.0.0.0/8",),
            ca_file="keys/ca.pem",
            credential=CredentialReference("env", "FOUNDRY_KEY"),
        )
    )
    assert deployment.networks == ("10.0.0.0/8",)
    assert deployment.tls.ca_file == "keys/ca.pem"
    assert deployment.credential == CredentialReference("env", "FOUNDRY_KEY")


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("azure-openai-v1", {"deployment_type": None}, "--type"),
        ("azure-openai-v1", {"deployment_type": "Globalstandard"}, "GlobalStandard"),
        ("azure-openai-v1", {"region": None}, "--region"),
        ("azure-openai-v1", {"deployment_type": "DataZoneStandard", "region": None}, "--zone"),
        ("azure-openai-v1", {"zone": "EU"}, "--zone"),
        ("azure-openai-v1", {"url": None}, "openai.azure.com/openai/v1"),
        ("azure-openai-v1", {"api_version": "2024-10-21"}, "--api-version"),
        ("azure-openai-v1", {"upstream_models": ()}, "the deployment's name in Azure"),
        ("sakura", {"region": "japaneast"}, "--region"),
        ("sakura", {"deployment_type": "Standard"}, "openai-compatible"),
        ("sakura", {"name": "Sakura!"}, "can't be named"),
        ("sakura", {"name": "s" * 64}, "too long"),
        ("sakura", {"models": ("a", "b"), "upstream_models": ("c",)}, "pair"),
        ("sakura", {"models": ("A",)}, "can't be named"),
        ("sakura", {"upstream_models": ("a/b", "a:b")}, "twice"),
        ("sakura", {"upstream_models": ("モデル",)}, "can't be named"),
        ("sakura", {"upstream_models": ("a\nb",)}, "line of text"),
        ("sakura", {"upstream_models": tuple(map(str, range(MODELS_MAX + 1)))}, "at most"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(name, changes, words):
    with pytest.raises(UsageError) as refused:
        files_for(name, **changes)
    assert words in str(refused.value)


@pytest.mark.parametrize("text", ['a"b', "a\\b", 'x" }\ntype = "engine', "モデル", "a\x7fb"])
def test_what_is_filled_in_stays_one_value(text):
    done = filled("a = @A@\n", {"A": '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'})
    if "\x7f" not in text:
        assert tomllib.loads(done) == {"a": text}
    files = files_for("openai-compatible", url=f"https://host.example/{text}", models=("m",), upstream_models=("m",))
    assert tomllib.loads(files["deployments/p-m.toml"])["url"] == f"https://host.example/{text}"


def test_what_is_filled_in_is_not_filled_again():
    assert filled("@A@ @B@", {"A": "@B@", "B": "b"}) == "@B@ b\n"


@pytest.mark.parametrize(
    ("upstream", "name"),
    [
        ("Qwen/Qwen3-8B", "qwen-qwen3-8b"),
        ("llama3.2:3b", "llama3.2-3b"),
        ("_x_", "x"),
        ("m" * 80, "m" * 64),
        ("日本", ""),
    ],
)
def test_names_for_callers_are_made_of_the_providers(upstream, name):
    assert model_name(upstream) == name


def test_ports_are_those_of_one_kind_each():
    ports = [port for one in TEMPLATES.values() if one.file.discovery for port in one.file.discovery.ports]
    assert len(ports) == len(set(ports))
    assert {11434, 8000, 8080, 1234, 5273} <= set(ports)


def test_discovery_is_for_engines_only():
    for template, kind in itertools.product(TEMPLATES.values(), ("openai-compatible", "Standard")):
        if template.file.discovery is not None:
            assert kind not in template.file.types


OFFERED = re.compile(r"^#   ((?:\[[a-z_]+\]\n)(?:#   [a-z_]+ = .*\n)+)", re.MULTILINE)


@pytest.mark.parametrize(
    ("template", "kinds"),
    [
        ("azure-openai", {"managed-identity", "entra", "egress_proxy", "management"}),
        ("azure-openai-v1", {"managed-identity", "entra", "egress_proxy", "management"}),
        ("foundry-azure-local", {"api-key", "entra"}),
    ],
)
def test_every_sign_in_that_is_offered_in_comments_can_be_taken(template, kinds):
    files = files_for(template)
    name, text = next((name, text) for name, text in files.items() if name.startswith("deployments/"))
    taken = set()
    for offered in OFFERED.findall(text):
        table = offered.replace("\n#   ", "\n")
        secret = {"secret ="} if "certificate_file" in table else set()
        for left_out in (secret, {"certificate_file", "key_file"}):
            kept = [line for line in table.splitlines() if not line.startswith(tuple(left_out))]
            declared = text.replace(f"credential = {{ file = {KEY.name!r} }}".replace("'", '"'), "")
            assert declared != text
            catalogue = catalogue_from(files | {name: declared.replace("[facts]", "\n".join([*kept, "", "[facts]"]))})
            deployment = catalogue.deployments[0]
            if deployment.egress_proxy is not None:
                taken.add("egress_proxy")
            elif deployment.management is not None:
                taken.add("management")
            else:
                taken.add(deployment.sign_in.__struct_config__.tag)
    assert taken == kinds


def test_a_template_has_regions_where_one_of_its_types_processes_in_them():
    azure = TEMPLATES["azure-openai-v1"]
    provisioned = azure._replace(file=msgspec.structs.replace(azure.file, types=("ProvisionedManaged",)))
    request = request_for("azure-openai-v1", "ProvisionedManaged")
    assert 'region = "japaneast"' in rendered(provisioned, request, {}, TODAY)["deployments/p-vendor-model-1.toml"]
    with pytest.raises(UsageError, match="has no regions"):
        files_for("vllm", region="japaneast")
