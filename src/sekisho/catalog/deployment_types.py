"""Deployment types: what a provider's own product says about where inference may run.

The types of Azure OpenAI decide it, whatever the resource's region: the Global types process in any Azure region,
the DataZone types anywhere in a zone, the regional types in the resource's region. Data at rest stays in the
resource's geography all the same, which is why `storage` is a fact of its own and is not derived here.
"""

from dataclasses import dataclass
from typing import Final

from sekisho.catalog.interfaces import ANYWHERE
from sekisho.catalog.jurisdictions import EUROPEAN_UNION

GLOBAL_TYPES: Final = ("DeveloperTier", "GlobalBatch", "GlobalProvisionedManaged", "GlobalStandard")
ZONE_TYPES: Final = ("DataZoneBatch", "DataZoneProvisionedManaged", "DataZoneStandard")
REGIONAL_TYPES: Final = ("ProvisionedManaged", "Standard")
OPENAI_COMPATIBLE: Final = "openai-compatible"  # someone's service: nothing follows from its type
ENGINE: Final = "engine"  # run by ourselves at a declared site

# The zones whose extent is published as a list of countries. A zone that is not here can't be used, rather than
# guessed at.
ZONES: Final = {"EU": EUROPEAN_UNION, "US": ("US",)}

# Azure's regions by the names that its management API uses, and the country that each stands in.
REGIONS: Final = {
    "australiacentral": "AU", "australiaeast": "AU", "australiasoutheast": "AU", "austriaeast": "AT",
    "belgiumcentral": "BE", "brazilsouth": "BR", "brazilsoutheast": "BR", "canadacentral": "CA", "canadaeast": "CA",
    "centralindia": "IN", "centralus": "US", "chilecentral": "CL", "eastasia": "HK", "eastus": "US", "eastus2": "US",
    "francecentral": "FR", "francesouth": "FR", "germanynorth": "DE", "germanywestcentral": "DE",
    "indonesiacentral": "ID", "israelcentral": "IL", "italynorth": "IT", "japaneast": "JP", "japanwest": "JP",
    "koreacentral": "KR", "koreasouth": "KR", "malaysiawest": "MY", "mexicocentral": "MX", "newzealandnorth": "NZ",
    "northcentralus": "US", "northeurope": "IE", "norwayeast": "NO", "norwaywest": "NO", "polandcentral": "PL",
    "qatarcentral": "QA", "southafricanorth": "ZA", "southafricawest": "ZA", "southcentralus": "US",
    "southindia": "IN", "southeastasia": "SG", "spaincentral": "ES", "swedencentral": "SE", "switzerlandnorth": "CH",
    "switzerlandwest": "CH", "uaecentral": "AE", "uaenorth": "AE", "uksouth": "GB", "ukwest": "GB",
    "westcentralus": "US", "westeurope": "NL", "westindia": "IN", "westus": "US", "westus2": "US", "westus3": "US",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TypeRule:
    """What a deployment type asks for, and what it implies: `needs` is the key that decides where it processes."""

    needs: str | None  # "zone", "region", "site" or None
    anywhere: bool = False


def rule_of(deployment_type: str) -> TypeRule:
    """The rule of a known type (KeyError for any other)."""
    if deployment_type in GLOBAL_TYPES:
        return TypeRule(needs=None, anywhere=True)
    if deployment_type in ZONE_TYPES:
        return TypeRule(needs="zone")
    if deployment_type in REGIONAL_TYPES:
        return TypeRule(needs="region")
    return {OPENAI_COMPATIBLE: TypeRule(needs=None), ENGINE: TypeRule(needs="site")}[deployment_type]


def implied_processing(deployment_type: str, place: str | None, site_jurisdiction: str | None) -> tuple[str, ...]:
    """Where a deployment of this type may process: `(anywhere,)`, codes, or `()` where the type doesn't say.

    `place` is the declared zone or region, already known to be in our tables.
    """
    rule = rule_of(deployment_type)
    if rule.anywhere:
        return (ANYWHERE,)
    if rule.needs == "zone" and place is not None:
        return ZONES[place]
    if rule.needs == "region" and place is not None:
        return (REGIONS[place],)
    if rule.needs == "site" and site_jurisdiction is not None:
        return (site_jurisdiction,)
    return ()
