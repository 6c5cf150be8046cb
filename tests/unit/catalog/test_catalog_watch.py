"""A tree of declarations seen from outside: every change shows, and what means nothing does not."""

import os
import shutil

import pytest

from sekisho.catalog.watch import fingerprint, git_lock


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "declarations"
    for name, text in (
        ("boundary.toml", "a"),
        ("models/m.toml", "title = 'M'"),
        ("deployments/d.toml", "x"),
        ("policies/p.cedar", "forbid"),
        ("policies/nation/n.cedar", "forbid"),
        ("policies/ministry/m.cedar", "forbid"),
        ("notes.md", "a note"),
        ("models/notes.txt", "a note"),
        (".hidden", "x"),
        (".git/HEAD", "x"),
    ):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tree


def save_as_editors_do(path, text):
    """Another file under the old name, with the old one's size and times."""
    status = path.stat()
    other = path.with_name(f".{path.name}.swp")
    other.write_text(text)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)


CHANGES = {
    "written": lambda tree: (tree / "models" / "m.toml").write_text("title = 'N, longer'"),
    "saved by renaming": lambda tree: save_as_editors_do(tree / "models" / "m.toml", "title = 'N'"),
    "touched": lambda tree: os.utime(tree / "boundary.toml", ns=(1, 1)),
    "added": lambda tree: (tree / "models" / "n.toml").write_text(""),
    "added in a new directory": lambda tree: ((tree / "sites").mkdir(), (tree / "sites" / "s.toml").write_text("")),
    "written in a layer": lambda tree: (tree / "policies" / "nation" / "n.cedar").write_text("forbid, longer"),
    "added to a layer": lambda tree: (tree / "policies" / "nation" / "o.cedar").write_text(""),
    "a new layer": lambda tree: (tree / "policies" / "site").mkdir(),
    "moved to another layer": lambda tree: (tree / "policies" / "nation" / "n.cedar").rename(
        tree / "policies" / "ministry" / "n.cedar"
    ),
    "a loop of links": lambda tree: (tree / "policies" / "loop").symlink_to("loop"),
    "an empty directory": lambda tree: (tree / "sites").mkdir(),
    "removed": lambda tree: (tree / "policies" / "p.cedar").unlink(),
    "renamed": lambda tree: (tree / "models" / "m.toml").rename(tree / "models" / "n.toml"),
    "what should not be there": lambda tree: (tree / "odd").write_text(""),
    "a link that leads nowhere": lambda tree: (tree / "models" / "l.toml").symlink_to("nowhere"),
    "the tree is gone": shutil.rmtree,
}
NO_CHANGES = {
    "nothing": lambda tree: None,
    "a note": lambda tree: (tree / "notes.md").write_text("another note"),
    "a note in a layer": lambda tree: (tree / "policies" / "nation" / "why.md").write_text("x"),
    "a hidden file": lambda tree: (tree / "models" / ".m.toml.swp").write_text("x"),
    "git": lambda tree: (tree / ".git" / "HEAD").write_text("another"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changes_shows(tree, change):
    before = fingerprint(tree)
    change(tree)
    assert fingerprint(tree) != before


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_what_means_nothing_does_not(tree, change):
    before = fingerprint(tree)
    change(tree)
    assert fingerprint(tree) == before


def test_a_file_behind_a_link_is_looked_at(tree):
    target = tree.parent / "elsewhere.toml"
    target.write_text("a")
    (tree / "models" / "l.toml").symlink_to(target)
    before = fingerprint(tree)
    target.write_text("another")
    assert fingerprint(tree) != before


def test_git_is_seen_in_the_tree_and_beside_it(tree):
    assert git_lock(tree) is None
    for root in (tree.parent, tree):
        lock = root / ".git" / "index.lock"
        lock.parent.mkdir(exist_ok=True)
        lock.touch()
        assert git_lock(tree) == lock
