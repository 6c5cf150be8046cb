"""Taking declarations over: settled, built, looked at again, recorded, and only then in force."""

import asyncio
import logging
import os
import shutil
from contextlib import asynccontextmanager

import pytest

from sekisho.app import reload
from sekisho.app.build import Built, build, build_apart
from sekisho.app.installation import Listen, create_installation, snapshot_store, store_declarations
from sekisho.app.reload import Reloader, mistakes_on_disk
from sekisho.catalog.files import read_declarations
from sekisho.catalog.interfaces import Mistake
from sekisho.kernel.errors import SekishoError
from sekisho.settings import DataDirectory

EXTRA = ((), ("x",), ("x", "y"))  # models beside the one that is there: what the tests declare


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """An installation, and the digest of its snapshot for each of EXTRA, all of them stored."""
    directory = DataDirectory(tmp_path_factory.mktemp("reload") / "site")
    create_installation(directory.root, Listen())
    digests = {}
    for extra in reversed(EXTRA):
        for name in ("x", "y"):
            model(directory, name).unlink(missing_ok=True)
        for name in extra:
            model(directory, name).write_text('title = "X"\n')
        digests[extra] = store_declarations(directory)
    return directory, digests


@pytest.fixture
def directory(template, tmp_path):
    return DataDirectory(shutil.copytree(template[0].root, tmp_path / "site"))


def model(directory, name):
    return directory.declarations / "models" / f"{name}.toml"


class World:
    """A reloader over an installation; `built` and `recorded` are in the order of events.

    Builds read the tree and give the digest of what is stored already, because policies take a second to compile.
    """

    def __init__(self, directory, digests):
        self.directory = directory
        self.digests = digests
        self.store = snapshot_store(directory)
        self.built = []
        self.recorded = []
        self.failure = None  # raised by recording
        self.during_build = lambda: None
        self.answer = None  # in place of what a build gives
        self.reloader = Reloader(directory, self.record, build=self.build_apart)

    async def record(self, before, after):
        if self.failure is not None:
            raise self.failure
        self.recorded.append((before, after, self.store.current()))

    def build(self, directory):
        made = self.answer
        if made is None:
            mistakes = read_declarations(directory.declarations).mistakes
            extra = tuple(name for name in ("x", "y") if model(directory, name).exists())
            made = Built(None if mistakes else self.digests[extra], mistakes)
        if isinstance(made, Exception):
            raise made
        self.built.append(made)
        self.during_build()
        return made

    async def build_apart(self, directory):
        return await asyncio.to_thread(self.build, directory)

    def declare(self, name, text='title = "X"\n'):
        model(self.directory, name).write_text(text)

    @asynccontextmanager
    async def running(self):
        running = asyncio.create_task(self.reloader.run())
        yield
        assert not running.done()  # whatever happened
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def comes(self, condition):
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)


@pytest.fixture
def starting(directory, template, monkeypatch):
    """One whose reloader has not looked yet."""
    monkeypatch.setattr(reload, "WATCH_S", 0.01)
    monkeypatch.setattr(reload, "SETTLE_S", 0.02)
    monkeypatch.setattr(reload, "RETRY_S", 0.02)
    return World(directory, template[1])


@pytest.fixture
async def world(starting):
    async with starting.running():
        await starting.comes(lambda: starting.reloader.state == reload.IN_FORCE)
        yield starting


async def test_what_is_in_force_already_is_no_change(world):
    assert world.reloader.state == reload.IN_FORCE
    assert world.recorded == []


async def test_a_change_is_recorded_before_it_is_in_force(world):
    before = world.store.current()
    world.declare("x")
    await world.comes(lambda: world.store.current() != before)
    after = world.store.current()
    assert world.recorded == [(before, after, before)]
    await world.comes(lambda: world.reloader.state == reload.IN_FORCE)


async def test_what_cannot_be_recorded_is_not_in_force_until_it_can(world, caplog):
    before = world.store.current()
    world.failure = SekishoError("the ledger is full")
    world.declare("x")
    await world.comes(lambda: len(world.built) > 3)
    assert world.store.current() == before
    assert world.reloader.state in (reload.FAILED, reload.BUILDING)
    assert world.reloader.mistakes() == ("the ledger is full",)
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1  # tried often, said once
    world.failure = None
    await world.comes(lambda: world.store.current() != before)
    await world.comes(lambda: world.reloader.mistakes() == ())


async def test_a_tree_that_changes_during_its_build_is_built_again(world):
    before = world.store.current()

    def another_save():
        if len(world.built) == 2:  # the first was that of the start
            world.declare("y")

    world.during_build = another_save
    world.declare("x")
    await world.comes(lambda: world.store.current() != before)
    assert world.recorded == [(before, world.built[-1].digest, before)]
    assert world.built[1].digest != world.built[-1].digest


async def test_a_snapshot_that_came_in_force_during_the_build_is_not_passed_over(world):
    """Probes put some in force too: what they had read would be lost with the one that was built without it."""
    before, by_probes = world.store.current(), world.digests["x", "y"]

    def a_probe_reads():
        if len(world.built) == 2:
            world.store.activate(by_probes)

    world.during_build = a_probe_reads
    world.declare("x")
    await world.comes(lambda: world.store.current() not in (before, by_probes))
    assert world.recorded == [(by_probes, world.digests["x",], by_probes)]
    assert len(world.built) == 3  # built again, with what came meanwhile


async def test_who_follows_is_told_when_another_snapshot_is_in_force(directory, template, starting):
    told = []
    starting.reloader = Reloader(
        directory, starting.record, build=starting.build_apart, changed=lambda: told.append(starting.store.current())
    )
    async with starting.running():
        await starting.comes(lambda: starting.reloader.state == reload.IN_FORCE)
        assert told == []
        starting.declare("x")
        await starting.comes(lambda: told)
    assert told == [starting.digests["x",]]


async def test_mistakes_leave_the_old_one_in_force_and_are_built_and_told_of_once(world, caplog):
    before = world.store.current()
    world.declare("x", "titel = 1\n")
    await world.comes(lambda: world.reloader.state == reload.REFUSED)
    count = len(world.built)
    assert world.reloader.mistake_count == 1
    assert any("titel" in line for line in world.reloader.mistakes())
    await world.comes(lambda: mistakes_on_disk(world.directory) == 1)
    await asyncio.sleep(0.2)  # twenty looks at the same tree
    assert len(world.built) == count
    world.declare("y", "titel = 1\n")
    await world.comes(lambda: world.reloader.mistake_count == 2)
    assert sum("models/x.toml: titel" in record.getMessage() for record in caplog.records) == 1
    assert world.store.current() == before
    for name in "xy":
        model(world.directory, name).unlink()
    await world.comes(lambda: world.reloader.state == reload.IN_FORCE)
    await world.comes(lambda: mistakes_on_disk(world.directory) == 0)
    assert world.reloader.mistakes() == ()
    assert world.recorded == []


async def test_many_mistakes_are_counted(world):
    mistakes = tuple(Mistake(f"{n}.toml", "k", "is wrong", "right it") for n in range(reload.MISTAKES_SHOWN_MAX + 7))
    world.answer = Built(None, mistakes)
    world.declare("x")
    await world.comes(lambda: world.reloader.mistake_count == len(mistakes))
    shown = world.reloader.mistakes()
    assert len(shown) == reload.MISTAKES_SHOWN_MAX + 1
    assert shown[-1] == "and 7 more: sekisho check"


async def test_while_git_is_at_work_nothing_is_taken_even_when_asked(world):
    before = world.store.current()
    lock = world.directory.root / ".git" / "index.lock"
    lock.parent.mkdir()
    lock.touch()
    world.declare("x")
    await world.comes(lambda: world.reloader.state == reload.GIT)
    world.reloader.look_now()
    await asyncio.sleep(0.1)
    assert world.reloader.state == reload.GIT
    assert world.store.current() == before
    lock.unlink()
    await world.comes(lambda: world.store.current() != before)


async def test_asked_to_look_it_builds_again_what_it_refused(world):
    world.answer = Built(None, (Mistake("a", "", "b", "c"),))
    world.declare("x")
    await world.comes(lambda: world.reloader.state == reload.REFUSED)
    world.answer = None  # as if a file outside the tree were there now, such as an issuer's keys
    world.reloader.look_now()
    await world.comes(lambda: world.reloader.state == reload.IN_FORCE)


async def test_what_is_asked_during_a_build_is_not_lost(world):
    world.answer = Built(None, (Mistake("a", "", "b", "c"),))

    def mended_and_asked():
        world.during_build = lambda: None
        world.answer = None
        world.loop.call_soon_threadsafe(world.reloader.look_now)

    world.loop = asyncio.get_running_loop()
    world.during_build = mended_and_asked
    world.declare("x")
    await world.comes(lambda: world.reloader.state == reload.IN_FORCE and world.recorded)


@pytest.mark.parametrize(
    "failure", [SekishoError("it hangs"), OSError(28, "No space left on device"), ValueError("odd")]
)
async def test_a_build_that_fails_is_tried_again(world, failure):
    before = world.store.current()
    world.answer = failure
    world.declare("x")
    await world.comes(lambda: world.reloader.state == reload.FAILED)
    assert str(failure) in world.reloader.mistakes()[0]
    world.answer = None
    await world.comes(lambda: world.store.current() != before)


@pytest.mark.parametrize("failure", [PermissionError("not ours to read"), RuntimeError("a bug")])
async def test_a_tree_that_cannot_be_looked_at_for_a_while_is_taken_over_afterwards(world, caplog, failure):
    look, failures = world.reloader._look, [failure] * 5

    def sometimes():
        if failures:
            raise failures.pop()
        return look()

    world.reloader._look = sometimes
    await world.comes(lambda: not failures)
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1  # met often, said once
    await world.comes(lambda: world.reloader.state == reload.IN_FORCE and world.reloader.mistakes() == ())


async def test_at_the_start_mistakes_keep_what_is_in_force(starting):
    starting.declare("x", "titel = 1\n")
    before = starting.store.current()
    async with starting.running():
        await starting.comes(lambda: starting.reloader.state == reload.REFUSED)
    assert starting.store.current() == before


async def test_at_the_start_git_is_waited_for(starting):
    lock = starting.directory.declarations / ".git" / "index.lock"
    lock.parent.mkdir()
    lock.touch()
    async with starting.running():
        await starting.comes(lambda: starting.reloader.state == reload.GIT)
    assert starting.built == []


async def test_nothing_is_said_to_be_in_force_before_the_first_look(starting):
    assert starting.reloader.state == reload.CHANGED


async def test_at_the_start_a_tree_that_is_being_written_is_not_taken_half(starting):
    looks, look = [], starting.reloader._look

    def and_another_save():
        """Somebody saves a file after each of the first looks: "x" first, and "y" last, which belongs to it."""
        seen = look()
        looks.append(seen)
        if len(looks) < 20:
            starting.declare("x", f'title = "{len(looks)}"\n')
        elif len(looks) == 20:
            starting.declare("y")
        return seen

    starting.reloader._look = and_another_save
    before = starting.store.current()
    async with starting.running():
        await starting.comes(lambda: starting.reloader.state == reload.IN_FORCE)
    assert [one.digest for one in starting.built] == [starting.digests["x", "y"]]
    assert starting.recorded == [(before, starting.digests["x", "y"], before)]


@pytest.mark.parametrize(
    "text", [None, "", "nonsense", "[]", "{}", '{"mistakes": "2"}', '{"mistakes": -1}', '{"mistakes": true}']
)
def test_a_note_that_cannot_be_read_means_nothing(tmp_path, text):
    directory = DataDirectory(tmp_path)
    directory.run.mkdir()
    if text is not None:
        directory.declarations_state.write_text(text)
    assert mistakes_on_disk(directory) == 0


async def test_built_apart_is_built_alike(directory, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(reload.__file__.split("/sekisho/")[:1]))
    assert await build_apart(directory) == build(directory)
    model(directory, "x").write_text("titel = 1\n")
    apart = await build_apart(directory)
    assert apart == build(directory)
    assert apart.digest is None


async def test_a_build_apart_that_cannot_be_done_says_why(directory, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(reload.__file__.split("/sekisho/")[:1]))
    (directory.snapshots / "parts").rename(directory.snapshots / "gone")
    (directory.snapshots / "parts").write_text("in the way")
    with pytest.raises(SekishoError, match=r"building the snapshot failed: .*parts"):
        await build_apart(directory)
