"""`sekisho verify`: check a receipt offline, or write the page that does. Needs none of the server's dependencies."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Final

from sekisho.cli.trusted import trusted_keys
from sekisho.console.verifier_page import verifier_page
from sekisho.kernel.errors import UsageError
from sekisho.ledger.description import ENGLISH, JAPANESE, describe, describe_failure, failure_summary, summary
from sekisho.ledger.errors import ReceiptInvalid, TlogPolicyInvalid, TlogPolicyUnmet
from sekisho.ledger.receipts import RECEIPT_BYTES_MAX
from sekisho.ledger.tlog_policy import POLICY_BYTES_MAX
from sekisho.ledger.verify import CONTENT_FIELDS, VERIFIED
from sekisho.verifier import verify

EXIT_VERIFIED: Final = 0
EXIT_NOT_VALID: Final = 1
EXIT_USAGE: Final = 2  # wrong arguments, or a file that can't be read
EXIT_NOT_PINNED: Final = 3  # the receipt is consistent, but no key says whose it is
EXIT_POLICY_UNMET: Final = 4  # the receipt holds, but lacks a log's signature or witnesses that the policy demands
CONTENT_BYTES_MAX: Final = 1 << 30  # content is held in memory; requests and answers are far smaller

EPILOG: Final = (
    "exit status: 0 verified; 1 not valid; 2 wrong arguments or unreadable file;\n"
    "             3 consistent, but without --trust or a policy's log nobody knows whose receipt it is;\n"
    "             4 it holds, but is not what the policy demands"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Check a receipt: signatures, proofs, that it is complete, and what it commits to."
    parser.epilog = EPILOG
    parser.add_argument("file", metavar="FILE", nargs="?", help="the receipt; - reads standard input")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="VKEY|FILE", help="a site's public key (site.vkey); repeatable"
    )
    parser.add_argument(
        "--policy", metavar="FILE", help="a C2SP tlog-policy: which logs, and how many witnesses, you demand"
    )
    parser.add_argument(
        "--content",
        action="append",
        default=[],
        metavar="FIELD=FILE",
        help=f"compare a file with what was committed to; FIELD is one of {', '.join(CONTENT_FIELDS)}",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--html",
        action="store_true",
        help="print one self-contained page that verifies receipts in any browser, offline: --html > verifier.html",
    )
    parser.add_argument("--language", choices=(ENGLISH, JAPANESE), help="of the text; default: from the environment")


def run(arguments: argparse.Namespace) -> int:
    """Verify and print; the exit status is one of the constants above."""
    if arguments.html:
        return _print_page(arguments)
    if arguments.file is None:
        print("sekisho verify: name the receipt's FILE, or - for standard input", file=sys.stderr)
        return EXIT_USAGE
    try:
        trusted = [key.vkey for text in arguments.trust for key in trusted_keys(text)]
        content = dict(map(_content, arguments.content))
        policy = _read(arguments.policy, POLICY_BYTES_MAX) if arguments.policy else None
        data = _read(arguments.file, RECEIPT_BYTES_MAX)
        verification = verify(data, site_keys=trusted, policy=policy, content=content)
    except (ReceiptInvalid, TlogPolicyUnmet) as error:
        if arguments.json:
            print(json.dumps(failure_summary(error), ensure_ascii=False))
        else:
            print(describe_failure(error, arguments.language or _language()))
        return EXIT_POLICY_UNMET if isinstance(error, TlogPolicyUnmet) else EXIT_NOT_VALID
    except TlogPolicyInvalid as error:
        print(f"sekisho verify: {arguments.policy}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except UsageError as error:
        print(f"sekisho verify: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        print(f"sekisho verify: {error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_USAGE
    if arguments.json:
        print(json.dumps(summary(verification), ensure_ascii=False))
    else:
        print(describe(verification, arguments.language or _language()))
    return EXIT_VERIFIED if verification.verdict == VERIFIED else EXIT_NOT_PINNED


def _print_page(arguments: argparse.Namespace) -> int:
    if arguments.file or arguments.trust or arguments.policy or arguments.content or arguments.json:
        print("sekisho verify: --html prints the page and checks nothing: leave the rest out", file=sys.stderr)
        return EXIT_USAGE
    sys.stdout.buffer.write(verifier_page().encode())  # UTF-8, whatever the locale says
    return EXIT_VERIFIED


def _content(text: str) -> tuple[str, bytes]:
    field, separator, file = text.partition("=")
    if not separator or field not in CONTENT_FIELDS:
        raise UsageError(f"--content {text[:80]!r}", remedy=f"Write FIELD=FILE with one of {', '.join(CONTENT_FIELDS)}")
    return field, _read(file, CONTENT_BYTES_MAX)


def _read(file: str, bytes_max: int) -> bytes:
    """At most one byte more than allowed, so that whoever looks at it sees that it is too large."""
    if file == "-":
        return sys.stdin.buffer.read(bytes_max + 1)
    with Path(file).open("rb") as stream:
        return stream.read(bytes_max + 1)


def _language() -> str:
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return JAPANESE if locale.startswith("ja") else ENGLISH
