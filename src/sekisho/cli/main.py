"""The `sekisho` program: finds the command, loads its module, turns errors into exit codes.

Exit codes: 0 done; 1 it did not work (the message says why and what to do); 2 the command line is off; a command's
own help lists any others.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol, cast

from sekisho import __version__
from sekisho.kernel.errors import SekishoError, UsageError

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


class Command(NamedTuple):
    name: str
    group: str
    summary: str


class CommandModule(Protocol):
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


COMMANDS: Final = (
    Command("demo", "To see it work", "tell the story of a governed request, with real processes"),
    Command("init", "To run an installation", "make an installation in a directory"),
    Command("up", "To run an installation", "run it: gateway, control and engines, restarted when they fail"),
    Command("gateway", "To run an installation", "run one gateway process only"),
    Command("control", "To run an installation", "run the control process only"),
    Command("engine", "To run an installation", "serve models on this machine with llama.cpp, and declare them"),
    Command("ledger", "To run an installation", "look at the ledger, repair it, archive its older entries"),
    Command("backup", "To run an installation", "copy an installation while it runs, verified"),
    Command("restore", "To run an installation", "make an installation out of a backup, as a new node"),
    Command("console", "To run an installation", "issue a one-time token to sign in to the console"),
    Command("doctor", "To run an installation", "say what is wrong with an installation, and what to do about it"),
    Command("check", "To govern it", "check the declarations, and name every mistake"),
    Command("packs", "To govern it", "list the policy packs that ship, show one, and decide their cases"),
    Command("providers", "To govern it", "declare providers from templates, list them, and try them"),
    Command("models", "To govern it", "list the models declared"),
    Command("probe", "To govern it", "look at deployments from outside, and hold their facts against it"),
    Command("explain", "To govern it", "say what would happen to a request, without sending it"),
    Command("prove", "To govern it", "say whether policies keep a statement, in every case there can be"),
    Command("plan", "To govern it", "say what other declarations would change for recorded traffic"),
    Command("shadow", "To govern it", "have other declarations judge live traffic without deciding it"),
    Command("keys", "To govern it", "create, list and revoke API keys"),
    Command("stop", "To govern it", "stop a deployment, provider or organisation at once; lift it"),
    Command("persons", "To govern it", "enrol the persons who may approve, by their keys"),
    Command("approve", "To govern it", "read an act in words, and sign it with your key"),
    Command("approvals", "To govern it", "ask for an approval, show one, check it"),
    Command("exemptions", "To govern it", "list the exemptions declared; ask for the approval of one"),
    Command("compliance", "To govern it", "per policy and deployment: what was permitted, denied, exempt, unknown"),
    Command("content", "To govern it", "read or forget what a policy has let be kept"),
    Command("verify", "To check it from outside", "verify a receipt, offline"),
    Command("witness", "To check it from outside", "cosign others' logs, and have one's own cosigned"),
    Command("audit", "To check it from outside", "audit a log in four depths: a directory, a mirror, a site"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"sekisho {__version__}")
        return 0
    command = next((command for command in COMMANDS if command.name == words[0]), None)
    if command is None:
        print(f"sekisho: there is no command {words[0]!r}; `sekisho --help` lists them", file=sys.stderr)
        return EXIT_USAGE
    try:
        module = _load(command.name)
        return module.run(_parser(command, module).parse_args(words[1:]))
    except ModuleNotFoundError as error:
        print(f"sekisho {command.name}: {_not_installed(error)}", file=sys.stderr)
        return EXIT_FAILED
    except UsageError as error:
        print(f"sekisho {command.name}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except SekishoError as error:
        print(f"sekisho {command.name}: {error}", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what reads us has gone; say no more
        return EXIT_FAILED
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename is not None else error
        print(f"sekisho {command.name}: {what}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 130


def build_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one command, loaded."""
    command = next(command for command in COMMANDS if command.name == name)
    return _parser(command, _load(name))


def _load(name: str) -> CommandModule:
    return cast(CommandModule, importlib.import_module(f"sekisho.cli.{name}"))


def _not_installed(error: ModuleNotFoundError) -> SekishoError:
    """A dependency of the server that the base install does not bring; anything else is a fault of ours."""
    if error.name is None or error.name.partition(".")[0] == "sekisho":
        raise error
    return SekishoError(
        f"this command needs {error.name}, which is not installed", remedy="pip install 'sekisho[server]'"
    )


def _parser(command: Command, module: CommandModule) -> argparse.ArgumentParser:
    summary = command.summary[0].upper() + command.summary[1:]
    parser = argparse.ArgumentParser(
        prog=f"sekisho {command.name}",
        description=f"{summary}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return parser


def _overview() -> str:
    lines = ["Sekisho: a request crosses only where your rules allow, and leaves a receipt that anyone can check.", ""]
    lines.append("usage: sekisho COMMAND …     (sekisho COMMAND --help tells the rest)")
    group = ""
    for command in COMMANDS:
        if command.group != group:
            group = command.group
            lines += ["", f"{group}:"]
        lines.append(f"  {command.name:<10} {command.summary}")
    lines += [
        "",
        "To begin: sekisho init ./here && sekisho up ./here",
        "Exit status: 0 done, 1 not done, 2 wrong usage.",
    ]
    return "\n".join(lines)
