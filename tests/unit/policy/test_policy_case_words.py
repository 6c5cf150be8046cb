"""A case in words: what is told of it, and nothing of what may be anything."""

import pytest

from sekisho.policy.case_words import case_words
from sekisho.policy.cases import OTHER
from sekisho.policy.expressions import CLASS, CLASS_RANK, LABELS, ORGANISATION, PRINCIPAL_IN, RESIDENCY

PLACES = frozenset(f"{letter}{other}" for letter in "ABJ" for other in "PQRSTU")


def entities(kind, *names):
    return frozenset(f"{kind}::{name}" for name in names)


@pytest.mark.parametrize(
    ("values", "action", "words"),
    [
        ({}, "sendRaw", "sending data, as it is, to a deployment"),
        ({CLASS: "DataClass::secret", CLASS_RANK: 2}, "sendRedacted",
         "sending data of class secret, masked, to a deployment"),
        ({LABELS: entities("Label", "b", "a")}, "retain", "keeping data with labels a, b, sent to a deployment"),
        ({LABELS: frozenset()}, "retain", "keeping data without labels, sent to a deployment"),
        ({RESIDENCY: entities("Jurisdiction", "JP", "AP")}, "sendRaw",
         "sending data that may go to AP, JP, as it is, to a deployment"),
        ({RESIDENCY: entities("Jurisdiction", *PLACES, "anywhere")}, "sendRaw",
         "sending data that may go to anywhere, as it is, to a deployment"),
        ({RESIDENCY: entities("Jurisdiction", *(PLACES - {"JP"}))}, "sendRaw",
         "sending data that may go to everywhere but JP, as it is, to a deployment"),
        ({ORGANISATION: f"Organisation::{OTHER}", PRINCIPAL_IN: entities("Role", "x")}, "sendRaw",
         "sending data, as it is, from some organisation (role x) to a deployment"),
        ({"resource.processing": entities("Jurisdiction", "AP"), "resource.processing_grade": 1,
          "resource.tenancy": "Tenancy::shared", "resource.model": f"Model::{OTHER}"}, "sendRaw",
         "sending data, as it is, to a deployment with processing AP, processing declared, tenancy shared"),
        ({"resource": "Deployment::tokyo"}, "sendRaw", "sending data, as it is, to tokyo"),
        ({"context.staleness.policy_days": 31}, "sendRaw",
         "sending data, as it is, with policy 31 days old to a deployment"),
    ],
)  # fmt: skip
def test_a_case_is_told(values, action, words):
    assert case_words(values, action, frozenset(values) | {"context.protected"}, PLACES) == words


def test_a_value_is_told_by_its_label_and_what_nobody_asks_for_is_not():
    values = {LABELS: frozenset(), CLASS: "DataClass::secret"}
    said = case_words(values, "restore", frozenset({LABELS}), PLACES, "Label::email")
    assert said == "putting back values of email without labels into the answer to a deployment"
