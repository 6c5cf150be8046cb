"""Who may call besides holders of API keys: `[[issuers]]` and `[[certificates]]` of an organisation. Pure."""

import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from sekisho.catalog.interfaces import (
    ANYWHERE,
    TOKEN_ALGORITHMS,
    Boundary,
    ClientCertificate,
    Issuer,
    Mistake,
    Organisation,
    RequiredClaim,
    RoleMapping,
)
from sekisho.catalog.table import NAME, NAME_REMEDY, TEXT_MAX, Table, nearest, shown
from sekisho.catalog.urls import take_path, take_url
from sekisho.kernel.patterns import STAR, patterns_overlap

ISSUERS_MAX: Final = 16  # of one organisation: each is fetched and refreshed by every worker
CERTIFICATES_MAX: Final = 1024  # of one organisation; a new certificate is held against each of its patterns
ROLES_MAX: Final = 16  # every role is a parent in each decision's entities
MAPPINGS_MAX: Final = 256
CLAIM_DEPTH_MAX: Final = 4  # the deepest in use is Keycloak's resource_access.CLIENT.roles
CLOCK_SKEW_S_MAX: Final = 300  # RFC 7519 section 4.1.4: "usually no more than a few minutes"
REFRESH_S_MIN: Final = 30
REFRESH_S_MAX: Final = 86_400
SUBJECT_ATTRIBUTES: Final = ("C", "CN", "L", "O", "OU", "ST", "serialNumber")

_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KINDS: Final = ("sha256", "dns", "uri", "subject")
Value = TypeVar("Value")


def read_issuers(table: Table, boundary: Boundary) -> tuple[Issuer, ...]:
    return _read_all(table, "issuers", ISSUERS_MAX, lambda inner: _issuer(inner, boundary))


def read_certificates(table: Table, boundary: Boundary) -> tuple[ClientCertificate, ...]:
    return _read_all(table, "certificates", CERTIFICATES_MAX, lambda inner: _certificate(inner, boundary))


def ambiguities(organisations: Iterable[Organisation]) -> list[Mistake]:
    """Pairs of declarations that one caller could fit both: whose it is would be a guess.

    Tokens whose claims fit two all the same (a required claim that is a list) are refused when they come.
    """
    issuers: dict[str, list[tuple[str, str, Issuer]]] = {}
    certificates: dict[str, list[tuple[str, str, ClientCertificate]]] = {}
    for organisation in organisations:
        file = f"organisations/{organisation.name}.toml"
        for number, issuer in enumerate(organisation.issuers):
            issuers.setdefault(issuer.issuer, []).append((file, f"issuers[{number}]", issuer))
        for number, certificate in enumerate(organisation.certificates):
            # One fingerprint is one certificate: only equal ones need to be compared.
            kind = certificate.sha256 or _kind(certificate)
            certificates.setdefault(kind, []).append((file, f"certificates[{number}]", certificate))
    found: list[Mistake] = []
    for same in issuers.values():
        found += _overlapping(same, _issuers_overlap, "takes the same tokens as", _TELL_ISSUERS_APART)
    for same_kind in certificates.values():
        found += _overlapping(same_kind, _certificates_overlap, "takes the same certificates as", _TELL_PATTERNS_APART)
    return found


_TELL_ISSUERS_APART: Final = (
    "Give each an audience of its own, or a claim in require that they share with different values, like tid"
)
_TELL_PATTERNS_APART: Final = "Make the patterns so that no certificate fits both"


def _overlapping(
    declared: list[tuple[str, str, Value]], overlap: Callable[[Value, Value], bool], problem: str, remedy: str
) -> list[Mistake]:
    found = []
    for (file, key, one), (other_file, other_key, other) in itertools.combinations(declared, 2):
        if overlap(one, other):
            where = other_key if file == other_file else f"{other_key} of {other_file}"
            found.append(Mistake(file, key, f"{problem} {where}", remedy))
            if len(found) >= MAPPINGS_MAX:  # the first few hundred say it as well as all
                return found
    return found


def _issuers_overlap(one: Issuer, other: Issuer) -> bool:
    if not set(one.audience) & set(other.audience):
        return False
    asked = {item.claim: set(item.values) for item in other.require}
    return not any(item.claim in asked and not asked[item.claim] & set(item.values) for item in one.require)


def _kind(certificate: ClientCertificate) -> str:
    return next(kind for kind in _KINDS if getattr(certificate, kind))


def _certificates_overlap(one: ClientCertificate, other: ClientCertificate) -> bool:
    if one.subject:
        asked = dict(other.subject)
        return all(name not in asked or patterns_overlap(pattern, asked[name]) for name, pattern in one.subject)
    kind = _kind(one)
    return patterns_overlap(getattr(one, kind), getattr(other, kind))


def _read_all(table: Table, key: str, count_max: int, read: Callable[[Table], Value | None]) -> tuple[Value, ...]:
    rows = table.take(key)
    if rows is None:
        return ()
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        table.mistake(key, "is not a list of tables", f"Write each under [[{key}]]")
        return ()
    if len(rows) > count_max:
        table.mistake(key, f"are {len(rows)}", f"Keep at most {count_max}")
        return ()
    values = []
    for number, row in enumerate(rows):
        inner = Table(row, table.file, table.mistakes, f"{key}[{number}].")
        value = read(inner)
        inner.finish()
        if value is not None:
            values.append(value)
    return tuple(values)


def _issuer(table: Table, boundary: Boundary) -> Issuer | None:
    before = len(table.mistakes)
    # To the letter: issuers are compared as they stand.
    issuer = take_url(table, "issuer", remedy="Give the issuer's URL exactly as it stands in the claim iss")
    audience = table.take_list(
        "audience", remedy="Name what the claim aud must hold, so that no other API's token fits"
    )
    algorithms = _algorithms(table)
    jwks_file = take_path(table, "jwks_file")
    jwks_url = take_url(table, "jwks_url", may_query=True)
    if jwks_file is not None and jwks_url is not None:
        table.mistake("jwks_url", "stands beside jwks_file", "Keep one of them")
    ca_file = take_path(table, "ca_file")
    if jwks_file is not None and ca_file is not None:
        table.mistake("ca_file", "stands beside jwks_file", "Remove it: nothing is fetched")
    roles = _roles(table, "roles")
    roles_claim = _claim(table, "roles_claim")
    roles_map = _roles_map(table)
    if roles_map and roles_claim is None:
        table.mistake("roles_map", "has no claim to map", 'Add roles_claim, like roles_claim = "roles"')
    elif roles_claim is not None and not roles_map:
        table.mistake("roles_claim", "has no map", 'Add a table, like roles_map = { "AI.User" = ["caller"] }')
    elif not roles and roles_claim is None:
        table.missing("roles", 'Give every token a role, like roles = ["caller"], or map a claim with roles_claim')
    read = Issuer(
        issuer=issuer or "",
        audience=tuple(sorted(audience or ())),
        algorithms=algorithms,
        jwks_file=jwks_file,
        jwks_url=jwks_url,
        ca_file=ca_file,
        refresh_seconds=table.take_integer("refresh_seconds", 300, REFRESH_S_MIN, REFRESH_S_MAX),
        clock_skew_seconds=table.take_integer("clock_skew_seconds", 60, 0, CLOCK_SKEW_S_MAX),
        subject_claim=_claim(table, "subject_claim") or ("sub",),
        roles=roles,
        roles_claim=roles_claim,
        roles_map=roles_map,
        require=_require(table),
        data_class=_data_class(table, boundary),
        data_class_claim=_claim(table, "data_class_claim"),
        residency=_residency(table, boundary),
        residency_claim=_claim(table, "residency_claim"),
    )
    return read if len(table.mistakes) == before else None


def _certificate(table: Table, boundary: Boundary) -> ClientCertificate | None:
    before = len(table.mistakes)
    kinds = [kind for kind in _KINDS if kind in table.values]
    if len(kinds) != 1:
        problem = f"has {' and '.join(kinds)}" if kinds else "names no certificate"
        table.mistake("", problem, "Give exactly one of sha256, dns, uri and subject")
    sha256 = _fingerprints(table, "sha256", [table.take("sha256")]) if "sha256" in table.values else ()
    revoked = table.take("revoked")
    read = ClientCertificate(
        roles=_roles(table, "roles", required=True),
        sha256=sha256[0] if sha256 else None,
        dns=(_pattern(table, "dns") or "").lower() or None,
        uri=_pattern(table, "uri"),
        subject=_subject(table),
        revoked=() if revoked is None else _fingerprints(table, "revoked", revoked),
        data_class=_data_class(table, boundary),
        residency=_residency(table, boundary),
    )
    return read if len(table.mistakes) == before else None


def _algorithms(table: Table) -> tuple[str, ...]:
    names = table.take_list("algorithms", remedy='Name what the issuer signs with, like algorithms = ["RS256"]') or ()
    for name in names:
        if name.lower() == "none" or name.upper().startswith("HS"):
            remedy = "Name asymmetric ones, like RS256: who can check a token must not be able to make one"
            table.mistake("algorithms", f"{shown(name)} would let callers make tokens of their own", remedy)
        elif name not in TOKEN_ALGORITHMS:
            remedy = nearest(name, TOKEN_ALGORITHMS, "Known are")
            table.mistake("algorithms", f"{shown(name)} is not a known algorithm", remedy)
    return tuple(sorted(names))


def _claim(table: Table, key: str) -> tuple[str, ...] | None:
    """The path to a claim: a name, or a list of names from the outermost inwards."""
    value = table.take(key)
    if value is None:
        return None
    path = value if isinstance(value, list) else [value]
    if not 0 < len(path) <= CLAIM_DEPTH_MAX or not all(
        isinstance(name, str) and 0 < len(name) <= TEXT_MAX for name in path
    ):
        remedy = f'Write its name, or the path to it, like ["realm_access", "roles"], at most {CLAIM_DEPTH_MAX} deep'
        table.mistake(key, "does not name a claim", remedy)
        return None
    return tuple(path)


def _roles(table: Table, key: str, *, required: bool = False, value: object = None) -> tuple[str, ...]:
    remedy = 'Give at least one, like roles = ["caller"]' if required else None
    roles = table.take_list(key, remedy=remedy) if value is None else table.as_list(key, value)
    for role in roles or ():
        if not NAME.fullmatch(role):
            table.mistake(key, f"{shown(role)} can't be a role", NAME_REMEDY)
    if roles is not None and len(roles) > ROLES_MAX:
        table.mistake(key, f"are {len(roles)}", f"Keep at most {ROLES_MAX}")
    return tuple(sorted(roles or ()))


def _roles_map(table: Table) -> tuple[RoleMapping, ...]:
    inner = table.take_table("roles_map")
    if inner is None:
        return ()
    if not 0 < len(inner.values) <= MAPPINGS_MAX:
        table.mistake("roles_map", f"maps {len(inner.values)} values", f"Map 1 to {MAPPINGS_MAX}")
        return ()
    return tuple(RoleMapping(value, _roles(inner, value, value=inner.values[value])) for value in sorted(inner.values))


def _require(table: Table) -> tuple[RequiredClaim, ...]:
    inner = table.take_table("require")
    if inner is None:
        return ()
    found = []
    for name, value in sorted(inner.values.items()):
        values = value if isinstance(value, list) else [value]
        if not name or not values or not all(isinstance(item, str | bool) for item in values):
            inner.mistake(shown(name).strip("'"), "is not what a claim can be asked for", _REQUIRE_REMEDY)
        elif len(values) > MAPPINGS_MAX:
            inner.mistake(name, f"lists {len(values)} values", f"Keep at most {MAPPINGS_MAX}")
        else:
            found.append(
                RequiredClaim(name, tuple(sorted(set(values), key=lambda item: (isinstance(item, bool), str(item)))))
            )
    return tuple(found)


_REQUIRE_REMEDY: Final = 'Write tid = "…", a list of strings of which one must be there, or true or false'


def _data_class(table: Table, boundary: Boundary) -> str | None:
    classes = [item.name for item in boundary.classes]
    return table.take_choice("data_class", classes, "a declared class", required=False)


def _residency(table: Table, boundary: Boundary) -> tuple[str, ...] | None:
    codes = table.take_codes("residency", (*boundary.jurisdictions, ANYWHERE))
    return None if codes is None else tuple(sorted(codes))


def _fingerprints(table: Table, key: str, value: Any) -> tuple[str, ...]:
    """SHA-256 in hex; colons and capitals, as openssl writes them, are taken out."""
    found = []
    for item in value if isinstance(value, list) and 0 < len(value) <= CERTIFICATES_MAX else (None,):
        text = item.replace(":", "").lower() if isinstance(item, str) else ""
        if not _SHA256.fullmatch(text):
            remedy = "Write the 64 hex digits that `openssl x509 -noout -fingerprint -sha256` prints"
            table.mistake(key, "is not the SHA-256 of a certificate", remedy)
        found.append(text)
    return tuple(sorted(found))


def _pattern(table: Table, key: str) -> str | None:
    text = table.take_text(key)
    return text if text is None or _is_pattern(table, key, text) else None


def _is_pattern(table: Table, key: str, text: str) -> bool:
    if text.count(STAR) <= 1 and text.strip(STAR):
        return True
    table.mistake(key, f"{shown(text)} is not a pattern", "Use at most one * beside letters that tell who is meant")
    return False


def _subject(table: Table) -> tuple[tuple[str, str], ...]:
    inner = table.take_table("subject")
    if inner is None:
        return ()
    if not inner.values:
        table.mistake("subject", "names nothing", 'Write it like subject = { O = "Maker", CN = "robot-*" }')
    asked = []
    for name in sorted(inner.values):
        if name not in SUBJECT_ATTRIBUTES:
            remedy = nearest(name, SUBJECT_ATTRIBUTES, "Known are")
            inner.mistake(shown(name).strip("'"), "is not an attribute that can be asked for", remedy)
            continue
        pattern = inner.take_text(name)
        if pattern is not None and _is_pattern(inner, name, pattern):
            asked.append((name, pattern))
    return tuple(asked)
