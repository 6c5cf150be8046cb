"""Making an installation, and making its declarations a snapshot that is in force."""

import functools
import secrets
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.app.exemptions import grant_exemptions, unapproved
from sekisho.app.inspecting import declared_inspection
from sekisho.app.issuers import caller_mistakes
from sekisho.app.keys import OrganisationKeys, create_signing_key
from sekisho.app.observed import with_readings_in_force
from sekisho.assurance.proofs import statement_mistakes
from sekisho.catalog.declarations import Declarations
from sekisho.catalog.files import read_declarations
from sekisho.catalog.interfaces import Catalogue, Mistake
from sekisho.catalog.layers import layer_of
from sekisho.catalog.templates import write_declarations
from sekisho.identity.sql import SqlIdentity
from sekisho.inspection.rules import compile_inspector
from sekisho.inspection.scanner import Databases
from sekisho.kernel.canonical import encode
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.files import sync_directory, write_durable
from sekisho.ledger.checkpoint import make_enrolment
from sekisho.policy.check import check_policies, check_policy_texts, compile_policies, policies_in_force
from sekisho.policy.engine import CedarDecider
from sekisho.policy.lints import lint
from sekisho.policy.tightening import tightening_mistakes
from sekisho.policy.unreachable import reachability
from sekisho.settings import FORMAT, TEMPLATE, DataDirectory
from sekisho.snapshot.build import BuiltSnapshot, build_snapshot
from sekisho.snapshot.store import SnapshotStore

DEFAULT_ORGANISATION: Final = "default"


class DeclarationsRefused(SekishoError):
    """The declarations hold mistakes; what was in force stays in force."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        count = len(mistakes)
        super().__init__(
            f"the declarations hold {count} mistake{'s' if count != 1 else ''}", remedy="See `sekisho check`"
        )
        self.mistakes = tuple(mistakes)


class Listen(NamedTuple):
    """Addresses that a new installation's processes listen on."""

    gateway: str = "127.0.0.1:8400"
    control: str = "127.0.0.1:8401"
    manual: str = "127.0.0.1:8402"


class Created(NamedTuple):
    origin: str
    key_text: str  # the first API key; shown once, kept nowhere


def create_installation(root: Path, listen: Listen, nation: str | None = None) -> Created:
    """Make an installation in `root`, which must be empty or not exist. Raises UsageError otherwise.

    Its declarations begin as those of `nation` (one of `nation_names`), else of the default one.
    """
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UsageError(
            f"{root} is not empty", remedy="Name a new directory; an installation is never made over another"
        )
    directory = DataDirectory(root)
    root.mkdir(mode=0o750, parents=True, exist_ok=True)  # the ledger tells who asked for what: for user and group only
    for path in (directory.ledger, directory.write_ahead, directory.snapshots, directory.run):
        path.mkdir(parents=True, exist_ok=True)
    write_durable(directory.format, f"{FORMAT}\n".encode())  # first: whatever else is here, a program can tell
    for path in (directory.keys, directory.organisation_keys):
        path.mkdir(mode=0o700, exist_ok=True)
    # A random part in domain and node: no two installations share an origin, whoever names them. `.internal` is
    # reserved for private use.
    domain = f"sekisho-{secrets.token_hex(4)}.internal"
    origin = f"{domain}/local/{secrets.token_hex(4)}"
    settings = TEMPLATE.format(origin=origin, gateway=listen.gateway, control=listen.control, manual=listen.manual)
    site = create_signing_key(directory.site_key, f"{domain}/local")
    log = create_signing_key(directory.log_key, origin)
    write_durable(directory.enrolment, make_enrolment(site, origin, log.verifier).encode())
    write_durable(directory.site_vkey, f"{site.verifier.vkey}\n".encode())
    write_declarations(directory.declarations, manual_url=f"http://{listen.manual}/v1", nation=nation)
    put_declarations_in_force(directory, "init")
    identity = SqlIdentity(directory.state, SystemClock())
    try:
        _, text = identity.create_key(DEFAULT_ORGANISATION, "first key", ("caller",), None, None, "init")
    finally:
        identity.close()
    # Last: a directory without its settings is not an installation, so a failed `init` leaves none behind.
    write_durable(directory.settings, settings.encode())
    sync_directory(root)
    return Created(origin, text)


class Examined(NamedTuple):
    """What there is to say of declarations: mistakes, and what is none but may have been meant otherwise, both sorted.

    `layers`: how many policies each layer holds, the highest first; empty where no layers are declared.
    """

    mistakes: list[Mistake]
    notes: list[Mistake]
    layers: tuple[tuple[str, int], ...] = ()


def check_declarations(directory: DataDirectory) -> Examined:
    """Of the declarations as they stand, policies included; nothing is changed."""
    return _examined(directory, read_declarations(directory.declarations), proved=True)


def _examined(directory: DataDirectory, declarations: Declarations, *, proved: bool) -> Examined:
    """`proved`: what takes a proof too: policies that never match, lower layers that loosen, statements that fail."""
    mistakes, notes = list(declarations.mistakes), list[Mistake]()
    catalogue = declarations.catalogue
    if catalogue is None:
        mistakes += check_policy_texts(declarations.policies)
        mistakes += lint(policies_in_force((), declarations.policies)).mistakes
        return Examined(sorted(mistakes), [])
    inspection = declared_inspection(catalogue, declarations.policies)
    mistakes += inspection.mistakes
    checked = check_policies(catalogue, declarations.policies, inspection.labels, inspection.elsewhere)
    mistakes += checked.mistakes
    mistakes += caller_mistakes(directory, catalogue)
    hard_to_read = lint(policies_in_force(catalogue.boundary.packs, declarations.policies))
    mistakes += hard_to_read.mistakes
    notes += hard_to_read.notes
    if proved and checked.parts is not None:
        never, doubtful = reachability(checked.parts)
        mistakes += never
        told = {(note.file, note.key) for note in notes}  # that it stands twice says that it decides nothing
        notes += [note for note in doubtful if (note.file, note.key) not in told]
        mistakes += tightening_mistakes(checked.parts, catalogue.boundary.layers)
        now_us = SystemClock().now_us()
        mistakes += statement_mistakes(catalogue, checked.parts, now_us, str(directory.root))
    mistakes += unapproved(directory, catalogue, snapshot_store(directory))
    layers = catalogue.boundary.layers
    held = Counter(layer_of(title.file, layers) for title in checked.titles)
    return Examined(sorted(mistakes), sorted(notes), tuple((name, held[place]) for place, name in enumerate(layers)))


def put_declarations_in_force(directory: DataDirectory, actor: str = "operator") -> str:
    """Build the snapshot, store it and name it current; returns its digest. Raises DeclarationsRefused.

    The ledger is told: what was in force when, an audit has from there alone.
    """
    digest = store_declarations(directory)
    store = snapshot_store(directory)
    before = store.current()
    if before != digest:
        clock = SystemClock()
        with closing(SqlIdentity(directory.state, clock)) as register:
            grant_exemptions(directory, store, register, clock, digest)
            with register.transaction(writes=True) as connection:
                register.tell(connection, clock.now_us(), actor, activation_body(before, digest))
        store.activate(digest)
    return digest


def activation_body(before: str | None, digest: str) -> bytes:
    """What the ledger is told of a snapshot that comes in force, before it does."""
    return encode({"act": "snapshot.activate", "before": before, "snapshot": digest})


def store_declarations(directory: DataDirectory) -> str:
    """Build the snapshot and store it, without naming it current; returns its digest. Raises DeclarationsRefused."""
    catalogue, built = build_declared(directory)
    OrganisationKeys(directory.organisation_keys).ensure(
        [organisation.name for organisation in catalogue.organisations]
    )
    return snapshot_store(directory).save(built)


def build_declared(directory: DataDirectory, *, proved: bool = True) -> tuple[Catalogue, BuiltSnapshot]:
    """The declarations as they stand, and their snapshot with what probes have read; nothing is stored.

    Raises DeclarationsRefused. Unless `proved`, their statements may fail: to look into why they do.
    """
    declarations = read_declarations(directory.declarations)
    examined = _examined(directory, declarations, proved=proved)
    if examined.mistakes or declarations.catalogue is None:
        raise DeclarationsRefused(examined.mistakes)
    inspection = declared_inspection(declarations.catalogue, declarations.policies)
    built = build_snapshot(
        declarations.catalogue,
        declarations.policies,
        inspection_rules=inspection.rules,
        labels=inspection.labels,
        compile_policies=compile_policies,
    )
    store = snapshot_store(directory)
    return declarations.catalogue, with_readings_in_force(store, declarations.catalogue, built)


def snapshot_store(directory: DataDirectory) -> SnapshotStore:
    # Most snapshots inspect as the one before, and each has two inspectors.
    compiled = functools.partial(compile_inspector, databases=Databases())
    return SnapshotStore(directory.snapshots, make_inspector=compiled, make_decider=CedarDecider)
