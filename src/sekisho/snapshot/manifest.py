"""The manifest: which parts make a snapshot. Pure.

Canonical JSON: `{"format":1,"parts":[{"layer","name","sha256","size"}…],"software_min":"0.1.0"}`, parts sorted by
(layer, name), no time and no path in it, so that the same declarations give the same snapshot everywhere.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sekisho.kernel import canonical
from sekisho.kernel.errors import CanonicalError
from sekisho.snapshot.errors import SnapshotDamaged, SnapshotTooNew

FORMAT: Final = 1
SOFTWARE_MIN: Final = "0.1.0"  # the least version that reads the parts as they are written here
LAYERS: Final = ("authority", "site")
PARTS_MAX: Final = 64
PART_BYTES_MAX: Final = 512 * 1024 * 1024  # bounds what a foreign manifest can make us read

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_VERSION: Final = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})", re.ASCII)
_PART_KEYS: Final = frozenset({"layer", "name", "sha256", "size"})


@dataclass(frozen=True, slots=True, order=True)
class Part:
    layer: str
    name: str
    sha256: str
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    parts: tuple[Part, ...]  # sorted by (layer, name)
    format: int = FORMAT
    software_min: str = SOFTWARE_MIN

    def part(self, name: str, layer: str = "authority") -> Part:
        """The part of that name; raises SnapshotDamaged if there is none."""
        for part in self.parts:
            if part.name == name and part.layer == layer:
                return part
        raise SnapshotDamaged(f"the snapshot has no part {layer}/{name}", remedy="Build or import it again")


def is_digest(text: str) -> bool:
    """Whether it is a SHA-256 in lower-case hex, as snapshots and parts are named by."""
    return _DIGEST.fullmatch(text) is not None


def manifest_of(parts: Mapping[tuple[str, str], bytes]) -> Manifest:
    """The manifest of parts given as (layer, name) → bytes."""
    return Manifest(
        tuple(
            Part(layer, name, hashlib.sha256(data).hexdigest(), len(data))
            for (layer, name), data in sorted(parts.items())
        )
    )


def encode(manifest: Manifest) -> bytes:
    """The canonical bytes, whose SHA-256 names the snapshot."""
    parts = [
        {"layer": part.layer, "name": part.name, "sha256": part.sha256, "size": part.size} for part in manifest.parts
    ]
    return canonical.encode({"format": manifest.format, "parts": parts, "software_min": manifest.software_min})


def decode(data: bytes, software: str) -> Manifest:
    """Read a manifest strictly, for software of that version.

    Raises SnapshotTooNew for a newer format or a higher `software_min` (checked first: what a newer software wrote
    need not look as we expect), and SnapshotDamaged for anything else that is off.
    """
    try:
        value = canonical.decode(data)
    except CanonicalError as error:
        raise SnapshotDamaged(f"the manifest is not canonical: {error.message}") from None
    if not isinstance(value, dict) or type(value.get("format")) is not int:
        raise SnapshotDamaged("the manifest states no format")
    needed = value.get("software_min")
    if value["format"] > FORMAT or (isinstance(needed, str) and _version(needed) > _version(software)):
        raise SnapshotTooNew(
            f"the snapshot has format {value['format']} and needs Sekisho {needed!s:.32}; this is {software}",
            remedy="Update this installation first; the snapshot in force stays in force",
        )
    if value.keys() != {"format", "parts", "software_min"} or value["format"] != FORMAT or not isinstance(needed, str):
        raise SnapshotDamaged("the manifest holds unknown or missing keys")
    return Manifest(_parts(value["parts"]), value["format"], needed)


def _parts(rows: Any) -> tuple[Part, ...]:
    if not isinstance(rows, list) or not 0 < len(rows) <= PARTS_MAX:
        raise SnapshotDamaged("the manifest's parts are not a bounded list")
    parts = tuple(_part(row) for row in rows)
    names = [(part.layer, part.name) for part in parts]
    if names != sorted(set(names)):
        raise SnapshotDamaged("the manifest's parts are not sorted, or one stands there twice")
    return parts


def _part(row: Any) -> Part:
    if not isinstance(row, dict) or row.keys() != _PART_KEYS:
        raise SnapshotDamaged("a part with unknown or missing keys")
    layer, name, digest, size = row["layer"], row["name"], row["sha256"], row["size"]
    if layer not in LAYERS or not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SnapshotDamaged("a part whose layer or name is not one")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise SnapshotDamaged("a part whose digest is not a SHA-256 in hex")
    if type(size) is not int or not 0 <= size <= PART_BYTES_MAX:
        raise SnapshotDamaged("a part whose size is out of range")
    return Part(layer, name, digest, size)


def _version(text: str) -> tuple[int, int, int]:
    found = _VERSION.match(text)
    if found is None:
        raise SnapshotDamaged(f"{text[:32]!r} is not a version")
    return int(found[1]), int(found[2]), int(found[3])
