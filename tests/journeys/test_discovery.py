"""`sekisho init` finds servers of models on loopback, offers them, and adds none that nobody asked for."""

import contextlib
import json
import os
import shlex
import socket
import subprocess

import pytest

from journeys.installation import ENVIRONMENT, SEKISHO, free_port, sekisho
from journeys.provider_upstream import ProviderUpstream, answer, says, stream


def models(*names: str, owner: str):
    """A server's list of models, and an answer to everything else."""

    def part(handler, document) -> None:
        if document is None:
            handler.json({"object": "list", "data": [{"id": name, "owned_by": owner} for name in names]})
        elif document.get("stream"):
            stream(handler, document["model"])
        else:
            handler.json(answer(document["model"]))

    return part


def tells(document):
    return lambda handler, _: handler.json(document)


KINDS = {
    "ollama": {"v1": models("llama3.2:3b", "gpt-oss:120b-cloud", owner="library"),
               "/api/version": tells({"version": "0.12.6"})},
    "vllm": {"v1": models("Qwen/Qwen3-8B", owner="vllm")},
    "locked-vllm": {"v1": says(401, "Unauthorized"), "/version": tells({"version": "0.18.2"})},
    "llama-cpp": {"v1": models("tiny", owner="llamacpp"), "/props": tells({"build_info": "b8681"})},
    "somebody": {"v1": models("local-model", owner="organization_owner")},
    "web": {"v1": lambda handler, _: handler.send(200, b"<html></html>", "text/html")},
    "locked-web": {"v1": says(401, "Unauthorized")},
    "odd": {"v1": tells({"data": "models"})},
}  # fmt: skip


@pytest.fixture(scope="module")
def servers():
    """A server of each kind on a free port, one that accepts and says nothing, and a port where nobody is."""
    with contextlib.ExitStack() as stack:
        ports = {name: stack.enter_context(ProviderUpstream(parts)).port for name, parts in KINDS.items()}
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        yield ports | {"silent": silent.getsockname()[1], "nobody": free_port()}


def init(root, ports, *options: str, **kwargs) -> subprocess.CompletedProcess:
    looked_at = [word for port in ports for word in ("--discover-port", str(port))]
    return sekisho("init", root, *looked_at, *options, **kwargs)


def deployments(root) -> set[str]:
    return {path.stem for path in (root / "declarations" / "deployments").iterdir()} - {"manual-local"}


@pytest.fixture(scope="module")
def offered(tmp_path_factory, servers):
    root = tmp_path_factory.mktemp("discovery") / "site"
    return root, init(root, servers.values(), stdin=subprocess.DEVNULL)


def test_what_is_found_is_offered_by_the_command_that_declares_it(offered, servers):
    _, done = offered
    assert done.stdout.startswith("sk-")
    assert len(done.stdout.splitlines()) == 1  # the key only
    found = [line.partition("Found ")[2] for line in done.stderr.splitlines() if line.startswith("Found ")]
    at = [line.partition(" at http://127.0.0.1:")[2].partition("/")[0] for line in found]
    assert at == [str(servers[name]) for name in ("ollama", "vllm", "locked-vllm", "llama-cpp", "somebody")]
    assert found[0].startswith("Ollama at ")
    assert "llama3.2:3b" in found[0]
    assert "cloud" not in found[0]  # Ollama would hand it on
    assert "wants a key" in found[2]
    assert found[4].startswith("Any OpenAI-compatible server")


def test_none_is_added_unasked_and_the_commands_work(offered, servers):
    root, done = offered
    assert deployments(root) == set()
    commands = [line.partition("Declare it: ")[2] for line in done.stderr.splitlines() if "Declare it: " in line]
    assert len(commands) == 5
    for line in commands:
        sekisho(*shlex.split(line)[1:])
    assert deployments(root) == {
        "ollama-llama3.2-3b",
        "vllm-qwen-qwen3-8b",
        f"vllm-{servers['locked-vllm']}-model",
        "llama-cpp-tiny",
        "engine-local-model",
    }
    assert sekisho("check", root).stdout == "The declarations hold no mistakes.\n"
    tried = json.loads(sekisho("providers", "test", "vllm", "--json", "--dir", root, check=False).stdout)
    assert [one["answers"] for one in tried] == [True]


def test_add_found_adds_what_lists_a_model(tmp_path, servers):
    root = tmp_path / "site"
    done = init(root, [servers["vllm"], servers["locked-vllm"], servers["ollama"]], "--add-found")
    assert deployments(root) == {"vllm-qwen-qwen3-8b", "ollama-llama3.2-3b"}
    assert "wrote  declarations/deployments/vllm-qwen-qwen3-8b.toml" in done.stderr
    assert "--credential-file keys/providers/" in done.stderr  # the locked one: nobody can know its models
    assert sekisho("check", root).stdout == "The declarations hold no mistakes.\n"


def test_no_discover_looks_nowhere(tmp_path, servers):
    with ProviderUpstream(KINDS["vllm"]) as server:
        done = init(tmp_path / "site", [server.port], "--no-discover")
        assert server.seen == []
    assert "Found" not in done.stderr


@pytest.mark.parametrize(("said", "added"), [("y", {"vllm-qwen-qwen3-8b"}), ("n", set()), ("", set())])
def test_a_person_at_a_terminal_is_asked(tmp_path, servers, said, added):
    ours, theirs = os.openpty()
    command = [*SEKISHO, "init", str(tmp_path / "site"), "--discover-port", str(servers["vllm"])]
    process = subprocess.Popen(command, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, env=ENVIRONMENT)
    os.close(theirs)
    try:
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, f"{said}\n".encode())
        with contextlib.suppress(OSError):  # EIO: the other end has closed
            while os.read(ours, 4096):
                pass
        key, _ = process.communicate(timeout=60)
    finally:
        os.close(ours)
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert key.startswith(b"sk-")
    assert deployments(tmp_path / "site") == added


def test_a_port_that_is_none_is_refused_before_anything_is_made(tmp_path):
    done = sekisho("init", tmp_path / "site", "--discover-port", "70000", check=False)
    assert done.returncode == 2
    assert "65535" in done.stderr
    assert list(tmp_path.iterdir()) == []
