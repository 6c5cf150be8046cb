"""Exemptions as declared: everything that they need is asked for, and one content has one digest."""

import datetime
import tomllib

import pytest

from sekisho.catalog.exemption_digest import exemption_digest
from sekisho.catalog.exemptions import ITEMS_MAX, Named, grant_parameters, read_exemption
from sekisho.catalog.files import read_declarations
from sekisho.catalog.table import Table
from sekisho.catalog.templates import write_declarations
from sekisho.identity.acts import EXEMPTION_GRANT, require_parameters

TEXT = """
organisation = "default"
policies = ["p.two", "p.one"]
deployments = ["seoul"]
classes = ["internal"]
labels = ["jp.phone"]
why = "移行の検証"
compensating_control = "Read before"
until = 2027-03-31
"""
NAMED = Named({"default"}, {"seoul"}, {"m"}, ("public", "internal"))


def read(text, name="trial"):
    mistakes = []
    table = Table(tomllib.loads(text), f"exemptions/{name}.toml", mistakes)
    value = read_exemption(name, table, NAMED)
    table.finish()
    return value, mistakes


def test_a_whole_one_is_read_and_named_by_its_content():
    value, mistakes = read(TEXT)
    assert mistakes == []
    assert (value.policies, value.deployments, value.models, value.roles) == (("p.one", "p.two"), ("seoul",), (), ())
    assert value.until == int(datetime.datetime(2027, 3, 31, tzinfo=datetime.UTC).timestamp()) * 1_000_000
    assert value.sha256 == exemption_digest("trial", tomllib.loads(TEXT))


def test_its_parameters_are_those_of_the_act():
    parameters = grant_parameters(read(TEXT)[0])
    require_parameters(EXEMPTION_GRANT, parameters)
    assert parameters["policies"] == "p.one,p.two"
    assert (parameters["models"], parameters["roles"], parameters["until"]) == ("none", "*", "2027-03-31T00:00:00Z")


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("\norganisation", "\n# a comment\norganisation", True),
        ('why = "移行の検証"\n', "", False),
        ('["p.two", "p.one"]', '[ "p.two","p.one" ]', True),
        ("Read before", "Read after", False),
        ("2027-03-31", "2027-04-01", False),
        ("2027-03-31", '"2027-03-31"', True),
        ('["jp.phone"]', "[]", False),
    ],
)
def test_the_digest_changes_with_the_content_and_with_nothing_else(old, new, same):
    assert old in TEXT
    before, after = tomllib.loads(TEXT), tomllib.loads(TEXT.replace(old, new))
    assert (exemption_digest("trial", before) == exemption_digest("trial", after)) is same
    assert exemption_digest("trial", before) != exemption_digest("other", before)


@pytest.mark.parametrize(
    "line",
    ["organisation", "policies", "deployments", "classes", "why", "compensating_control", "until"],
)
def test_what_it_needs_is_asked_for(line):
    text = "\n".join(one for one in TEXT.splitlines() if not one.startswith(line))
    value, mistakes = read(text)
    assert value is None
    assert [(one.key, one.problem) for one in mistakes] == [(line, "is missing")]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"default"', '"defalt"', "organisation"),
        ('["seoul"]', '["soul"]', "deployments"),
        ('["internal"]', '["intern"]', "classes"),
        ('"p.one"', '"P one"', "policies"),
        ("2027-03-31", "2027-03-31T00:00:00.5+09:00", "until"),
        ("2027-03-31", '"soon"', "until"),
        ("why", "reason", "why"),
        ('["p.two", "p.one"]', str([f"p.{n}" for n in range(ITEMS_MAX + 1)]), "policies"),
        ("2027-03-31", "2027-03-31\nextra = 1.5", ""),
    ],
)
def test_what_is_wrong_is_named(old, new, key):
    value, mistakes = read(TEXT.replace(old, new, 1))
    assert value is None
    assert key in {one.key for one in mistakes}


@pytest.mark.parametrize("key", ["deployments", "labels", "roles"])
def test_nothing_can_be_named_that_reads_to_approvers_as_if_nothing_were(key):
    """A deployment called `none`, say: the act would say "to the deployments none", and be for that one."""
    lines = [one for one in TEXT.splitlines() if not one.startswith(key)]
    mistakes: list = []
    table = Table(tomllib.loads("\n".join([*lines, f'{key} = ["none"]'])), "exemptions/trial.toml", mistakes)
    assert read_exemption("trial", table, NAMED._replace(deployments={"seoul", "none"})) is None
    assert [one.key for one in mistakes] == [key]
    assert "as if nothing were named" in mistakes[0].problem


def test_an_approval_beside_it_is_no_mistake_and_anything_else_is(tmp_path):
    write_declarations(tmp_path, manual_url="http://127.0.0.1:1/v1")
    (tmp_path / "exemptions").mkdir()
    text = TEXT.replace("seoul", "manual-local").replace('["internal"]', '["confidential"]')
    (tmp_path / "exemptions" / "trial.toml").write_text(text)
    (tmp_path / "exemptions" / "trial.approval").write_text("{}")
    found = read_declarations(tmp_path)
    assert found.mistakes == ()
    assert [one.name for one in found.catalogue.exemptions] == ["trial"]
    (tmp_path / "exemptions" / "trial.apporval").write_text("{}")
    assert [one.file for one in read_declarations(tmp_path).mistakes] == ["exemptions/trial.apporval"]
