"""Keys: there, private, belonging together; the register of API keys readable, and somebody in it."""

import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.app.doctor.findings import Finding, bounded, ok, problem, warning
from sekisho.app.keys import OrganisationKeys, load_signing_key
from sekisho.identity.register_look import RegisterLook
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.notes import NoteVerifier
from sekisho.ledger.checkpoint import open_enrolment
from sekisho.settings import DataDirectory

SHOWN_MAX: Final = 20
WAITS_S_MAX: Final = 30  # control takes acts out of the outbox four times a second
_FILE_BYTES_MAX: Final = 16 * 1024


class Mode(NamedTuple):
    """A file or directory as it is, `path` relative to the installation. `mode` None: it is not there."""

    path: str
    mode: int | None
    is_directory: bool


def judge_modes(modes: Iterable[Mode]) -> list[Finding]:
    """Secrets are for their owner alone."""
    found = []
    for one in modes:
        if one.mode is None:
            continue
        right = 0o700 if one.is_directory else 0o600
        if one.mode & 0o077:
            found.append(problem("key.open", path=one.path, mode=f"{one.mode:04o}", right=f"{right:o}"))
    return bounded(found, SHOWN_MAX, "key.open_more")


def judge_register(look: RegisterLook, now_us: int, *, control_runs: bool, others_may_call: bool) -> list[Finding]:
    """`others_may_call`: tokens or client certificates are declared."""
    found: list[Finding] = []
    if look.live_keys or others_may_call:
        found.append(ok("register.keys", count=look.live_keys))
    else:
        found.append(warning("register.no_keys"))
    if look.waiting:
        waits_s = max(0, now_us - (look.waiting_since or now_us)) // 1_000_000
        if not control_runs:
            found.append(ok("register.waiting", count=look.waiting))
        elif waits_s > WAITS_S_MAX:
            found.append(problem("register.stuck", count=look.waiting, waits_s=waits_s))
    return found


# -- looking


def look_at_keys(directory: DataDirectory, origin: str, organisations: Iterable[str]) -> list[Finding]:
    """Raises OSError."""
    found = judge_modes(_modes(directory))
    found += _look_at_signing_keys(directory, origin)
    found += _look_at_organisations(directory, organisations)
    return found or [ok("key.all")]


def _modes(directory: DataDirectory) -> list[Mode]:
    secret = [directory.keys, directory.organisation_keys, directory.site_key, directory.log_key, directory.state]
    if directory.organisation_keys.is_dir():
        secret += sorted(directory.organisation_keys.iterdir())
    if directory.content_keys.is_dir():
        secret += [directory.content_keys, *sorted(directory.content_keys.iterdir())]
    return [_mode(path, directory.root) for path in secret]


def _mode(path: Path, root: Path) -> Mode:
    name = str(path.relative_to(root))
    try:
        status = path.stat()
    except FileNotFoundError:
        return Mode(name, None, False)
    return Mode(name, stat.S_IMODE(status.st_mode), stat.S_ISDIR(status.st_mode))


def _look_at_signing_keys(directory: DataDirectory, origin: str) -> list[Finding]:
    """Whether site key, its public half, the enrolment and the log key are of one piece. What is said of modes is not
    said again."""
    try:
        site = NoteVerifier.parse(_text(directory.site_vkey))
        enrolment = open_enrolment(_text(directory.enrolment), site)
    except (SekishoError, OSError, UnicodeDecodeError) as error:
        return [problem("key.enrolment", detail=_said(error))]
    found: list[Finding] = []
    if enrolment.origin != origin:
        found.append(problem("key.origin", origin=origin, enrolled=enrolment.origin))
    for path, verifier, absent in (
        (directory.log_key, enrolment.log, problem),
        (directory.site_key, site, warning),  # one may keep it elsewhere: it is needed to enrol a log, not to run one
    ):
        name = str(path.relative_to(directory.root))
        if not path.exists():
            found.append(absent("key.missing" if absent is problem else "key.site_away", path=name))
        elif not stat.S_IMODE(path.stat().st_mode) & 0o077:
            try:
                if load_signing_key(path, verifier.name).verifier.vkey != verifier.vkey:
                    found.append(problem("key.other", path=name))
            except (SekishoError, OSError) as error:
                found.append(problem("key.unreadable", path=name, detail=_said(error)))
    return found


def _look_at_organisations(directory: DataDirectory, organisations: Iterable[str]) -> list[Finding]:
    found = []
    for organisation in organisations:
        path = directory.organisation_keys / f"{organisation}.key"
        if not path.exists():
            found.append(problem("key.organisation", organisation=organisation))
        elif not stat.S_IMODE(path.stat().st_mode) & 0o077:
            try:
                OrganisationKeys(directory.organisation_keys).key(organisation)
            except (SekishoError, OSError) as error:
                path_shown = str(path.relative_to(directory.root))
                found.append(problem("key.unreadable", path=path_shown, detail=_said(error)))
    return bounded(found, SHOWN_MAX, "key.organisations_more")


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_FILE_BYTES_MAX).decode()


def _said(error: Exception) -> str:
    return error.message if isinstance(error, SekishoError) else str(error)
