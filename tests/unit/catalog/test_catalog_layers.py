"""Layers of policies in a tree of declarations: their names, their directories, and what is none."""

import pytest

from sekisho.catalog.files import read_declarations
from sekisho.catalog.layers import LAYERS_MAX, layer_of
from sekisho.catalog.templates import write_declarations

LAYERS = ("nation", "ministry", "organisation")
NAMED = 'layers = ["nation", "ministry", "organisation"]\n'


@pytest.fixture
def tree(tmp_path):
    write_declarations(tmp_path / "declarations", manual_url="http://127.0.0.1:8402/v1")
    return tmp_path / "declarations"


def with_layers(tree, line=NAMED, directories=LAYERS):
    boundary = tree / "boundary.toml"
    boundary.write_text(line + boundary.read_text(encoding="utf-8"), encoding="utf-8")
    for name in directories:
        (tree / "policies" / name).mkdir()
    return read_declarations(tree)


def told(declarations):
    return [(one.file, one.key, one.problem, one.remedy) for one in declarations.mistakes]


def test_files_of_layers_are_read_under_their_directories_names(tree):
    with_layers(tree)
    (tree / "policies" / "ministry" / "rules.cedar").write_text("x", encoding="utf-8")
    (tree / "policies" / "ministry" / "why.md").write_text("a note", encoding="utf-8")
    declarations = read_declarations(tree)
    assert declarations.mistakes == ()
    assert [policy.file for policy in declarations.policies] == [
        "policies/example.cedar",
        "policies/ministry/rules.cedar",
    ]
    assert declarations.catalogue.boundary.layers == LAYERS


def test_a_layer_needs_no_directory_and_a_tree_no_layers(tree):
    assert read_declarations(tree).catalogue.boundary.layers == ()
    assert with_layers(tree, directories=()).mistakes == ()


def test_a_directory_that_is_no_layer_is_a_mistake_with_the_nearest(tree):
    ((file, _, problem, remedy),) = told(with_layers(tree, directories=("nations",)))
    assert (file, problem, remedy) == ("policies/nations", "is not a layer", "Did you mean 'nation'?")


def test_directories_without_layers_are_a_mistake(tree):
    ((file, _, problem, remedy),) = told(with_layers(tree, line="", directories=("nation",)))
    assert (file, problem) == ("policies/nation", "is a directory, and no layers are declared")
    assert 'layers = ["nation"' in remedy


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('layers = "nation"\n', "is not a list of strings"),
        ("layers = []\n", "holds 0 items"),
        ('layers = ["nation", "nation"]\n', "names something twice"),
        ('layers = ["The Nation"]\n', "can't name a layer"),
        (f"layers = {[f'l{number}' for number in range(LAYERS_MAX + 1)]}\n", f"are {LAYERS_MAX + 1}"),
    ],
)
def test_names_that_are_off_are_told_once(tree, line, says):
    ((file, key, problem, remedy),) = told(with_layers(tree, line=line, directories=()))
    assert (file, key) == ("boundary.toml", "layers")
    assert says in problem
    assert remedy


def test_what_else_stands_under_a_layer_is_told_of(tree):
    with_layers(tree)
    nation = tree / "policies" / "nation"
    (nation / "rules.toml").write_text("", encoding="utf-8")
    (nation / "within").mkdir()
    (tree / "policies" / "ministry").rmdir()
    (tree / "policies" / "ministry").symlink_to(tree.parent)
    assert {(file, problem) for file, _, problem, _ in told(read_declarations(tree))} == {
        ("policies/nation/rules.toml", "is not a .cedar file"),
        ("policies/nation/within", "is not a .cedar file"),
        ("policies/ministry", "leads out of the tree"),
    }


def test_no_more_directories_are_read_than_there_may_be_layers(tree):
    names = [f"l{number}" for number in range(LAYERS_MAX + 2)]
    found = told(with_layers(tree, line="", directories=names))
    assert len([problem for _, _, problem, _ in found if "more than" in problem]) == 2


def test_packs_are_of_the_highest_layer_and_files_beside_the_directories_of_the_lowest():
    files = ("packs/p/10.cedar", "policies/nation/x.cedar", "policies/ministry/x.cedar", "policies/x.cedar")
    assert [layer_of(file, LAYERS) for file in files] == [0, 0, 1, 2]
    assert [layer_of(file, ()) for file in files] == [0, 0, 0, 0]
