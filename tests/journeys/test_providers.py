"""`sekisho providers`: what is declared from templates holds, and what a trial says of a provider is so."""

import json
import ssl

import pytest
import trustme

from journeys.installation import Installation, free_port, get, inside, sekisho, until
from journeys.provider_upstream import KEY, PARTS, USAGE, ProviderUpstream, answer, stream, write_key
from journeys.published_log import require_log_holds
from sekisho.catalog.provider_templates import templates
from sekisho.cli import main as program


def declare(root, name: str, url: str, *options: object) -> None:
    sekisho(
        "providers", "add", name, "--template", "openai-compatible", "--url", url, "--dir", root,
        *(options or ("--upstream-model", "m")),
    )  # fmt: skip


def trial(root, name: str, *options: object, code: int) -> dict[str, dict]:
    """What `providers test --json` says, by deployment."""
    done = inside("providers", "test", name, "--dir", root, "--json", *options, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return {one["deployment"]: one for one in json.loads(done.stdout)}


def codes(one: dict) -> dict[str, str]:
    return {finding["code"]: finding["severity"] for finding in one["findings"]}


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    return Installation(tmp_path_factory.mktemp("providers") / "site")


@pytest.fixture(scope="module")
def upstream():
    with ProviderUpstream(PARTS) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def root(installation, upstream):
    """Providers declared: `good`, and `many` with one deployment for each part that plays wrong."""
    root = installation.root
    base = f"http://127.0.0.1:{upstream.port}"
    declare(root, "good", f"{base}/good/v1", "--upstream-model", "m", "--network", "127.0.0.0/8")
    write_key(root, "good")
    declare(root, "many", f"http://127.0.0.1:{free_port()}/v1", "--upstream-model", "m", "--model", "nobody")
    written = (root / "declarations" / "deployments" / "many-nobody.toml").read_text()
    url = next(line for line in written.splitlines() if line.startswith("url = "))
    for part in PARTS:  # the same by hand, which is faster than as many commands
        text = written.replace(url, f'url = "{base}/{part}/v1"')
        if part == "strict":
            text = text.replace("\n# networks =", "\nnetworks =")
        installation.declare("deployments", f"many-{part}", text)
    text = written.replace(url, f'url = "{base}/good/v1"').replace('upstream_model = "m"', 'upstream_model = "o"')
    installation.declare("deployments", "many-other", text)
    write_key(root, "many")
    return root


def test_every_template_gives_declarations_that_check_takes(tmp_path, capsys):
    root = Installation(tmp_path / "site").root
    for name, template in templates().items():
        options = ["--template", name]
        if not template.file.url:
            options += ["--url", "https://host.example/v1"]
        if not template.file.upstream_models:
            options += ["--upstream-model", f"m-{name}"]
        if len(template.file.types) > 1:
            options += ["--type", "Standard", "--region", "japaneast"]
        assert program.main(["providers", "add", f"my-{name}", *options, "--dir", str(root)]) == 0
        told = capsys.readouterr().out
        assert "wrote  declarations/deployments/my-" in told
        assert f"docs/providers/{name}.md" in told
        assert ("UNVERIFIED" in told) == (template.file.status == "unverified")
    assert sekisho("check", root).stdout == "The declarations hold no mistakes.\n"
    listed = json.loads(sekisho("providers", "list", "--json", "--dir", root).stdout)
    assert {f"my-{name}" for name in templates()} < {one["name"] for one in listed["providers"]}
    assert [one["name"] for one in listed["templates"]] == list(templates())
    models = json.loads(sekisho("models", "list", "--json", "--dir", root).stdout)
    assert {one["name"] for one in models} >= {"manual", "m-vllm"}


def test_nothing_is_overwritten_and_a_model_may_have_several_providers(installation):
    root = installation.root
    add = ("providers", "add", "sakura", "--dir", root)
    assert "wrote  declarations/models/gpt-oss-120b.toml" in sekisho(*add).stdout
    kept = {path: path.read_bytes() for path in (root / "declarations").rglob("*.toml")}
    for again in (add, (*add, "--to-existing"), (*add, "--model", "x")):
        done = inside(*again, check=False)
        assert done.returncode == 2
        assert "there already" in done.stderr
    wrong = inside(*add, "--to-existing", "--model", "y", "--network", "10.0.0.1/8", check=False)
    assert wrong.returncode == 2
    assert "networks" in wrong.stderr
    assert {path: path.read_bytes() for path in (root / "declarations").rglob("*.toml")} == kept
    other = inside(
        "providers", "add", "mine", "--template", "vllm", "--upstream-model", "gpt-oss-120b", "--dir", root
    ).stdout  # fmt: skip
    assert "kept   declarations/models/gpt-oss-120b.toml" in other
    unknown = inside("providers", "add", "sakura2", "--dir", root, check=False)
    assert unknown.returncode == 2
    assert "openai-compatible" in unknown.stderr


def test_a_good_provider_is_told_of_in_full(root, upstream):
    one = trial(root, "good", code=0)["good-m"]
    assert one["answers"] is True
    assert one["findings"] == []
    assert one["addresses"] == ["127.0.0.1"]
    assert one["peer"] == {"address": "127.0.0.1", "port": upstream.port, "via": None}
    assert one["tls"] is None
    assert one["models"] == ["m", "n"]
    assert (one["status"], one["usage"], one["streams"], one["stream_usage"]) == (200, sorted(USAGE), True, True)
    seen = upstream.of("good")[-3:]
    assert [(method, path) for method, path, _, _ in seen] == [
        ("GET", "/good/v1/models"),
        ("POST", "/good/v1/chat/completions"),
        ("POST", "/good/v1/chat/completions"),
    ]
    asked = {"model": "m", "messages": [{"role": "user", "content": "ping"}], "max_tokens": 1}
    assert [document for _, _, document, _ in seen] == [None, asked, asked | {"stream": True}]
    assert {headers["x-request-id"] for _, _, _, headers in seen} == {one["entry"]}
    before = len(upstream.of("good"))
    text = sekisho("providers", "test", "good", "--dir", root, "--no-stream").stdout
    assert text.startswith("good-m: answers\n")
    assert KEY not in text
    assert [document for _, _, document, _ in upstream.of("good")[before:]] == [None, asked]


def test_azure_is_asked_in_its_own_dialect(installation):
    root = installation.root

    def azure(handler, document) -> None:
        handler.json(answer("gpt-4o-2024-08-06")) if not document.get("stream") else stream(
            handler, "gpt-4o-2024-08-06"
        )

    with ProviderUpstream({"openai": azure}) as upstream:
        sekisho(
            "providers", "add", "azure", "--template", "azure-openai", "--dir", root,
            "--type", "GlobalStandard", "--region", "japaneast", "--url", f"http://127.0.0.1:{upstream.port}",
            "--upstream-model", "ours", "--model", "gpt-4o",
        )  # fmt: skip
        write_key(root, "azure")
        one = trial(root, "azure", code=0)["azure-gpt-4o"]
    assert one["calls"] == ["chat", "stream"]
    assert codes(one) == {"other_model": "note"}
    assert {path for _, path, _, _ in upstream.seen} == {
        "/openai/deployments/ours/chat/completions?api-version=2024-10-21"
    }  # fmt: skip
    assert all(headers["api-key"] == KEY and "authorization" not in headers for _, _, _, headers in upstream.seen)


def test_an_embedding_is_asked_for_where_it_is_wanted(root, upstream):
    one = trial(root, "good", "--embeddings", code=0)["good-m"]
    assert one["calls"] == ["models", "embeddings"]
    assert upstream.of("good")[-1][2] == {"model": "m", "input": "ping"}


def test_the_entry_is_in_the_ledger_before_anything_leaves(installation, root, upstream):
    writers = root / "ledger" / "wal"
    there = []
    upstream.before_first = lambda: there.extend(
        path for path in writers.rglob("*") if path.is_file() and b'"deployment":"good-m"' in path.read_bytes()
    )
    written = set(writers.rglob("*"))
    entry = trial(root, "good", code=0)["good-m"]["entry"]
    assert set(there) - written, "the request came before its entry"
    installation.start("control")
    try:
        until(lambda: get(f"{installation.control}/healthz")[0] == 200, 60, f"control; see {installation.log}")
    finally:
        assert installation.stop() == 0  # it publishes once more
    entries = {one["id"]: one for one in require_log_holds(root)}
    assert entries[entry]["kind"] == "change"
    assert entries[entry]["actor"] == "operator"
    assert entries[entry]["body"] == {"act": "provider.test", "deployment": "good-m", "provider": "good"}


def test_what_is_wrong_is_said_of_each_deployment(root, upstream):
    tried = trial(root, "many", "--timeout", "1", code=3)
    assert codes(tried["many-good"]) == {}
    assert codes(tried["many-reasoning"]) == {"max_completion_tokens": "note"}
    assert tried["many-reasoning"]["answers"] is True
    whole = tried["many-whole-only"]
    assert codes(whole) == {
        "no_model_list": "note", "no_usage": "warning", "other_model": "note", "no_stream": "warning"
    }  # fmt: skip
    assert (whole["answers"], whole["streams"]) == (True, False)
    failures = {
        "slow": "timeout",
        "drips": "timeout",
        "garbage": "broken",
        "page": "not_openai",
        "redirects": "redirect",
        "limited": "limited",
        "broken": "upstream_error",
        "strict": "networks",
        "nobody": "unreachable",
        "other": "not_found",
    }
    for part, code in failures.items():
        one = tried[f"many-{part}"]
        assert one["answers"] is False, part
        assert codes(one)[code] == "failure", one["findings"]
        assert all(finding["message"] for finding in one["findings"])
        assert all(finding["remedy"] for finding in one["findings"] if finding["severity"] == "failure"), part
    assert upstream.of("strict") == []  # outside the declared networks: not connected to
    assert codes(tried["many-other"])["model_not_offered"] == "warning"
    assert "monthly requests" in json.dumps(tried["many-limited"]["findings"])
    one = trial(root, "many", "--deployment", "many-whole-only", code=4)
    assert list(one) == ["many-whole-only"]


def test_a_refused_credential_is_said_and_not_shown(root):
    write_key(root, "good", "wrong-key-5678")
    try:
        done = sekisho("providers", "test", "good", "--dir", root, check=False)
    finally:
        write_key(root, "good")
    assert done.returncode == 3
    assert "DOES NOT ANSWER" in done.stdout
    assert "refuses the credential (401): Incorrect API key provided: …" in done.stdout
    assert "wrong-key-5678" not in done.stdout + done.stderr


def test_without_its_credential_nothing_is_sent(root, upstream):
    before = len(upstream.seen)
    key = root / "keys" / "providers" / "good"
    key.chmod(0o644)
    try:
        one = trial(root, "good", code=3)["good-m"]
    finally:
        key.chmod(0o600)
    assert (one["entry"], one["calls"]) == (None, [])
    assert "chmod 600" in json.dumps(one["findings"])
    assert len(upstream.seen) == before


def test_what_is_stopped_is_not_tried(root, upstream):
    before = len(upstream.seen)
    for kind, name in (("provider", "good"), ("deployment", "good-m")):
        sekisho("stop", kind, name, "--dir", root)
        done = sekisho("providers", "test", "good", "--dir", root, check=False)
        assert done.returncode == 1
        assert "stopped by an operator: good-m; nothing was sent" in done.stderr
        assert "sekisho stop list" in done.stderr
        sekisho("stop", "lift", kind, name, "--dir", root)
    assert len(upstream.seen) == before
    # One of several: the others are tried.
    url = f"http://127.0.0.1:{upstream.port}/good/v1"
    declare(root, "pair", url, "--upstream-model", "m", "--model", "left")
    declare(root, "pair", url, "--upstream-model", "m", "--model", "right", "--to-existing")
    write_key(root, "pair")
    sekisho("stop", "deployment", "pair-left", "--dir", root)
    tried = trial(root, "pair", "--no-stream", code=3)
    assert codes(tried["pair-left"]) == {"stopped": "failure"}
    assert tried["pair-left"]["entry"] is None
    assert tried["pair-right"]["answers"] is True
    assert {headers["x-request-id"] for _, _, _, headers in upstream.seen[before:]} == {tried["pair-right"]["entry"]}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("test", "nobody"), 2, "No provider 'nobody'"),
        (("test", "good", "--deployment", "x"), 2, "good-m"),
        (("test", "good", "--timeout", "0"), 2, "--timeout"),
        (("test", "good", "--timeout", "nan"), 2, "--timeout"),
        (("add", "x", "--template", "y"), 2, "openai-compatible"),
        (("add", "azure", "--template", "azure-openai-v1"), 2, "--type"),
        (("add", "v", "--template", "vllm", "--upstream-model", "m", "--site", "moon"), 2, "site"),
        (("add", "v", "--template", "vllm", "--upstream-model", "m", "--url", "http://10.0.0.1/v1"), 2, "https"),
        (("add", "v", "--template", "vllm", "--upstream-model", "m", "--credential-file", "../k"), 2, "leaves"),
        (("add", "v", "--credential-file", "a", "--credential-env", "B"), 2, "not allowed with"),
    ],
)
def test_wrong_words_are_answered_with_right_ones(root, words, code, said):
    before = sorted(path.name for path in (root / "declarations").rglob("*.toml"))
    done = sekisho("providers", *words, "--dir", root, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert sorted(path.name for path in (root / "declarations").rglob("*.toml")) == before


def test_outside_an_installation_templates_can_be_seen_and_nothing_else(tmp_path):
    assert "sakura" in sekisho("providers", "list", cwd=tmp_path).stdout
    for words in (("providers", "add", "sakura"), ("providers", "test", "sakura"), ("models", "list")):
        done = sekisho(*words, check=False, cwd=tmp_path)
        assert done.returncode == 1
        assert "sekisho init" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_tls_is_told_of_and_its_failures_too(installation):
    root = installation.root
    authority, stranger = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", common_name="provider.test").configure_cert(context)
    authority.cert_pem.write_to_path(root / "keys" / "authority.pem")
    stranger.cert_pem.write_to_path(root / "keys" / "stranger.pem")
    with ProviderUpstream(PARTS, tls=context) as upstream:
        url = f"https://127.0.0.1:{upstream.port}/good/v1"
        options = ("--upstream-model", "m", "--model")
        declare(root, "tls", url, *options, "known", "--ca-file", "keys/authority.pem")
        declare(root, "tls", url, *options, "foreign", "--ca-file", "keys/stranger.pem", "--to-existing")
        write_key(root, "tls")
        tried = trial(root, "tls", code=3)
    known = tried["tls-known"]
    assert known["answers"] is True
    assert known["tls"]["version"] in ("TLSv1.2", "TLSv1.3")
    assert "provider.test" in known["tls"]["subject"]
    assert len(known["tls"]["certificate_sha256"]) == 64
    assert codes(tried["tls-foreign"]) == {"tls": "failure"}
    assert "ca_file" in tried["tls-foreign"]["findings"][0]["remedy"]
