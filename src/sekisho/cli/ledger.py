"""`sekisho ledger`: look at the ledger, repair it, archive it, replace its key."""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sekisho.cli.keys import ACTOR, EXIT_DONE, EXIT_FAILED, add_approval, add_directory, installation
from sekisho.kernel.clock import RFC3339, utc
from sekisho.kernel.errors import UsageError

if TYPE_CHECKING:  # the ledger's composition is loaded only when a command does something
    from sekisho.ledger.repair import DamagedWriter, Findings
    from sekisho.ledger.status import LedgerStatus, WriterStatus

_KEEP_DEFAULT: Final = 1_000_000  # as `sekisho.ledger.archive.KEEP_DEFAULT`, which a test compares
_NAMED_MAX: Final = 20  # lost entries that are shown; --json shows all
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `sekisho ledger status|repair|archive|rotate-key`."""
    parser.description = "Look at an installation's ledger, repair it after damage, or archive its older entries."
    parser.epilog = "See docs/ledger.md. exit status: 0 well; 1 damaged, or it did not work; 2 the command line is off"
    acts = parser.add_subparsers(dest="act", required=True, metavar="status|repair|archive|rotate-key|settle-clock")

    status = acts.add_parser(
        "status",
        help="sizes, lag, damage and disk budget",
        description="How the ledger is doing: sizes, what is not published yet, damage, disk budget. Changes nothing.",
    )
    add_directory(status)

    repair = acts.add_parser(
        "repair",
        help="find damage, and with --yes set right what can be",
        description=(
            "Find what is damaged and say what can be done; with --yes do it. Nothing that was answered for is\n"
            "discarded: what can't be read is kept in ledger/aside/, and what is lost is named entry by entry."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    repair.add_argument("--yes", action="store_true", help="do it; else it is only said what would be done")
    repair.add_argument(
        "--from", action="append", default=[], dest="copies", type=Path, metavar="COPY",
        help="a directory with a copy of this log: a mirror, the archive, a backup's ledger/; repeatable",
    )  # fmt: skip
    add_directory(repair)

    archive = acts.add_parser(
        "archive",
        help="move older entries to a cold directory",
        description=(
            "Move entry bundles but the newest to COLD, which becomes a whole copy of the log: servable as static\n"
            "files, open to every audit. Receipts of old requests are still made, as long as COLD is there."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    archive.add_argument("--to", required=True, type=Path, dest="cold", metavar="COLD", help="the cold directory")
    archive.add_argument("--keep", type=int, default=_KEEP_DEFAULT, help="newest entries that stay (%(default)s)")
    add_directory(archive)
    rotate = acts.add_parser(
        "rotate-key",
        help="replace the key that signs the log",
        description=(
            "Make a new key for the log and have it take the old one's place: the site's key enrols it, an entry of\n"
            "the log names it, both sign the checkpoint that covers that entry, and from then on it signs alone. The\n"
            "old key is destroyed; receipts and checkpoints that it signed stay valid. Works while control runs."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    rotate.add_argument("--site-key", type=Path, metavar="FILE", help="the site's key, if not keys/site.key")
    add_directory(rotate)
    settle = acts.add_parser(
        "settle-clock",
        help="say that the wall clock is right after a jump",
        description=(
            "Have the wall clock believed as it stands, after `ledger status` called it suspect: SECONDS if it jumped\n"
            "ahead and is right, -SECONDS if it was set back and is right. From then on facts, approvals and kept\n"
            "content end by it. Running processes follow within some seconds."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    settle.add_argument("--ahead", required=True, type=int, metavar="SECONDS", help="as `ledger status` shows it")
    add_approval(settle)
    add_directory(settle)
    for act in (status, repair, archive, rotate):
        act.add_argument("--json", action="store_true", help="as JSON, for programs")


def run(arguments: argparse.Namespace) -> int:
    """Do what `arguments` say; the exit status."""
    directory = installation(arguments)
    if arguments.act == "status":
        return _status(arguments, directory)
    if arguments.act == "repair":
        return _repair(arguments, directory)
    if arguments.act == "rotate-key":
        return _rotate(arguments, directory)
    if arguments.act == "settle-clock":
        return _settle_clock(arguments, directory)
    return _archive(arguments, directory)


def _status(arguments: argparse.Namespace, directory: Path) -> int:
    from sekisho.app.ledger import ledger_status

    status = ledger_status(directory)
    if arguments.json:
        print(json.dumps(status.as_object(), ensure_ascii=False, indent=2))
    else:
        print("\n".join(_described(status)))
    return EXIT_FAILED if status.damage else EXIT_DONE


def _described(status: "LedgerStatus") -> Iterable[str]:
    disk = status.disk
    yield f"log            {status.origin or '(nothing is published yet)'}"
    yield f"control        {'publishes it' if status.publisher_runs else 'is not running'}"
    yield f"published      {status.published} entries{_since(status.published_at_us)}"
    yield f"merged         {status.merged} entries{_since(status.synced_at_us, 'durable since ')}"
    yield f"lag            {status.lag_entries} entries{_since(status.oldest_unmerged_us, 'the oldest of ')}"
    yield "sizes          " + ", ".join(f"{name} {_bytes(size)}" for name, size in status.sizes.items())
    yield (
        f"disk budget    {disk.used_percent} % used: {_bytes(disk.unmerged_bytes)} of {_bytes(disk.budget_bytes)} "
        f"unmerged; {_bytes(disk.free_bytes)} free"
    )
    if status.clock is not None:
        floor, trusted = (utc(one, RFC3339) for one in (status.clock.floor_us, status.clock.trusted_us))
        yield f"clock          floor {floor}, trusted {trusted}"
        for jump in status.clock.jumps:
            yield f"  jumped by {jump.by_us / 1e6:+.1f} s, {utc(jump.at_us, RFC3339)}"
    if status.archive is not None:
        yield f"archive        {status.archive}"
    yield f"writers        {len(status.writers)}"
    for writer in status.writers:
        yield _writer_line(writer)
    for path in status.aside:
        yield f"kept aside     {path}"
    for warning in status.warnings:
        yield f"WARNING        {warning}"
    for damage in status.damage:
        yield f"DAMAGED        {damage}"
    if status.damage:
        yield "               `sekisho ledger repair` says what can be done"


def _writer_line(writer: "WriterStatus") -> str:
    at_least = "" if writer.counted else "at least "
    state = "running" if writer.alive else "ended"
    return (
        f"  {writer.name}  {state}, {_bytes(writer.allocated_bytes)}, "
        f"{at_least}{writer.unmerged_entries} entries unmerged{_since(writer.written_at_us, 'written ')}"
    )


def _repair(arguments: argparse.Namespace, directory: Path) -> int:
    from sekisho.app.ledger import examine_ledger, repair_ledger

    for copy in arguments.copies:
        if not (copy / "tile").is_dir():
            raise UsageError(f"{copy} is no copy of a log: it has no tile/", remedy="Name a directory that has")
    if not arguments.yes:
        findings = examine_ledger(directory, arguments.copies)
        if arguments.json:
            print(json.dumps({"done": False, **_as_object(findings)}, ensure_ascii=False, indent=2))
        else:
            print("\n".join(_found(findings)))
            if not findings.clean and not findings.refused:
                print(f"Nothing was changed. To do it: sekisho ledger repair --yes --dir {directory}")
        return EXIT_DONE if findings.clean else EXIT_FAILED
    done = repair_ledger(directory, arguments.copies)
    if arguments.json:
        aside = None if done.aside is None else str(done.aside)
        told = {"aside": aside, "done": True, "rebuilt": done.rebuilt, "saved": done.saved}
        print(json.dumps({**told, **_as_object(done.findings)}, ensure_ascii=False, indent=2))
        return EXIT_DONE
    print("\n".join(_found(done.findings)))
    if not done.findings.clean:
        print(f"Done: {done.rebuilt} files rebuilt, {done.saved} entries saved from write-ahead logs.")
        print(f"Kept aside, as it was: {done.aside}" if done.aside else "There was nothing to keep aside.")
    return EXIT_DONE


def _found(findings: "Findings") -> Iterable[str]:
    if findings.clean:
        yield "The ledger is whole: nothing is to be repaired."
    if findings.journal:
        yield f"The journal: {findings.journal}. It is rebuilt from the published log."
    if findings.checkpoint:
        yield f"The checkpoint: {findings.checkpoint}. It is published anew."
    if findings.tree.rebuildable:
        names = [name.path for name in findings.tree.rebuildable]
        yield f"{len(names)} tiles or bundles are missing or wrong and are rebuilt: {_some(names)}"
    if findings.tree.lost:
        ranges = [f"{first}" if end == first + 1 else f"{first} to {end - 1}" for first, end in findings.tree.lost]
        yield f"LOST in the log: the entries {_some(ranges)}. Another copy of the log (--from) may have them."
    for writer in findings.writers:
        yield from _found_writer(writer)
    for reason in findings.refused:
        yield f"CAN'T BE REPAIRED: {reason}"


def _found_writer(writer: "DamagedWriter") -> Iterable[str]:
    yield f"Write-ahead log {writer.name}: {writer.reason}. {writer.readable} entries are saved from it."
    for gap in writer.lost:
        yield f"  LOST: its entries {gap.first} to {gap.end - 1}"
    if writer.rest_from is not None:
        yield f"  LOST: its entries from {writer.rest_from} on, if there were any: nothing readable tells"
    for trace in writer.traces[:_NAMED_MAX]:
        request = f", request {trace.request}" if trace.request else ""
        yield f"    {trace.seq}: {trace.kind} {trace.id}{request}"
    if len(writer.traces) > _NAMED_MAX:
        yield f"    … and {len(writer.traces) - _NAMED_MAX} more (--json)"


def _as_object(findings: "Findings") -> dict[str, object]:
    return {
        "checkpoint": findings.checkpoint,
        "clean": findings.clean,
        "journal": findings.journal,
        "lost": [list(pair) for pair in findings.tree.lost],
        "rebuildable": [name.path for name in findings.tree.rebuildable],
        "refused": list(findings.refused),
        "writers": [
            {
                "lost": [[gap.first, gap.end] for gap in writer.lost],
                "name": writer.name,
                "readable": writer.readable,
                "reason": writer.reason,
                "rest_from": writer.rest_from,
                "traces": [trace._asdict() for trace in writer.traces],
            }
            for writer in findings.writers
        ],
    }


def _archive(arguments: argparse.Namespace, directory: Path) -> int:
    from sekisho.app.ledger import archive_ledger

    if arguments.keep < 0:
        raise UsageError("--keep is below zero", remedy="Say how many of the newest entries stay")
    print(f"copying to {arguments.cold}, then auditing the copy …", file=sys.stderr)
    done = archive_ledger(directory, arguments.cold, arguments.keep)
    if arguments.json:
        print(json.dumps(done._asdict()))
        return EXIT_DONE
    print(f"{arguments.cold} is a whole copy of the log: {done.size} entries, audited.")
    print(f"{done.moved} entry bundles ({_bytes(done.moved_bytes)}) left this disk.")
    return EXIT_DONE


def _rotate(arguments: argparse.Namespace, directory: Path) -> int:
    from sekisho.app.ledger import rotate_log_key

    new = rotate_log_key(directory, arguments.site_key)
    if arguments.json:
        print(json.dumps({"vkey": new.vkey}))
    else:
        print(f"The log is signed by a new key:\n{new.vkey}\nAuditors need nothing new: they pin the site's key.")
    return EXIT_DONE


def _settle_clock(arguments: argparse.Namespace, directory: Path) -> int:
    from sekisho.app.clock import settle_clock

    settle_clock(directory, arguments.ahead, ACTOR, arguments.approval)
    print("The wall clock is believed as it stands; running processes follow within some seconds.")
    return EXIT_DONE


def _some(words: list[str]) -> str:
    more = f" and {len(words) - _NAMED_MAX} more" if len(words) > _NAMED_MAX else ""
    return ", ".join(words[:_NAMED_MAX]) + more


def _since(at_us: int | None, before: str = "") -> str:
    return "" if at_us is None else f", {before}{utc(at_us, RFC3339)}"


def _bytes(count: int) -> str:
    size = float(max(0, count))
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
