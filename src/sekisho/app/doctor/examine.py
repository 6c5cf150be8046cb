"""The whole look, theme by theme. What stops one theme is a finding, and does not stop the others."""

import datetime
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from sekisho.app.console import GatewayState, ask_control
from sekisho.app.doctor.clock import Seen, is_synchronised, judge_clock, judge_synchronised
from sekisho.app.doctor.content import look_at_content
from sekisho.app.doctor.declared import judge_approvals, judge_stops, look_at_declarations, look_at_git_lock
from sekisho.app.doctor.disk import look_at_disk, newest_at
from sekisho.app.doctor.findings import Finding, ok, problem, warning
from sekisho.app.doctor.keys import judge_register, look_at_keys
from sekisho.app.doctor.locks import Held, environment_of, judge_locks, look_at_locks
from sekisho.app.doctor.providers import look_at_credentials, look_at_endpoints
from sekisho.app.doctor.smells import look_at_settings
from sekisho.app.doctor.versions import judge_running, look_at_versions
from sekisho.app.doctor.witnesses import look_at_witnesses
from sekisho.catalog.interfaces import Catalogue
from sekisho.identity.register_look import RegisterLook, look_at_register
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError
from sekisho.ledger.browse import LogBrowser
from sekisho.ledger.log_files import CHECKPOINT
from sekisho.settings import FORMAT, DataDirectory, FormatUnknown, Settings, SettingsError, load_settings


class Theme(NamedTuple):
    """Findings that belong together; `name` is one of disk, clock, processes, keys, declarations, providers, versions,
    settings, witnesses."""

    name: str
    findings: list[Finding]


class Running(NamedTuple):
    """What the processes say of themselves. `gateway` as `console.interfaces.Panel`; None: not asked."""

    gateway: str | None
    reasons: tuple[str, ...]
    control_answers: bool | None
    version: str | None


def judge_answers(held: Held, running: Running) -> list[Finding]:
    """What runs must also answer, and say that it is ready."""
    found: list[Finding] = []
    if held.control_runs and running.control_answers is False:
        found.append(problem("process.control_silent"))
    if running.gateway == "not ready":
        found += [problem("process.not_ready", reason=reason) for reason in running.reasons or ("-",)]
    elif running.gateway == "unknown" and (held.up or held.gateway) is not None:
        found.append(problem("process.gateway_silent", reason="; ".join(running.reasons) or "-"))
    elif running.gateway == "ready":
        found.append(ok("process.ready"))
    return found + judge_running(running.version)


class Doctor:
    """Looks at one installation, once. Blocking; bounded in time: some seconds, and with `connect` a minute or two."""

    def __init__(self, directory: DataDirectory, environment: Mapping[str, str], clock: Clock) -> None:
        self._directory = directory
        self._environment = environment
        self._clock = clock
        self._held = Held(None, None)
        self._register: RegisterLook | None = None
        self._catalogue: Catalogue | None = None
        self._in_force: Catalogue | None = None

    def examine(self, *, connect: bool) -> list[Theme]:
        """Every theme. Never raises for what is wrong with the installation: that is a finding."""
        try:
            settings = load_settings(self._directory.root)
        except FormatUnknown as error:
            return [Theme("versions", [problem("format.unknown", detail=error.message, remedy=error.remedy)])]
        except SettingsError as error:
            return [Theme("settings", [problem("settings.wrong", detail=error.message, remedy=error.remedy)])]
        looks: dict[str, Callable[[], list[Finding]]] = {
            "processes": lambda: self._processes(settings),  # first: the others judge by what runs
            "declarations": self._declarations,
            "keys": lambda: self._keys(settings),
            "providers": lambda: self._providers(settings, connect=connect),
            "disk": lambda: self._disk(settings),
            "clock": self._time,
            "witnesses": lambda: self._witnesses(settings),
            "settings": lambda: self._settings(settings),
            "versions": lambda: self._versions(settings),
        }
        return [Theme(name, self._guarded(name, look)) for name, look in looks.items()]

    @staticmethod
    def _guarded(name: str, look: Callable[[], list[Finding]]) -> list[Finding]:
        try:
            return look()
        except SekishoError as error:
            return [problem("look.failed", theme=name, detail=error.message, remedy=error.remedy)]
        except PermissionError as error:
            return [problem("look.denied", theme=name, path=str(error.filename))]
        except (OSError, ValueError, KeyError) as error:
            # Files of ours that are damaged in ways nobody thought of: what a doctor is for.
            return [problem("look.broken", theme=name, detail=f"{type(error).__name__}: {error}")]

    def _processes(self, settings: Settings) -> list[Finding]:
        directory = self._directory
        try:
            held = look_at_locks(directory.run / "up.lock", directory.ledger / "publish.lock", directory.write_ahead)
        except FileNotFoundError:  # a sandbox without /proc/locks
            return [warning("lock.unknown")]
        self._held = held
        return judge_locks(held) + judge_answers(held, self._ask(settings))

    def _ask(self, settings: Settings) -> Running:
        control: bool | None = None
        version: str | None = None
        if self._held.control_runs:
            said = ask_control(settings)
            control = said is not None
            version = None if said is None else str(said.get("version") or "") or None
        if not self._held.runs:
            return Running(None, (), None, None)  # what answers there belongs to somebody else
        gateway, reasons = GatewayState(settings).ask()
        wants_certificate = gateway == "unknown" and settings.gateway.tls_client_ca_file != ""
        return Running(None if wants_certificate else gateway, reasons, control, version)

    def _declarations(self) -> list[Finding]:
        # Apart: what is wrong with the declarations hides neither what is stopped nor what keeps them from being taken.
        looks = (self._stops, lambda: look_at_git_lock(self._directory.declarations), self._declared)
        return [finding for look in looks for finding in self._guarded("declarations", look)]

    def _stops(self) -> list[Finding]:
        try:
            self._register = look_at_register(self._directory.state)
        except SekishoError as error:
            return [problem("register.unreadable", detail=error.message, remedy=error.remedy)]
        return judge_stops(self._register.stops)

    def _declared(self) -> list[Finding]:
        looked = look_at_declarations(self._directory, self._clock.now_us(), control_runs=self._held.control_runs)
        self._catalogue, self._in_force = looked.declared or looked.in_force, looked.in_force
        if self._in_force is None or self._register is None:
            return looked.findings
        return looked.findings + judge_approvals(self._in_force.approvals, self._register.persons)

    def _keys(self, settings: Settings) -> list[Finding]:
        # Of what is in force: a new organisation gets its key when it is taken over.
        organisations = () if self._in_force is None else self._in_force.organisations
        found = look_at_keys(self._directory, settings.installation.origin, [one.name for one in organisations])
        if self._register is not None:
            others = any(one.issuers or one.certificates for one in organisations)
            control_runs = self._held.control_runs
            now_us = self._clock.now_us()
            found += judge_register(self._register, now_us, control_runs=control_runs, others_may_call=others)
        return found

    def _providers(self, settings: Settings, *, connect: bool) -> list[Finding]:
        if self._catalogue is None:
            return [warning("look.no_catalogue")]
        holder = self._held.up or self._held.gateway
        of_gateway = None if holder is None else environment_of(holder.process)
        deployments = self._catalogue.deployments
        environment = self._environment if of_gateway is None else of_gateway
        root = self._directory.root
        found = look_at_credentials(root, deployments, environment, seen=of_gateway is not None)
        if connect:
            engines = frozenset(engine.listen for engine in settings.engines.values())
            found += look_at_endpoints(root, deployments, runs=self._held.runs, engines=engines)
        return found

    def _disk(self, settings: Settings) -> list[Finding]:
        directory, reserve = self._directory, settings.ledger.free_reserve_bytes
        now_us, control_runs = self._clock.now_us(), self._held.control_runs
        found = look_at_disk(directory.ledger, directory.write_ahead, reserve, now_us)
        return found + look_at_content(directory, now_us, control_runs=control_runs)

    def _time(self) -> list[Finding]:
        seen: list[Seen] = []
        log = LogBrowser(self._directory.ledger)
        try:
            entry = newest_at(log)
            # The index makes files beside it when it is opened: only where control has it open already.
            merged = log.watermark_us() if self._held.control_runs else None
        finally:
            log.close()
        checkpoint = _changed_at(self._directory.ledger / CHECKPOINT)
        registered = None if self._register is None else self._register.newest_at
        for what, at in (("entry", entry), ("merge", merged), ("checkpoint", checkpoint), ("register", registered)):
            if at:
                seen.append(Seen(what, at))
        return [judge_clock(self._clock.now_us(), seen), *judge_synchronised(is_synchronised())]

    def _witnesses(self, settings: Settings) -> list[Finding]:
        names = () if self._in_force is None else [one.name for one in self._in_force.witnesses]
        return look_at_witnesses(self._directory, settings.installation.origin, names, self._clock)

    def _settings(self, settings: Settings) -> list[Finding]:
        now = datetime.datetime.fromtimestamp(self._clock.now_us() / 1_000_000, datetime.UTC)
        deployments = () if self._catalogue is None else self._catalogue.deployments
        return look_at_settings(self._directory.root, settings, deployments, now)

    def _versions(self, settings: Settings) -> list[Finding]:
        llama = any(engine.kind == "llama.cpp" for engine in settings.engines.values())
        return look_at_versions(frozenset({"server", "engine"} if llama else {"server"}), FORMAT)


def _changed_at(path: Path) -> int | None:
    try:
        return os.stat(path).st_mtime_ns // 1_000
    except FileNotFoundError:
        return None
