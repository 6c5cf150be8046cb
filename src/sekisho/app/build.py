"""Builds the snapshot of an installation's declarations in a process of its own, and says what came of it.

`python -m sekisho.app.build DIR` writes one line of JSON: `{"digest", "mistakes": [[file, key, problem, remedy] …]}`,
the digest null where there are mistakes. It stores the snapshot and puts nothing in force: who asked does that, after
it has seen that the tree stayed as it was. A build computes for seconds over a large tree, which in control's own
process would hold up publishing.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.app.installation import DeclarationsRefused, store_declarations
from sekisho.catalog.interfaces import Mistake
from sekisho.kernel.errors import SekishoError
from sekisho.settings import DataDirectory

_BUILD_S_MAX: Final = 600.0  # hundreds of times what ten thousand files take (bench/RESULTS.md); then it hangs
_SAID_MAX: Final = 2_000  # characters of a failed build's last words


class Built(NamedTuple):
    """The stored snapshot's digest, or the mistakes that there are."""

    digest: str | None
    mistakes: tuple[Mistake, ...]


def build(directory: DataDirectory) -> Built:
    """Here, blocking. Raises SekishoError or OSError if something other than the declarations is wrong."""
    try:
        return Built(store_declarations(directory), ())
    except DeclarationsRefused as refused:
        return Built(None, refused.mistakes)


async def build_apart(directory: DataDirectory) -> Built:
    """In a process of its own. Raises SekishoError if it fails, hangs or ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sekisho.app.build",
        str(directory.root),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_BUILD_S_MAX):
            said, complaint = await process.communicate()
    except TimeoutError:
        raise SekishoError(f"building the snapshot took more than {_BUILD_S_MAX:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise SekishoError(f"building the snapshot failed: {complaint.decode(errors='replace').strip()[-_SAID_MAX:]}")
    answer = json.loads(said)
    return Built(answer["digest"], tuple(Mistake(*row) for row in answer["mistakes"]))


def main(arguments: list[str]) -> int:
    try:
        built = build(DataDirectory(Path(arguments[0])))
    except (SekishoError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - read by `build_apart`
        return 1
    rows = [[one.file, one.key, one.problem, one.remedy] for one in built.mistakes]
    print(json.dumps({"digest": built.digest, "mistakes": rows}))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
