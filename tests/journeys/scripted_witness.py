"""Witnesses written from the specifications alone (C2SP tlog-witness, tlog-cosignature); all but one misbehave.

As a program: `python scripted_witness.py PORT` prints their vkeys as JSON, by how each behaves, then serves each under
`/<behaviour>/add-checkpoint`:

    honest      checks the proof, keeps what it cosigned, cosigns
    equivocate  cosigns, truly, another root of the same size
    ahead       says 409 with a size beyond the log's
    fickle      says 409 with another size each time
    garbage     bytes that mean nothing
    hang        no answer at all
    drip        an answer that begins and never ends
    gone        closes the connection

`GET /<behaviour>/seen` is a JSON list of [old size, size] of every question.
"""

import base64
import hashlib
import itertools
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

BEHAVIOURS = ("honest", "equivocate", "ahead", "fickle", "garbage", "hang", "drip", "gone")


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]) -> bool:
    """RFC 6962 section 2.1.2, the recursive definition read backwards."""
    if old in (0, new):
        return not proof and (old == 0 or old_root == new_root)
    rest = list(proof)

    def roots(m: int, n: int, whole: bool) -> tuple[bytes, bytes]:
        """(root of the first m, root of all n) of a subtree; `whole`: the first m are the old tree itself."""
        if m == n:
            root = old_root if whole else rest.pop(0)
            return root, root
        k = 1 << ((n - 1).bit_length() - 1)
        if m <= k:
            first, all_left = roots(m, k, whole)
            return first, node(all_left, rest.pop(0))
        first, all_right = roots(m - k, n - k, False)
        left = rest.pop(0)
        return node(left, first), node(left, all_right)

    try:
        found = roots(old, new, True)
    except IndexError:
        return False
    return found == (old_root, new_root) and not rest


class Witness:
    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour
        self.name = f"{behaviour}.example/witness"
        self.key = Ed25519PrivateKey.generate()
        public = self.key.public_key().public_bytes_raw()
        self.key_id = hashlib.sha256(self.name.encode() + b"\n\x04" + public).digest()[:4]
        encoded = base64.b64encode(b"\x04" + public).decode()
        self.vkey = f"{self.name}+{self.key_id.hex()}+{encoded}"
        self.size, self.root = 0, b""
        self.seen: list[list[int]] = []
        self.sizes = itertools.count(1)
        self.lock = threading.Lock()

    def line(self, text: str) -> bytes:
        now = int(time.time())
        signature = self.key.sign(f"cosignature/v1\ntime {now}\n{text}".encode())
        blob = self.key_id + now.to_bytes(8, "big") + signature
        return f"— {self.name} {base64.b64encode(blob).decode()}\n".encode()

    def judge(self, body: bytes) -> tuple[int, str, bytes]:
        head, _, note = body.decode().partition("\n\n")
        old_line, *hashes = head.split("\n")
        old = int(old_line.removeprefix("old "))
        text = note.rpartition("\n\n")[0] + "\n"
        origin, size_text, root_text = text.split("\n")[:3]
        size, root = int(size_text), base64.b64decode(root_text)
        with self.lock:
            self.seen.append([old, size])
            if self.behaviour == "equivocate":
                return 200, "text/plain", self.line(f"{origin}\n{size}\n{base64.b64encode(bytes(32)).decode()}\n")
            if self.behaviour == "ahead":
                return 409, "text/x.tlog.size", b"%d\n" % (size + 1000)
            if self.behaviour == "fickle":
                return 409, "text/x.tlog.size", b"%d\n" % (next(self.sizes) % size)
            if self.behaviour == "garbage":
                return 200, "text/plain", b"\x00\xff\r\n" * 1000
            if old != self.size:
                return 409, "text/x.tlog.size", b"%d\n" % self.size
            if not consistent(old, self.root, size, root, [base64.b64decode(one) for one in hashes]):
                return 422, "text/plain", b"inconsistent\n"
            self.size, self.root = size, root
            return 200, "text/plain", self.line(text)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    witnesses: dict[str, Witness]

    def do_GET(self) -> None:
        witness = self.witnesses[self.path.split("/")[1]]
        self.answer(200, "application/json", json.dumps(witness.seen).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        _, behaviour, endpoint = self.path.split("/")
        if endpoint != "add-checkpoint":
            self.answer(404, "text/plain", b"")
            return
        status, content_type, answer = self.witnesses[behaviour].judge(body)
        if behaviour == "gone":
            self.close_connection = True
        elif behaviour in ("hang", "drip"):
            if behaviour == "drip":
                self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n-")
                self.wfile.flush()
            threading.Event().wait()  # until the process ends
        else:
            self.answer(status, content_type, answer)

    def answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    Handler.witnesses = {behaviour: Witness(behaviour) for behaviour in BEHAVIOURS}
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    server.daemon_threads = True
    print(json.dumps({witness.behaviour: witness.vkey for witness in Handler.witnesses.values()}), flush=True)
    server.serve_forever()
