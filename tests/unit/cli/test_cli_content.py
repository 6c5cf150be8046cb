"""Showing kept content."""

import pytest

from sekisho.cli.content import for_terminal


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
