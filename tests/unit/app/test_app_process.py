import logging

import pytest

from sekisho.app.process import configure_log


@pytest.fixture
def root_logger():
    root = logging.getLogger()
    handlers, level, uvicorn = root.handlers, root.level, logging.getLogger("uvicorn").level
    yield root
    root.handlers = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn").setLevel(uvicorn)


def test_a_message_is_one_line_whatever_it_quotes(root_logger, capsys):
    configure_log("gateway")
    logging.getLogger("x").warning("refused: %s", "a\nERROR forged\x1b[2J 日本")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "refused: a\\nERROR forged\\x1b[2J 日本" in lines[0]
    assert " gateway[" in lines[0]


def test_a_traceback_keeps_its_lines(root_logger, capsys):
    configure_log("control")
    try:
        raise ValueError("odd")
    except ValueError:
        logging.getLogger("x").exception("a fault")
    assert len(capsys.readouterr().err.splitlines()) > 2
