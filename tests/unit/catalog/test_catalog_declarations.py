"""What a tree of declarations means, and that every mistake in it is told of at once."""

import os

import pytest

from sekisho.catalog.declarations import catalogue_of
from sekisho.catalog.deployment_types import (
    ENGINE,
    GLOBAL_TYPES,
    OPENAI_COMPATIBLE,
    REGIONAL_TYPES,
    REGIONS,
    ZONE_TYPES,
    ZONES,
)
from sekisho.catalog.files import FILE_BYTES_MAX, declared_names, read_declarations
from sekisho.catalog.interfaces import DEPLOYMENT_TYPES, Grade
from sekisho.catalog.jurisdictions import ISO_3166_1
from sekisho.catalog.templates import write_declarations

CLASSES = [{"name": "public"}, {"name": "internal", "title": "Internal", "title_ja": "社内"}]


def tables(**changes):
    base = {
        "boundary.toml": {
            "home": ["JP"],
            "classes": CLASSES,
            "default_class": "internal",
            "default_residency": ["JP"],
            "packs": ["jp-residency"],
        },
        "organisations/default.toml": {},
        "sites/local.toml": {"jurisdiction": "JP"},
        "providers/azure.toml": {},
        "models/m.toml": {"title": "M"},
        "deployments/d.toml": {
            "model": "m",
            "provider": "azure",
            "url": "https://a.example/v1/",
            "type": "openai-compatible",
        },
    }
    for file, content in changes.items():
        name = {"boundary": "boundary.toml", "deployment": "deployments/d.toml", "provider": "providers/azure.toml"}[
            file
        ]
        base[name] = {key: value for key, value in (base[name] | content).items() if value is not None}
    return base


def catalogue_from(**changes):
    catalogue, mistakes = catalogue_of(tables(**changes))
    assert mistakes == ()
    return catalogue


def only_deployment(**content):
    return catalogue_from(deployment=content).deployments[0]


def test_an_azure_deployment_names_its_version():
    azure = {"dialect": "azure", "url": "https://openai.example", "api_version": "2025-04-01-preview"}
    made = only_deployment(**azure)
    assert (made.dialect, made.url, made.api_version) == ("azure", "https://openai.example", "2025-04-01-preview")
    assert (only_deployment().dialect, only_deployment().api_version) == ("openai", None)


def test_a_plain_value_is_declared_and_what_is_left_out_is_unknown():
    deployment = only_deployment(facts={"processing": ["JP"], "storage": "US", "tenancy": "shared"})
    fact = deployment.facts["processing"]
    assert (fact.value, fact.grade) == (("JP",), Grade.DECLARED)
    assert deployment.facts["storage"].value == ("US",)
    assert deployment.facts["tenancy"].value == ("shared",)
    assert (deployment.facts["telemetry"].value, deployment.facts["telemetry"].grade) == (("unknown",), Grade.UNKNOWN)
    assert deployment.url == "https://a.example/v1"
    assert deployment.upstream_model == "m"


def test_anywhere_is_every_jurisdiction_and_anywhere():
    value = only_deployment(facts={"processing": "anywhere"}).facts["processing"].value
    assert set(value) == ISO_3166_1 | {"anywhere"}
    assert list(value) == sorted(value)


def test_a_fact_keeps_its_evidence():
    fact = only_deployment(
        facts={
            "processing": {
                "value": ["US", "JP"],
                "grade": "observed",
                "source": "probe",
                "observed_at": "2026-11-01T09:00:00+09:00",
                "expires": "2027-01-01",
            }
        }
    ).facts["processing"]
    assert fact.value == ("JP", "US")
    assert fact.grade is Grade.OBSERVED
    assert fact.observed_at == 1_793_491_200_000_000
    assert fact.expires == 1_798_761_600_000_000


def test_every_deployment_type_has_one_rule():
    assert sorted((*GLOBAL_TYPES, *ZONE_TYPES, *REGIONAL_TYPES, ENGINE, OPENAI_COMPATIBLE)) == list(DEPLOYMENT_TYPES)
    assert set(REGIONS.values()) | {code for zone in ZONES.values() for code in zone} <= ISO_3166_1


@pytest.mark.parametrize("kind", GLOBAL_TYPES)
def test_global_types_process_anywhere_whatever_the_region(kind):
    fact = only_deployment(type=kind, region="japaneast").facts["processing"]
    assert "anywhere" in fact.value
    assert fact.grade is Grade.DECLARED


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"type": "Standard", "region": "japaneast"}, ("JP",)),
        ({"type": "ProvisionedManaged", "region": "japanwest"}, ("JP",)),
        ({"type": "DataZoneStandard", "zone": "US"}, ("US",)),
        ({"type": "engine", "site": "local"}, ("JP",)),
        ({"type": "openai-compatible"}, ("unknown",)),
        ({"type": "Standard", "region": "japaneast", "facts": {"processing": ["JP", "US"]}}, ("JP", "US")),
        ({"type": "Standard", "region": "japaneast", "facts": {"processing": "unknown"}}, ("unknown",)),
    ],
)
def test_the_type_decides_where_it_processes(content, expected):
    assert only_deployment(**content).facts["processing"].value == expected


def test_an_eu_zone_is_its_member_states():
    value = only_deployment(type="DataZoneStandard", zone="EU").facts["processing"].value
    assert len(value) == 27
    assert "GB" not in value


SK = "sk-proj-abcdefghijklmnop0123456789"


def on(content):
    return {"deployment": content}


def storage(fact):
    return on({"facts": {"storage": fact}})


CASES = [
    (on({"type": "GlobalStandard", "facts": {"processing": ["JP"]}}), "facts.processing", "anywhere"),
    (on({"type": "Standard", "region": "japaneast", "facts": {"processing": ["US"]}}), "facts.processing", ""),
    (on({"type": "Standard"}), "region", "missing"),
    (on({"type": "Standard", "region": "japaneats"}), "region", "japaneast"),
    (on({"type": "DataZoneStandard", "zone": "APAC"}), "zone", "EU, US"),
    (on({"type": "GlobalStandart"}), "type", "GlobalStandard"),
    (on({"type": "engine"}), "site", "missing"),
    (on({"model": "mm"}), "model", "'m'"),
    (on({"provider": "azur"}), "provider", "azure"),
    (on({"url": "http://a.example/v1"}), "url", "https"),
    (on({"url": "https://u:p@a.example/v1"}), "url", "user or password"),
    (on({"url": "https://a.example/v1?x=1"}), "url", "query"),
    (on({"url": "https://a.example/v1#x"}), "url", "fragment"),
    (on({"url": "ftp://a.example"}), "url", "http"),
    (on({"url": "https://a.example:99999/v1"}), "url", "not a URL"),
    (on({"url": "https://a b/v1"}), "url", "characters"),
    (on({"url": None}), "url", "missing"),
    (on({"api_key": SK}), "api_key", "credential"),
    (on({"credential": SK}), "credential", "literally"),
    (on({"credential": {"file": SK}}), "credential.file", "credential"),
    (on({"credential": {"env": SK}}), "credential.env", "environment variable"),
    (on({"upstream_model": SK}), "upstream_model", "credential"),
    (on({"credential": {"file": "../x"}}), "credential.file", "leaves"),
    (on({"credential": {"file": "/etc/x"}}), "credential.file", "leaves"),
    (on({"credential": {"file": "a", "env": "B"}}), "credential", "both"),
    (on({"networks": ["10.0.0.1/8"]}), "networks", "host bits"),
    (on({"dialect": "azur"}), "dialect", "azure"),
    (on({"dialect": "azure"}), "api_version", "missing"),
    (on({"dialect": "azure", "api_version": "latest"}), "api_version", "YYYY-MM-DD"),
    (on({"dialect": "azure", "api_version": "2024-10-21&x=1"}), "api_version", "YYYY-MM-DD"),
    (on({"api_version": "2024-10-21"}), "api_version", "azure"),
    (
        on({"dialect": "azure", "api_version": "2024-10-21", "url": "https://a.example/openai/v1"}),
        "url", 'dialect = "openai"',
    ),
    (on({"connect_timeout_ms": 0}), "connect_timeout_ms", "range"),
    (on({"connect_timeout_ms": True}), "connect_timeout_ms", "range"),
    (on({"tls": {"client_key_file": "k"}}), "tls", "half"),
    (on({"url": "http://127.0.0.1:1/v1", "tls": {"ca_file": "k"}}), "tls", "https"),
    (on({"facts": {"procesing": ["JP"]}}), "facts.procesing", "processing"),
    (on({"facts": {"processing": ["JPN"]}}), "facts.processing", "JP"),
    (on({"facts": {"processing": []}}), "facts.processing", "0 items"),
    (on({"facts": {"processing": ["JP", "unknown"]}}), "facts.processing", "unknown"),
    (on({"facts": {"processing": ["JP", "JP"]}}), "facts.processing", "twice"),
    (on({"facts": {"tenancy": "privat"}}), "facts.tenancy", "Known are"),
    (storage({"grade": "declared"}), "facts.storage.value", "missing"),
    (storage({"value": ["JP"], "grade": "attested"}), "facts.storage.grade", "No verifier"),
    (storage({"value": ["JP"], "grade": "contractual"}), "facts.storage.source", "missing"),
    (storage({"value": ["JP"], "grade": "observed", "source": "x"}), "facts.storage.observed_at", ""),
    (storage({"value": ["JP"], "grade": "sure"}), "facts.storage.grade", "not a grade"),
    (storage({"value": ["JP"], "grade": "unknown"}), "facts.storage.grade", "fit"),
    (storage({"value": ["JP"], "expires": "2027-01-01T00:00:00"}), "facts.storage.expires", "point in time"),
    (on({"name": "d"}), "name", "file's name"),
    ({"provider": {"facts": {"nationality": ["XX"]}}}, "facts.nationality", "jurisdiction"),
    (storage({"value": ["JP"], "expires": "9999-01-01"}), "facts.storage.expires", "point in time"),
    ({"boundary": {"home": None}}, "home", "missing"),
    ({"boundary": {"default_class": "intern"}}, "default_class", "internal"),
    ({"boundary": {"default_residency": ["unknown"]}}, "default_residency", "jurisdiction"),
    ({"boundary": {"classes": []}}, "classes", "missing"),
    ({"boundary": {"classes": [*CLASSES, {"name": "public"}]}}, "classes[2].name", "twice"),
    ({"boundary": {"classes": [*CLASSES, {"name": "Secret!"}]}}, "classes[2].name", "name a class"),
    ({"boundary": {"classes": [*CLASSES, {"name": "unknown"}]}}, "classes[2].name", "name a class"),
    ({"boundary": {"packs": ["../x"]}}, "packs", "pack"),
    ({"boundary": {"jurisdictions": ["JP"]}, "deployment": {"type": "DataZoneStandard", "zone": "US"}}, "type", "US"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "key", "says"), CASES)
def test_each_mistake_is_named_with_its_key_and_a_remedy(changes, key, says):
    catalogue, mistakes = catalogue_of(tables(**changes))
    assert catalogue is None
    found = [mistake for mistake in mistakes if mistake.key == key]
    assert found, mistakes
    assert any(says in f"{mistake.problem} {mistake.remedy}" for mistake in found), found
    assert all(mistake.remedy for mistake in mistakes)
    assert not any(SK[:16] in str(mistake) for mistake in mistakes)


@pytest.mark.parametrize("title", ["Task-management-platform 2", "Desk_environment_01", "skateboarding-shop-2026"])
def test_ordinary_words_are_no_credentials(title):
    assert catalogue_from(provider={"title": title}).providers[0].title == title


def test_packs_may_be_none_but_somebody_must_say_so():
    assert catalogue_from(boundary={"packs": []}).boundary.packs == ()
    _, mistakes = catalogue_of(tables(boundary={"packs": None}))
    assert [(mistake.key, mistake.problem) for mistake in mistakes] == [("packs", "is missing")]


def test_all_mistakes_of_all_files_are_told_at_once():
    broken = tables(boundary={"home": None, "packs": None}, deployment={"type": "nope", "url": "x", "modl": "m"})
    broken["sites/local.toml"] = {"jurisdiction": "JPN"}
    broken["models/Bad Name.toml"] = {}
    broken["models/unknown.toml"] = {}
    del broken["organisations/default.toml"]
    _, mistakes = catalogue_of(broken)
    assert {(mistake.file, mistake.key) for mistake in mistakes} == {
        ("boundary.toml", "home"),
        ("boundary.toml", "packs"),
        ("deployments/d.toml", "type"),
        ("deployments/d.toml", "url"),
        ("deployments/d.toml", "modl"),
        ("sites/local.toml", "jurisdiction"),
        ("models/Bad Name.toml", ""),
        ("models/unknown.toml", ""),
        ("organisations/", ""),
    }
    assert list(mistakes) == sorted(mistakes)


@pytest.mark.parametrize(("count", "wrong"), [(64, False), (65, True)])
def test_a_model_has_at_most_64_deployments(count, wrong):
    content = tables()
    only = content.pop("deployments/d.toml")
    content |= {f"deployments/d{number}.toml": only for number in range(count)}
    catalogue, mistakes = catalogue_of(content)
    assert [mistake.file for mistake in mistakes] == (["models/m.toml"] if wrong else [])
    assert (catalogue is None) is wrong


def test_the_starter_tree_has_no_mistake_and_declares_the_manual(tmp_path):
    write_declarations(tmp_path / "d", manual_url="http://127.0.0.1:9999/v1")
    read = read_declarations(tmp_path / "d")
    assert read.mistakes == ()
    (deployment,) = read.catalogue.deployments
    assert (deployment.name, deployment.model) == ("manual-local", "manual")
    assert deployment.url == "http://127.0.0.1:9999/v1"
    assert deployment.facts["processing"].value == ("JP",)
    assert [item.name for item in read.catalogue.boundary.classes] == [
        "public",
        "internal",
        "confidential",
        "restricted",
    ]
    with pytest.raises(FileExistsError):
        write_declarations(tmp_path / "d")


def test_files_that_do_not_belong_or_can_not_be_read_are_all_told_of(tmp_path):
    tree = tmp_path / "d"
    write_declarations(tree)
    (tmp_path / "outside.toml").write_text("title = 'x'")
    (tree / "models" / "linked.toml").symlink_to(tmp_path / "outside.toml")
    (tree / "models" / "bad.toml").write_text("title = \nx = 1")
    (tree / "models" / "huge.toml").write_text("x = " + "9" * 5_000)
    (tree / "models" / "latin.toml").write_bytes(b"title = '\xe9'")
    (tree / "models" / "big.toml").write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    (tree / "models" / "directory.toml").mkdir()
    (tree / "models" / "old.toml~").write_text("")
    (tree / "modles").mkdir()
    (tree / "README.md").write_text("notes")
    (tree / ".git").mkdir()
    deployment = tree / "deployments" / "manual-local.toml"
    deployment.write_text(deployment.read_text().replace('model = "manual"', 'model = "bad"'))
    read = read_declarations(tree)
    assert read.catalogue is None
    assert sorted(mistake.file for mistake in read.mistakes) == [
        "models/bad.toml",
        "models/big.toml",
        "models/directory.toml",
        "models/huge.toml",
        "models/latin.toml",
        "models/linked.toml",
        "models/old.toml~",
        "modles",
    ]
    assert "line 1" in next(mistake.problem for mistake in read.mistakes if mistake.file == "models/bad.toml")


def test_a_tree_that_is_not_there_is_a_mistake_not_an_error(tmp_path):
    read = read_declarations(tmp_path / "nothing")
    assert read.catalogue is None
    assert {mistake.file for mistake in read.mistakes} >= {""}


def test_an_unreadable_boundary_is_told_of_once(tmp_path):
    write_declarations(tmp_path / "d")
    (tmp_path / "d" / "boundary.toml").write_text("home = [")
    read = read_declarations(tmp_path / "d")
    assert [mistake.file for mistake in read.mistakes] == ["boundary.toml"]


def test_a_link_inside_the_tree_is_followed(tmp_path):
    write_declarations(tmp_path / "d")
    os.symlink("manual.toml", tmp_path / "d" / "models" / "alias.toml")
    assert [item.name for item in read_declarations(tmp_path / "d").catalogue.models] == ["alias", "manual"]


@pytest.mark.parametrize(
    ("url", "declared", "stores"),
    [
        ("https://a.example/v1", None, False),
        ("https://a.example/v1", True, True),
        ("https://api.openai.com/v1", None, True),
        ("https://api.openai.com/v1", False, False),
    ],
)
def test_who_keeps_answers_unless_told_not_to_is_declared_or_known(url, declared, stores):
    assert only_deployment(url=url, stores_by_default=declared).stores_by_default is stores


def test_whether_it_keeps_answers_is_true_or_false():
    _, (mistake,) = catalogue_of(tables(deployment={"stores_by_default": "yes"}))
    assert (mistake.key, mistake.file) == ("stores_by_default", "deployments/d.toml")


def test_names_are_known_whatever_is_in_the_files(tmp_path):
    (tmp_path / "deployments").mkdir()
    (tmp_path / "deployments" / "d.toml").write_text("= mistakes =")
    (tmp_path / "deployments" / "notes.md").write_text("notes")
    assert declared_names(tmp_path, "deployments") == {"d"}
    assert declared_names(tmp_path, "providers") == frozenset()
