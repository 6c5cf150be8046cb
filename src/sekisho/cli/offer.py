"""Offering the servers that `sekisho init` found on loopback. Everything is said on standard error."""

import shlex
import sys

from sekisho.app.providers import add_provider, find_servers, request_for
from sekisho.catalog.provider_templates import ProviderRequest, templates
from sekisho.gateway.discovery import Found
from sekisho.kernel.errors import SekishoError
from sekisho.settings import DataDirectory


def offer_servers(directory: DataDirectory, ports: tuple[int, ...] | None, *, add_all: bool) -> None:
    """Look on `ports` (None: the usual ones), and declare what is wanted: all, or what a person says yes to.

    Without a terminal to ask on, the commands that would declare them are printed. None of it makes `init` fail.
    """
    try:
        found = find_servers(ports)
    except OSError as error:  # no sockets here, say
        print(f"Servers on loopback could not be looked for: {error}", file=sys.stderr)
        return
    taken = {"local"}
    for server in found:
        request = request_for(server, taken)
        taken.add(request.name)
        _offer(directory, server, request, add_all=add_all)


def _offer(directory: DataDirectory, server: Found, request: ProviderRequest, *, add_all: bool) -> None:
    template = templates()[server.template]
    listed = ", ".join(request.upstream_models[:4]) + (", …" if len(request.upstream_models) > 4 else "")
    what = f"with {listed}" if listed else "which shows no model" if server.models is not None else "which wants a key"
    print(f"\nFound {template.file.title} at {server.url}, {what}.", file=sys.stderr)
    if request.upstream_models and (add_all or _asked()):
        try:
            added = add_provider(directory, template, request, to_existing=False)
        except SekishoError as error:
            print(f"It was not added: {error}", file=sys.stderr)
        else:
            print("".join(f"wrote  {file}\n" for file in added.written), end="", file=sys.stderr)
            return
    print(f"Declare it: {command(directory, server, request)}", file=sys.stderr)


def command(directory: DataDirectory, server: Found, request: ProviderRequest) -> str:
    """The command line that declares a server."""
    words = ["sekisho", "providers", "add", request.name, "--template", server.template, "--url", server.url]
    for model in request.upstream_models or ("MODEL",):
        words += ["--upstream-model", model]
    if server.models is None:
        words += ["--credential-file", f"keys/providers/{request.name}"]
    return shlex.join([*words, "--dir", str(directory.root)])


def _asked() -> bool:
    """Whether a person at a terminal says yes. Standard output is for the key, so the question goes elsewhere."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print("Declare it now, as run by yourselves at your site `local`? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes", "はい")
