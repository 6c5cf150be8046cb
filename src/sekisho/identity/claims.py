"""What a token's claims mean under an issuer's declaration: whether it counts now, and for whom. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from sekisho.catalog.interfaces import ANYWHERE, Issuer
from sekisho.identity.errors import (
    TokenClaimsRefused,
    TokenExpired,
    TokenMalformed,
    TokenNotYetValid,
    TokenWrongAudience,
)

SUBJECT_LENGTH_MAX: Final = 255  # OpenID Connect Core, section 2
VALUES_MAX: Final = 1024  # of one claim that are looked at; Entra sends at most 200 groups
SECONDS_MAX: Final = 2**53  # beyond it a number in JSON is not exact
_SPACE_SEPARATED: Final = (("scope",), ("scp",))  # RFC 8693 section 4.2; Entra's name for it

_ASK_OPERATOR: Final = "Ask the operator of this gateway which claims it expects (docs/callers.md)"


class Vocabulary(NamedTuple):
    """The words of the boundary that claims may use."""

    classes: frozenset[str]
    jurisdictions: frozenset[str]


class Bearer(NamedTuple):
    """For whom a token speaks. `expires` is in seconds since the Unix epoch, skew included."""

    subject: str
    roles: tuple[str, ...]  # sorted, not empty
    data_class: str | None
    residency: tuple[str, ...] | None  # sorted
    expires: float
    certificate_sha256: str | None  # base64url; only who shows that certificate may use the token (RFC 8705)


def audiences(claims: Mapping[str, Any]) -> frozenset[str]:
    """RFC 7519 section 4.1.3: one text or a list of them. Raises TokenMalformed."""
    value = claims.get("aud")
    values = value if isinstance(value, list) else [value]
    if not values or len(values) > VALUES_MAX or not all(isinstance(item, str) for item in values):
        raise TokenMalformed("The token's claim aud is missing or not a text", remedy=_ASK_OPERATOR)
    return frozenset(values)


def choose_issuer(claims: Mapping[str, Any], declared: Iterable[tuple[str, Issuer]]) -> tuple[str, Issuer]:
    """The one (organisation, issuer) of `declared`, all of the token's issuer, whose audience and required claims fit.

    Raises TokenWrongAudience or TokenClaimsRefused.
    """
    audience = audiences(claims)
    heard = [(organisation, issuer) for organisation, issuer in declared if audience.intersection(issuer.audience)]
    if not heard:
        raise TokenWrongAudience(
            "The token was issued for another audience", remedy="Ask its issuer for a token for this gateway"
        )
    fitting = [
        found for found in heard if all(_holds(claims.get(item.claim), item.values) for item in found[1].require)
    ]
    if not fitting:
        raise TokenClaimsRefused("The token lacks a claim that is required here", remedy=_ASK_OPERATOR)
    if len(fitting) > 1:
        raise TokenClaimsRefused("The token fits more than one organisation's declaration", remedy=_ASK_OPERATOR)
    return fitting[0]


def require_time(claims: Mapping[str, Any], issuer: Issuer, now_s: float) -> float:
    """When the token ends, skew included; raises TokenExpired, TokenNotYetValid or TokenMalformed.

    `exp` must be there (RFC 7519 makes it optional; a token without end can't be taken back); `nbf` and `iat` may.
    """
    skew = issuer.clock_skew_seconds
    expires = _seconds(claims, "exp")
    if expires is None:
        raise TokenMalformed("The token has no exp, so it would never end", remedy=_ASK_OPERATOR)
    if now_s >= expires + skew:  # section 4.1.4: "on or after" is over
        raise TokenExpired("The token has expired", remedy="Get a new one from its issuer")
    for name in ("nbf", "iat"):
        begins = _seconds(claims, name)
        if begins is not None and begins > now_s + skew:
            raise TokenNotYetValid(
                f"The token's {name} lies in the future", remedy="Compare the clocks of the issuer and this gateway"
            )
    return expires + skew


def read_claims(claims: Mapping[str, Any], issuer: Issuer, expires: float, vocabulary: Vocabulary) -> Bearer:
    """Subject, roles, class and residency as declared. Raises TokenClaimsRefused or TokenMalformed."""
    subject = _at(claims, issuer.subject_claim)
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_LENGTH_MAX or not subject.isprintable():
        raise TokenClaimsRefused("The token names no subject that can be read", remedy=_ASK_OPERATOR)
    roles = set(issuer.roles)
    if issuer.roles_claim is not None:
        held = set(_values(claims, issuer.roles_claim))
        roles.update(role for mapping in issuer.roles_map if mapping.value in held for role in mapping.roles)
    if not roles:
        raise TokenClaimsRefused("The token gives no role here", remedy="Ask its issuer's administrator for one")
    return Bearer(
        subject=subject,
        roles=tuple(sorted(roles)),
        data_class=_data_class(claims, issuer, vocabulary),
        residency=_residency(claims, issuer, vocabulary),
        expires=expires,
        certificate_sha256=_confirmation(claims),
    )


def _data_class(claims: Mapping[str, Any], issuer: Issuer, vocabulary: Vocabulary) -> str | None:
    if issuer.data_class_claim is None:
        return issuer.data_class
    value = _at(claims, issuer.data_class_claim)
    if value is None and issuer.data_class is not None:
        return issuer.data_class
    if not isinstance(value, str) or value not in vocabulary.classes:
        raise TokenClaimsRefused("The token names no data class of this boundary", remedy=_ASK_OPERATOR)
    return value


def _residency(claims: Mapping[str, Any], issuer: Issuer, vocabulary: Vocabulary) -> tuple[str, ...] | None:
    if issuer.residency_claim is None:
        return issuer.residency
    if _at(claims, issuer.residency_claim) is None and issuer.residency is not None:
        return issuer.residency
    values = set(_values(claims, issuer.residency_claim))
    if not values or not values <= vocabulary.jurisdictions | {ANYWHERE}:
        raise TokenClaimsRefused("The token names no residency of this boundary", remedy=_ASK_OPERATOR)
    return tuple(sorted(values))


def _confirmation(claims: Mapping[str, Any]) -> str | None:
    """RFC 7800: a token with `cnf` belongs to the holder of a key; only a certificate's digest can be checked here."""
    confirmation = claims.get("cnf")
    if confirmation is None:
        return None
    if not isinstance(confirmation, dict) or confirmation.keys() != {"x5t#S256"}:
        raise TokenClaimsRefused(
            "The token is bound to a key in a way that can't be checked here",
            remedy="Ask its issuer for a bearer token, or one bound to a client certificate (RFC 8705)",
        )
    digest = confirmation["x5t#S256"]
    if not isinstance(digest, str):
        raise TokenMalformed("The token's cnf is not a certificate's digest", remedy=_ASK_OPERATOR)
    return digest


def _holds(claim: Any, values: tuple[str | bool, ...]) -> bool:
    """Whether a claim is one of `values`, or a list that holds one. True is not "true", and 1 is neither."""
    held = claim[:VALUES_MAX] if isinstance(claim, list) else [claim]
    return any(type(item) is type(value) and item == value for item in held for value in values)


def _at(claims: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = claims
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _values(claims: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """A claim as texts: a list of them, one, or, for scopes, one that holds several."""
    value = _at(claims, path)
    if value is None:
        return []
    if isinstance(value, str):
        value = value.split(" ") if path in _SPACE_SEPARATED else [value]
    if not isinstance(value, list) or len(value) > VALUES_MAX or not all(isinstance(item, str) for item in value):
        raise TokenClaimsRefused("A claim of the token is not a text or a list of texts", remedy=_ASK_OPERATOR)
    return value


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    """RFC 7519 section 2, NumericDate."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenMalformed(f"The token's {name} is not a time", remedy=_ASK_OPERATOR)
    if not 0 <= value <= SECONDS_MAX:  # infinity and NaN are not either, and an integer may be too large for a float
        raise TokenMalformed(f"The token's {name} is out of range", remedy=_ASK_OPERATOR)
    return value
