"""Whom a site asks to cosign its log (`witnesses/`), and whose logs it cosigns (`logs/`). Pure."""

from collections.abc import Iterable
from typing import Final

from sekisho.catalog.interfaces import LogOfOthers, Mistake, Witness
from sekisho.catalog.table import TEXT_MAX, Table
from sekisho.catalog.urls import take_path, take_url
from sekisho.kernel.cosignatures import CosignatureVerifier
from sekisho.kernel.errors import NoteError
from sekisho.kernel.notes import NoteVerifier

WITNESSES_MAX: Final = 32  # each adds a line to a note, which holds 64 at most
LOG_KEYS_MAX: Final = 8  # of one log: the present one, and some before and after it


def read_witness(name: str, table: Table) -> Witness | None:
    """A witness to ask. Without a `url` it is asked by files only."""
    title = table.take_text("title", default=name) or name
    key = _vkey(table, "key", "Give the witness's vkey, as `sekisho witness key` prints it there")
    url = take_url(table, "url") if "url" in table.values else None
    url = None if url is None else url.rstrip("/")
    ca_file = take_path(table, "ca_file")
    if ca_file is not None and not (url or "").startswith("https:"):
        table.mistake("ca_file", "stands without an https URL", "Remove it, or give a url that begins with https")
    if key is None:
        return None
    try:
        CosignatureVerifier.parse(key)
    except NoteError as error:
        table.mistake("key", f"can't be used: {error.message}", "Give the witness's vkey: `sekisho witness key`")
        return None
    return Witness(name=name, title=title, key=key, url=url, ca_file=ca_file)


def read_log(name: str, table: Table) -> LogOfOthers | None:
    """A log to cosign: its origin is the name of its keys, unless `origin` says another."""
    title = table.take_text("title", default=name) or name
    keys: list[NoteVerifier] = []
    raw = table.take("keys")
    if not isinstance(raw, list) or not 0 < len(raw) <= LOG_KEYS_MAX:
        table.mistake("keys", f"are not a list of 1 to {LOG_KEYS_MAX}", 'Give the log\'s vkeys: keys = ["…"]')
        raw = []
    for number, text in enumerate(raw):
        try:
            keys.append(NoteVerifier.parse(text if isinstance(text, str) else ""))
        except NoteError as error:
            place, remedy = f"keys[{number}]", "Give the log's vkey, the third line of its ledger/enrolment"
            table.mistake(place, f"can't be used: {error.message}", remedy)
    origin = table.take_text("origin", default=keys[0].name if keys else None)
    if len({key.name for key in keys}) > 1 and "origin" not in table.values:
        table.mistake("keys", "bear different names", "Say which log is meant: origin = …")
    if not keys or origin is None:
        return None
    return LogOfOthers(name=name, title=title, origin=origin, keys=tuple(key.vkey for key in keys))


def witness_mistakes(witnesses: Iterable[Witness], logs: Iterable[LogOfOthers]) -> list[Mistake]:
    """What is wrong between files: one witness or log declared twice, and too many witnesses."""
    found: list[Mistake] = []
    keys: dict[str, str] = {}
    for count, witness in enumerate(witnesses):
        file = f"witnesses/{witness.name}.toml"
        if witness.key in keys:
            found.append(Mistake(file, "key", f"is the key of {keys[witness.key]} too", "Keep one of them"))
        keys.setdefault(witness.key, witness.name)
        if count == WITNESSES_MAX:
            found.append(Mistake(file, "", "is one witness too many", f"Keep at most {WITNESSES_MAX}"))
    origins: dict[str, str] = {}
    for one in logs:
        if one.origin in origins:
            problem = f"is the origin of {origins[one.origin]} too"
            found.append(Mistake(f"logs/{one.name}.toml", "origin", problem, "Put all keys of one log into one file"))
        origins.setdefault(one.origin, one.name)
    return found


def _vkey(table: Table, key: str, remedy: str) -> str | None:
    """The raw text: `take_text` could take a public key for a credential, which looks alike."""
    value = table.take(key)
    if value is None:
        table.missing(key, remedy)
        return None
    if not isinstance(value, str) or len(value) > TEXT_MAX:
        table.mistake(key, "is not a vkey", remedy)
        return None
    return value.strip()
