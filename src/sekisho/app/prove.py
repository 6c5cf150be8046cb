"""Proving statements over a data directory: with the snapshot in force, or with the declarations as they stand."""

import threading
from typing import Any

from sekisho.app.installation import build_declared, snapshot_store
from sekisho.assurance.proofs import proof_values
from sekisho.assurance.prove import Prover
from sekisho.assurance.statements import read_statement, vocabulary
from sekisho.catalog.interfaces import MODE_MONITOR, Catalogue, DeclaredStatement
from sekisho.catalog.statements import STATEMENTS_FILE
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.policy.interfaces import PolicyParts
from sekisho.policy.search import STEPS_MAX, Budget
from sekisho.settings import DataDirectory
from sekisho.snapshot.store import rules_of


class ProofUnderWay(SekishoError):
    """One statement at a time."""


class Proving:
    """Safe to call from any thread; one question at a time, because each computes. Blocking.

    `steps_max` bounds all the statements of one question together.
    """

    def __init__(self, directory: DataDirectory, clock: Clock, *, steps_max: int = STEPS_MAX) -> None:
        self._directory = directory
        self._clock = clock
        self._steps_max = steps_max
        self._lock = threading.Lock()

    def prove(self, statement: str | None, *, declarations: bool = False, anything: bool = False) -> dict[str, Any]:
        """What came of the statement (docs/prove.md), or of all that are declared where there is None.

        `anything`: over every deployment that could be declared. Raises StatementError, DeclarationsRefused,
        ProofUnderWay, SekishoError.
        """
        if not self._lock.acquire(blocking=False):
            raise ProofUnderWay("another statement is being proved", remedy="Ask again when it is")
        try:
            return self._prove(statement, declarations, anything)
        finally:
            self._lock.release()

    def _prove(self, statement: str | None, declarations: bool, anything: bool) -> dict[str, Any]:
        digest, catalogue, parts = self._rules(declarations)
        now_us = self._clock.now_us()
        made = Prover(parts, catalogue, snapshot=digest, now_us=now_us)
        known = vocabulary(catalogue, made.world.names)
        asked = catalogue.statements if statement is None else (DeclaredStatement("", "", "", statement),)
        if not asked:
            raise UsageError(f"no statement is declared in {STATEMENTS_FILE}", remedy="Give one, in quotes")
        watching = [one.name for one in catalogue.organisations if one.mode == MODE_MONITOR]
        budget = Budget(self._steps_max)
        found = []
        for one in asked:
            read = read_statement(one.text, known)
            proof = made.prove_of_anything(read, budget) if anything else made.prove(read, budget)
            titles = {"id": one.id, "title": one.title, "title_ja": one.title_ja}
            found.append({**titles, **proof_values(proof, declarations)})
        exemptions = [one.name for one in catalogue.exemptions if one.until > now_us]
        return {"exemptions": exemptions, "monitored": watching, "proofs": found, "snapshot": digest}

    def _rules(self, declarations: bool) -> tuple[str, Catalogue, PolicyParts]:
        if declarations:
            _, built = build_declared(self._directory, proved=False)
            return built.digest, *rules_of(built.parts)  # what probes have read counts as well
        store = snapshot_store(self._directory)
        digest = store.current()
        if digest is None:
            raise SekishoError("no snapshot is in force", remedy="Run `sekisho check`, then start control")
        stored = store.rules(digest)
        return digest, stored.catalogue, stored.parts
