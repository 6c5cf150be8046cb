"""Templates of providers: data files from which `sekisho providers add` writes commented declarations.

A template is a TOML file in `provider_templates/`, named by its file; `ProviderTemplate` says what its keys mean. Its
texts are declarations with places to fill in, each `@NAME@`. Places within a line stand for a TOML value; those that
are a whole line stand for a declaration that may be left out, and become a comment that shows it then. Nothing here
knows a vendor.
"""

import datetime
import fnmatch
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Final, Literal, NamedTuple

import msgspec

from sekisho.catalog.deployment_types import REGIONS, rule_of
from sekisho.catalog.interfaces import CredentialReference, ServerKind
from sekisho.catalog.table import NAME, NAME_REMEDY, shown
from sekisho.kernel.errors import UsageError

MODELS_MAX: Final = 16  # of one command; more are a catalogue, which is better written by a program
_DIRECTORY: Final = "provider_templates"
_PLACE: Final = re.compile(r"@([A-Z_]+)@")
_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9._-]+")

MODEL_TEXT: Final = """\
# A model as callers name it. Its name is the file's name; the rules decide which of its deployments serves a request.

title = @TITLE@
"""


class Texts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    provider: str
    deployment: str


class TemplateFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in a template's file.

    `status`: "documented" (from the provider's own documentation, read at `read_at`; never called from here) or
    "unverified" (a guess). `types`: deployment types to choose from, the only one being the default. `url` is fixed
    or usual, else `url_example` shows what to give. `upstream_models` are taken when none is named.
    `api_version` is a version that is taken when none is asked for; empty: the API has none.
    `refused_upstream_models` are patterns of names that the template's facts would be wrong for.
    `storage_of_region` is the line of the fact `storage` where a region outside `multi_country_regions` is named.
    """

    title: str
    summary: str
    status: Literal["documented", "unverified"]
    read_at: datetime.date
    types: tuple[str, ...]
    upstream_model_is: str
    credential: Literal["required", "optional"]
    key_help: str
    declarations: Texts
    url: str = ""
    url_example: str = ""
    api_version: str = ""
    upstream_models: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    refused_upstream_models: tuple[str, ...] = ()
    refused_because: str = ""
    multi_country_regions: tuple[str, ...] = ()
    storage_of_region: str = ""
    discovery: ServerKind | None = None


class ProviderTemplate(NamedTuple):
    name: str
    file: TemplateFile


class ModelChoice(NamedTuple):
    model: str  # as callers name it
    upstream: str  # as the provider does


class ProviderRequest(NamedTuple):
    """What is asked for, as typed: `None` and `()` where nothing was said. `credential` None: none is wanted."""

    name: str
    url: str | None = None
    models: tuple[str, ...] = ()
    upstream_models: tuple[str, ...] = ()
    deployment_type: str | None = None
    region: str | None = None
    zone: str | None = None
    api_version: str | None = None
    site: str = "local"
    credential: CredentialReference | None = None
    networks: tuple[str, ...] = ()
    ca_file: str | None = None


def templates() -> dict[str, ProviderTemplate]:
    """Every template, by name. Reads package data."""
    found = {}
    for entry in sorted(resources.files("sekisho.catalog").joinpath(_DIRECTORY).iterdir(), key=lambda item: item.name):
        name = entry.name.removesuffix(".toml")
        content = tomllib.loads(entry.read_text(encoding="utf-8"))
        found[name] = ProviderTemplate(name, msgspec.convert(content, TemplateFile))
    return found


def rendered(
    template: ProviderTemplate,
    request: ProviderRequest,
    site_jurisdictions: Mapping[str, str],
    today: datetime.date,
) -> dict[str, str]:
    """The declarations asked for: file names relative to the tree → texts, in the order in which to write them.

    Raises UsageError for what doesn't fit together. Whether names, regions and networks exist is for `check`.
    """
    _require_name("A provider", request.name)
    deployment_type = _type(template, request)
    choices = _choices(template, request)
    texts = template.file.declarations
    values = {
        "PROVIDER": _quoted(request.name),
        "URL": _quoted(_url(template, request)),
        "API_VERSION": _quoted(_api_version(template, request)),
        "TYPE": _quoted(deployment_type),
        "SITE": _quoted(request.site),
        "SITE_JURISDICTION": _quoted(site_jurisdictions.get(request.site, "unknown")),
        "TODAY": today.isoformat(),
        "PLACE": _place_lines(template, request, deployment_type),
        "CREDENTIAL": _credential_line(request),
        "NETWORKS": _networks_lines(request),
        "TLS": _tls_lines(request),
        "STORAGE": _storage_line(template, request),
    }
    title = {"TITLE": _quoted(f"{template.file.title}: {request.name}")}
    files = {f"providers/{request.name}.toml": filled(texts.provider, title)}
    for choice in choices:
        files[f"models/{choice.model}.toml"] = filled(MODEL_TEXT, {"TITLE": _quoted(choice.upstream)})
    for choice in choices:
        name = deployment_name(request.name, choice.model)
        own = {"MODEL": _quoted(choice.model), "UPSTREAM_MODEL": _quoted(choice.upstream)}
        files[f"deployments/{name}.toml"] = filled(texts.deployment, values | own)
    return files


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with its places filled, in one pass: what is filled in is not looked at again."""
    done = _PLACE.sub(lambda match: values[match[1]], text)
    return re.sub(r"\n{3,}", "\n\n", done).strip("\n") + "\n"


def deployment_name(provider: str, model: str) -> str:
    name = provider if provider == model else f"{provider}-{model}"
    if not NAME.fullmatch(name):
        remedy = "Choose a shorter name for the provider, or one for the model with --model"
        raise UsageError(f"The deployment would be named {shown(name)}, which is too long", remedy=remedy)
    return name


def model_name(upstream: str) -> str:
    """A name for callers made of a provider's own: lower case, and '-' for what can't stand in a name."""
    return _NOT_IN_NAMES.sub("-", upstream.lower()).strip("-._")[:64]


def _type(template: ProviderTemplate, request: ProviderRequest) -> str:
    known = template.file.types
    listed = ", ".join(known)
    if request.deployment_type is None:
        if len(known) > 1:
            remedy = f"Give --type, what the provider says of the deployment: {listed}"
            raise UsageError(f"The template {template.name} needs a deployment type", remedy=remedy)
        chosen = known[0]
    else:
        chosen = request.deployment_type
    if chosen not in known:
        raise UsageError(f"--type {chosen} is none of {template.name}", remedy=f"It knows {listed}")
    needs = rule_of(chosen).needs
    for option, value in (("region", request.region), ("zone", request.zone)):
        if needs == option and value is None:
            example = "the region's name at the provider" if option == "region" else "US or EU"
            remedy = f"Give --{option}: {example}"
            raise UsageError(f"A deployment of type {chosen} processes in its {option}", remedy=remedy)
    if request.zone is not None and needs != "zone":
        raise UsageError(f"A deployment of type {chosen} has no zone", remedy="Leave --zone out")
    if request.region is not None and all(rule_of(one).needs != "region" for one in known):
        raise UsageError(f"The template {template.name} has no regions", remedy="Leave --region out")
    return chosen


def _url(template: ProviderTemplate, request: ProviderRequest) -> str:
    url = request.url or template.file.url
    if not url:
        raise UsageError(f"The template {template.name} needs a URL", remedy=f"--url {template.file.url_example}")
    return url


def _api_version(template: ProviderTemplate, request: ProviderRequest) -> str:
    if request.api_version is not None and not template.file.api_version:
        raise UsageError(f"The API of {template.name} has no versions", remedy="Leave --api-version out")
    return request.api_version or template.file.api_version


def _choices(template: ProviderTemplate, request: ProviderRequest) -> list[ModelChoice]:
    file = template.file
    upstream = request.upstream_models or request.models or file.upstream_models
    if not upstream:
        raise UsageError("No model is named", remedy=f"Give --upstream-model: {file.upstream_model_is}")
    models = request.models or tuple(map(model_name, upstream))
    if len(models) != len(upstream):
        problem = f"{len(models)} × --model and {len(upstream)} × --upstream-model don't pair"
        raise UsageError(problem, remedy="Give as many of one as of the other, in the same order")
    if len(upstream) > MODELS_MAX:
        raise UsageError(f"{len(upstream)} models are named", remedy=f"Name at most {MODELS_MAX} at once")
    for model in models:
        _require_name("A model", model)
    if len(set(models)) != len(models):
        raise UsageError("A model is named twice", remedy="Name each once, with --model where two would be alike")
    for name in upstream:
        if is_refused(template, name):
            raise UsageError(f"{name} can't be declared so: {file.refused_because}", remedy="Name another model")
        if not name.isprintable():
            raise UsageError(f"--upstream-model {name!r} is not a line of text", remedy="Name it as the provider does")
    return [ModelChoice(*pair) for pair in zip(models, upstream, strict=True)]


def is_refused(template: ProviderTemplate, upstream_model: str) -> bool:
    return any(fnmatch.fnmatch(upstream_model.lower(), one) for one in template.file.refused_upstream_models)


def _require_name(what: str, name: str) -> None:
    if not NAME.fullmatch(name):
        raise UsageError(f"{what} can't be named {shown(name)}", remedy=NAME_REMEDY)


def _place_lines(template: ProviderTemplate, request: ProviderRequest, deployment_type: str) -> str:
    lines = []
    if request.zone is not None:
        lines.append(f"zone = {_quoted(request.zone)}")
    if request.region is not None:
        note = (
            "" if rule_of(deployment_type).needs == "region" else "  # where data rest; it does not say where they run"
        )
        lines.append(f"region = {_quoted(request.region)}{note}")
    return "\n".join(lines)


def _credential_line(request: ProviderRequest) -> str:
    reference = request.credential
    if reference is None:
        return '# credential = { file = "keys/providers/NAME" }'
    return f"credential = {{ {reference.kind} = {_quoted(reference.name)} }}"


def _networks_lines(request: ProviderRequest) -> str:
    what = "# The networks that the endpoint's addresses must lie in."
    if not request.networks:
        return f'{what} Left out, they are not restricted.\n# networks = ["192.0.2.0/24"]\n'
    return f"{what}\nnetworks = [{', '.join(map(_quoted, request.networks))}]\n"


def _tls_lines(request: ProviderRequest) -> str:
    if request.ca_file is None:
        return ""
    return f"# No other root counts than this file's.\n[tls]\nca_file = {_quoted(request.ca_file)}\n"


def _storage_line(template: ProviderTemplate, request: ProviderRequest) -> str:
    file, region = template.file, request.region
    if region in REGIONS and region not in file.multi_country_regions and file.storage_of_region:
        return filled(file.storage_of_region, {"COUNTRY": _quoted(REGIONS[region])}).strip()
    return '# storage = ["…"]'


def _quoted(text: str) -> str:
    """A TOML basic string (TOML 1.0, section String)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\u{ord(match[0]):04x}", escaped) + '"'
