"""Who holds the locks, and whether that is who should."""

import os
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.app.doctor.findings import Finding, Value, ok, problem, warning

UP: Final = "up"
PUBLISHER: Final = "publisher"
WRITER: Final = "writer"
UNKNOWN_PROCESS: Final = 0  # held by a process that can't be seen from here (another container's)
_STOPPED: Final = ("T", "t")
_COMMAND_SHOWN_MAX: Final = 120


class Holder(NamedTuple):
    """`state` is the letter of proc(5): T stopped, Z ended and not waited for."""

    process: int
    state: str
    command: str


class Held(NamedTuple):
    """Who holds the two locks; None: nobody. `left` names writers whose process has ended, unmerged so far; `writers`
    are the processes that write to the ledger: gateways, control, and commands for a moment."""

    up: Holder | None
    publisher: Holder | None
    left: tuple[str, ...] = ()
    writers: tuple[Holder, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether anything of the installation runs, as far as the locks tell."""
        return self.up is not None or self.publisher is not None or bool(self.writers)

    @property
    def gateway(self) -> Holder | None:
        """A gateway that runs, if one can be seen."""
        seen = (one for one in self.writers if one.process != UNKNOWN_PROCESS and _is(one, "gateway"))
        return next(seen, None)

    @property
    def control_runs(self) -> bool:
        return self.publisher is not None and _is(self.publisher, "control")


def judge_locks(held: Held) -> list[Finding]:
    found: list[Finding] = []
    for name, command, holder in ((UP, "up", held.up), (PUBLISHER, "control", held.publisher)):
        if holder is not None:
            found.append(_judge_holder(name, command, holder))
    found += [_judge_holder(WRITER, None, one) for one in _others(held)]
    if held.publisher is None:
        if held.up is not None:
            found.append(problem("lock.no_control", process=held.up.process))
        elif held.gateway is not None:
            found.append(problem("lock.gateway_alone", process=held.gateway.process))
    if not held.runs:
        found.append(ok("lock.nobody"))
    if held.publisher is None and held.left:
        found.append(warning("lock.unmerged", count=len(held.left)))
    return found


def _others(held: Held) -> list[Holder]:
    """Writers to be told of: under `up` those that are stopped, else all but control."""
    publisher = None if held.publisher is None else held.publisher.process
    return [one for one in held.writers if one.process != publisher and (held.up is None or one.state in _STOPPED)]


def _judge_holder(name: str, command: str | None, holder: Holder) -> Finding:
    """`command`: which one should hold it; None: any may."""
    values: dict[str, Value] = {"lock": name, "process": holder.process, "command": _line(holder.command)}
    if holder.process == UNKNOWN_PROCESS:
        return warning("lock.unseen", lock=name)
    if holder.state in _STOPPED:
        return problem("lock.stopped", **values)
    if command is not None and not _is(holder, command):
        return problem("lock.foreign", **values)
    return ok("lock.held", **values)


def _is(holder: Holder, command: str) -> bool:
    """Whether it is a process of ours; one that can't be seen is taken for one."""
    return holder.process == UNKNOWN_PROCESS or f" {command} " in f" {holder.command} "


def holder_in(locks: str, inode: int, device: tuple[int, int]) -> int | None:
    """The process that holds a `flock` on a file, out of /proc/locks; None: nobody does.

    File systems like btrfs show another device there than to `stat`, both without a major number: then the inode alone
    must do.
    """
    found: list[tuple[bool, int]] = []
    for line in locks.splitlines():
        fields = line.split()  # 1: FLOCK ADVISORY WRITE 1208 fe:00:2466707 0 EOF; "->" marks one that waits
        if len(fields) < 6 or fields[1] != "FLOCK":
            continue
        major, minor, number = fields[5].split(":")
        there = (int(major, 16), int(minor, 16))
        if int(number) == inode and (there == device or there[0] == device[0] == 0):
            found.append((there == device, int(fields[4])))
    if not found:
        return None
    return max(0, max(found)[1])  # -1: an open file description; 0: not in this process namespace


# -- looking


def look_at_locks(up: Path, publisher: Path, write_ahead: Path) -> Held:
    """Nothing is locked for it, not for a moment: that could make a start fail. Raises OSError."""
    locks = Path("/proc/locks").read_text(encoding="ascii", errors="replace")
    of_writers = {path.parent.name: _holder(path, locks) for path in sorted(write_ahead.glob("w-*/lock"))}
    left = tuple(name for name, holder in of_writers.items() if holder is None)
    writers = tuple(dict.fromkeys(holder for holder in of_writers.values() if holder is not None))
    return Held(_holder(up, locks), _holder(publisher, locks), left, writers)


def environment_of(process: int) -> dict[str, str] | None:
    """What a process was started with; None if that can't be read from here."""
    try:
        words = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return dict(pair for word in words if (pair := _pair(word)) is not None)


def _pair(word: bytes) -> tuple[str, str] | None:
    name, separator, value = word.decode("utf-8", "surrogateescape").partition("=")
    return (name, value) if separator else None


def _process_holding(path: Path, locks: str) -> int | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return holder_in(locks, status.st_ino, (os.major(status.st_dev), os.minor(status.st_dev)))


def _holder(path: Path, locks: str) -> Holder | None:
    process = _process_holding(path, locks)
    if process is None:
        return None
    try:
        state = (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
        )
        words = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except (OSError, IndexError):  # it has just ended, or is nobody's to see from here
        return Holder(UNKNOWN_PROCESS, "", "")
    return Holder(process, state, words)


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:_COMMAND_SHOWN_MAX]
