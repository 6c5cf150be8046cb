"""A round of control's probes, in a process of its own.

`python -m sekisho.app.round DIR` reads what is asked from standard input and writes what came of it, both as JSON. Why
apart: a name server that doesn't answer holds threads for half a minute each, which in control would be those that
publish; the registries' files take memory for a moment; and the deployments' secrets stay out of the process that
holds the log's key.
"""

import asyncio
import logging
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from sekisho.app.clock import command_clock
from sekisho.app.installation import snapshot_store
from sekisho.app.probing import ProbeOptions, Taken, probe_of
from sekisho.app.process import configure_log
from sekisho.app.trials import require_open
from sekisho.catalog.delegations import Delegations, read_directory
from sekisho.catalog.errors import DelegationsError
from sekisho.catalog.interfaces import Deployment
from sekisho.kernel.errors import SekishoError
from sekisho.settings import DataDirectory

ROUND_S_MAX: Final = 3_600.0  # more than as many deployments as a round holds may take together; then it hangs
LOOKUPS_MAX: Final = 32  # threads: a name server that is away holds each for half a minute


class Asked(msgspec.Struct, frozen=True):
    """Which deployments of which stored snapshot, seen from the site `here`, by which methods."""

    snapshot: str
    here: str
    deployments: tuple[str, ...]
    methods: frozenset[str]
    valid_s: int


class Came(msgspec.Struct, frozen=True):
    """`registry`: "apnic 2026-11-24", of the oldest file; None: there is none that can be read, and `trouble` why."""

    taken: tuple[Taken, ...]
    registry: str | None
    trouble: str = ""


async def round_apart(directory: DataDirectory, asked: Asked, environment: Mapping[str, str]) -> Came:
    """One round. Raises SekishoError if it fails, hangs or ends; cancelled, it ends the process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sekisho.app.round",
        str(directory.root),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=dict(environment),
    )
    try:
        async with asyncio.timeout(ROUND_S_MAX):
            said, _ = await process.communicate(msgspec.json.encode(asked))
    except TimeoutError:
        raise SekishoError(f"a round of probes took more than {ROUND_S_MAX:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise SekishoError("a round of probes failed", remedy="Its own log lines say why")
    return msgspec.json.decode(said, type=Came)


def run_round(directory: DataDirectory, asked: Asked, environment: Mapping[str, str]) -> Came:
    """Here. Raises SekishoError or OSError for what stands in the way of all of it."""
    catalogue = snapshot_store(directory).catalogue(asked.snapshot)
    trouble = ""
    try:
        delegations = read_directory(directory.registry)
    except (DelegationsError, OSError) as error:
        delegations, trouble = Delegations(()), str(error)  # the other methods say what they can
    names = frozenset(asked.deployments)
    chosen = [one for one in catalogue.deployments if one.name in names]
    clock = command_clock(directory)
    probe = probe_of(directory, asked.here, ProbeOptions(asked.valid_s, asked.methods), environment, clock)

    async def before_answer(deployment: Deployment) -> None:
        # Who asked for the round has recorded what will leave; a stop may be set meanwhile.
        await require_open(directory, deployment)

    async def look() -> list[Taken]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(LOOKUPS_MAX))
        return await probe(catalogue, delegations, chosen, before_answer)

    taken = asyncio.run(look())
    oldest = delegations.oldest
    return Came(tuple(taken), None if oldest is None else f"{oldest.registry} {oldest.date}", trouble)


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    configure_log("probe")
    # What a token endpoint says stands in the reading that there is none of; control tells of it once.
    logging.getLogger("sekisho.gateway.sign_in_keeper").setLevel(logging.CRITICAL)
    try:
        asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
        came = run_round(DataDirectory(Path(arguments[0])), asked, environment)
    except (SekishoError, OSError) as error:
        logging.getLogger(__name__).error("%s", error)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(came))
    return 0


if __name__ == "__main__":
    import os

    code = main(sys.argv[1:], os.environ)
    sys.stdout.flush()
    # Threads that still wait for a name server are nobody's any more.
    os._exit(code)
