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
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.catalog.errors import DelegationsError
from sekisho.catalog.jurisdictions import ISO_3166_1

REGISTRIES: Final = ("afrinic", "apnic", "arin", "iana", "lacnic", "nro", "ripencc")
FILES_MAX: Final = 16  # five registries, and room for the combined file and another day's
FILE_BYTES_MAX: Final = 256 * 1024 * 1024  # ten times what all registries together publish
LINE_BYTES_MAX: Final = 1_024  # a record takes about a hundred
RECORDS_MAX: Final = 2_000_000  # three times what all registries together publish; they are sorted in memory
HELD: Final = ("allocated", "assigned")
V6_PREFIX_MAX: Final = 64  # registries give out no smaller ones; the upper half of an address is enough then
_UNKNOWN: Final = 0
_VERSION: Final = re.compile(r"2(\.\d{1,3})?", re.ASCII)
_DATE: Final = re.compile(r"\d{8}", re.ASCII)
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
        bits = 8 * self.lasts.itemsize
        order = sorted(range(len(self.firsts)), key=lambda at: self.firsts[at] << bits | self.lasts[at])
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

    def __init__(self, files: Iterable[tuple[str, Iterable[bytes]]]) -> None:
        """`files`: name and lines, read once. Raises DelegationsError, which names the file and the line."""
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

    def _read(self, name: str, lines: Iterable[bytes]) -> Published:
        head: list[str] = []
        size, digest = 0, hashlib.sha256()
        for number, line in enumerate(lines, 1):
            digest.update(line)
            size += len(line)
            if len(line) > LINE_BYTES_MAX:
                raise _wrong(name, number, "is too long")
            if size > FILE_BYTES_MAX or self.records > RECORDS_MAX:
                raise DelegationsError(f"{name} is larger than all registries' files together", remedy=_REMEDY)
            text = line.strip()
            if not text or text.startswith(b"#"):
                continue
            fields = text.decode("latin-1").split("|")
            if not head:
                head = fields
                _head(name, number, head, "")
            elif fields[-1] != "summary" and fields[2:3] != ["asn"]:
                self._record(name, number, fields)
        if not head:
            raise DelegationsError(f"{name} is empty", remedy=_REMEDY)
        return _head(name, 1, head, digest.hexdigest())

    def _record(self, name: str, number: int, fields: list[str]) -> None:
        try:
            _, country, kind, start, value, _, status = fields[:_RECORD_FIELDS]
            if status not in HELD or country not in ISO_3166_1:
                return
            code, size = ord(country[0]) << 8 | ord(country[1]), int(value)
            if kind == "ipv4":
                first = int(ipaddress.IPv4Address(start))
                if not 0 < size <= (1 << 32) - first:
                    raise ValueError
                self._v4.add(first, first + size - 1, code)
            elif kind == "ipv6":
                if not 0 < size <= 128:
                    raise ValueError
                if size <= V6_PREFIX_MAX:
                    first = int(ipaddress.IPv6Address(start)) >> 64
                    self._v6.add(first, first | ((1 << (64 - size)) - 1), code)
        except ValueError:
            raise _wrong(name, number, "is not a record of the format") from None


_REMEDY: Final = "Use a file as the registries publish it, unpacked: delegated-apnic-extended-latest, for one"


def _wrong(name: str, number: int, problem: str) -> DelegationsError:
    return DelegationsError(f"{name}: line {number} {problem}", remedy=_REMEDY)


def _head(name: str, number: int, fields: Sequence[str], sha256: str) -> Published:
    try:
        version, registry, _, _, _, date, _ = fields[:_HEAD_FIELDS]
        if registry not in REGISTRIES or not _VERSION.fullmatch(version) or not _DATE.fullmatch(date):
            raise ValueError
        return Published(registry, datetime.date(int(date[:4]), int(date[4:6]), int(date[6:])), sha256)
    except ValueError:
        raise _wrong(name, number, "is not the head of version 2") from None


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
    for path in names:
        if not path.is_file():
            raise DelegationsError(f"{directory.name}/{path.name} is not a file", remedy=_REMEDY)
    return Delegations((f"{directory.name}/{path.name}", _lines(path)) for path in names)


def _lines(path: Path) -> Iterator[bytes]:
    """One after the other: a file that is no registry's may be large, or one line."""
    with path.open("rb") as file:
        while line := file.readline(LINE_BYTES_MAX + 1):
            yield line
