"""`sekisho audit`: audit a log in four depths. Depths 1 and 2 need none of the server's dependencies."""

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import Final

from sekisho.app.audit import DEPTHS, AuditAsked, Auditor, ProviderAsked, Report
from sekisho.assurance.interfaces import UsageLayout
from sekisho.cli.audit_report import describe_report, report_json
from sekisho.cli.trusted import trusted_keys
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.ledger.description import ENGLISH, JAPANESE

EXIT_HOLDS: Final = 0
EXIT_FINDINGS: Final = 1
EXIT_USAGE: Final = 2  # wrong arguments, or a source that can't be read
EXIT_INCOMPLETE: Final = 3
KEY_BYTES_MAX: Final = 512
PROGRESS_S: Final = 0.2  # between two drawings of the bar
BAR_WIDTH: Final = 30
WINDOWS_S: Final = {"minute": 60, "hour": 3_600, "day": 86_400}

DESCRIPTION: Final = """\
Audit a log. SOURCE is an installation's directory, a directory with a copy of its log (checkpoint, tile/…), or the
address of either: a static file server, or a site's control server. Each depth includes those before it.

  1  integrity: signature, every tile and entry up to the root, what was seen before, cosignatures (--policy)
  2  completeness: every decision has its outcome, numbers, ids, times, attempts, keys and sites fit
  3  re-performance: every decision made again from its snapshot and recorded input, reasons included
  4  reconciliation: against a provider's usage file, or the provider's own log
"""
EPILOG: Final = """\
exit status: 0 it holds; 1 something does not (errors; with --strict warnings too); 2 wrong arguments, or the source
             can't be read; 3 nothing wrong was found, but not everything at this depth could be looked at

docs/audit.md tells what each finding means and what to do.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("source", metavar="SOURCE", help="a directory, or http(s)://…")
    parser.add_argument(
        "--depth", type=int, choices=DEPTHS, help="default: as deep as the source allows, up to 3; 4 with --provider"
    )
    parser.add_argument(
        "--trust", action="append", default=[], metavar="VKEY|FILE", help="the site's key (site.vkey), or the log's own"
    )
    parser.add_argument(
        "--enrolment", type=Path, metavar="FILE", help="the log's enrolment, if it is not at the source"
    )
    parser.add_argument("--policy", type=Path, metavar="FILE", help="a C2SP tlog-policy: which witnesses you demand")
    parser.add_argument(
        "--since",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a checkpoint kept from before; repeatable",
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="remember checkpoints here, and keep what was fetched: go on where it was",
    )
    parser.add_argument(
        "--key", metavar="FILE|-", help="a file with an auditor's API key, for a site's address; - reads standard input"
    )
    parser.add_argument("--ca", type=Path, metavar="FILE", help="the authority (PEM) of the address's certificate")
    parser.add_argument("--snapshots", type=Path, metavar="DIR", help="the site's snapshots, for depth 3")
    provider = parser.add_argument_group("depth 4")
    provider.add_argument("--provider", metavar="NAME", help="whose calls, as the declarations name it")
    provider.add_argument("--usage", type=Path, metavar="FILE", help="its usage file, CSV; see docs/audit.md")
    provider.add_argument(
        "--usage-column",
        action="append",
        default=[],
        type=_pair,
        metavar="OURS=THEIRS",
        help="what a column of that file is called there; nothing behind the =: pass it over; repeatable",
    )
    provider.add_argument(
        "--usage-deployment",
        action="append",
        default=[],
        type=_pair,
        metavar="THEIRS=OURS",
        help="which declared deployment the file's is; repeatable",
    )
    provider.add_argument(
        "--usage-window",
        type=_window,
        metavar="minute|hour|day|SECONDS",
        help="how long a row's time lasts, where sums stand in it and no column says",
    )
    provider.add_argument(
        "--usage-offset", type=_offset, metavar="±HH:MM", help="of times in it that don't say theirs: +09:00"
    )
    provider.add_argument("--provider-log", metavar="SOURCE", help="its own Sekisho log, as SOURCE above")
    provider.add_argument("--provider-trust", action="append", default=[], metavar="VKEY|FILE", help="that site's key")
    provider.add_argument("--provider-key", metavar="FILE|-", help="an auditor's key there")
    provider.add_argument("--account", metavar="ORGANISATION", help="the organisation that we are in that log")
    provider.add_argument(
        "--clock-tolerance", type=_count, default=300, metavar="SECONDS", help="between the two clocks (default: 300)"
    )
    provider.add_argument(
        "--token-tolerance", type=_count, default=2, metavar="N", help="tokens that may differ (default: 2 …"
    )
    provider.add_argument(
        "--token-permille", type=_count, default=10, metavar="N", help="… or 10 per mille of ours, whichever is more)"
    )
    parser.add_argument("--strict", action="store_true", help="let warnings fail it like errors")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--language", choices=(ENGLISH, JAPANESE), help="of the text; default: from the environment")


def run(arguments: argparse.Namespace) -> int:
    """Audit and print; the exit status is one of the constants above."""
    bar = None if arguments.quiet or not sys.stderr.isatty() else ProgressBar()
    try:
        asked = _asked(arguments)
        auditor = Auditor(SystemClock()) if bar is None else Auditor(SystemClock(), progress=bar.show)
        report = auditor.audit(asked)
    except SekishoError as error:
        print(f"sekisho audit: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        print(f"sekisho audit: {error.filename or arguments.source}: {error.strerror or error}", file=sys.stderr)
        return EXIT_USAGE
    finally:
        if bar is not None:
            bar.clear()
    if arguments.json:
        print(report_json(report))
    else:
        print(describe_report(report, arguments.language or _language()))
    return exit_status(report, strict=arguments.strict)


def exit_status(report: Report, *, strict: bool = False) -> int:
    if not report.holds or (strict and report.findings.count("warning")):
        return EXIT_FINDINGS
    return EXIT_INCOMPLETE if report.left_out else EXIT_HOLDS


class ProgressBar:
    """One line on standard error, drawn a few times a second."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._drawn_at = 0.0

    def show(self, done: int, size: int) -> None:
        now = time.monotonic()
        if now - self._drawn_at < PROGRESS_S:
            return
        self._drawn_at = now
        filled = BAR_WIDTH * done // max(1, size)
        rate = done / max(0.001, now - self._began)
        left_s = round((size - done) / max(1.0, rate))
        bar = "█" * filled + "·" * (BAR_WIDTH - filled)
        line = f"\r{bar} {done:,} / {size:,}  {rate:,.0f}/s  {left_s // 60}:{left_s % 60:02d} "
        print(line, end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._drawn_at:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _asked(arguments: argparse.Namespace) -> AuditAsked:
    provider = None
    if arguments.provider is not None:
        provider = ProviderAsked(
            name=arguments.provider,
            usage=arguments.usage,
            log=arguments.provider_log,
            layout=UsageLayout(
                dict(arguments.usage_column),
                dict(arguments.usage_deployment),
                arguments.usage_window,
                arguments.usage_offset,
            ),
            account=arguments.account,
            trust=tuple(key for text in arguments.provider_trust for key in trusted_keys(text, "--provider-trust")),
            key=_key(arguments.provider_key),
            clock_s=arguments.clock_tolerance,
            tokens=arguments.token_tolerance,
            tokens_permille=arguments.token_permille,
        )
    elif arguments.usage is not None or arguments.provider_log is not None:
        raise UsageError("a provider's record without --provider", remedy="Add --provider NAME")
    return AuditAsked(
        source=arguments.source,
        depth=arguments.depth,
        trust=tuple(key for text in arguments.trust for key in trusted_keys(text)),
        enrolment=arguments.enrolment,
        key=_key(arguments.key),
        ca_file=arguments.ca,
        since=tuple(arguments.since),
        state=arguments.state,
        policy=arguments.policy,
        snapshots=arguments.snapshots,
        provider=provider,
    )


def _key(place: str | None) -> str | None:
    """A key never stands on the command line itself, where every user of the machine could read it."""
    if place is None:
        return None
    if place.startswith("sk-") and not Path(place).exists():
        raise UsageError("a key on the command line can be read by others", remedy="Write it to a file, or use -")
    if place == "-":
        text = sys.stdin.read(KEY_BYTES_MAX + 1)
    else:
        with Path(place).open(encoding="utf-8") as file:
            text = file.read(KEY_BYTES_MAX + 1)
    key = text.strip()
    if not key or len(text) > KEY_BYTES_MAX or not key.isascii() or not key.isprintable():
        raise UsageError(f"{place} holds no key")
    return key


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not NAME=NAME")
    return name.strip(), value.strip()


def _window(text: str) -> int:
    """µs."""
    seconds = WINDOWS_S.get(text) or (int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0)
    if not seconds:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not minute, hour, day or a number of seconds")
    return seconds * 1_000_000


def _offset(text: str) -> int:
    """µs ahead of UTC."""
    match = re.fullmatch(r"([+-])([01][0-9]|2[0-3]):([0-5][0-9])", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not like +09:00")
    minutes = 60 * int(match[2]) + int(match[3])
    return (-minutes if match[1] == "-" else minutes) * 60_000_000


def _language() -> str:
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return JAPANESE if locale.startswith("ja") else ENGLISH
