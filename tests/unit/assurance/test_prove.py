"""Proving statements: exact against brute force over small worlds, and what is said of what can't be enumerated."""

import itertools
import random

import msgspec
import pytest

from random_policies import Policies, deployments
from sekisho.assurance.prove import FAILS, HOLDS, TOO_MANY, UNDECIDED, Prover
from sekisho.assurance.statements import read_statement, vocabulary
from sekisho.catalog.interfaces import Organisation, PolicyText
from sekisho.policy.check import compile_policies
from sekisho.policy.engine import CedarDecider
from sekisho.policy.interfaces import SEND_RAW, SEND_REDACTED, STALENESS_ROLES, PrincipalInput
from sekisho.policy.search import Budget
from support_decide import ANYWHERE, CLASSES, DIGEST, LABELS, catalogue, decision_input, declared, deployment

SMALL_LABELS = ("egress.url", "jp.my_number", "opaque")
SMALL_ROLES = ("caller", "intern")
TOKYO = deployment("tokyo", processing=declared("JP"), storage=declared("JP"))
WORLD = deployment("world", processing=declared(*ANYWHERE), storage=declared("JP"))


def organisations(catalogued):
    """`default` may go anywhere and asks for nothing; `other` is confined to two places and to confidential data."""
    free = Organisation("default", "D", default_class="public", default_residency=ANYWHERE)
    confined = Organisation("other", "O", default_class="confidential", default_residency=("JP", "US"))
    return msgspec.structs.replace(catalogued, organisations=(free, confined))


def prover(catalogued, *texts, now_us=0):
    parts = compile_policies(catalogued, tuple(texts), LABELS)
    return Prover(parts, catalogued, snapshot=DIGEST, now_us=now_us), parts


def prove(made, text, catalogued, budget=None):
    return made.prove(read_statement(text, vocabulary(catalogued, made.world.names)), budget)


# Brute force


def every_request():
    """(DecisionInput, form, labels as they leave): everything that a gateway can let come, of the small world."""
    days = (0, 1, 2, 3)
    places = [tuple(sorted(some)) for count in (1, 2, 3) for some in itertools.combinations(("JP", "SG", "US"), count)]
    every = (*SMALL_LABELS, "secret.private_key")  # the last stands for those that no policy names
    holds = [some for count in range(5) for some in itertools.combinations(every, count)]
    roles = [(), ("caller",), ("intern",), ("caller", "intern")]
    ranks = {"default": 0, "other": 2}
    for organisation, lowest in ranks.items():
        within = [one for one in places if organisation == "default" or set(one) <= {"JP", "US"}]
        within += [ANYWHERE] if organisation == "default" else []
        for data_class, residency, held, role, key, age in itertools.product(
            CLASSES[lowest:], within, holds, roles, ("key-1", "someone"), days
        ):
            asked = decision_input(
                principal=PrincipalInput(key, organisation, role),
                data_class=data_class,
                residency=residency,
                staleness=tuple((one, age if one == "policy" else 0) for one in STALENESS_ROLES),
            )
            yield asked._replace(labels_raw=held, labels_redacted=held), SEND_RAW, held
            if set(held) <= {"jp.my_number", "secret.private_key"}:
                raw = tuple(sorted((*held, "secret.api_key")))
                yield asked._replace(labels_raw=raw, labels_redacted=held), SEND_REDACTED, held


REQUESTS = list(every_request())
STATEMENTS = {
    "no class:confidential+ to processing outside JP": lambda v, form, held, facts: (
        v.data_class in CLASSES[2:] and not facts["processing"] <= {"JP"}
    ),
    "no label:jp.my_number,opaque from not role:intern": lambda v, form, held, facts: (
        bool({"jp.my_number", "opaque"} & set(held)) and "intern" not in v.principal.roles
    ),
    "no redacted from principal:key-1 to storage unknown": lambda v, form, held, facts: (
        form == SEND_REDACTED and v.principal.id == "key-1" and "unknown" in facts["storage"]
    ),
    "no policy older than 2 and residency within JP to deployment:d0,d1": lambda v, form, held, facts: (
        dict(v.staleness)["policy"] > 2 and set(v.residency) <= {"JP"} and facts["name"] in ("d0", "d1")
    ),
    "no data from organisation:other to tenancy is shared and processing including US": lambda v, form, held, facts: (
        v.principal.organisation == "other" and facts["tenancy"] == {"shared"} and "US" in facts["processing"]
    ),
}


def breaches(decider, items, permitted_by):
    """For each statement, whether any request breaks it; `decider` is asked for every request that there is."""
    facts = {one.name: {key: set(fact.value) for key, fact in one.facts.items()} | {"name": one.name} for one in items}
    found = dict.fromkeys(permitted_by, False)
    for value, form, held in REQUESTS:
        decision = decider.decide_afresh(value)
        for name in decision.permitted_raw if form == SEND_RAW else decision.permitted_redacted:
            for text, is_against in permitted_by.items():
                found[text] = found[text] or is_against(value, form, held, facts[name])
    return found


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 60))])
def test_what_is_proved_is_what_brute_force_finds(seed):
    made = random.Random(seed)
    grammar = Policies(
        made, arithmetic=False, labels=SMALL_LABELS, roles=SMALL_ROLES, longs=("0", "2"),
        ranks=("context.class_rank", "context.staleness.policy_days"),
    )  # fmt: skip
    items = [one for one in deployments(made) if one.model == "m"]
    catalogued = organisations(catalogue(*items, packs=made.choice(((), (), ("jp-residency",)))))
    subject, parts = prover(catalogued, grammar.texts(made.randrange(2, 5)), now_us=2_000)
    decider = CedarDecider(parts, snapshot=DIGEST, epoch_from=2_000)
    current = [one for one in items if one.model == "m"]
    lapsed = {
        one.name: {
            key: msgspec.structs.replace(fact, value=("unknown",)) if fact.expires else fact
            for key, fact in one.facts.items()
        }
        for one in current
    }
    current = [msgspec.structs.replace(one, facts=lapsed[one.name]) for one in current]
    expected = breaches(_At(decider), current, STATEMENTS)
    for text, is_broken in expected.items():
        proof = prove(subject, text, catalogued)
        if proof.outcome == UNDECIDED:
            assert proof.obstacles
        else:
            assert proof.outcome == (FAILS if is_broken else HOLDS), text


class _At:
    """The decider, asked in the epoch that it is of."""

    def __init__(self, decider):
        self._decider = decider

    def decide_afresh(self, value):
        return self._decider.decide_afresh(value._replace(epoch_from=2_000))
