"""`sekisho audit`: how a provider's usage file is laid out, as given on the command line."""

import argparse

import pytest

from sekisho.assurance.interfaces import UsageLayout
from sekisho.cli.audit import add_arguments, run

HOUR_US = 3_600_000_000


def parsed(*options):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["source", "--provider", "p", "--usage", "u.csv", *options])


@pytest.fixture
def asked(monkeypatch):
    """What an audit is asked for."""
    found = []

    class Auditor:
        def __init__(self, *_, **__):
            pass

        def audit(self, asked):
            found.append(asked)
            raise OSError(5, "stop here")

    monkeypatch.setattr("sekisho.cli.audit.Auditor", Auditor)

    def ask(*options):
        assert run(parsed(*options)) == 2
        return found.pop()

    return ask


def test_a_usage_file_is_read_as_documented_unless_told_otherwise(asked):
    assert asked().provider.layout == UsageLayout()


def test_columns_deployments_windows_and_offsets_can_be_told(asked):
    layout = asked(
        "--usage-column", "time=Time Generated", "--usage-column", "deployment=", "--usage-deployment", "gpt=x=tokyo",
        "--usage-window", "hour", "--usage-offset", "+09:30",
    ).provider.layout  # fmt: skip
    columns, deployments = {"time": "Time Generated", "deployment": ""}, {"gpt": "x=tokyo"}
    assert layout == UsageLayout(columns, deployments, HOUR_US, 9 * HOUR_US + HOUR_US // 2)
    assert asked("--usage-offset=-05:00", "--usage-window", "90").provider.layout == UsageLayout(
        {}, {}, 90_000_000, -5 * HOUR_US
    )


@pytest.mark.parametrize(
    "option",
    ["--usage-column=time", "--usage-column==x", "--usage-window=week", "--usage-window=0", "--usage-offset=9"],
)
def test_what_can_not_be_meant_is_refused(option, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed(option)
    assert ended.value.code == 2
    assert option.partition("=")[0] in capsys.readouterr().err
