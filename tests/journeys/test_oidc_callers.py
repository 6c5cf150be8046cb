"""Callers with tokens of a real OpenID provider: let in by what is declared, with rotated keys, and offline."""

import json
import re
import time
from pathlib import Path

import httpx
import openai
import pytest
import trustme

import issuer_keys
from journeys.installation import Installation, free_port, get, openai_client, sekisho, until
from journeys.oidc_provider import ELSEWHERE, GATEWAY, GATEWAY_ES256, MAKER, SHORT, OidcProvider, missing
from journeys.playing_upstream import PlayingUpstream

if reason := missing():
    pytest.skip(reason, allow_module_level=True)

ISSUER = """
[[issuers]]
issuer = "{issuer}"
audience = {audience}
algorithms = ["RS256", "ES256"]
ca_file = "keys/idp.pem"
clock_skew_seconds = 0
roles_claim = "roles"
roles_map = {{ "AI.User" = ["caller"] }}
"""
ASK = [{"role": "user", "content": "How do you read me?"}]


class World:
    def __init__(self, installation: Installation, provider: OidcProvider, upstream: PlayingUpstream) -> None:
        self.installation, self.provider, self.upstream = installation, provider, upstream
        self.http = httpx.Client(base_url=installation.base, trust_env=False, timeout=30)

    def declare(self, default: str = "", maker: str = "") -> None:
        """The issuers of the two organisations."""
        self.installation.declare("organisations", "default", f'title = "Test"\n{default}')
        self.installation.declare("organisations", "maker", f'title = "Maker"\n{maker}')

    def issuer(self, *audience: str) -> str:
        return ISSUER.format(issuer=self.provider.issuer, audience=json.dumps(audience))

    def ask(self, token: str, model: str = "chat", **headers: str) -> httpx.Response:
        return self.http.post(
            "/v1/chat/completions",
            json={"model": model, "messages": ASK},
            headers={"authorization": f"Bearer {token}"} | headers,
        )

    def principal(self, answer: httpx.Response, token: str) -> dict:
        """The principal in an answer's receipt, which is asked for with the caller's own token."""
        receipt = self.installation.receipt(answer.headers["x-sekisho-receipt"], token)
        assert b'"app"' not in receipt, "the subject's own name is in the receipt"
        entries = [row["entry"] for row in json.loads(receipt)["entries"]]
        return next(entry["body"]["input"]["principal"] for entry in entries if entry["kind"] == "decision")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root, authority = tmp_path_factory.mktemp("oidc"), trustme.CA()
    with (
        OidcProvider(root, authority) as provider,
        PlayingUpstream() as upstream,
        Installation(root / "site") as installation,
    ):
        made = World(installation, provider, upstream)
        authority.cert_pem.write_to_path(installation.root / "keys" / "idp.pem")
        made.declare(made.issuer(GATEWAY, GATEWAY_ES256, SHORT), made.issuer(MAKER))
        for part in ("chat", "started"):
            installation.deployment(part, upstream.port, path=f"/{part}")
        assert "no mistakes" in sekisho("check", installation.root).stdout
        installation.start()
        with made.http:
            let_in(made, provider.token())
            yield made


def let_in(world: World, token: str) -> httpx.Response:
    """The keys of an issuer are read off the request path: a token may come some seconds too early."""
    answers = []

    def asked() -> bool:
        answers.append(world.ask(token))
        assert answers[-1].status_code in (200, 401, 503), answers[-1].text
        return answers[-1].status_code == 200

    until(asked, what="a token's being let in")
    return answers[-1]


@pytest.mark.parametrize("audience", [GATEWAY, GATEWAY_ES256])
def test_a_token_lets_in_and_the_receipt_names_a_pseudonym(world, audience):
    token = world.provider.token(audience)
    answer = let_in(world, token)
    principal = world.principal(answer, token)
    assert re.fullmatch(r"oidc-[a-z2-7]{32}", principal["id"])
    assert (principal["organisation"], principal["roles"]) == ("default", ["caller"])
    again = world.provider.token(audience)
    assert again != token
    assert world.principal(world.ask(again), again) == principal, "another token of the same client is the same caller"


def test_the_official_client_takes_a_token_for_a_key(world):
    token = world.provider.token()
    let_in(world, token)
    with openai_client(world.installation, token) as client:
        assert client.chat.completions.create(model="chat", messages=ASK).choices
        assert list(client.models.list())


def test_the_audience_says_which_organisation_a_token_is_of(world):
    token, other = world.provider.token(MAKER), world.provider.token()
    ours, theirs = let_in(world, token), let_in(world, other)
    principal = world.principal(ours, token)
    assert principal["organisation"] == "maker"
    assert principal["id"] != world.principal(theirs, other)["id"], "each organisation knows it by its own name"
    receipt = f"/receipts/{theirs.headers['x-sekisho-receipt']}"
    assert world.http.get(receipt, headers={"authorization": f"Bearer {token}"}).status_code == 404


def test_the_deployment_sees_no_token(world):
    token = world.provider.token()
    let_in(world, token)
    assert all(token not in json.dumps(seen.headers) for seen in world.upstream.of("chat"))


def refusal(world: World, token: str) -> tuple[str, str]:
    """The error codes of a 401 in OpenAI's and in Azure's shape, by the official clients."""
    with openai_client(world.installation, token) as client, pytest.raises(openai.AuthenticationError) as plain:
        client.chat.completions.create(model="chat", messages=ASK)
    azure = openai.AzureOpenAI(
        azure_endpoint=world.installation.base,
        azure_ad_token=token,
        api_version="2024-10-21",
        max_retries=0,
        http_client=httpx.Client(trust_env=False),
    )
    with azure, pytest.raises(openai.AuthenticationError) as shaped:
        azure.chat.completions.create(model="chat", messages=ASK)
    for raised in (plain, shaped):
        assert token not in raised.value.response.text
        assert "x-sekisho-receipt" not in raised.value.response.headers
    assert plain.value.body["type"] == "invalid_request_error"
    assert shaped.value.body["code"] == "401"
    return plain.value.body["code"], shaped.value.body["innererror"]["code"]


def test_a_token_for_another_audience_is_refused(world):
    assert refusal(world, world.provider.token(ELSEWHERE)) == ("token_wrong_audience",) * 2


def test_a_token_that_gives_no_role_is_refused(world):
    assert refusal(world, world.provider.token(client="intern")) == ("token_claims_refused",) * 2


def test_an_opaque_token_is_no_key(world):
    assert refusal(world, world.provider.token(None)) == ("invalid_api_key",) * 2


def test_a_changed_token_is_refused(world):
    token = world.provider.token()
    let_in(world, token)
    head, payload, signature = token.split(".")
    other = "A" if signature[9] != "A" else "B"
    assert refusal(world, f"{head}.{payload}.{signature[:9]}{other}{signature[10:]}") == ("token_bad_signature",) * 2


def test_a_token_that_ends_is_refused_from_then_on(world):
    token = world.provider.token(SHORT)
    until(lambda: world.ask(token).status_code == 401, what="the token's end")
    assert refusal(world, token) == ("token_expired",) * 2


def test_tokens_of_new_keys_are_let_in_shortly_and_those_of_old_ones_no_more(world):
    old = world.provider.token()
    let_in(world, old)
    world.provider.rotate()
    let_in(world, world.provider.token())
    assert refusal(world, old) == ("token_unknown_key",) * 2


def test_without_the_provider_a_restarted_gateway_verifies_with_the_kept_keys(world):
    token = world.provider.token()
    let_in(world, token)
    world.provider.stop()
    try:
        world.installation.stop()
        world.installation.start()
        answer = world.ask(token)
        assert answer.status_code == 200, answer.text
        metrics = get(f"{world.installation.base}/metrics")[1].decode()
        assert 'sekisho_authentications_total{kind="token"} 1' in metrics
        assert f'sekisho_issuer_keys_age_seconds{{issuer="{world.provider.issuer}"}}' in metrics
    finally:
        world.provider.start()


def test_a_policy_shuts_out_one_caller_by_its_pseudonym(world):
    """The policy is the one of docs/callers.md."""
    token, other = world.provider.token(), world.provider.token(MAKER)
    identifier = world.principal(let_in(world, token), token)["id"]
    page = (Path(__file__).parents[2] / "docs" / "callers.md").read_text()
    policy = re.search(r"^```cedar\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1]
    assert "oidc-…" in policy
    world.installation.declare("policies", "shut-out", policy.replace("oidc-…", identifier))
    until(lambda: world.ask(token).status_code == 403, what="the policy")
    assert "This caller has been shut out" in world.ask(token).text
    assert world.ask(other).status_code == 200
    (world.installation.root / "declarations" / "policies" / "shut-out.cedar").unlink()
    until(lambda: world.ask(token).status_code == 200, what="the end of the policy")


def test_while_an_issuers_keys_were_never_read_its_tokens_have_to_wait(world):
    issuer = f"http://127.0.0.1:{free_port()}"
    unreachable = world.issuer(GATEWAY).replace(world.provider.issuer, issuer).replace("ca_file", "# ca_file")
    world.declare(world.issuer(GATEWAY, GATEWAY_ES256, SHORT) + unreachable, world.issuer(MAKER))
    claims = {"iss": issuer, "sub": "x", "aud": GATEWAY, "exp": int(time.time()) + 600, "roles": ["AI.User"]}
    text = issuer_keys.token(claims).decode()
    until(lambda: refusal_code(world.ask(text)) != "token_unknown_issuer", what="the declaration")
    answer = world.ask(text)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "issuer_keys_unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_dropping_the_declaration_ends_streams_and_refuses_what_comes(world):
    token = world.provider.token()
    let_in(world, token)
    body = {"model": "started", "messages": ASK, "stream": True}
    headers = {"authorization": f"Bearer {token}"}
    with world.http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
        events = answer.iter_lines()
        assert next(events).startswith("data: ")
        world.declare("", world.issuer(MAKER))
        rest = "\n".join(events)
    assert "revoked" in rest
    assert "[DONE]" not in rest
    until(lambda: refusal_code(world.ask(token)) == "token_wrong_audience", what="the refusal of what comes")
    assert world.ask(world.provider.token(MAKER)).status_code == 200


def refusal_code(answer: httpx.Response) -> str | None:
    return answer.json()["error"]["code"] if answer.status_code == 401 else None


def test_check_says_what_is_wrong_with_an_issuer(world):
    world.declare(world.issuer(MAKER).replace('"RS256"', '"HS256"'), world.issuer(MAKER))
    done = sekisho("check", world.installation.root, check=False)
    assert done.returncode != 0
    assert "issuers[0].algorithms" in done.stdout + done.stderr
    world.declare(world.issuer(MAKER), world.issuer(MAKER))
    done = sekisho("check", world.installation.root, check=False)
    assert "takes the same tokens as" in done.stdout + done.stderr
