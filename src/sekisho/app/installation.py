"""Making an installation, and making its declarations a snapshot that is in force."""

import secrets
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.app.issuers import caller_mistakes
from sekisho.app.keys import OrganisationKeys, create_signing_key
from sekisho.catalog.declarations import Declarations
from sekisho.catalog.files import read_declarations
from sekisho.catalog.interfaces import Catalogue, Mistake
from sekisho.catalog.templates import write_declarations
from sekisho.identity.sql import SqlIdentity
from sekisho.inspection.rules import compile_inspector, rules_bytes
from sekisho.kernel.canonical import encode
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.files import sync_directory, write_durable
from sekisho.ledger.checkpoint import make_enrolment
from sekisho.policy.check import check_policies, check_policy_texts, compile_policies
from sekisho.policy.engine import CedarDecider
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


def create_installation(root: Path, listen: Listen) -> Created:
    """Make an installation in `root`, which must be empty or not exist. Raises UsageError otherwise."""
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
    write_declarations(directory.declarations, manual_url=f"http://{listen.manual}/v1")
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


def check_declarations(directory: DataDirectory) -> list[Mistake]:
    """Every mistake in the declarations, policies included, sorted; nothing is changed."""
    return _mistakes(directory, read_declarations(directory.declarations))


def _mistakes(directory: DataDirectory, declarations: Declarations) -> list[Mistake]:
    mistakes = list(declarations.mistakes)
    if declarations.catalogue is None:
        mistakes += check_policy_texts(declarations.policies)
    else:
        mistakes += check_policies(declarations.catalogue, declarations.policies, _labels()).mistakes
        mistakes += caller_mistakes(directory, declarations.catalogue)
    return sorted(mistakes)


def put_declarations_in_force(directory: DataDirectory, actor: str = "operator") -> str:
    """Build the snapshot, store it and name it current; returns its digest. Raises DeclarationsRefused.

    The ledger is told: what was in force when, an audit has from there alone.
    """
    digest = store_declarations(directory)
    store = snapshot_store(directory)
    before = store.current()
    if before != digest:
        clock = SystemClock()
        with closing(SqlIdentity(directory.state, clock)) as register, register.transaction(writes=True) as connection:
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


def build_declared(directory: DataDirectory) -> tuple[Catalogue, BuiltSnapshot]:
    """The declarations as they stand, and their snapshot; nothing is stored. Raises DeclarationsRefused."""
    declarations = read_declarations(directory.declarations)
    mistakes = _mistakes(directory, declarations)
    if mistakes or declarations.catalogue is None:
        raise DeclarationsRefused(mistakes)
    built = build_snapshot(
        declarations.catalogue,
        declarations.policies,
        inspection_rules=rules_bytes(),
        labels=_labels(),
        compile_policies=compile_policies,
    )
    return declarations.catalogue, built


def snapshot_store(directory: DataDirectory) -> SnapshotStore:
    return SnapshotStore(directory.snapshots, make_inspector=compile_inspector, make_decider=CedarDecider)


def _labels() -> tuple[str, ...]:
    return compile_inspector(rules_bytes()).labels()
