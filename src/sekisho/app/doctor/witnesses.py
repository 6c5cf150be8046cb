"""Witnesses: what control last said of those declared, and whether this installation's own can sign."""

from collections.abc import Collection, Sequence
from typing import Final

from sekisho.app.cosigning import read_word
from sekisho.app.doctor.findings import Finding, ok, problem, warning
from sekisho.app.keys import load_witness_key
from sekisho.kernel.clock import Clock
from sekisho.ledger.cosigner import WitnessStatus
from sekisho.ledger.errors import WitnessHalted
from sekisho.ledger.witness_book import WitnessBook, has_records
from sekisho.settings import DataDirectory

LAG_S_MAX: Final = 60  # a witness that is reached cosigns within seconds of a checkpoint


def look_at_witnesses(directory: DataDirectory, origin: str, declared: Collection[str], clock: Clock) -> list[Finding]:
    """`declared` are the names of the witnesses in force. Nothing is written."""
    standing = [one for one in read_word(directory) if one.name in declared]
    return judge_witnesses(standing, clock.now_us()) + _look_at_own(directory, origin, clock)


def judge_witnesses(standing: Sequence[WitnessStatus], now_us: int) -> list[Finding]:
    found: list[Finding] = []
    for one in standing:
        lag_s = int(one.lag_s(now_us))
        if one.alarm:
            found.append(problem("witness.alarm", witness=one.name, detail=one.alarm))
        elif lag_s > LAG_S_MAX:
            found.append(warning("witness.behind", witness=one.name, lag_s=lag_s, detail=one.trouble or "-"))
        else:
            found.append(ok("witness.cosigned", witness=one.name, size=one.size))
    return found


def _look_at_own(directory: DataDirectory, origin: str, clock: Clock) -> list[Finding]:
    if not directory.witness_key.exists():
        if has_records(directory.witness):
            return [problem("witness.record", detail=f"{directory.witness} is of a key that is gone")]
        return []
    try:
        signer = load_witness_key(directory.witness_key, f"{origin}/witness")
        heads = WitnessBook(directory.witness, signer, clock).heads()
    except WitnessHalted as error:
        return [problem("witness.record", detail=error.message)]
    return [ok("witness.signs", count=len(heads))]
