"""A token endpoint like Microsoft Entra ID's, an instance metadata service, and a model that asks for what they give.

`python signing_in.py DIRECTORY` is a process of its own with three servers: `login` (TLS, the token endpoint), `plain`
(HTTP: the metadata service, and the model at /KIND/v1/…) and `mutual` (the model over TLS, for client certificates of
the authority only). It reads DIRECTORY/settings.json again for each request, writes each request to DIRECTORY/log.jsonl
before it answers, and prints its ports. It believes nobody: assertions are verified here, with other code than ours.
"""

import base64
import hashlib
import json
import ssl
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

TENANT, CLIENT, SCOPE = "tenant.example", "11111111-2222-3333-4444-555555555555", "https://models.example/.default"
RESOURCE = "https://models.example"
IDENTITY = "/metadata/identity/oauth2/token"
TOKEN = f"/{TENANT}/oauth2/v2.0/token"
UNTOLD = "said-by-the-other-side-and-told-to-nobody"  # in every refusal's free text
ANSWER = {"choices": [{"message": {"role": "assistant", "content": "yes"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}  # fmt: skip  # noqa: E501


class Endpoint(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, name: str, party: "Party", tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.name = name
        self.party = party
        self.tls = tls

    def finish_request(self, request, client_address) -> None:
        """The handshake belongs to the connection's own thread."""
        request.settimeout(60)
        if self.tls is not None:
            request = self.tls.wrap_socket(request, server_side=True)
        try:
            super().finish_request(request, client_address)
        finally:
            request.close()

    def handle_error(self, request, client_address) -> None:
        """A client that leaves, or shows no certificate, is no fault of the server's."""


class Party:
    """What the three servers share: the tokens given out, by text."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tokens: dict[str, dict] = {}
        self.lock = threading.Lock()
        self.log = (directory / "log.jsonl").open("a", buffering=1)
        self.jtis: set[str] = set()

    @property
    def settings(self) -> dict:
        return json.loads((self.directory / "settings.json").read_text())

    def issue(self, proof: str, life_s: int) -> str:
        with self.lock:
            number = len(self.tokens) + 1
            text = f"token-{number}.{hashlib.sha256(str(number).encode()).hexdigest()}"
            self.tokens[text] = {"number": number, "proof": proof, "ends": time.time() + life_s}
        return text

    def proof_of(self, header: str) -> str:
        """How the bearer of a token had proved itself; "" for none that is good."""
        token = self.tokens.get(header.removeprefix("Bearer "))
        if token is None or not header.startswith("Bearer ") or time.time() >= token["ends"]:
            return ""
        return "" if token["number"] <= self.settings["revoked_to"] else token["proof"]

    def assertion_is_good(self, assertion: str, audience: str) -> bool:
        """RFC 7523 section 3, and what Microsoft asks: PS256, x5t#S256 of a registered certificate, used once."""
        certificate = x509.load_pem_x509_certificate((self.directory / self.settings["certificate"]).read_bytes())
        head, claims, signature = assertion.split(".")
        header, said = json.loads(decoded(head)), json.loads(decoded(claims))
        thumbprint = certificate.fingerprint(hashes.SHA256())
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        try:
            certificate.public_key().verify(decoded(signature), f"{head}.{claims}".encode(), pss, hashes.SHA256())
        except InvalidSignature:
            return False
        with self.lock:
            is_new = said["jti"] not in self.jtis
            self.jtis.add(said["jti"])
        now = time.time()
        return (
            header == {"alg": "PS256", "typ": "JWT", "x5t#S256": base64.urlsafe_b64encode(thumbprint)[:-1].decode()}
            and (said["iss"], said["sub"], said["aud"]) == (CLIENT, CLIENT, audience)
            and said["nbf"] <= now + 1
            and now < said["exp"] <= now + 601
            and is_new
        )


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoint

    def log_message(self, *_) -> None: ...

    def do_GET(self) -> None:
        self._serve("")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers["content-length"])).decode())

    def _serve(self, body: str) -> None:
        path = urlsplit(self.path).path
        if self.server.name == "login":
            status, document = self._login(path, parse_qs(body))
        elif path == IDENTITY:
            status, document = self._identity(parse_qs(urlsplit(self.path).query))
        else:
            status, document = self._model(path)
        kept = {name.lower(): value for name, value in self.headers.items()}
        line = {"server": self.server.name, "path": self.path, "headers": kept, "body": body, "status": status}
        self.server.party.log.write(json.dumps({**line, "at": time.time()} | self._certificate()) + "\n")
        self._send(status, document)

    def _login(self, path: str, form: dict[str, list[str]]) -> tuple[int, dict]:
        party, settings = self.server.party, self.server.party.settings
        time.sleep(settings["login_takes_s"])
        if settings["login_answers"]:
            return settings["login_answers"], {"error": "temporarily_unavailable", "error_description": UNTOLD}
        expected = {"client_id": [CLIENT], "grant_type": ["client_credentials"], "scope": [SCOPE]}
        proof = {name: values for name, values in form.items() if name not in expected}
        if path != TOKEN or {name: form.get(name) for name in expected} != expected:
            return 400, {"error": "invalid_request", "error_description": UNTOLD, "error_codes": [900144]}
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        if proof == {"client_secret": [settings["secret"]]}:
            return 200, self._token("secret", settings["life_s"])
        if proof.keys() == {"client_assertion", "client_assertion_type"} and form["client_assertion_type"] == [kind]:
            audience = f"https://{self.headers['host']}{TOKEN}"
            if party.assertion_is_good(form["client_assertion"][0], audience):
                return 200, self._token("certificate", settings["life_s"])
            return 401, {"error": "invalid_client", "error_description": UNTOLD, "error_codes": [700027]}
        return 401, {"error": "invalid_client", "error_description": UNTOLD, "error_codes": [7000215]}

    def _identity(self, query: dict[str, list[str]]) -> tuple[int, dict]:
        """As the instance metadata service of Azure: numbers are strings, and no token without the header."""
        if self.headers.get("metadata") != "true":
            return 400, {"error": "invalid_request", "error_description": "Required metadata header not specified"}
        client = query.pop("client_id", [""])[0]
        if query != {"api-version": ["2018-02-01"], "resource": [RESOURCE]} or self.headers.get("x-forwarded-for"):
            return 400, {"error": "invalid_resource", "error_description": UNTOLD}
        life_s = self.server.party.settings["short_life_s"] if client == "short-lived" else 3600
        document = self._token(f"identity {client}".strip(), life_s)
        return 200, document | {"expires_in": str(life_s), "resource": RESOURCE, "client_id": client}

    def _token(self, proof: str, life_s: int) -> dict:
        return {"token_type": "Bearer", "expires_in": life_s, "access_token": self.server.party.issue(proof, life_s)}

    def _model(self, path: str) -> tuple[int, dict]:
        if not path.endswith("/chat/completions"):
            return 404, {"error": {"message": "no such path", "code": None}}
        party, headers = self.server.party, self.headers
        keys = party.settings["keys"]
        authorization = headers.get("authorization", "")
        basic = "Basic " + base64.b64encode(f"gateway:{keys['basic']}".encode()).decode()
        good = {
            "bearer": authorization == f"Bearer {keys['bearer']}",
            "api-key": headers.get("x-api-key") == keys["api-key"] and not authorization,
            "basic": authorization == basic,
            "secret": party.proof_of(authorization) == "secret",
            "certificate": party.proof_of(authorization) == "certificate",
            "identity": party.proof_of(authorization) == "identity",
            "short": party.proof_of(authorization) == "identity short-lived",
            "mutual": self.server.name == "mutual" and not authorization,
            "by-proxy": self.server.name == "mutual" and party.proof_of(authorization) == "secret",
        }
        if not good[path.split("/")[1]]:
            return 401, {"error": {"message": f"{UNTOLD} {authorization}", "code": UNTOLD}}
        return 200, ANSWER

    def _certificate(self) -> dict:
        shown = self.connection.getpeercert(True) if isinstance(self.connection, ssl.SSLSocket) else None
        return {"certificate": None if shown is None else hashlib.sha256(shown).hexdigest()}

    def _send(self, status: int, document: dict) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class SigningIn:
    """Starts the program. `set` changes its settings, `seen` reads what it wrote down."""

    def __init__(self, directory: Path, **settings: object) -> None:
        self.directory = directory
        self._settings: dict = {
            "certificate": "registered.pem", "keys": {}, "life_s": 3600, "login_answers": 0, "login_takes_s": 0,
            "revoked_to": 0, "secret": "", "short_life_s": 3600,
        }  # fmt: skip
        self.set(**settings)

    def set(self, **settings: object) -> None:
        self._settings |= settings
        new = self.directory / "settings.new"
        new.write_text(json.dumps(self._settings))
        new.replace(self.directory / "settings.json")

    @property
    def secret(self) -> object:
        return self._settings["secret"]

    def key(self, kind: str, key: str) -> None:
        self.set(keys=self._settings["keys"] | {kind: key})

    def __enter__(self) -> "SigningIn":
        self._process = subprocess.Popen([sys.executable, __file__, str(self.directory)], stdout=subprocess.PIPE)
        self.ports = json.loads(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def seen(self, path: str) -> list[dict]:
        """The requests whose path begins so, in order."""
        lines = (self.directory / "log.jsonl").read_text().splitlines()
        return [seen for line in lines if (seen := json.loads(line))["path"].startswith(path)]


def tls(directory: Path, *, mutual: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    if mutual:
        context.load_verify_locations(directory / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def main(directory: Path) -> None:
    party = Party(directory)
    endpoints = (
        Endpoint("login", party, tls(directory, mutual=False)),
        Endpoint("plain", party),
        Endpoint("mutual", party, tls(directory, mutual=True)),
    )
    for endpoint in endpoints:
        threading.Thread(target=endpoint.serve_forever, args=(0.05,), daemon=True).start()
    print(json.dumps({endpoint.name: endpoint.server_address[1] for endpoint in endpoints}), flush=True)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
