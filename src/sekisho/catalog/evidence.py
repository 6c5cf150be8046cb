"""Which method earns which grade for which fact, and which facts it can contradict. docs/facts.md shows this table.

A grade is earned by a method, not by a wish: `catalog.facts` holds declarations to it, `catalog.observations` readings.
What earns nothing can still contradict: light bounds how far away something can be and never says where it is.
"""

from typing import Final, NamedTuple

from sekisho.catalog.interfaces import JURISDICTION_FACTS, WORD_FACTS, Fact, Grade, ObservedFact

PEOPLE: Final = "people"
PROBE: Final = "probe"
NOBODY: Final = "nobody"  # no verifier exists yet

STATEMENT: Final = "statement"
CONTRACT: Final = "contract"
INSPECTION: Final = "inspection"
MANAGEMENT_API: Final = "management-api"
NETWORKS: Final = "networks"
TLS_CHAIN: Final = "tls-chain"
TLS_PIN: Final = "tls-pin"
LIGHT_CONNECT: Final = "light-connect"
LIGHT_ANSWER: Final = "light-answer"
ATTESTATION: Final = "attestation"

EVERY_FACT: Final = (*JURISDICTION_FACTS, *WORD_FACTS)
_NONE: Final[tuple[str, ...]] = ()


class Method(NamedTuple):
    """`earns` this grade for each of `facts` (all of a deployment's and a provider's for what people do), and can show
    that what is declared of each of `contradicts` is not so.
    """

    name: str
    by: str
    earns: Grade
    facts: tuple[str, ...]
    contradicts: tuple[str, ...]


METHODS: Final = (
    Method(STATEMENT, PEOPLE, Grade.DECLARED, EVERY_FACT, _NONE),
    Method(CONTRACT, PEOPLE, Grade.CONTRACTUAL, EVERY_FACT, _NONE),
    Method(INSPECTION, PEOPLE, Grade.OBSERVED, EVERY_FACT, _NONE),
    Method(MANAGEMENT_API, PROBE, Grade.OBSERVED, ("key_holder", "processing"), ("key_holder", "processing")),
    Method(NETWORKS, PROBE, Grade.OBSERVED, ("network",), ("network",)),
    Method(TLS_CHAIN, PROBE, Grade.UNKNOWN, _NONE, _NONE),
    Method(TLS_PIN, PROBE, Grade.UNKNOWN, _NONE, EVERY_FACT),
    Method(LIGHT_CONNECT, PROBE, Grade.UNKNOWN, _NONE, ("processing",)),
    Method(LIGHT_ANSWER, PROBE, Grade.UNKNOWN, _NONE, ("processing",)),
    Method(ATTESTATION, NOBODY, Grade.ATTESTED, EVERY_FACT, _NONE),
)
BY_NAME: Final = {method.name: method for method in METHODS}
HIGHEST_EARNED: Final = max(method.earns for method in METHODS if method.by != NOBODY)


def earned(method: str, fact: str) -> Grade:
    """The grade that a probe's reading of a fact has; UNKNOWN: it proves nothing of it. KeyError: no such method."""
    row = BY_NAME[method]
    return row.earns if fact in row.facts else Grade.UNKNOWN


def is_earned(fact: str, claim: Fact) -> bool:
    """Whether a fact of that name may have the grade that it has, whoever wrote it down."""
    if not isinstance(claim, ObservedFact):
        return claim.grade <= HIGHEST_EARNED
    method = BY_NAME.get(claim.method)
    if method is None or method.by != PROBE:
        return False
    if claim.lowered:
        return claim.grade <= Grade.DECLARED
    declared = Grade.UNKNOWN if claim.otherwise is None else claim.otherwise.grade
    return claim.grade <= max(earned(claim.method, fact), declared) <= HIGHEST_EARNED and claim.expires is not None
