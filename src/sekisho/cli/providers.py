"""`sekisho providers`: declare providers from templates, list them, and try them."""

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Final

from sekisho.app.providers import Added, add_provider, declared_catalogue
from sekisho.app.trials import TrialOptions, Tried, try_provider
from sekisho.catalog.interfaces import CredentialReference
from sekisho.catalog.provider_templates import ProviderRequest, ProviderTemplate, templates
from sekisho.gateway.trials import WARNING
from sekisho.kernel.errors import UsageError
from sekisho.kernel.words import alternatives
from sekisho.settings import DataDirectory, load_settings

EXIT_DONE: Final = 0
EXIT_NO_ANSWER: Final = 3
EXIT_WARNINGS: Final = 4
TIMEOUT_S_MAX: Final = 3_600
PAGES: Final = "docs/providers/"

_TEST_HELP: Final = """\
Ask each deployment of a provider for its models, for one answer to the text "ping" and for the same as a stream, with
the URL, TLS, networks and credential declared; say what was learned. The gateway need not run.

It is an administrative act: policies are not asked, and nothing of anybody's is sent. Before anything leaves, an entry
of kind `change` (act `provider.test`) is durable in the ledger; its id goes along as x-request-id. It costs a few
tokens."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Declare providers from templates, list them, and try them."
    parser.epilog = "`sekisho providers add --help` and so on tell the rest."
    acts = parser.add_subparsers(dest="act", required=True, metavar="add|list|test")
    _add_parser(acts.add_parser("add", help="write commented declarations of a provider from a template"))
    listed = acts.add_parser("list", help="what is declared, and which templates there are")
    listed.add_argument("--json", action="store_true", help="print it as JSON")
    _test_parser(
        acts.add_parser(
            "test",
            help="make one small call to each deployment of a provider",
            description=_TEST_HELP,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    for act in acts.choices.values():
        act.add_argument("--dir", type=Path, default=Path(), metavar="DIR", help="the installation (default: here)")


def _add_parser(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write declarations of a provider, a model and a deployment, with comments, into declarations/. "
        "Nothing is overwritten, and nothing written that `sekisho check` would not take."
    )
    parser.epilog = "example: sekisho providers add sakura --upstream-model gpt-oss-120b --dir ./here"
    parser.add_argument("name", metavar="NAME", help="how you call the provider")
    parser.add_argument("--template", metavar="T", help="see `sekisho providers list` (default: the one named NAME)")
    parser.add_argument("--url", help="the base URL that /chat/completions is appended to")
    parser.add_argument(
        "--upstream-model", action="append", default=[], metavar="M", help="the provider's name of a model; repeatable"
    )
    parser.add_argument(
        "--model", action="append", default=[], metavar="M", help="what callers call it (default: made from the former)"
    )
    parser.add_argument("--type", metavar="TYPE", help="the deployment type, such as Azure's SKU name GlobalStandard")
    parser.add_argument("--region", help="the Azure region, by its name there")
    parser.add_argument("--zone", help="the Azure data zone: EU or US")
    parser.add_argument("--api-version", metavar="V", help="of Azure's API, such as 2024-10-21 (default: that)")
    parser.add_argument("--site", help="your site where it runs, for engines (default: this installation's)")
    parser.add_argument(
        "--network", action="append", default=[], metavar="CIDR", help="addresses must lie in it; repeatable"
    )
    parser.add_argument("--ca-file", metavar="FILE", help="the only root that counts for its TLS, such as keys/ca.pem")
    credential = parser.add_mutually_exclusive_group()
    credential.add_argument(
        "--credential-file", metavar="FILE", help="where the key is, from DIR (default: keys/providers/NAME)"
    )
    credential.add_argument("--credential-env", metavar="VARIABLE", help="the environment variable that holds the key")
    credential.add_argument("--no-credential", action="store_true", help="it asks for none (default for engines)")
    parser.add_argument("--to-existing", action="store_true", help="NAME is declared: add a deployment to it")


def _test_parser(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "exit status: 0 all answer; 1 it could not be tried, and nothing was sent; 2 wrong usage; "
        "3 one or more don't answer as they should; 4 all answer, with warnings"
    )
    parser.add_argument("name", metavar="NAME", help="the provider")
    parser.add_argument("--deployment", metavar="D", help="this deployment of it only")
    parser.add_argument("--embeddings", action="store_true", help="ask for an embedding instead of an answer")
    parser.add_argument("--no-stream", action="store_true", help="don't try streaming")
    parser.add_argument("--timeout", type=float, default=30.0, metavar="S", help="seconds for each call (default: 30)")
    parser.add_argument("--json", action="store_true", help="print what was learned as JSON")


def run(arguments: argparse.Namespace) -> int:
    directory = DataDirectory(arguments.dir)
    if arguments.act == "list" and not directory.settings.is_file():
        _list(None, as_json=arguments.json)  # templates can be looked at before there is an installation
        return EXIT_DONE
    settings = load_settings(directory.root)
    if arguments.act == "add":
        template, request = request_of(arguments, settings.installation.site)
        added = add_provider(directory, template, request, to_existing=arguments.to_existing)
        print(told(directory, template, request, added))
        return EXIT_DONE
    if arguments.act == "list":
        _list(directory, as_json=arguments.json)
        return EXIT_DONE
    if not 0 < arguments.timeout <= TIMEOUT_S_MAX:
        raise UsageError(f"--timeout {arguments.timeout:g}", remedy=f"Give seconds, at most {TIMEOUT_S_MAX}")
    options = TrialOptions(arguments.deployment, arguments.embeddings, not arguments.no_stream, arguments.timeout)
    tried = asyncio.run(try_provider(directory, settings, arguments.name, options, dict(os.environ)))
    if arguments.json:
        print(json.dumps([as_object(one) for one in tried], ensure_ascii=False, indent=2))
    else:
        print("\n\n".join("\n".join(as_lines(one)) for one in tried))
    return exit_code(tried)


# -- add


def request_of(arguments: argparse.Namespace, site: str) -> tuple[ProviderTemplate, ProviderRequest]:
    """Raises UsageError if no template is meant."""
    known = templates()
    wanted = arguments.template or arguments.name
    template = known.get(wanted)
    if template is None:
        what = "--template" if arguments.template else "No --template is given, and NAME"
        raise UsageError(f"{what} {wanted} is no template", remedy=f"There is {alternatives(wanted, known)}")
    credential = None
    if arguments.credential_env is not None:
        credential = CredentialReference("env", arguments.credential_env)
    elif arguments.credential_file is not None:
        credential = CredentialReference("file", arguments.credential_file)
    elif template.file.credential == "required" and not arguments.no_credential:
        credential = CredentialReference("file", f"keys/providers/{arguments.name}")
    return template, ProviderRequest(
        name=arguments.name,
        url=arguments.url,
        models=tuple(arguments.model),
        upstream_models=tuple(arguments.upstream_model),
        deployment_type=arguments.type,
        region=arguments.region,
        zone=arguments.zone,
        api_version=arguments.api_version,
        site=arguments.site or site,
        credential=credential,
        networks=tuple(arguments.network),
        ca_file=arguments.ca_file,
    )


def told(directory: DataDirectory, template: ProviderTemplate, request: ProviderRequest, added: Added) -> str:
    """What was written, and what to do next."""
    root = directory.root
    lines = [f"wrote  {file}" for file in added.written]
    lines += [f"kept   {file}, which was there" for file in added.kept]
    if template.file.status == "unverified":
        lines.append("\nUNVERIFIED: this template is a guess. Correct what it wrote before you rely on it.")
    lines += ["", *(f"note   {advice}" for advice in template.file.advice), "", "Next:"]
    reference = request.credential
    if reference is not None and reference.kind == "file":
        lines.append(f"  # the key: {template.file.key_help}")
        lines.append(f"  install -m 600 /dev/stdin {root / reference.name}   # paste it, Enter, Ctrl-D")
    elif reference is not None:
        lines.append(f"  set {reference.name} where the gateway starts; the key: {template.file.key_help}")
    lines += [
        f"  sekisho check {root}",
        f"  sekisho providers test {request.name} --dir {root}   # sends a few tokens, and says so in the ledger",
        f"  sekisho up {root}   # if it runs already, it takes them over within seconds",
        f"What is known of this template, and what is not: {PAGES}{template.name}.md",
    ]
    return "\n".join(lines)


# -- list


def _list(directory: DataDirectory | None, *, as_json: bool) -> None:
    catalogue = None if directory is None else declared_catalogue(directory)
    providers = () if catalogue is None else catalogue.providers
    deployments = () if catalogue is None else catalogue.deployments
    of = {one.name: [deployment for deployment in deployments if deployment.provider == one.name] for one in providers}
    if as_json:
        document = {
            "providers": [
                {"name": one.name, "title": one.title, "deployments": [each.name for each in of[one.name]]}
                for one in providers
            ],
            "templates": [
                {"name": one.name, "title": one.file.title, "summary": one.file.summary, "status": one.file.status}
                for one in templates().values()
            ],
        }
        print(json.dumps(document, ensure_ascii=False, indent=2))
        return
    if providers:
        print("Declared:")
    for provider in providers:
        print(f"  {provider.name:<20} {provider.title}")
        for one in of[provider.name]:
            print(f"    {one.name:<34} model {one.model}, type {one.deployment_type}")
    print("Templates, for `sekisho providers add NAME --template T`:")
    for template in templates().values():
        mark = "  [unverified]" if template.file.status == "unverified" else ""
        print(f"  {template.name:<20} {template.file.summary}{mark}")


# -- test


def exit_code(tried: list[Tried]) -> int:
    if not all(one.learned.answers for one in tried):
        return EXIT_NO_ANSWER
    warned = any(finding.severity == WARNING for one in tried for finding in one.learned.findings)
    return EXIT_WARNINGS if warned else EXIT_DONE


def as_object(one: Tried) -> dict[str, object]:
    learned, peer, certificate = one.learned, one.learned.peer, one.learned.certificate
    return {
        "deployment": one.deployment.name,
        "model": one.deployment.model,
        "upstream_model": one.deployment.upstream_model,
        "url": one.deployment.url,
        "answers": learned.answers,
        "entry": one.entry,
        "calls": learned.calls,
        "addresses": learned.addresses,
        "peer": None if peer is None else {"address": peer.address, "port": peer.port, "via": peer.via},
        "tls": None if certificate is None else {
            "version": peer and peer.tls_version,
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "expires": certificate.expires.isoformat(),
            "certificate_sha256": certificate.sha256,
        },
        "models": learned.models,
        "status": learned.status,
        "latency_ms": learned.latency_ms,
        "usage": learned.usage,
        "streams": learned.streams,
        "stream_usage": learned.stream_usage,
        "findings": [finding._asdict() for finding in learned.findings],
    }  # fmt: skip


def as_lines(one: Tried) -> list[str]:
    """For people: what was learned, then what to look at."""
    deployment, learned = one.deployment, one.learned
    lines = [f"{deployment.name}: {'answers' if learned.answers else 'DOES NOT ANSWER'}"]

    def say(what: str, text: str) -> None:
        lines.append(f"  {what:<9}{text}")

    say("model", f"{deployment.model}, at the provider {deployment.upstream_model}")
    say("url", deployment.url)
    peer, certificate = learned.peer, learned.certificate
    if peer is not None and peer.via is not None:
        say("address", f"not known: by the egress proxy {peer.address} port {peer.port}, which resolves the name")
    elif peer is not None:
        others = [address for address in learned.addresses if address != peer.address]
        say(
            "address", f"{peer.address} port {peer.port}" + (f" (the name has also {', '.join(others)})" * bool(others))
        )
    if peer is not None and certificate is not None:
        say("TLS", f"{peer.tls_version}, {certificate.subject}, until {certificate.expires:%Y-%m-%d}")
        say("", f"issued by {certificate.issuer}; SHA-256 {certificate.sha256}")
    if learned.models is not None:
        named = ", ".join(learned.models[:8]) + (", …" if len(learned.models) > 8 else "")
        say("models", f"{len(learned.models)} listed: {named}")
    if learned.status is not None:
        say("answer", f"{learned.status} in {learned.latency_ms} ms; usage: {', '.join(learned.usage) or 'none'}")
    if learned.streams is not None:
        usage = "with" if learned.stream_usage else "without"
        say("stream", f"works, {usage} usage" if learned.streams else "does not work")
    for finding in learned.findings:
        say(finding.severity, finding.message)
        if finding.remedy:
            say("", f"→ {finding.remedy}")
    say("ledger", f"entry {one.entry}" if one.entry else "no entry: nothing was sent")
    return lines
