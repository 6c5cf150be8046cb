"""From networks to countries, by the statistics that the regional registries publish. Pure but for `read_directory`.

The format is the registries' "RIR statistics exchange format" and its extended form: lines of fields between bars,
    version|registry|serial|records|startdate|enddate|UTCoffset                    the head
    registry|*|type|*|count|summary                                               passed over
    registry|cc|type|start|value|date|status[|opaque-id[|…]]                       a record
where `value` counts addresses (ipv4, any number) or is a prefix's length (ipv6), and `date`, `enddate` are yyyymmdd.

What it says: in which economy the *holder* of a block is registered. The registries state that it is no authority on
where an address is used, so nothing here tells where a machine stands. Codes that are no country (EU, AP, ZZ) and
blocks that nobody holds are not known.
"""

import datetime
import hashlib
import ipaddress
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.catalog.errors import DelegationsError
from sekisho.catalog.jurisdictions import ISO_3166_1

REGISTRIES: Final = ("afrinic", "apnic", "arin", "iana", "lacnic", "nro", "ripencc")
FILES_MAX: Final = 16  # five registries, and room for the combined file and another day's
FILE_BYTES_MAX: Final = 256 * 1024 * 1024  # ten times what all registries together publish
HELD: Final = ("allocated", "assigned")
V6_PREFIX_MAX: Final = 64  # registries give out no smaller ones; the upper half of an address is enough then
_UNKNOWN: Final = 0
_HEAD_FIELDS: Final = 7
_RECORD_FIELDS: Final = 7

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Published(NamedTuple):
    """One file: the registry that published it, the last day that it covers, its SHA-256 (hex)."""

    registry: str
    date: datetime.date
    sha256: str


class Delegation(NamedTuple):
    """The country (ISO 3166-1) in which the holder of a block is registered, and the block: CIDR, or first-last."""

    country: str
    block: str


class _Spans:
    """Ranges of one family as sorted columns: ten bytes for each of IPv4, eighteen of IPv6."""

    def __init__(self, code: str) -> None:
        self.firsts, self.lasts, self.countries = array(code), array(code), array("H")

    def add(self, first: int, last: int, country: int) -> None:
        self.firsts.append(first)
        self.lasts.append(last)
        self.countries.append(country)

    def sort(self) -> None:
        """In order and apart. Records that overlap become one; where they name different countries, of none."""
        order = sorted(range(len(self.firsts)), key=lambda at: (self.firsts[at], self.lasts[at]))
        firsts, lasts, countries = array(self.firsts.typecode), array(self.lasts.typecode), array("H")
        for at in order:
            if lasts and self.firsts[at] <= lasts[-1]:
                lasts[-1] = max(lasts[-1], self.lasts[at])
                if self.countries[at] != countries[-1]:
                    countries[-1] = _UNKNOWN
            else:
                firsts.append(self.firsts[at])
                lasts.append(self.lasts[at])
                countries.append(self.countries[at])
        self.firsts, self.lasts, self.countries = firsts, lasts, countries

    def find(self, value: int) -> int | None:
        at = bisect_right(self.firsts, value) - 1
        return at if at >= 0 and value <= self.lasts[at] else None


class Delegations:
    """Lookups over files that have been read. Immutable afterwards."""

    def __init__(self, files: Iterable[tuple[str, bytes]]) -> None:
        """`files`: name and content. Raises DelegationsError, which names the file and the line."""
        self._v4, self._v6 = _Spans("I"), _Spans("Q")
        self.published = tuple(self._read(name, data) for name, data in files)
        self._v4.sort()
        self._v6.sort()

    @property
    def records(self) -> int:
        return len(self._v4.firsts) + len(self._v6.firsts)

    @property
    def oldest(self) -> Published | None:
        """The file whose last day lies furthest back; None: there is no file."""
        return min(self.published, key=lambda one: one.date, default=None)

    def find(self, address: Address) -> Delegation | None:
        """None where no record holds it, or none that names one country."""
        is_v4 = address.version == 4
        spans = self._v4 if is_v4 else self._v6
        at = spans.find(int(address) if is_v4 else int(address) >> 64)
        if at is None or spans.countries[at] == _UNKNOWN:
            return None
        code = spans.countries[at]
        return Delegation(chr(code >> 8) + chr(code & 0xFF), _block(spans.firsts[at], spans.lasts[at], is_v4=is_v4))

    def _read(self, name: str, data: bytes) -> Published:
        if len(data) > FILE_BYTES_MAX:
            raise DelegationsError(f"{name} is larger than {FILE_BYTES_MAX >> 20} MiB", remedy="It is another file")
        head: Published | None = None
        for number, line in enumerate(data.split(b"\n"), 1):
            text = line.strip()
            if not text or text.startswith(b"#"):
                continue
            fields = text.decode("latin-1").split("|")
            if head is None:
                head = _head(name, number, fields, hashlib.sha256(data).hexdigest())
            elif fields[-1] != "summary" and fields[2:3] != ["asn"]:
                self._record(name, number, fields)
        if head is None:
            raise DelegationsError(f"{name} is empty", remedy=_REMEDY)
        return head

    def _record(self, name: str, number: int, fields: list[str]) -> None:
        try:
            _, country, kind, start, value, _, status = fields[:_RECORD_FIELDS]
            if status not in HELD or country not in ISO_3166_1:
                return
            code = ord(country[0]) << 8 | ord(country[1])
            if kind == "ipv4":
                first = int(ipaddress.IPv4Address(start))
                self._v4.add(first, first + int(value) - 1, code)
            elif kind == "ipv6" and int(value) <= V6_PREFIX_MAX:
                first = int(ipaddress.IPv6Address(start)) >> 64
                self._v6.add(first, first + (1 << (64 - int(value))) - 1, code)
        except (ValueError, OverflowError):
            raise DelegationsError(f"{name}: line {number} is not a record of the format", remedy=_REMEDY) from None


_REMEDY: Final = "Use a file as the registries publish it, unpacked: delegated-apnic-extended-latest, for one"


def _head(name: str, number: int, fields: Sequence[str], sha256: str) -> Published:
    try:
        if len(fields) < _HEAD_FIELDS or fields[1] not in REGISTRIES or int(float(fields[0])) != 2:
            raise ValueError
        date = fields[5]
        return Published(fields[1], datetime.date(int(date[:4]), int(date[4:6]), int(date[6:])), sha256)
    except ValueError:
        raise DelegationsError(f"{name}: line {number} is not the head of version 2", remedy=_REMEDY) from None


def _block(first: int, last: int, *, is_v4: bool) -> str:
    if not is_v4:
        first, last = first << 64, last << 64 | (1 << 64) - 1
    make = ipaddress.IPv4Address if is_v4 else ipaddress.IPv6Address
    networks = list(ipaddress.summarize_address_range(make(first), make(last)))
    return str(networks[0]) if len(networks) == 1 else f"{make(first)}-{make(last)}"


def read_directory(directory: Path) -> Delegations:
    """Every file in `directory` that isn't hidden; an absent directory holds none. Blocking, about a second for all
    registries' files. Raises DelegationsError, OSError.
    """
    names = (
        [path for path in sorted(directory.iterdir()) if not path.name.startswith(".")] if directory.exists() else []
    )
    if len(names) > FILES_MAX:
        raise DelegationsError(f"{directory.name} holds {len(names)} files", remedy=f"Keep at most {FILES_MAX}")
    files = []
    for path in names:
        if not path.is_file():
            raise DelegationsError(f"{directory.name}/{path.name} is not a file", remedy=_REMEDY)
        if path.stat().st_size > FILE_BYTES_MAX:
            raise DelegationsError(f"{directory.name}/{path.name} is too large", remedy=_REMEDY)
        files.append((f"{directory.name}/{path.name}", path.read_bytes()))
    return Delegations(files)
