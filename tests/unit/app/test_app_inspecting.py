"""What is declared becomes the rule set of a snapshot, or mistakes that say what to do."""

import importlib.util

import msgspec
import pytest

from sekisho.app.inspecting import declared_inspection
from sekisho.catalog.interfaces import InspectionRule, InspectionSettings, PolicyText
from sekisho.inspection.profiles.jp import names
from sekisho.inspection.rules import compile_inspector, rules_bytes
from support_decide import catalogue

ASKS = PolicyText(
    "policies/names.cedar",
    '@id("a") @title("a") @title_ja("a") forbid (principal, action, resource)'
    ' when { context.labels.contains(Label::"person.name") };',
)
RULE = InspectionRule(
    name="employee", label="acme.employee", pattern="EMP-[0-9]{6}", must_match=("EMP-123456",), must_not_match=("EMP",)
)


def declared(settings=None, rules=(), policies=(), home=("JP",)):
    whole = catalogue()
    settings = settings or InspectionSettings()
    boundary = msgspec.structs.replace(whole.boundary, inspection=settings, home=home)
    return declared_inspection(msgspec.structs.replace(whole, boundary=boundary, inspection_rules=rules), policies)


@pytest.mark.parametrize(
    ("home", "profiles"),
    [(("JP",), ("jp",)), (("SG",), ("sg",)), (("JP", "SG"), ("jp", "sg")), (("DE", "JP"), ("jp",)), (("DE",), ())],
)
def test_where_no_profile_is_named_those_of_home_are_meant_that_ship(home, profiles):
    inspection = declared(home=home)
    assert inspection.rules == rules_bytes(profiles)
    assert inspection.mistakes == ()


def test_the_labels_of_a_profile_may_be_named():
    assert {"jp.my_number", "person.name"} <= set(declared().labels)


def test_own_rules_are_part_of_it_and_their_mistakes_are_told():
    inspection = declared(rules=(RULE,))
    assert inspection.mistakes == ()
    assert "acme.employee" in inspection.labels
    assert compile_inspector(inspection.rules).inspect({"a": "EMP-123456"}).labels == ("acme.employee",)
    wrong = declared(rules=(msgspec.structs.replace(RULE, must_match=("x",)),))
    assert [(item.file, item.key) for item in wrong.mistakes] == [("inspection/employee.toml", "must_match[0]")]


def test_without_profiles_there_is_nothing_of_a_nation():
    labels = declared(InspectionSettings(profiles=())).labels
    assert not [label for label in labels if label.startswith("jp.")]
    assert "email" in labels


def test_a_profile_that_does_not_ship_is_a_mistake():
    (mistake,) = declared(InspectionSettings(profiles=("atlantis",))).mistakes
    assert (mistake.file, mistake.key) == ("boundary.toml", "inspection.profiles")
    assert "jp" in mistake.remedy


@pytest.mark.parametrize(
    ("settings", "policies"), [(InspectionSettings(person_names=True), ()), (InspectionSettings(), (ASKS,))]
)
def test_names_are_looked_for_where_the_boundary_or_a_policy_asks(settings, policies):
    pytest.importorskip("sudachipy")
    inspection = declared(settings, policies=policies)
    assert inspection.mistakes == ()
    assert inspection.rules == rules_bytes(("jp",), names=True)


def test_a_missing_dictionary_is_a_mistake_that_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (mistake,) = declared(policies=(ASKS,)).mistakes
    assert "sekisho[names]" in mistake.remedy
    assert names.make_names
