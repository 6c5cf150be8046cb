"""TLS on both sides."""

import logging
import os
import ssl
import stat
from collections.abc import Collection
from typing import Final, NamedTuple

from sekisho.gateway.http1.errors import UpstreamTlsError
from sekisho.gateway.http1.interfaces import ClientTls

_MINIMUM: Final = ssl.TLSVersion.TLSv1_2

log = logging.getLogger(__name__)


def server_tls_context(certificate_file: str, key_file: str, client_ca_file: str | None = None) -> ssl.SSLContext:
    """For serving; with `client_ca_file` callers must show a certificate of that authority. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _MINIMUM
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate_file, key_file)
    if client_ca_file is not None:
        context.load_verify_locations(client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls_context(tls: ClientTls) -> ssl.SSLContext:
    """For one upstream. Without `ca_file` the system's roots count; with it, it alone. Raises OSError, SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # demands a certificate, and that it names the host
    context.minimum_version = _MINIMUM
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    if tls.ca_file is not None:
        context.load_verify_locations(tls.ca_file)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if tls.client_certificate_file is not None:
        context.load_cert_chain(tls.client_certificate_file, tls.client_key_file)
    return context


class Contexts(NamedTuple):
    """What the connections to an endpoint are made with: TLS towards the upstream, and towards its proxy."""

    upstream: ssl.SSLContext | None
    proxy: ssl.SSLContext | None


class _Made(NamedTuple):
    version: tuple[object, ...]
    context: ssl.SSLContext


class ClientContexts:
    """The contexts of all upstreams, made once and again when one of their files changes.

    `context_for` belongs to the event loop. `reload` may run in a thread beside it: it only replaces what is there.
    """

    def __init__(self) -> None:
        self._made: dict[ClientTls, _Made] = {}
        self._stale: dict[ClientTls, str] = {}

    @property
    def stale(self) -> list[str]:
        """Why files can't be used of which an earlier reading is in use."""
        return list(self._stale.values())

    def context_for(self, tls: ClientTls) -> ssl.SSLContext:
        """Raises UpstreamTlsError if a file can't be read or holds no certificate or key."""
        made = self._made.get(tls)
        if made is None:
            try:
                made = _make(tls, _versions(tls))
            except (OSError, ssl.SSLError) as error:
                raise UpstreamTlsError(_unusable(tls, error), phase="connect") from error
            self._made[tls] = made
        return made.context

    def keep(self, used: Collection[ClientTls]) -> None:
        """Forget all others: nobody connects with them any more, so their files concern nobody."""
        self._made = {tls: made for tls, made in self._made.items() if tls in used}
        self._stale = {tls: reason for tls, reason in self._stale.items() if tls in used}

    def reload(self) -> None:
        """Read again what has changed, blocking. What can't be read or doesn't fit together stays as it was."""
        known, stale = self._made, self._stale  # where `keep` replaces them meanwhile, this look is forgotten
        for tls, made in list(known.items()):
            try:
                versions = _versions(tls)
                if versions != made.version:
                    known[tls] = _make(tls, versions)
            except (OSError, ssl.SSLError) as error:
                stale[tls] = _unusable(tls, error)
            else:
                stale.pop(tls, None)


def _make(tls: ClientTls, version: tuple[object, ...]) -> _Made:
    key_file = tls.client_key_file
    if key_file is not None and (mode := stat.S_IMODE(os.stat(key_file).st_mode)) & (stat.S_IRWXG | stat.S_IRWXO):
        log.warning("the key file %s can be read by others (mode %04o): chmod 600 it", key_file, mode)
    return _Made(version, client_tls_context(tls))


def _unusable(tls: ClientTls, error: Exception) -> str:
    return f"the TLS files for {tls.server_name} can't be used: {error}"


def _versions(tls: ClientTls) -> tuple[object, ...]:
    """Taken before the files are read: what changes in between is read again at the next look."""
    return tuple(_version(path) for path in (tls.ca_file, tls.client_certificate_file, tls.client_key_file) if path)


def _version(path: str) -> tuple[int, int, int]:
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns
