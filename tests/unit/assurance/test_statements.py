"""Statements: what each term means, and that a wrong word is pointed at with what would be right."""

import pytest

from sekisho.assurance.statements import StatementError, read_statement, vocabulary
from sekisho.policy.expressions import Const, reads
from sekisho.policy.folding import fold
from sekisho.policy.schema import enumerations, schema_text
from support_decide import LABELS, catalogue, declared, deployment

TOKYO = deployment("tokyo", processing=declared("JP"))
CATALOGUE = catalogue(TOKYO)
KNOWN = vocabulary(CATALOGUE, enumerations(schema_text(CATALOGUE, LABELS)))
CASE = {
    "action": "Action::sendRaw",
    "principal": "Principal::key-1",
    "principal.in": frozenset(("Principal::key-1", "Organisation::default", "Role::caller")),
    "resource": "Deployment::tokyo",
    "resource.deployment_type": "DeploymentType::openai-compatible",
    "resource.key_holder": "KeyHolder::unknown",
    "resource.model": "Model::m",
    "resource.processing": frozenset(("Jurisdiction::JP", "Jurisdiction::US")),
    "resource.processing_grade": 1,
    "resource.provider": "Provider::p",
    "resource.provider_certifications": frozenset(("ISMAP", "ISO/IEC 27001")),
    "resource.provider_certifications_grade": 2,
    "resource.site": "Site::home",
    "resource.storage": frozenset(("Jurisdiction::unknown",)),
    "resource.tenancy": "Tenancy::shared",
    "context.class": "DataClass::confidential",
    "context.class_rank": 2,
    "context.labels": frozenset(("Label::opaque",)),
    "context.residency": frozenset(("Jurisdiction::JP",)),
    "context.staleness.policy_days": 31,
}


@pytest.mark.parametrize(
    ("statement", "is_about_it"),
    [
        ("no data", True),
        ("no data and raw", True),
        ("no class:confidential", True),
        ("no class:internal,confidential", True),
        ("no class:restricted", False),
        ("no class:internal+", True),
        ("no class:restricted+", False),
        ("no not class:restricted", True),
        ("no label:opaque and raw", True),
        ("no label:jp.my_number", False),
        ("no redacted", False),
        ("no residency within JP,US", True),
        ("no residency outside JP", False),
        ("no policy older than 30", True),
        ("no policy older than 31", False),
        ("no data from organisation:default and role:caller", True),
        ("no data from role:auditor,caller", True),
        ("no data from not role:caller", False),
        ('no data from principal:"key-1"', True),
        ("no data to deployment:tokyo and model:m and provider:p and site:home and type:openai-compatible", True),
        ("no data to model:n", False),
        ("no data to processing outside JP", True),
        ("no data to processing outside home", True),
        ("no data to processing outside JP,US", False),
        ("no data to processing outside anywhere", False),
        ("no data to storage outside anywhere", True),
        ("no data to processing within US", False),
        ("no data to processing including US,SG", True),
        ("no data to processing without SG", True),
        ("no data to processing below contractual", True),
        ("no data to processing below declared", False),
        ("no data to processing unknown", False),
        ("no data to storage unknown and key_holder unknown", True),
        ("no data to tenancy is shared", True),
        ("no data to tenancy is dedicated,unknown", False),
        ('no data to provider_certifications including "ISO/IEC 27001"', True),
        ("no data to provider_certifications without ISMAP", False),
        ("no data to provider_certifications unknown", False),
        ("no class:confidential from role:caller to processing outside JP", True),
        ("no class:confidential from role:auditor to processing outside JP", False),
    ],
)
def test_what_a_statement_is_about(statement, is_about_it):
    against = read_statement(statement, KNOWN).against
    assert reads(against) <= CASE.keys()
    assert fold(against, CASE) == Const(is_about_it, "Bool")


@pytest.mark.parametrize(
    ("statement", "word", "remedy"),
    [
        ("", "", "Complete the statement"),
        ("all data", "all", "no class:confidential"),
        ("no", "", "Complete the statement"),
        ("no class:confidental", "confidental", "confidential, internal"),
        ("no class:public,confidental+", "confidental", "confidential, internal"),
        ("no class:", "class:", "Write class:NAME"),
        ("no clas:public", "clas:public", "Say `data`"),
        ("no label:opaque,jp.mynumber", "jp.mynumber", "jp.my_number"),
        ("no data form role:caller", "form", "`and`, `from` or `to`"),
        ("no data from caller", "caller", "role:NAME"),
        ("no data from organisation:defalt", "defalt", "default, other"),
        ("no from role:caller", "from", "Complete"),
        ("no data to", "", "Complete"),
        ("no data to tokyo", "tokyo", "deployment:"),
        ("no data to deployment:tokio", "tokio", "tokyo"),
        ("no data to processing JP", "JP", "within, outside"),
        ("no data to processing outside", "", "Complete"),
        ("no data to processing outside JPN", "JPN", "JP"),
        ("no data to processing below good", "good", "observed"),
        ("no data to tenancy within shared", "within", "is, unknown, below"),
        ("no data to tenancy is sharde", "sharde", "shared"),
        ("no policy older then 3", "then", "than"),
        ("no policy older than x", "x", "whole days"),
        ("no data and", "", "Complete"),
        ("no data to processing outside JP and and", "and", "Say deployment:"),
        ("no class:public to type:Standrad", "Standrad", "Standard"),
        ('no class:public from role:"a b', '"', "in pairs"),
        ("no data\nto", None, "a line of"),
        ("no " + "x" * 2_000, None, "at most"),
    ],
)
def test_a_wrong_word_is_pointed_at(statement, word, remedy):
    with pytest.raises(StatementError) as raised:
        read_statement(statement, KNOWN)
    error = raised.value
    assert remedy in error.remedy
    if word is not None:
        assert statement[error.start : error.start + error.length] == word
        lines = str(error).splitlines()
        assert lines[1].strip() == statement
        assert lines[2].index("^") == lines[1].index(statement) + error.start if statement else True


def test_the_pointer_stands_under_wide_characters():
    with pytest.raises(StatementError) as raised:
        read_statement("no data from role:監査 to 東京", KNOWN)
    lines = str(raised.value).splitlines()
    assert lines[2] == " " * (2 + len("no data from role:") + 4 + len(" to ")) + "^^^^"
