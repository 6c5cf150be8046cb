"""Joins the console to a data directory: what its pages ask for, and who may sign in."""

import http.client
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

from sekisho.app.auditors import LogAuditors
from sekisho.app.compliance import ComplianceApart
from sekisho.app.exemptions import listed_exemptions
from sekisho.app.explanation import Explainer
from sekisho.app.installation import DeclarationsRefused, snapshot_store
from sekisho.app.observed import facts_told
from sekisho.app.plan_apart import PlansApart
from sekisho.app.prove import ProofUnderWay, Proving
from sekisho.app.receipts import LogReceipts
from sekisho.app.shadow import shadow_status
from sekisho.catalog.interfaces import Catalogue
from sekisho.console.errors import ExplainRefused
from sekisho.console.interfaces import ExplainAsked, Panel, Ports, Served, Status
from sekisho.gateway.errors import GatewayError
from sekisho.identity.console_sql import SqlConsole
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import Clock, SystemClock
from sekisho.kernel.errors import UsageError
from sekisho.ledger.browse import LogBrowser
from sekisho.policy.interfaces import PolicyTitle
from sekisho.settings import DataDirectory, Settings, split_address
from sekisho.snapshot.interfaces import catalogue_at

ACTOR: Final = "operator"  # whoever has the data directory
ASK_S_MAX: Final = 2.0  # of what is on this machine
GATEWAY_KEPT_S: Final = 2.0  # a page that is loaded again and again must not ask the gateway each time
ANSWER_BYTES_MAX: Final = 64 * 1024
PROOF_STEPS_MAX: Final = 6_000_000  # some seconds; while they compute, publishing gets half of the processor
TITLES_KEPT_MAX: Final = 8  # snapshots whose policies' titles are remembered


def served(settings: Settings) -> Served:
    """Where browsers find the console."""
    host, port = split_address(settings.control.listen)
    hosts = {f"{name}:{port}" for name in (host if ":" not in host else f"[{host}]", "localhost", "127.0.0.1", "[::1]")}
    if settings.control.public_host:
        hosts = {settings.control.public_host.lower()}
    secure = bool(settings.control.public_host)
    # `__Host-`: browsers take it over TLS only, and from no other host.
    cookie = "__Host-sekisho_session" if secure else f"sekisho_session_{port}"
    return Served(frozenset(hosts), secure, cookie)


def sign_in_url(settings: Settings, token: str) -> str:
    """The token stands behind '#': browsers neither send nor log that part."""
    public = settings.control.public_host
    base = f"https://{public}" if public else f"http://{settings.control.listen}"
    return f"{base}/sign-in#{token}"


def ask_control(settings: Settings) -> dict[str, Any] | None:
    """Control's own word (a `Status`); None if nobody answers in time, or not as control does."""
    # The console answers to its own names only.
    host = {"Host": settings.control.public_host} if settings.control.public_host else {}
    request = urllib.request.Request(f"http://{settings.control.listen}/api/status", headers=host)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=ASK_S_MAX) as answer:
            said = json.loads(answer.read(ANSWER_BYTES_MAX))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return said if isinstance(said, dict) else None


def issue_token(directory: DataDirectory, role: str, *, unless_signed_in: bool = False) -> str | None:
    """A token for one sign-in. With `unless_signed_in`, None where an operator is signed in already."""
    clock = SystemClock()
    with closing(SqlIdentity(directory.state, clock)) as register:
        console = SqlConsole(register, clock)
        return None if unless_signed_in and console.has_operator() else console.issue(role, ACTOR)


class ConsoleServices:
    """The adapters behind `Ports`, over one data directory. `close` ends them; `register` stays the caller's."""

    def __init__(
        self, directory: DataDirectory, settings: Settings, register: SqlIdentity, clock: Clock, receipts: LogReceipts
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._receipts = receipts
        self._store = snapshot_store(directory)
        self._log = LogBrowser(directory.ledger)
        self._sign_in = SqlConsole(register, clock)
        self._auditors = LogAuditors(register, clock, self._log.size)
        self._explainer = Explainer(directory, clock)
        self._proving = Proving(directory, clock, steps_max=PROOF_STEPS_MAX)
        self._compliance = ComplianceApart(directory)
        self._plans = PlansApart(directory)
        self._gateway = GatewayState(settings)
        self._titles: dict[str, tuple[PolicyTitle, ...]] = {}
        self._catalogue: tuple[str, Catalogue] | None = None  # of the snapshot that facts were asked of last

    def ports(self, status: Callable[[], Status], mistakes: Callable[[], tuple[str, ...]]) -> Ports:
        """`mistakes`: what is wrong in the declarations, as control last read them."""

        def panel() -> Panel:
            gateway, reasons = self._gateway.ask()
            watermark_us = self._log.watermark_us()
            lag_us = None if not watermark_us else self._clock.now_us() - watermark_us
            return Panel(gateway, reasons, lag_us, mistakes())

        return Ports(
            status=status,
            panel=panel,
            log=self._log,
            receipts=self._receipts,
            titles=self.titles,
            explain=self.explain,
            prove=self.prove,
            compliance=self._compliance,
            plan=self._plans,
            shadow=lambda: shadow_status(self._directory),
            sign_in=self._sign_in,
            auditors=self._auditors,
            site_key=lambda: self._directory.site_vkey.read_text().strip(),
            organisations=self._explainer.organisations,
            facts=self.facts,
            exemptions=lambda: listed_exemptions(self._store, self._clock),
            now_us=self._clock.now_us,
        )

    def facts(self) -> list[dict[str, Any]]:
        """See `Ports.facts`. Raises SnapshotError."""
        digest = self._store.current()
        if digest is None:
            return []
        known = self._catalogue
        if known is None or known[0] != digest:
            known = self._catalogue = digest, self._store.rules(digest).catalogue
        return facts_told(catalogue_at(known[1], self._clock.now_us()))

    def titles(self, digest: str) -> tuple[PolicyTitle, ...]:
        """See `Ports.titles`. Raises SnapshotError."""
        found = self._titles.get(digest)
        if found is None:
            found = self._store.policy_titles(digest)
            if len(self._titles) >= TITLES_KEPT_MAX:
                self._titles.clear()
            self._titles[digest] = found
        return found

    def explain(self, asked: ExplainAsked) -> dict[str, Any]:
        """See `console.interfaces.Explain`."""
        try:
            return self._explainer.explain(asked)
        except GatewayError as error:
            raise ExplainRefused(error.status, error.message, remedy=error.remedy) from None
        except UsageError as error:
            raise ExplainRefused(400, error.message, remedy=error.remedy) from None
        except DeclarationsRefused as error:
            raise ExplainRefused(409, error.message, remedy=error.remedy) from None

    def prove(self, statement: str | None, *, declarations: bool, anything: bool) -> dict[str, Any]:
        """See `console.interfaces.Prove`."""
        try:
            return self._proving.prove(statement, declarations=declarations, anything=anything)
        except ProofUnderWay as error:
            raise ExplainRefused(429, error.message, remedy=error.remedy) from None
        except UsageError as error:
            raise ExplainRefused(400, str(error)) from None
        except DeclarationsRefused as error:
            raise ExplainRefused(409, error.message, remedy=error.remedy) from None

    def halt(self) -> None:
        """End what requests wait for: nobody should wait for them."""
        self._compliance.close()
        self._plans.close()

    def close(self) -> None:
        self._log.close()
        self._receipts.close()


class GatewayState:
    """What the gateway says of itself at /readyz: asked by control, remembered for a moment. Any thread."""

    def __init__(self, settings: Settings) -> None:
        gateway = settings.gateway
        scheme = "https" if gateway.tls_certificate_file else "http"
        self._url = f"{scheme}://{gateway.listen}/readyz"
        # The certificate names the public host and we ask by the listening address: whoever answers there is on this
        # machine, and what it says is shown, never acted upon.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._last: tuple[str, tuple[str, ...]] = ("unknown", ())

    def ask(self) -> tuple[str, tuple[str, ...]]:
        """("ready", "not ready" or "unknown", the gateway's reasons)."""
        with self._lock:
            if time.monotonic() - self._asked_at > GATEWAY_KEPT_S:
                self._last = self._fresh()
                self._asked_at = time.monotonic()
            return self._last

    def _fresh(self) -> tuple[str, tuple[str, ...]]:
        try:
            try:
                answer = self._opener.open(self._url, timeout=ASK_S_MAX)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                said = json.loads(answer.read(ANSWER_BYTES_MAX))
            return ("ready" if said["status"] == "ready" else "not ready"), tuple(map(str, said["reasons"]))
        except OSError as error:
            return "unknown", (str(error),)
        except (http.client.HTTPException, ValueError, KeyError, TypeError):
            return "unknown", ("not a gateway's answer",)
