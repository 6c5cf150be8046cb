"""Catalogues, inputs and an inspector for tests of catalogue, policy and snapshot."""

from sekisho.catalog.interfaces import (
    JURISDICTION_FACTS,
    PROVIDER_JURISDICTION_FACTS,
    PROVIDER_TEXT_FACTS,
    WORD_FACTS,
    Boundary,
    Catalogue,
    DataClass,
    Deployment,
    Fact,
    Grade,
    Model,
    Organisation,
    Provider,
    Site,
)
from sekisho.inspection.interfaces import BodyInspection, BodyRedaction
from sekisho.policy.interfaces import DecisionInput, PrincipalInput

LABELS = (
    *("egress.tool", "egress.url", "jp.my_number", "opaque"),
    *("secret.api_key", "secret.connection_string", "secret.private_key"),
)
CLASSES = ("public", "internal", "confidential", "restricted")
DIGEST = "ab" * 32
UNKNOWN_FACT = Fact(("unknown",), Grade.UNKNOWN)
JURISDICTIONS = ("JP", "SG", "US")
ANYWHERE = ("JP", "SG", "US", "anywhere")


def declared(*value, expires=None):
    return Fact(value, Grade.DECLARED, expires=expires)


def deployment(name="tokyo", model="m", **facts):
    every = dict.fromkeys((*JURISDICTION_FACTS, *WORD_FACTS), UNKNOWN_FACT) | facts
    return Deployment(
        name=name,
        model=model,
        provider="p",
        url="https://a.example/v1",
        dialect="openai",
        deployment_type="openai-compatible",
        facts=every,
        upstream_model=model,
        site="home",
    )


def catalogue(*deployments, classes=CLASSES, default_class="internal", packs=("jp-residency",)):
    facts = dict.fromkeys((*PROVIDER_JURISDICTION_FACTS, *PROVIDER_TEXT_FACTS), UNKNOWN_FACT)
    return Catalogue(
        boundary=Boundary(
            home=("JP",),
            jurisdictions=JURISDICTIONS,
            classes=tuple(DataClass(name, name, name) for name in classes),
            default_class=default_class,
            default_residency=("JP",),
            packs=packs,
        ),
        organisations=(Organisation("default", "Default"), Organisation("other", "Other")),
        sites=(Site("home", "Home", "JP"),),
        providers=(Provider("p", "P", facts),),
        models=(Model("m", "M"), Model("n", "N")),
        deployments=tuple(sorted(deployments, key=lambda item: item.name)),
    )


def decision_input(**changes):
    value = DecisionInput(
        v=1,
        snapshot=DIGEST,
        epoch_from=0,
        model="m",
        principal=PrincipalInput("key-1", "default", ("caller",)),
        data_class="internal",
        residency=("JP",),
        labels_raw=(),
        labels_redacted=(),
        redactable=True,
        staleness=(),
    )
    return value._replace(**changes)


class PlainInspector:
    """An inspector that finds nothing; its rules are whatever bytes it was made from."""

    large_bytes = 256 * 1024

    def __init__(self, rules):
        self.rules_digest = rules.hex()

    def labels(self):
        return LABELS

    def inspect(self, body):
        return BodyInspection((), True)

    def redact(self, body):
        return BodyRedaction(body, ())
