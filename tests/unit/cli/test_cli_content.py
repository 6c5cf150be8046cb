"""Showing kept content."""

import argparse

import pytest

from sekisho.cli import content
from sekisho.cli.content import for_terminal
from sekisho.content.errors import ContentMissing
from sekisho.content.files import ContentFiles
from sekisho.content.interfaces import READER_ROLE, Content
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.ids import IdSource
from sekisho.ledger import clock_watch
from sekisho.settings import DataDirectory

DAY_US = 86_400_000_000


def run(*words):
    parser = argparse.ArgumentParser()
    content.add_arguments(parser)
    return content.run(parser.parse_args([str(word) for word in words]))


def test_what_has_ended_is_not_read_by_setting_the_clock_back(tmp_path, capsysbinary):
    """Also while control is down: the trusted time that it left is what counts."""
    directory = DataDirectory(tmp_path)
    (tmp_path / "sekisho.toml").touch()
    for path in (directory.keys, directory.ledger):
        path.mkdir()
    clock = SystemClock()
    register = SqlIdentity(directory.state, clock)
    _, key = register.create_key("default", "reader", (READER_ROLE,), None, None, "operator")
    register.close()
    (tmp_path / "reader.key").write_text(key)
    now_us, entry = clock.now_us(), IdSource().new(clock.now_us())
    files = ContentFiles(directory.content, directory.content_keys)
    files.write(Content("default", entry, entry, now_us + DAY_US, b"asked", b"answered"))
    words = ("show", entry, "--reason", "why", "--api-key-file", tmp_path / "reader.key", "--dir", tmp_path)
    assert run(*words) == 0
    assert b"answered" in capsysbinary.readouterr().out
    reading = clock_watch.read_clocks()
    clock_watch.save(directory.ledger, clock_watch.begin(reading._replace(wall_us=reading.wall_us + 2 * DAY_US)))
    with pytest.raises(ContentMissing, match="reached its end"):
        run(*words)
    assert capsysbinary.readouterr().out == b""


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("質問　です\n\t{}".encode(), "質問　です\n\t{}"),
        (b"\x1b]52;c;cm0gLXJmIC8=\x07", "�]52;c;cm0gLXJmIC8=�"),
        ("\x9b2J".encode(), "�2J"),
        ("pay \u202e001\u202c".encode(), "pay �001�"),
        (b"a\rb\x7f\xff", "a�b��"),
    ],
)
def test_what_others_wrote_does_not_drive_the_terminal(data, shown):
    assert for_terminal(data).decode() == shown
