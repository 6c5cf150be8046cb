"""Building a snapshot: from checked declarations to the bytes of its parts and of its manifest. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from sekisho.catalog.interfaces import Catalogue, PolicyText
from sekisho.kernel import canonical
from sekisho.policy.interfaces import PolicyCompiler
from sekisho.snapshot.manifest import encode, manifest_of

CATALOGUE: Final = "catalogue.json"
ENTITIES: Final = "entities.json"
INSPECTION: Final = "inspection.json"
POLICIES: Final = "policies.json"
SCHEMA: Final = "schema.cedarschema"


@dataclass(frozen=True, slots=True)
class BuiltSnapshot:
    """A snapshot's bytes, not stored yet. `parts` maps (layer, name) to bytes."""

    manifest: bytes
    parts: Mapping[tuple[str, str], bytes]

    @property
    def digest(self) -> str:
        """What names the snapshot: the hex SHA-256 of its manifest."""
        return hashlib.sha256(self.manifest).hexdigest()


def build_snapshot(
    catalogue: Catalogue,
    policies: tuple[PolicyText, ...],
    *,
    inspection_rules: bytes,
    labels: tuple[str, ...],
    compile_policies: PolicyCompiler,
) -> BuiltSnapshot:
    """The snapshot of these declarations: the same input gives the same bytes.

    `inspection_rules` is the canonical rule set, `labels` what it can find. Raises PolicyMistakes (from
    `compile_policies`) if the policies don't hold.
    """
    compiled = compile_policies(catalogue, policies, labels)
    parts = {
        ("authority", CATALOGUE): canonical.encode(msgspec.to_builtins(catalogue)),
        ("authority", ENTITIES): compiled.entities,
        ("authority", INSPECTION): inspection_rules,
        ("authority", POLICIES): compiled.policies,
        ("authority", SCHEMA): compiled.schema,
    }
    return BuiltSnapshot(encode(manifest_of(parts)), parts)
