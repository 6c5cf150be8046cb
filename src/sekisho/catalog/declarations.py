"""Declarations: parsed TOML tables in, a catalogue and every mistake at once out. Pure; `catalog.files` reads them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from sekisho.catalog.approvals import read_rules
from sekisho.catalog.callers import ambiguities, read_certificates, read_issuers
from sekisho.catalog.deployments import Known, read_deployment
from sekisho.catalog.exemptions import Named, read_exemption
from sekisho.catalog.facts import provider_facts, take_time
from sekisho.catalog.inspection import read_rule, read_settings, rule_mistakes
from sekisho.catalog.interfaces import (
    ANYWHERE,
    DEPLOYMENTS_PER_MODEL_MAX,
    MODE_ENFORCE,
    MODE_MONITOR,
    UNKNOWN,
    ApprovalRule,
    Boundary,
    Catalogue,
    DataClass,
    DeclaredStatement,
    Deployment,
    Mistake,
    Model,
    Organisation,
    PolicyText,
    Price,
    Provider,
    Site,
)
from sekisho.catalog.jurisdictions import ISO_3166_1, expanded
from sekisho.catalog.layers import read_layers
from sekisho.catalog.places import read_extents, read_place
from sekisho.catalog.statements import STATEMENTS_FILE, read_statements
from sekisho.catalog.table import NAME, NAME_REMEDY, Table, nearest, shown
from sekisho.catalog.witnesses import read_log, read_witness, witness_mistakes

APPROVALS_FILE: Final = "approvals.toml"
BOUNDARY_FILE: Final = "boundary.toml"
KINDS: Final = (
    "organisations", "sites", "providers", "models", "deployments", "witnesses", "logs", "exemptions", "inspection"
)  # fmt: skip
CLASSES_MAX: Final = 16  # more levels than any classification scheme in use
PACKS_MAX: Final = 32
RESERVED_NAMES: Final = frozenset({ANYWHERE, UNKNOWN, "none"})

# Assumed where boundary.toml can't be read, so that the other files' own mistakes still show.
_FALLBACK: Final = Boundary(
    home=(), jurisdictions=tuple(sorted(ISO_3166_1)), classes=(), default_class="", default_residency=(), packs=()
)

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Declarations:
    """What a tree of declarations says; `prices` are by deployment.

    As soon as there is one mistake, `catalogue` is None and `prices` are empty.
    """

    catalogue: Catalogue | None
    policies: tuple[PolicyText, ...]
    mistakes: tuple[Mistake, ...]
    prices: Mapping[str, Price] = field(default_factory=dict)


def catalogue_of(
    tables: Mapping[str, Mapping[str, Any]], unreadable: Iterable[str] = ()
) -> tuple[Catalogue | None, tuple[Mistake, ...]]:
    """Check parsed files and join them.

    `tables` maps a file's name relative to the tree (`boundary.toml`, `models/manual.toml`) to its parsed content.
    `unreadable` names files that exist but couldn't be parsed (told of elsewhere): what they declare may be referred
    to, so that one bad file doesn't make others look wrong.
    Returns the catalogue, or None and the mistakes, sorted by file and key.
    """
    mistakes: list[Mistake] = []
    skipped = frozenset(unreadable)
    boundary = None if BOUNDARY_FILE in skipped else _boundary(tables, mistakes)
    effective = boundary or _FALLBACK
    files = {kind: _files_of(kind, tables, mistakes) for kind in KINDS}
    names = {kind: frozenset({*files[kind], *_names_of(kind, skipped)}) for kind in KINDS}

    def read_all(kind: str, read: Callable[[str, Table], Value | None]) -> tuple[Value, ...]:
        values = []
        for name, (file, content) in sorted(files[kind].items()):
            table = Table(dict(content), file, mistakes)
            value = read(name, table)
            table.finish()
            if value is not None:
                values.append(value)
        return tuple(values)

    organisations = read_all("organisations", lambda name, table: _organisation(name, table, effective))
    sites = read_all("sites", lambda name, table: _site(name, table, effective))
    providers = read_all("providers", lambda name, table: _provider(name, table, effective))
    models = read_all("models", lambda name, table: Model(name=name, title=_title(name, table)))
    known = Known(
        jurisdictions=effective.jurisdictions,
        models=names["models"],
        providers=names["providers"],
        sites={**dict.fromkeys(names["sites"]), **{site.name: site.jurisdiction for site in sites}},
    )
    deployments = read_all("deployments", lambda name, table: read_deployment(name, table, known))
    approvals, statements = _approvals(tables, mistakes), _statements(tables, mistakes)
    classes = tuple(item.name for item in effective.classes)
    named = Named(names["organisations"], names["deployments"], names["models"], classes)
    exemptions = read_all("exemptions", lambda name, table: read_exemption(name, table, named))
    _check_counts(names, deployments, mistakes)
    mistakes += ambiguities(organisations)
    witnesses, logs = read_all("witnesses", read_witness), read_all("logs", read_log)
    mistakes += witness_mistakes(witnesses, logs)
    own_rules = read_all("inspection", read_rule)
    mistakes += rule_mistakes(names["inspection"])
    if mistakes or boundary is None:
        return None, tuple(sorted(set(mistakes)))
    kinds = (organisations, sites, providers, models, deployments, witnesses, logs)
    return Catalogue(boundary, *kinds, approvals, statements, exemptions, own_rules), ()


def _files_of(
    kind: str, tables: Mapping[str, Mapping[str, Any]], mistakes: list[Mistake]
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for file, content in tables.items():
        directory, _, base = file.partition("/")
        if directory != kind:
            continue
        name = base.removesuffix(".toml")
        if not NAME.fullmatch(name):
            mistakes.append(Mistake(file, "", f"the file's name {shown(name)} is not a name", NAME_REMEDY))
        elif name in RESERVED_NAMES:
            mistakes.append(Mistake(file, "", f"the name {name!r} is reserved", "Choose another name for the file"))
        else:
            found[name] = (file, content)
    return found


def _approvals(tables: Mapping[str, Mapping[str, Any]], mistakes: list[Mistake]) -> tuple[ApprovalRule, ...]:
    """Without the file nothing demands an approval."""
    table = Table(dict(tables.get(APPROVALS_FILE, {})), APPROVALS_FILE, mistakes)
    rules = read_rules(table)
    table.finish()
    return rules


def _statements(tables: Mapping[str, Mapping[str, Any]], mistakes: list[Mistake]) -> tuple[DeclaredStatement, ...]:
    table = Table(dict(tables.get(STATEMENTS_FILE, {})), STATEMENTS_FILE, mistakes)
    statements = read_statements(table)
    table.finish()
    return statements


def _names_of(kind: str, files: Iterable[str]) -> set[str]:
    return {file.partition("/")[2].removesuffix(".toml") for file in files if file.startswith(f"{kind}/")}


def _check_counts(
    names: Mapping[str, frozenset[str]], deployments: tuple[Deployment, ...], mistakes: list[Mistake]
) -> None:
    if not names["organisations"]:
        remedy = "Add a file like organisations/default.toml: keys belong to an organisation"
        mistakes.append(Mistake("organisations/", "", "no organisation is declared", remedy))
    counts: dict[str, int] = {}
    for deployment in deployments:
        counts[deployment.model] = counts.get(deployment.model, 0) + 1
    for model, count in counts.items():
        if count > DEPLOYMENTS_PER_MODEL_MAX:
            problem = f"has {count} deployments"
            remedy = f"Keep at most {DEPLOYMENTS_PER_MODEL_MAX} for one model, or split it into two models"
            mistakes.append(Mistake(f"models/{model}.toml", "", problem, remedy))


def _title(name: str, table: Table) -> str:
    return table.take_text("title", default=name) or name


def _boundary(tables: Mapping[str, Mapping[str, Any]], mistakes: list[Mistake]) -> Boundary | None:
    content = tables.get(BOUNDARY_FILE)
    if content is None:
        remedy = "It says what is home, which data classes there are, and the defaults"
        mistakes.append(Mistake(BOUNDARY_FILE, "", "is missing or can't be read", remedy))
        return None
    table = Table(dict(content), BOUNDARY_FILE, mistakes)
    enumerated = table.take_codes("jurisdictions", ISO_3166_1) or tuple(ISO_3166_1)
    jurisdictions = tuple(sorted(enumerated))
    home = table.take_codes("home", jurisdictions, remedy="Name your own jurisdictions, as ISO 3166-1 codes")
    classes = _classes(table)
    default_class = table.take_choice("default_class", [item.name for item in classes], "a declared class")
    residency = table.take_codes(
        "default_residency", (*jurisdictions, ANYWHERE), remedy="Say where data may go when nobody says otherwise"
    )
    # An empty list is a choice: only one's own policies. Left out is a mistake: which rules hold is not guessed.
    remedy = "Name the policy packs in force, or write packs = [] for only your own policies"
    packs = () if table.take("packs") == [] else table.take_list("packs", remedy=remedy) or ()
    for pack in packs:
        if not NAME.fullmatch(pack) or len(packs) > PACKS_MAX:
            table.mistake("packs", f"{shown(pack)} can't be a pack", f"{NAME_REMEDY}; at most {PACKS_MAX} packs")
    extents = read_extents(table, jurisdictions)
    inspection = read_settings(table.take_table("inspection"))
    layers = read_layers(table)
    table.finish()
    if home is None or default_class is None or residency is None:
        # The rest is still read against what we know, so that one missing line doesn't hide other mistakes.
        home, default_class, residency = home or (), default_class or "", residency or ()
    return Boundary(
        home=tuple(sorted(home)),
        jurisdictions=jurisdictions,
        classes=classes,
        default_class=default_class,
        default_residency=expanded(residency, jurisdictions),
        packs=packs,
        extents=extents,
        inspection=inspection,
        layers=layers,
    )


def _classes(table: Table) -> tuple[DataClass, ...]:
    raw = table.take("classes")
    if not isinstance(raw, list) or not raw or not all(isinstance(item, dict) for item in raw):
        table.mistake("classes", "are missing", "Add [[classes]] tables with a name each, the lowest first")
        return ()
    if len(raw) > CLASSES_MAX:
        table.mistake("classes", f"are {len(raw)}", f"Keep at most {CLASSES_MAX}")
        return ()
    classes: list[DataClass] = []
    for position, values in enumerate(raw):
        inner = Table(values, table.file, table.mistakes, f"classes[{position}].")
        name = inner.take_text("name", remedy="Give the class a name, like confidential")
        title = inner.take_text("title", default=name)
        title_ja = inner.take_text("title_ja", default=title)
        inner.finish()
        if name is None or title is None or title_ja is None:
            continue
        if not NAME.fullmatch(name) or name in RESERVED_NAMES:
            inner.mistake("name", f"{shown(name)} can't name a class", NAME_REMEDY)
        elif name in {item.name for item in classes}:
            inner.mistake("name", f"{name!r} is declared twice", "Keep one of them")
        else:
            classes.append(DataClass(name, title, title_ja))
    return tuple(classes)


def _organisation(name: str, table: Table, boundary: Boundary) -> Organisation:
    classes = [item.name for item in boundary.classes]
    default_class = table.take_choice("default_class", classes, "a declared class", required=False)
    residency = table.take_codes("default_residency", (*boundary.jurisdictions, ANYWHERE))
    mode, until = _mode(table)
    return Organisation(
        name=name,
        title=_title(name, table),
        default_class=default_class,
        default_residency=None if residency is None else expanded(residency, boundary.jurisdictions),
        issuers=read_issuers(table, boundary),
        certificates=read_certificates(table, boundary),
        mode=mode,
        monitor_until=until,
    )


def _mode(table: Table) -> tuple[str, int | None]:
    """How policy rules the organisation, and until when it only watches; both keys or none."""
    mode = table.take_choice("mode", (MODE_ENFORCE, MODE_MONITOR), "a mode", required=False) or MODE_ENFORCE
    until = take_time(table, "monitor_until")
    if mode == MODE_MONITOR and until is None:
        if "monitor_until" not in table.values:
            table.missing(
                "monitor_until", 'Say when it ends, like monitor_until = "2027-03-31": until then, not longer'
            )
        return MODE_ENFORCE, None
    if mode == MODE_ENFORCE and until is not None:
        table.mistake("monitor_until", "stands without monitor mode", 'Remove it, or add mode = "monitor"')
        return MODE_ENFORCE, None
    return mode, until


def _site(name: str, table: Table, boundary: Boundary) -> Site | None:
    title = _title(name, table)
    jurisdiction = table.take_text("jurisdiction", remedy="Say where the site stands, as an ISO 3166-1 code")
    if jurisdiction is not None and jurisdiction not in boundary.jurisdictions:
        problem = f"{shown(jurisdiction)} is not a known jurisdiction"
        table.mistake("jurisdiction", problem, nearest(jurisdiction, boundary.jurisdictions, "Known are"))
        return None
    latitude, longitude = read_place(table)
    return None if jurisdiction is None else Site(name, title, jurisdiction, latitude, longitude)


def _provider(name: str, table: Table, boundary: Boundary) -> Provider:
    title = _title(name, table)
    inner = table.take_table("facts") or Table({}, table.file, table.mistakes, "facts.")
    facts = provider_facts(inner, boundary.jurisdictions)
    inner.finish()
    return Provider(name=name, title=title, facts=facts)
