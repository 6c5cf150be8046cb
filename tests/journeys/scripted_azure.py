"""Azure as a deployment's facts meet it: a token endpoint, Resource Manager, and the deployments themselves.

The answers have the shape of the REST API 2025-09-01 (Accounts - Get, Deployments - List). `skus` says which type each
deployment has, and may be changed while it runs.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from journeys.provider_upstream import answer

TENANT = "11111111-2222-3333-4444-555555555555"
ACCOUNT = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg"
    "/providers/Microsoft.CognitiveServices/accounts/bank-openai"
)
SCOPE = "https://management.azure.com/.default"
TOKEN = "a-token-for-management"
SECRET = "s3cret-of-the-application"
PAGE = 1  # deployments on one page of the list, so that its nextLink is followed


class ScriptedAzure(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, skus: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.skus = skus
        self.location = "japaneast"
        self.spillover: dict[str, str] = {}
        self.status = 200  # of Resource Manager
        self.token_status = 200  # of the token endpoint
        self.lists = 0  # whole lists of deployments that were given
        self.served = 0  # requests for an answer
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def account(self) -> dict:
        return {
            "id": ACCOUNT,
            "name": "bank-openai",
            "type": "Microsoft.CognitiveServices/accounts",
            "location": self.location,
            "sku": {"name": "S0"},
            "kind": "OpenAI",
            "properties": {"endpoint": f"{self.url}/", "provisioningState": "Succeeded"},
        }

    def deployments(self) -> list[dict]:
        return [
            {
                "id": f"{ACCOUNT}/deployments/{name}",
                "name": name,
                "type": "Microsoft.CognitiveServices/accounts/deployments",
                "sku": {"name": sku, "capacity": 1},
                "properties": {
                    "model": {"format": "OpenAI", "name": "gpt-4o", "version": "2024-11-20"},
                    "provisioningState": "Succeeded",
                }
                | ({"spilloverDeploymentName": self.spillover[name]} if name in self.spillover else {}),
            }
            for name, sku in self.skus.items()
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedAzure

    def log_message(self, *_) -> None: ...

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == f"/{TENANT}/oauth2/v2.0/token":
            form = parse_qs(body.decode())
            assert form["client_secret"] == [SECRET]
            if self.server.token_status != 200:
                error = {"error": "temporarily_unavailable", "error_description": f"you sent {SECRET}"}
                return self._json(error | {"error_codes": [50196]}, self.server.token_status)
            if form["scope"] != [SCOPE]:
                return self._json({"error": "invalid_scope"}, 400)
            return self._json({"token_type": "Bearer", "expires_in": 3599, "access_token": TOKEN})
        self.server.served += 1
        return self._json(answer("gpt-4o"))

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            return self._json({"error": {"code": "AuthenticationFailed", "message": "no"}}, 401)
        if self.server.status != 200 or query["api-version"] != ["2025-09-01"]:
            return self._json({"error": {"code": "AuthorizationFailed", "message": "no"}}, self.server.status)
        if parts.path == ACCOUNT:
            return self._json(self.server.account())
        if parts.path == f"{ACCOUNT}/deployments":
            begin = int(query.get("$skiptoken", ["0"])[0])
            every = self.server.deployments()
            document = {"value": every[begin : begin + PAGE]}
            if begin + PAGE < len(every):
                link = f"{self.server.url}{parts.path}?api-version=2025-09-01&$skiptoken={begin + PAGE}"
                document["nextLink"] = link
            else:
                self.server.lists += 1
            return self._json(document)
        return self._json({"error": {"code": "ResourceNotFound", "message": "no"}}, 404)

    def _json(self, document: dict, status: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
