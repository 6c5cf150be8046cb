"""`sekisho witness`: cosign other logs' checkpoints and have one's own cosigned, by files where there is no network."""

import argparse
import base64
import sys
from pathlib import Path
from typing import Final

from sekisho.app.cosigning import log_key, logs_of, make_request, own_witness_key, read_word, take_in, witnesses_of
from sekisho.app.doctor.witnesses import LAG_S_MAX
from sekisho.app.providers import declared_catalogue
from sekisho.app.witness import open_witness
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.files import write_durable
from sekisho.kernel.words import alternatives
from sekisho.ledger.checkpoint import origin_hash, parse_decimal, read_checkpoint
from sekisho.ledger.cosigned import NOTE_BYTES_MAX, CosignedNotes
from sekisho.ledger.cosigner import DeclaredWitness, WitnessStatus
from sekisho.ledger.errors import CheckpointInvalid, RequestMalformed, SizeConflict
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.witness import REQUEST_BYTES_MAX, AddCheckpoint
from sekisho.settings import DataDirectory, load_settings

EXIT_DONE: Final = 0
EXIT_NOT_DONE: Final = 1
EXIT_OTHER_SIZE: Final = 3  # `sign`: the request is from another size than the one cosigned last

EPILOG: Final = (
    "Between two sites without a network: `request` there, a disk, `sign` here, a disk, `add` there.\n"
    "exit status: 0 done; 1 not done; 2 wrong usage; 3 (sign) ask again, from the size that is printed"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Be a witness of other logs, and have witnesses for one's own (C2SP tlog-witness). A running installation\n"
        "asks its declared witnesses by itself, and answers others where [witness] listen says."
    )
    parser.epilog = EPILOG
    acts = parser.add_subparsers(dest="act", required=True, metavar="key|status|request|sign|add")

    key = acts.add_parser("key", help="print the public keys that others declare", description=_KEY)
    _add_directory(key)

    status = acts.add_parser("status", help="how it stands with the witnesses, and the logs", description=_STATUS)
    _add_directory(status)

    request = acts.add_parser("request", help="write a request for a cosignature to a file", description=_REQUEST)
    request.add_argument("--witness", metavar="NAME", help="for whom, as declared (default: the only one)")
    request.add_argument("--old", metavar="SIZE", help="the size it cosigned last (default: as far as is known here)")
    request.add_argument("--output", "-o", metavar="FILE", type=Path, help="default: standard output")
    _add_directory(request)

    sign = acts.add_parser("sign", help="cosign a request that came as a file", description=_SIGN)
    sign.add_argument("request", metavar="REQUEST", help="the file; - reads standard input")
    sign.add_argument("--output", "-o", metavar="FILE", type=Path, help="default: standard output")
    _add_directory(sign)

    add = acts.add_parser("add", help="take in a cosigned checkpoint that came as a file", description=_ADD)
    add.add_argument("checkpoint", metavar="CHECKPOINT", help="the file that `sign` wrote; - reads standard input")
    _add_directory(add)


_KEY: Final = (
    "Print, as TOML, the keys that others declare: of this witness in declarations/witnesses/NAME.toml, and of this\n"
    "log in declarations/logs/NAME.toml. The first call makes the witness's key."
)
_STATUS: Final = "Say what each witness has cosigned of this log, and what this witness has cosigned of others."
_REQUEST: Final = "Write what a witness needs to cosign this log: its newest checkpoint, and the proof up to it."
_SIGN: Final = "Cosign a checkpoint of a declared log, if it extends what was cosigned before; writes it, cosigned."
_ADD: Final = "Verify a cosigned checkpoint of this log, and keep the cosignatures of declared witnesses."


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dir", metavar="DIR", dest="directory", type=Path, default=Path(), help="the installation (default: here)"
    )


def run(arguments: argparse.Namespace) -> int:
    directory = DataDirectory(arguments.directory)
    origin = load_settings(directory.root).installation.origin
    if arguments.act == "key":
        return _key(directory, origin)
    if arguments.act == "status":
        return _status(directory, origin)
    if arguments.act == "request":
        _write(arguments.output, _request(directory, arguments.witness, arguments.old).decode())
        return EXIT_DONE
    if arguments.act == "sign":
        return _sign(directory, origin, arguments)
    return _add(directory, arguments.checkpoint)


def _key(directory: DataDirectory, origin: str) -> int:
    witness = open_witness(directory, origin, SystemClock()).vkey
    print(f'# declarations/witnesses/NAME.toml of those whom we shall witness; they add our url\nkey = "{witness}"')
    print(f'# declarations/logs/NAME.toml of those who witness us\nkeys = ["{log_key(directory).vkey}"]')
    return EXIT_DONE


def _request(directory: DataDirectory, name: str | None, old: str | None) -> bytes:
    if old is None:
        return make_request(directory, _chosen(_declared(directory), name), None)
    try:
        return make_request(directory, None, parse_decimal(old))
    except CheckpointInvalid as error:
        raise UsageError(f"--old: {error.message}") from None


def _sign(directory: DataDirectory, origin: str, arguments: argparse.Namespace) -> int:
    try:
        request = AddCheckpoint.parse(_read(arguments.request, REQUEST_BYTES_MAX))
    except RequestMalformed as error:
        remedy = "Take the file that `sekisho witness request` wrote"
        raise SekishoError(f"{arguments.request} is no request: {error.message}", remedy=remedy) from None
    keys = logs_of(declared_catalogue(directory), origin).get(request.checkpoint.origin, ())
    book = open_witness(directory, origin, SystemClock())
    try:
        book.add_checkpoint(request, keys)
    except SizeConflict as conflict:
        remedy = f"Have it made again there: sekisho witness request --old {conflict.size}"
        print(f"sekisho witness: {conflict.message}. {remedy}", file=sys.stderr)
        return EXIT_OTHER_SIZE
    _write(arguments.output, book.checkpoint(origin_hash(request.checkpoint.origin)) or "")
    print(f"cosigned {request.checkpoint.size} entries of {request.checkpoint.origin}", file=sys.stderr)
    return EXIT_DONE


def _add(directory: DataDirectory, file: str) -> int:
    try:
        note = _read(file, NOTE_BYTES_MAX).decode()
    except UnicodeDecodeError:
        raise SekishoError(f"{file} is not a checkpoint", remedy="Take the file that `sign` wrote") from None
    size, names = take_in(directory, note, _declared(directory))
    print(f"{size} entries are cosigned by {', '.join(names)}")
    return EXIT_DONE


def _status(directory: DataDirectory, origin: str) -> int:
    """1 if a witness raised an alarm, or lags for more than LAG_S_MAX."""
    now_us = SystemClock().now_us()
    word = {one.name: one for one in read_word(directory)}
    note = LogFiles(directory.ledger).checkpoint()
    print(f"this log: {0 if note is None else read_checkpoint(note).size} entries published, {origin}")
    well = True
    for witness in _declared(directory):
        found = (one for one in CosignedNotes(directory.ledger).notes() if one.bears(witness.verifier))
        newest = next(found, None)
        said = word.get(witness.name, WitnessStatus(witness.name))
        print(
            f"  {witness.name}: {0 if newest is None else newest.checkpoint.size} entries cosigned{_told(said, now_us)}"
        )
        well = well and not said.alarm and said.lag_s(now_us) <= LAG_S_MAX
    if directory.witness_key.exists():
        book = open_witness(directory, origin, SystemClock())
        print(f"this witness: {book.vkey}")
        for log, head in book.heads().items():
            print(f"  {log}: {head.size} entries cosigned, root {base64.b64encode(head.root).decode()}")
    return EXIT_DONE if well else EXIT_NOT_DONE


def _told(status: WitnessStatus, now_us: int) -> str:
    """What control has last said of a witness."""
    parts = [""]
    if status.alarm:
        parts.append(f"ALARM: {status.alarm}")
    elif status.trouble:
        parts.append(f"failing: {status.trouble}")
    if lag_s := status.lag_s(now_us):
        parts.append(f"behind for {lag_s:.0f} s")
    return "; ".join(parts)


def _declared(directory: DataDirectory) -> tuple[DeclaredWitness, ...]:
    return witnesses_of(declared_catalogue(directory), own_witness_key(directory))


def _chosen(witnesses: tuple[DeclaredWitness, ...], name: str | None) -> DeclaredWitness:
    names = [one.name for one in witnesses]
    if name is None and len(names) != 1:
        there = ", ".join(names) or "none: see declarations/witnesses/"
        raise UsageError(
            "it is not said which witness the request is for",
            remedy=f"Say --witness NAME, or --old SIZE. There is {there}",
        )
    if name is not None and name not in names:
        raise UsageError(f"No witness {name!r} is declared", remedy=f"There is {alternatives(name, names) or 'none'}")
    return next(one for one in witnesses if name in (None, one.name))


def _read(file: str, bytes_max: int) -> bytes:
    if file == "-":
        data = sys.stdin.buffer.read(bytes_max + 1)
    else:
        with Path(file).open("rb") as stream:
            data = stream.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise SekishoError(f"{file} is larger than {bytes_max >> 10} KiB", remedy="It is some other file")
    return data


def _write(output: Path | None, text: str) -> None:
    if output is None:
        sys.stdout.write(text)
    else:
        write_durable(output, text.encode())  # it may be on a disk that is pulled out next
