"""What a policy looks at."""

import pytest

from sekisho.policy.interfaces import PolicyReads
from sekisho.policy.packs import load_pack
from sekisho.policy.reads import policy_reads
from sekisho.policy.source import split_policies


@pytest.mark.parametrize(
    ("conditions", "deployment", "of_request"),
    [
        ("", (), ()),
        ("when { context.protected }", (), ("protected",)),
        ('when { resource["storage_grade"] > 2 }', ("storage_grade",), ()),
        ("when { resource has storage && resource.storage.isEmpty() }", ("storage",), ()),
        (
            "unless { context.residency.containsAll(resource.processing) } when { context.staleness.policy_days < 3 }",
            ("processing",),
            ("residency", "staleness"),
        ),
        (
            'when { if context.protected then [resource.site].contains(Site::"x") else false }',
            ("site",),
            ("protected",),
        ),
        ("when { {a: resource.tenancy}.a == principal.organisation }", ("tenancy",), ()),
    ],
)
def test_the_attributes_it_names(conditions, deployment, of_request):
    assert policy_reads(f"forbid (principal, action, resource) {conditions};") == PolicyReads(deployment, of_request)


def test_every_policy_of_the_pack_can_be_read():
    read = {
        reads
        for source in load_pack("jp-residency").sources
        for policy in split_policies(source.text)
        if (reads := policy_reads(policy.text))
    }
    assert PolicyReads(("processing",), ("home", "labels")) in read


def test_what_is_not_cedar_is_refused():
    with pytest.raises(ValueError):
        policy_reads("forbid")
