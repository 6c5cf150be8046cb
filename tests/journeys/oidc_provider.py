"""A real OpenID provider (npm's oidc-provider) as a process on a loopback port, over https, for journeys."""

import json
import re
import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import jwt
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from journeys.installation import free_port

HERE = Path(__file__).parents[1] / "oidc_provider"
NODE_MIN = 20  # what oidc-provider needs

GATEWAY, GATEWAY_ES256 = "https://gateway.test", "https://gateway.test/es256"
MAKER, ELSEWHERE, SHORT = "https://maker.test", "https://elsewhere.test", "https://gateway.test/short"
# By audience: how its tokens are signed, and for how long they live.
RESOURCES = {
    GATEWAY: {"algorithm": "RS256", "seconds": 3600},
    GATEWAY_ES256: {"algorithm": "ES256", "seconds": 3600},
    MAKER: {"algorithm": "RS256", "seconds": 3600},
    ELSEWHERE: {"algorithm": "RS256", "seconds": 3600},
    SHORT: {"algorithm": "RS256", "seconds": 1},
}
# The first two differ in their roles, the last has its tokens bound to its certificate.
CLAIMS = {"app": {"roles": ["AI.User"]}, "intern": {"roles": ["Lunch.User"]}, "robot": {"roles": ["AI.User"]}}


def missing() -> str | None:
    """What has to be installed before the provider can run, or None."""
    remedy = "`make test` installs it when it can; or: apt-get install nodejs npm; npm ci --prefix tests/oidc_provider"
    node = shutil.which("node")
    if node is None:
        return f"no node: {remedy}"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"v([0-9]+)", version)
    if found is None or int(found[1]) < NODE_MIN:
        return f"node {version.strip()} is older than {NODE_MIN}, which oidc-provider needs"
    if not (HERE / "node_modules" / "oidc-provider").is_dir():
        return f"no oidc-provider: {remedy}"
    return None


class OidcProvider:
    """`authority` signs its certificate. `start`, `stop` and `rotate` as often as you like: the port stays."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.folder = folder
        self.port = free_port()
        self.issuer = f"https://127.0.0.1:{self.port}"
        self.generation = 0
        self._process: subprocess.Popen | None = None
        self._trust = ssl.create_default_context()
        authority.configure_trust(self._trust)
        authority.cert_pem.write_to_path(folder / "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "provider.pem")

    def rotate(self) -> None:
        """Publish and sign with new keys from now on; the old ones are gone."""
        self.stop()
        self.generation += 1
        self.start()

    def start(self) -> None:
        path = self.folder / f"configuration-{self.generation}.json"
        if not path.exists():
            path.write_text(json.dumps(self._configuration()))
        with (self.folder / "provider.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["node", str(HERE / "provider.js"), str(path)], stdout=subprocess.PIPE, stderr=log, cwd=HERE
            )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said == b"ready\n", (said, (self.folder / "provider.log").read_text())

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process.stdout.close()
            self._process = None

    def token(self, resource: str | None = GATEWAY, client: str = "app", certificate: Path | None = None) -> str:
        """An access token by the client credentials grant; without `resource` it is opaque, no JWT."""
        form = {"grant_type": "client_credentials"} | ({"resource": resource} if resource else {})
        trust = self._trust
        if certificate is not None:
            trust = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
            trust.load_cert_chain(certificate)
        with httpx.Client(verify=trust, trust_env=False, timeout=20) as http:
            answer = http.post(f"{self.issuer}/token", data=form, auth=(client, "secret"))
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    def _configuration(self) -> dict:
        rsa_key, ec_key = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
        keys = [
            jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key, as_dict=True) | {"alg": "RS256"},
            jwt.algorithms.ECAlgorithm.to_jwk(ec_key, as_dict=True) | {"alg": "ES256"},
        ]
        for key in keys:
            key.pop("key_ops", None)
            key |= {"kid": f"{key['alg']}-{self.generation}", "use": "sig"}
        plain = {"grant_types": ["client_credentials"], "response_types": [], "redirect_uris": []}
        clients = [{"client_id": name, "client_secret": "secret", **plain} for name in CLAIMS]
        clients[-1]["tls_client_certificate_bound_access_tokens"] = True
        return {
            "issuer": self.issuer,
            "port": self.port,
            "ca": str(self.folder / "ca.pem"),
            "certificate": str(self.folder / "provider.pem"),
            "jwks": {"keys": keys},
            "clients": clients,
            "claims": CLAIMS,
            "resources": RESOURCES,
        }

    def __enter__(self) -> "OidcProvider":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
