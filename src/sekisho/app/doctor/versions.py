"""Versions: Python, packages, and whether what runs is what is installed."""

import importlib.metadata
import platform
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from sekisho import __version__
from sekisho.app.doctor.findings import Finding, ok, problem, warning

_DISTRIBUTION: Final = "sekisho"
_REQUIREMENT: Final = re.compile(
    r"([A-Za-z0-9._-]+)\s*(==|>=)\s*([0-9][0-9a-zA-Z.]*)\s*(?:;\s*extra == ['\"](\w+)['\"])?"
)


class Requirement(NamedTuple):
    name: str
    exactly: bool
    version: str
    extra: str  # "": always


def requirements_in(texts: Iterable[str]) -> list[Requirement]:
    """Those of the form that ours have: a name, `==` or `>=`, a version, perhaps an extra. Others are passed over."""
    found = []
    for text in texts:
        match = _REQUIREMENT.fullmatch(text.strip())
        if match is not None:
            found.append(Requirement(match[1], match[2] == "==", match[3], match[4] or ""))
    return found


def judge_packages(
    requirements: Iterable[Requirement], installed: Mapping[str, str | None], extras: frozenset[str]
) -> list[Finding]:
    """`installed`: versions by name, None for what is not there. Only what `extras` ask for counts."""
    found = []
    for one in requirements:
        if one.extra and one.extra not in extras:
            continue
        version = installed.get(one.name)
        wanted = f"{'==' if one.exactly else '>='}{one.version}"
        if version is None:
            found.append(problem("version.lacks", package=one.name, wanted=wanted))
        elif not _satisfies(version, one):
            found.append(problem("version.package", package=one.name, version=version, wanted=wanted))
    return found


def judge_running(running: str | None) -> list[Finding]:
    """`running`: what control says of itself; None: it was not asked, or doesn't say."""
    if running is None or running == __version__:
        return []
    return [warning("version.running", running=running, installed=__version__)]


def look_at_versions(extras: frozenset[str], data_format: int) -> list[Finding]:
    """Of what this program runs with."""
    try:
        requirements = requirements_in(importlib.metadata.requires(_DISTRIBUTION) or ())
    except importlib.metadata.PackageNotFoundError:  # run out of a source tree
        return [ok("version.unknown", version=__version__, format=data_format)]
    found = judge_packages(requirements, {one.name: _installed(one.name) for one in requirements}, extras)
    return found or [ok("version.all", version=__version__, python=platform.python_version(), format=data_format)]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _satisfies(version: str, requirement: Requirement) -> bool:
    if requirement.exactly:
        return version == requirement.version
    return _numbers(version) >= _numbers(requirement.version)


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version; what comes after (`rc1`, `+local`) does not matter for a minimum."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in match[0].split(".")) if match else ()
