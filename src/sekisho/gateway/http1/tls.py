"""TLS on both sides."""

import os
import ssl
from typing import Final

from sekisho.gateway.http1.errors import UpstreamTlsError
from sekisho.gateway.http1.interfaces import ClientTls

_MINIMUM: Final = ssl.TLSVersion.TLSv1_2


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


class ClientContexts:
    """The contexts of all upstreams, made once and again when one of their files changes."""

    def __init__(self) -> None:
        self._made: dict[ClientTls, tuple[tuple[object, ...], ssl.SSLContext]] = {}

    def context_for(self, tls: ClientTls) -> ssl.SSLContext:
        """Raises UpstreamTlsError if a file can't be read or holds no certificate or key."""
        try:
            version = tuple(
                _version(path) for path in (tls.ca_file, tls.client_certificate_file, tls.client_key_file) if path
            )
            made = self._made.get(tls)
            if made is None or made[0] != version:
                made = self._made[tls] = (version, client_tls_context(tls))
        except (OSError, ssl.SSLError) as error:
            raise UpstreamTlsError(
                f"the TLS files for {tls.server_name} can't be used: {error}", phase="connect"
            ) from error
        return made[1]


def _version(path: str) -> tuple[int, int, int]:
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns
