"""A program in a network of its own, whose name server and TLS servers are ours: `python own_names.py DIR WORD…`.

To be run by `unshare --map-root-user --mount --net`. Nothing outside can be reached or is changed: /etc/resolv.conf is
covered in this mount namespace alone. Runs the command WORD… with the servers up, and ends as it does. `DIR` holds
`names.json` (name → addresses; null: no answer at all) and `ADDRESS.pem` for each TLS server, certificate and key.
"""

import fcntl
import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
from ipaddress import ip_address
from pathlib import Path

PORT = 8443
NAME_SERVER = "127.0.0.53"
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def answer(query: bytes, names: dict[str, list[str] | None]) -> bytes | None:
    """RFC 1035 section 4.1: one question; A (1) and AAAA (28) records, NXDOMAIN (3) for other names."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += query[at] + 1
    question = query[12 : at + 5]
    name, kind = ".".join(labels).lower(), int.from_bytes(query[at + 1 : at + 3])
    addresses = [ip_address(one) for one in names.get(name, []) or []]
    if name in names and names[name] is None:
        return None
    found = [one.packed for one in addresses if (kind, one.version) in ((1, 4), (28, 6))]
    records = b"".join(struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(one)) + one for one in found)
    code = 0 if name in names else 3
    return query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(found), 0, 0) + question + records


def serve_names(sock: socket.socket, names: dict[str, list[str] | None]) -> None:
    while True:
        query, asker = sock.recvfrom(4096)
        said = answer(query, names)
        if said is not None:
            sock.sendto(said, asker)


def serve_tls(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        connection, _ = listener.accept()
        try:
            context.wrap_socket(connection, server_side=True).close()
        except OSError:
            connection.close()  # one that only connected


def main(directory: Path, command: list[str]) -> int:
    bring_loopback_up()
    (directory / "resolv.conf").write_text(f"nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n")
    subprocess.run(["mount", "--bind", directory / "resolv.conf", "/etc/resolv.conf"], check=True)
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind((NAME_SERVER, 53))
    table = json.loads((directory / "names.json").read_text())
    threading.Thread(target=serve_names, args=(names, table), daemon=True).start()
    for file in directory.glob("*.pem"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        listener = socket.create_server((file.stem, PORT))
        threading.Thread(target=serve_tls, args=(listener, context), daemon=True).start()
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
