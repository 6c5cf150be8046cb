"""The catalogue as frozen values: all that other contexts may import from here.

Every value is a `msgspec.Struct`: `msgspec.to_builtins` gives the plain form that stands in a snapshot,
`msgspec.convert` reads it back strictly. Sets are sorted tuples, so that one catalogue has one form.
"""

from enum import IntEnum
from typing import Final, NamedTuple

import msgspec

ANYWHERE: Final = "anywhere"
UNKNOWN: Final = "unknown"
DEPLOYMENTS_PER_MODEL_MAX: Final = 64
MODE_ENFORCE: Final = "enforce"
MODE_MONITOR: Final = "monitor"

# Facts by the kind of their value: sets of jurisdictions, one word out of a closed set, sets of free text.
JURISDICTION_FACTS: Final = (
    "abuse_review",
    "control_plane",
    "identity_provider",
    "network",  # where the holders of the endpoint's addresses are registered: neither where it stands nor who reads it
    "policy_authority",
    "processing",
    "storage",
    "support_staff",
    "telemetry",
)
WORD_FACTS: Final = {
    "key_holder": ("customer", "nobody", "provider", "third-party"),
    "tenancy": ("dedicated", "shared"),
}
PROVIDER_JURISDICTION_FACTS: Final = ("nationality", "parent_nationality")
PROVIDER_TEXT_FACTS: Final = ("certifications", "legal_entity", "subprocessors")

DEPLOYMENT_TYPES: Final = (
    "DataZoneBatch",
    "DataZoneProvisionedManaged",
    "DataZoneStandard",
    "DeveloperTier",
    "GlobalBatch",
    "GlobalProvisionedManaged",
    "GlobalStandard",
    "ProvisionedManaged",
    "Standard",
    "engine",
    "openai-compatible",
)

# Acts that a rule may demand approval for: each is held to it where it is done.
APPROVABLE_ACTS: Final = (
    "clock.settle",
    "content.forget",
    "exemption.grant",
    "keys.forget",
    "person.enrol",
    "stop.lift",
)

# RFC 7518 section 3.1 and RFC 8037, asymmetric only: whoever can check a token must not be able to make one.
TOKEN_ALGORITHMS: Final = (
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "PS256",
    "PS384",
    "PS512",
    "RS256",
    "RS384",
    "RS512",
)


class Grade(IntEnum):
    """How well a fact is supported."""

    UNKNOWN = 0
    DECLARED = 1
    CONTRACTUAL = 2
    OBSERVED = 3
    ATTESTED = 4


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A claim with its evidence. `value` is never empty: nobody knows is `("unknown",)` at grade UNKNOWN.

    For jurisdictions, "may be anywhere" is every enumerated jurisdiction plus `anywhere`, so that
    `[JP].containsAll(fact)` can't pass on an empty or vague set.
    Times are microseconds since the Unix epoch, UTC; `expires` None means it doesn't end by itself.
    """

    value: tuple[str, ...]
    grade: Grade
    source: str = ""
    observed_at: int | None = None
    expires: int | None = None


class ObservedFact(Fact, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A fact as probes have left it (`catalog.observations`): raised until `expires`, or lowered without an end.

    `otherwise` holds from `expires` on, by its own `expires` in turn: the fact as it is declared.
    """

    method: str
    lowered: bool = False  # a probe contradicts what is declared
    otherwise: Fact | None = None


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one method of probing found at one deployment, once.

    `values`: what was read of which fact. `contradicts`: what is declared can't be so (see `catalog.evidence`, which
    says for which facts that counts). `at` and `until` in µs UTC: a reading raises nothing from `until` on. `about`:
    digest of what was declared then; it raises nothing else, but goes on lowering until there is a new one.
    `evidence`: ids, networks, digests and whole numbers, as they stand in the ledger: no content and no names (G6).
    """

    deployment: str
    method: str
    about: str
    at: int
    until: int
    values: dict[str, tuple[str, ...]] = {}
    contradicts: bool = False
    evidence: dict[str, str | int | tuple[str, ...]] = {}


class CredentialReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a secret is, never the secret: `kind` is "file" (path relative to the data directory) or "env"."""

    kind: str
    name: str


class BearerSignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="bearer"):
    """`Authorization: Bearer SECRET` (RFC 6750 section 2.1)."""

    secret: CredentialReference


class ApiKeySignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="api-key"):
    """The secret alone in a header of its own."""

    secret: CredentialReference
    header: str = "api-key"


class BasicSignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="basic"):
    """`Authorization: Basic …` (RFC 7617); `user` holds no colon."""

    user: str
    password: CredentialReference


class EntraSignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="entra"):
    """A token of Microsoft Entra ID by client credentials (RFC 6749 section 4.4): either `secret`, or a certificate
    that signs an assertion (RFC 7523), `certificate_file` and `key_file` (PEM) together.

    `authority` is a base URL without a trailing slash. With `ca_file` no other root counts for it.
    """

    tenant: str
    client_id: str
    scope: str
    authority: str
    secret: CredentialReference | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    algorithm: str = "PS256"  # or "RS256"
    ca_file: str | None = None


class ManagedIdentitySignIn(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="managed-identity"
):
    """A token from the instance metadata service of the machine; `client_id` names a user-assigned identity."""

    resource: str
    url: str
    client_id: str | None = None


SignIn = BearerSignIn | ApiKeySignIn | BasicSignIn | EntraSignIn | ManagedIdentitySignIn


class EgressProxy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The proxy through which a deployment is reached by HTTP CONNECT: `url` is http(s)://host[:port].

    With `ca_file` no other root counts for the proxy itself (https only). `user` and `password` stand together.
    """

    url: str
    ca_file: str | None = None
    user: str | None = None
    password: CredentialReference | None = None


class Management(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a provider's management API tells what a deployment is; `kind` is "azure" (Azure Resource Manager).

    `resource` is the account's resource id (`/subscriptions/…/accounts/NAME`), `deployment` its name there. `url` is
    without a trailing slash. With `ca_file` no other root counts.
    """

    kind: str
    resource: str
    deployment: str
    sign_in: SignIn
    url: str
    api_version: str
    ca_file: str | None = None


class DataClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    title: str
    title_ja: str


class Extent(NamedTuple):
    """A box on the globe that holds land of a jurisdiction, in whole degrees, rounded outwards. `east` < `west` where
    it crosses the 180th meridian.
    """

    south: int
    west: int
    north: int
    east: int


class InspectionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which nations' identifiers are looked for, and whether personal names are even where no policy asks.

    `profiles` None: those of the home jurisdictions, as far as they ship.
    """

    profiles: tuple[str, ...] | None = None
    person_names: bool = False


class InspectionRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator's own rule of inspection, as declared in `inspection/NAME.toml`; see `inspection.own`."""

    name: str
    label: str
    pattern: str
    must_match: tuple[str, ...]
    must_not_match: tuple[str, ...]
    check: str = "always"
    context: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    ignore_case: bool = False
    redaction: str = "mark"


class Boundary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The border: home jurisdictions, every jurisdiction that may be named, and the data classes, lowest first.

    `packs` names the policy packs in force, in the order in which their policies are numbered. `extents`: where
    jurisdictions lie that `catalog.places` doesn't know, or knows otherwise. `layers` of policies, the highest first;
    empty: all are of one.
    """

    home: tuple[str, ...]
    jurisdictions: tuple[str, ...]  # ISO 3166-1 alpha-2, without `anywhere` and `unknown`
    classes: tuple[DataClass, ...]
    default_class: str
    default_residency: tuple[str, ...]
    packs: tuple[str, ...] = ()
    extents: dict[str, tuple[Extent, ...]] = {}
    inspection: InspectionSettings = InspectionSettings()
    layers: tuple[str, ...] = ()


class RequiredClaim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A claim that a token must hold with one of `values`."""

    claim: str
    values: tuple[str | bool, ...]


class RoleMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one value of the roles claim gives."""

    value: str
    roles: tuple[str, ...]


class Issuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An issuer of tokens (JWT) whose subjects may call as this organisation. See docs/callers.md.

    Its keys come from `jwks_file` (path relative to the data directory), else from `jwks_url`, else from where the
    issuer's discovery document says. A `ca_file` is exclusive. `…_claim` is a path into the claims, outermost name
    first. `data_class` and `residency` are constants, taken where the claim is absent or not named.
    """

    issuer: str
    audience: tuple[str, ...]
    algorithms: tuple[str, ...]
    jwks_file: str | None = None
    jwks_url: str | None = None
    ca_file: str | None = None
    refresh_seconds: int = 300
    clock_skew_seconds: int = 60
    subject_claim: tuple[str, ...] = ("sub",)
    roles: tuple[str, ...] = ()
    roles_claim: tuple[str, ...] | None = None
    roles_map: tuple[RoleMapping, ...] = ()
    require: tuple[RequiredClaim, ...] = ()
    data_class: str | None = None
    data_class_claim: tuple[str, ...] | None = None
    residency: tuple[str, ...] | None = None
    residency_claim: tuple[str, ...] | None = None


class ClientCertificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Client certificates that may call as this organisation; the gateway's TLS has verified them before.

    Exactly one of `sha256` (hex, of the DER), `dns`, `uri` (patterns of a subject alternative name) and `subject`
    (attribute and pattern, all of which must match) is set. A pattern holds at most one `*`. `revoked` are SHA-256
    of certificates that match and may not call.
    """

    roles: tuple[str, ...]
    sha256: str | None = None
    dns: str | None = None
    uri: str | None = None
    subject: tuple[tuple[str, str], ...] = ()
    revoked: tuple[str, ...] = ()
    data_class: str | None = None
    residency: tuple[str, ...] | None = None


class Organisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`mode`: MODE_ENFORCE, or MODE_MONITOR until the instant `monitor_until` (µs UTC, exclusive): what policy denies
    is then recorded as denied and sent all the same (`policy.monitor` says with which exceptions).
    """

    name: str
    title: str
    default_class: str | None = None
    default_residency: tuple[str, ...] | None = None
    issuers: tuple[Issuer, ...] = ()
    certificates: tuple[ClientCertificate, ...] = ()
    mode: str = MODE_ENFORCE
    monitor_until: int | None = None


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`latitude` and `longitude` (north and east positive) are in millionths of a degree; None: not declared."""

    name: str
    title: str
    jurisdiction: str
    latitude: int | None = None
    longitude: int | None = None


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`facts` keys: legal_entity, nationality, parent_nationality, certifications, subprocessors."""

    name: str
    title: str
    facts: dict[str, Fact]


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    title: str


class UpstreamTls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """TLS towards a deployment. A `ca_file` is exclusive: no other root counts. Paths are relative to the data
    directory. `pins`: SHA-256 (hex) of the public keys (SubjectPublicKeyInfo), one of which the chain must hold.
    """

    ca_file: str | None = None
    client_certificate_file: str | None = None
    client_key_file: str | None = None
    server_name: str | None = None
    pins: tuple[str, ...] = ()


class Deployment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model as one provider runs it.

    `facts` keys (all present, unknown where nothing is declared): processing, storage, abuse_review, telemetry,
    control_plane, support_staff, identity_provider, policy_authority, network, tenancy, key_holder.
    `networks` are CIDR strings that the endpoint's addresses must lie in; empty means not restricted (and is empty
    with an `egress_proxy`, which resolves the name itself). At most one of `credential`, which is shown as the dialect
    usually does, and `sign_in` is set.
    `dialect` is "openai" (base URL ends where `/chat/completions` is appended) or "azure" (a resource's endpoint, to
    which `/openai/deployments/{upstream_model}/…?api-version={api_version}` is appended).
    """

    name: str
    model: str
    provider: str
    url: str
    dialect: str
    deployment_type: str
    facts: dict[str, Fact]
    upstream_model: str
    site: str | None = None
    api_version: str | None = None  # of the dialect "azure" only
    credential: CredentialReference | None = None
    networks: tuple[str, ...] = ()
    tls: UpstreamTls = UpstreamTls()
    connect_timeout_ms: int = 5_000
    first_byte_timeout_ms: int = 120_000
    idle_timeout_ms: int = 60_000
    stores_by_default: bool = False  # it keeps chat completions unless it is told `store: false`
    total_timeout_ms: int = 3_600_000
    sign_in: SignIn | None = None
    egress_proxy: EgressProxy | None = None
    management: Management | None = None


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a million tokens, in millionths of the unit of `currency` (ISO 4217). Stands in no snapshot: see
    `catalog.prices`.
    """

    currency: str
    prompt: int
    completion: int


class Witness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is asked to cosign our checkpoints (C2SP tlog-witness). `key` is its vkey; `url` is where `/add-checkpoint`
    is appended, None: asked by files only. A `ca_file` (relative to the data directory) is exclusive.
    """

    name: str
    title: str
    key: str
    url: str | None = None
    ca_file: str | None = None


class LogOfOthers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A log whose checkpoints we cosign. `keys` are the vkeys that may sign for `origin`."""

    name: str
    title: str
    origin: str
    keys: tuple[str, ...]


class ApprovalRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who must approve an act before it is done: `needed` of `approvers` (persons' ids), whoever asks not counted.

    An approval may be valid for at most `valid_hours`.
    """

    act: str
    approvers: tuple[str, ...]
    needed: int
    valid_hours: int = 24


class DeclaredStatement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What policies must keep, as `sekisho prove` takes it (`text`); declarations of which one fails are refused."""

    id: str
    title: str
    title_ja: str
    text: str


class Exemption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Until `until` (µs UTC, exclusive) the forbids `policies` (by `@id`) don't count for the requests that it names.

    A request is one of them if it comes from `organisation`, with one of `roles` (none named: with any), its class is
    one of `classes`, and the body that would leave holds no label beside `labels`. It may go to `deployments`, and to
    those of `models`. `sha256` is of everything declared, reasons included: what an approval is for.
    """

    name: str
    sha256: str
    organisation: str
    policies: tuple[str, ...]
    classes: tuple[str, ...]
    until: int
    why: str
    compensating_control: str
    roles: tuple[str, ...] = ()
    deployments: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All declarations, checked, each tuple sorted by name, `statements` as they stand."""

    boundary: Boundary
    organisations: tuple[Organisation, ...]
    sites: tuple[Site, ...]
    providers: tuple[Provider, ...]
    models: tuple[Model, ...]
    deployments: tuple[Deployment, ...]
    witnesses: tuple[Witness, ...] = ()
    logs: tuple[LogOfOthers, ...] = ()
    approvals: tuple[ApprovalRule, ...] = ()
    statements: tuple[DeclaredStatement, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    inspection_rules: tuple[InspectionRule, ...] = ()


class PolicyText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Cedar source as declared: its file's name relative to the declarations (or pack) and its text."""

    file: str
    text: str


class Mistake(msgspec.Struct, frozen=True, order=True):
    """One thing wrong in the declarations: where, what, and what would be right."""

    file: str
    key: str
    problem: str
    remedy: str


class ServerKind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How servers of a kind are found on loopback.

    They listen on one of `ports`; `GET path` (not under /v1) answers a JSON object that has `key`, or /v1/models says
    `owned_by`. A kind without either is what answers /v1/models and is of no other.
    """

    ports: tuple[int, ...]
    path: str = ""
    key: str = ""
    owned_by: str = ""
