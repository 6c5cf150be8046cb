"""`sekisho plan`: what other declarations would change, and what recorded traffic would have met under them."""

import argparse
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sekisho.cli.audit import ProgressBar
from sekisho.cli.explain import ENGLISH, JAPANESE, language_of
from sekisho.kernel.errors import UsageError
from sekisho.settings import DataDirectory, load_settings

if TYPE_CHECKING:  # the server's dependencies, loaded when they are needed
    from sekisho.app.plan import Planned, Window

EXIT_PLANNED: Final = 0
EXIT_EXCEEDED: Final = 3
LOG_FORMATS: Final = ("apim", "jsonl", "litellm")
MISTAKES_SHOWN_MAX: Final = 20

DESCRIPTION: Final = """\
Hold proposed declarations against those in force: what differs, in words, and what recorded requests would have met.
Nothing is sent, recorded or changed. Requests are those of the ledger that arrived yesterday, unless you say otherwise.
"""
EPILOG: Final = """\
exit status: 0 planned; 1 the declarations hold mistakes, or it could not be done; 2 wrong usage; 3 more requests are
             concerned than --fail-on-denied or --fail-on-permitted allows, those that can't be read included

docs/plan.md tells what each line means.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the installation (default: here)"
    )
    parser.add_argument(
        "--declarations", metavar="TREE", type=Path, help="the proposed tree (default: DIR/declarations)"
    )
    parser.add_argument(
        "--from-time", metavar="TIME", help="2026-11-24 or 2026-11-24T09:00:00+09:00 (default: the start of yesterday)"
    )
    parser.add_argument(
        "--to-time", metavar="TIME", help="exclusive (default: the start of today; after --from-time, now)"
    )
    parser.add_argument(
        "--without",
        metavar="KIND:NAME",
        action="append",
        default=[],
        help="as though this provider:, deployment: or site: were gone; repeat for several",
    )
    foreign = parser.add_argument_group("other gateways' logs", "their requests in the place of this ledger's")
    foreign.add_argument("--from", dest="log", metavar="FILE", type=Path, help="a log to replay; nothing of it is kept")
    foreign.add_argument("--format", choices=LOG_FORMATS, help="who wrote it (default: as the mapping says)")
    foreign.add_argument(
        "--mapping", metavar="FILE", type=Path, help="what its fields mean here, TOML; see docs/plan.md"
    )
    parser.add_argument(
        "--fail-on-denied", metavar="N", type=_count, help="exit 3 if more than N requests would be denied that are not"
    )
    parser.add_argument(
        "--fail-on-permitted", metavar="N", type=_count, help="exit 3 if more than N could go where they can't"
    )
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--language", choices=(ENGLISH, JAPANESE), help="of the text; default: from the environment")


def run(arguments: argparse.Namespace) -> int:
    from sekisho.app.installation import DeclarationsRefused
    from sekisho.cli.plan_report import describe_plan, mistakes_json, plan_json

    load_settings(arguments.directory)
    bar = None if arguments.quiet or not sys.stderr.isatty() else ProgressBar()
    try:
        planned = _plan(arguments, bar)
    except DeclarationsRefused as refused:
        for one in refused.mistakes[:MISTAKES_SHOWN_MAX]:
            print(f"{one.file}: {one.key}: {one.problem} → {one.remedy}", file=sys.stderr)
        if arguments.json:
            print(mistakes_json(refused.mistakes))
        raise
    finally:
        if bar is not None:
            bar.clear()
    print(
        plan_json(planned) if arguments.json else describe_plan(planned, arguments.language or language_of(os.environ))
    )
    return exit_status(planned, arguments.fail_on_denied, arguments.fail_on_permitted)


def exit_status(planned: "Planned", denied_max: int | None, permitted_max: int | None) -> int:
    """EXIT_EXCEEDED where more requests are concerned than a bound allows; None: there is no bound.

    What can't be read may be concerned, so that a log that nobody can read passes no bound.
    """
    plan = planned.plan
    for count, bound in ((plan.newly_denied, denied_max), (plan.newly_permitted, permitted_max)):
        if bound is not None and count + plan.unreadable > bound:
            return EXIT_EXCEEDED
    return EXIT_PLANNED


def _plan(arguments: argparse.Namespace, bar: ProgressBar | None) -> "Planned":
    from sekisho.app.clock import command_clock
    from sekisho.app.plan import PlanAsked, Plans

    directory = DataDirectory(arguments.directory.resolve())
    clock = command_clock(directory)
    plans = Plans(directory, clock) if bar is None else Plans(directory, clock, bar.show)
    if arguments.log is not None:
        if arguments.without or arguments.from_time is not None or arguments.to_time is not None:
            raise UsageError("--from replays a whole file", remedy="Leave out --without, --from-time and --to-time")
        from sekisho.assurance.foreign import read_mapping

        mapping = read_mapping(arguments.mapping, arguments.format)
        return plans.plan_from(arguments.log, mapping, arguments.declarations)
    if arguments.mapping is not None or arguments.format is not None:
        raise UsageError("--mapping and --format are of another gateway's log", remedy="Add --from FILE")
    window = window_of(arguments.from_time, arguments.to_time, clock.now_us())
    return plans.plan(PlanAsked(window, arguments.declarations, tuple(arguments.without)))


def window_of(from_text: str | None, to_text: str | None, now_us: int) -> "Window":
    """The time that is asked about; days are those of this machine's time zone. Raises UsageError."""
    from sekisho.app.plan import Window

    now = datetime.fromtimestamp(now_us / 1_000_000, UTC).astimezone()
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=1) if from_text is None else _time(from_text)
    end = (today if from_text is None else now) if to_text is None else _time(to_text)
    if start >= end:
        raise UsageError(f"there is no time between {start.isoformat()} and {end.isoformat()}")
    return Window(*(int(time.timestamp() * 1_000_000) for time in (start, end)))


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone()  # without an offset: this machine's time zone
    except (ValueError, OverflowError):  # the latter: what no offset can be taken from, such as the year 1
        raise UsageError(f"{text!r} is no time", remedy="Write 2026-11-24 or 2026-11-24T09:00:00+09:00") from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise argparse.ArgumentTypeError("give a whole number from 0 on")
    return int(text)
