"""The log's side of witnessing, joined: whom the declarations name, asking them over HTTP, and what is told of it."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from sekisho import __version__
from sekisho.app.installation import snapshot_store
from sekisho.catalog.interfaces import Catalogue
from sekisho.gateway.http1.errors import UpstreamClosed
from sekisho.gateway.http1.interfaces import ClientTls, Endpoint, Header, UpstreamClient
from sekisho.kernel.cosignatures import CosignatureVerifier, cosigned_by
from sekisho.kernel.errors import NoteError, SekishoError
from sekisho.kernel.notes import NoteVerifier, SignedNote, format_signature
from sekisho.ledger.checkpoint import open_checkpoint, open_enrolment, read_checkpoint
from sekisho.ledger.cosigned import CosignedNotes
from sekisho.ledger.cosigner import DeclaredWitness, WitnessStatus
from sekisho.ledger.cosigning import ANSWER_BYTES_MAX, WitnessAnswer, verify_lines, write_request
from sekisho.ledger.errors import CheckpointInvalid
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.merkle import tree_root
from sekisho.ledger.storage import Disk
from sekisho.settings import DataDirectory

_CONNECT_S_MAX: Final = 5.0
_SILENCE_S_MAX: Final = 10.0  # the cosigner bounds the whole
_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"user-agent", f"sekisho/{__version__}".encode()),
)


class DeclaredPeers:
    """Witnesses and logs as the snapshot in force names them, this installation's own left out: one tree of
    declarations can name every site's. Blocking; read again when another snapshot comes in force.
    """

    def __init__(self, directory: DataDirectory, origin: str) -> None:
        self._directory = directory
        self._store = snapshot_store(directory)
        self._origin = origin
        self._read: tuple[str | None, Catalogue | None] = (None, None)
        self._logs: tuple[Catalogue | None, Mapping[str, tuple[NoteVerifier, ...]]] = (None, {})

    def witnesses(self) -> tuple[DeclaredWitness, ...]:
        """Raises SekishoError for a snapshot that can't be read."""
        return witnesses_of(self._catalogue(), own_witness_key(self._directory))

    def logs(self) -> Mapping[str, tuple[NoteVerifier, ...]]:
        """The keys that may sign, by origin. Raises as `witnesses`."""
        catalogue = self._catalogue()
        if self._logs[0] is not catalogue:  # not for each request: strangers may ask, and there may be many logs
            self._logs = (catalogue, logs_of(catalogue, self._origin))
        return self._logs[1]

    def _catalogue(self) -> Catalogue | None:
        digest = self._store.current()
        if digest != self._read[0]:
            self._read = (digest, None if digest is None else self._store.catalogue(digest))
        return self._read[1]


def own_witness_key(directory: DataDirectory) -> str:
    """The vkey of this installation's own witness, "" if it has none."""
    try:
        return directory.witness_vkey.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def witnesses_of(catalogue: Catalogue | None, own_key: str) -> tuple[DeclaredWitness, ...]:
    found = () if catalogue is None else catalogue.witnesses
    return tuple(
        DeclaredWitness(one.name, CosignatureVerifier.parse(one.key), one.url, one.ca_file)
        for one in found
        if one.key != own_key
    )


def logs_of(catalogue: Catalogue | None, own_origin: str) -> dict[str, tuple[NoteVerifier, ...]]:
    found = () if catalogue is None else catalogue.logs
    return {one.origin: tuple(map(NoteVerifier.parse, one.keys)) for one in found if one.origin != own_origin}


class WitnessCalls:
    """The cosigner's AsksWitness over the gateway's client."""

    def __init__(self, client: UpstreamClient, root: Path) -> None:
        self._client = client
        self._root = root

    async def add_checkpoint(self, witness: DeclaredWitness, body: bytes) -> WitnessAnswer:
        return await self._send("POST", witness, "/add-checkpoint", body)

    async def checkpoint(self, witness: DeclaredWitness, hashed: str) -> WitnessAnswer:
        # tlog-witness has a prefix of its own for this; one that differs from the other can't be declared.
        return await self._send("GET", witness, f"/{hashed}/checkpoint", b"")

    async def _send(self, method: str, witness: DeclaredWitness, path: str, body: bytes) -> WitnessAnswer:
        endpoint, prefix = self._endpoint(witness)
        try:
            return await self._send_once(method, endpoint, prefix + path, body)
        except _Stale:
            return await self._send_once(method, endpoint, prefix + path, body)

    def _endpoint(self, witness: DeclaredWitness) -> tuple[Endpoint, str]:
        parts = urlsplit(witness.url or "")
        host, tls = parts.hostname or "", None
        if parts.scheme == "https":
            tls = ClientTls(host, None if witness.ca_file is None else str(self._root / witness.ca_file))
        endpoint = Endpoint(
            host=host,
            port=parts.port or (443 if tls else 80),
            tls=tls,
            connect_timeout_s=_CONNECT_S_MAX,
            first_byte_timeout_s=_SILENCE_S_MAX,
            idle_timeout_s=_SILENCE_S_MAX,
        )
        return endpoint, parts.path.rstrip("/")

    async def _send_once(self, method: str, endpoint: Endpoint, path: str, body: bytes) -> WitnessAnswer:
        exchange = self._client.exchange(endpoint)
        try:
            head = await exchange.send(method, path, _HEADERS, body)
        except UpstreamClosed:
            if exchange.reused:
                raise _Stale from None
            raise
        content_type = head.headers.get(b"content-type", b"").decode("latin-1")
        return WitnessAnswer(head.status, content_type, await exchange.read(ANSWER_BYTES_MAX))


class _Stale(Exception):
    """A kept-alive connection turned out to be closed: asked again, over another. Asking twice does no harm."""


def with_cosignatures(directory: DataDirectory, note: str) -> str:
    """A published checkpoint with the cosignatures that are there; as it is if it can't be taken apart."""
    with suppress(NoteError, CheckpointInvalid):
        return CosignedNotes(directory.ledger).with_cosignatures(note)
    return note


# By files, where there is no network.


def make_request(directory: DataDirectory, witness: DeclaredWitness | None, old_size: int | None) -> bytes:
    """The add-checkpoint request for the newest checkpoint, from `old_size` or what `witness` is known to have.

    Raises SekishoError if nothing is published, or the witness is ahead of this log.
    """
    files = LogFiles(directory.ledger)
    note = _published(files)
    size = read_checkpoint(note).size
    if old_size is None:
        notes = CosignedNotes(directory.ledger).notes()
        known = (one.checkpoint.size for one in notes if witness is not None and one.bears(witness.verifier))
        old_size = next((one for one in known if one <= size), 0)
    if old_size > size:
        raise SekishoError(
            f"this log has {size} entries here, and the witness cosigned {old_size}",
            remedy="If the witness is right, this data directory is a clone or an old copy: go on with the newer one",
        )
    return write_request(old_size, note, files.nodes(size))


def take_in(directory: DataDirectory, note: str, witnesses: Sequence[DeclaredWitness]) -> tuple[int, tuple[str, ...]]:
    """Keep the cosignatures that `note`, a checkpoint of this log, bears: (its size, the names of the witnesses).

    Raises SekishoError unless our log signed it, it is of the log as it is here, and a declared witness cosigned it.
    """
    log = log_key(directory)
    checkpoint = open_checkpoint(note, log)
    files = LogFiles(directory.ledger)
    published = read_checkpoint(_published(files))
    if checkpoint.size > published.size or (tree_root(checkpoint.size, files.nodes(published.size)) != checkpoint.root):
        raise SekishoError(
            f"this log's own key signed {checkpoint.size} entries that are not those here, of {published.size}",
            remedy="This data directory is a clone or an old copy: stop it, and go on with the newer one",
        )
    signed = SignedNote.parse(note)
    cosigned = {found.cosigner for found in cosigned_by(signed, (one.verifier for one in witnesses))}
    names = tuple(one.name for one in witnesses if one.verifier in cosigned)
    if not names:
        raise SekishoError(
            "no declared witness has cosigned this checkpoint",
            remedy="Declare its key, as `sekisho witness key` prints it there, in declarations/witnesses/",
        )
    own = format_signature(log.name, log.key_id, signed.signatures_of(log.name, log.key_id)[0])
    block = note.rpartition("\n\n")[2]
    notes = CosignedNotes(directory.ledger)
    for one in witnesses:
        if one.verifier in cosigned:
            line = verify_lines(block, note, one.verifier)
            notes.add(f"{signed.text}\n{own}", line, [each.verifier for each in witnesses])
    return checkpoint.size, names


def log_key(directory: DataDirectory) -> NoteVerifier:
    """The key by which this installation's log signs now. Raises SekishoError, OSError."""
    site = NoteVerifier.parse(directory.site_vkey.read_text(encoding="utf-8"))
    return open_enrolment(directory.enrolment.read_text(encoding="utf-8"), site).log


def _published(files: LogFiles) -> str:
    note = files.checkpoint()
    if note is None:
        raise SekishoError("nothing has been published yet", remedy="Run the installation: sekisho up")
    return note


# What control leaves for `sekisho witness status`.


def leave_word(directory: DataDirectory, standing: Sequence[WitnessStatus]) -> None:
    Disk().put(directory.witnesses_state, json.dumps([dataclasses.asdict(one) for one in standing]).encode())


def read_word(directory: DataDirectory) -> tuple[WitnessStatus, ...]:
    """What control has last said of the witnesses. It is a note for people: one that can't be read says nothing."""
    try:
        rows: list[dict[str, Any]] = json.loads(directory.witnesses_state.read_bytes())
        return tuple(WitnessStatus(**row) for row in rows)
    except (OSError, ValueError, TypeError):
        return ()
