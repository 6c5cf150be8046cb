"""Reading needs a role and a reason, and is told of before; so is every ending."""

import hashlib
import json

import pytest
import sqlalchemy as sa

from sekisho.content.acts import ENTRIES_TOLD_MAX, REASON_LENGTH_MAX, ContentActs, Reader
from sekisho.content.errors import ContentMissing, ReadRefused
from sekisho.content.files import ContentFiles
from sekisho.content.interfaces import READER_ROLE, Content
from sekisho.identity.errors import ApprovalMissing, RegisterUnavailable
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.ids import IdSource

NOW_US = 1_790_000_000_000_000
DAY_US = 86_400_000_000
IDS = IdSource()
READER = Reader("key-k1", "default", ("caller", READER_ROLE))


class Clock:
    time_us = NOW_US

    def now_us(self):
        return self.time_us


class World:
    def __init__(self, root):
        (root / "keys").mkdir()
        self.clock = Clock()
        self.register = SqlIdentity(root / "state.sqlite", self.clock)
        self.files = ContentFiles(root / "content", root / "keys" / "content")
        self.acts = ContentActs(self.files, self.register, self.clock)

    def kept(self, organisation="default", days=1):
        entry = IDS.new(NOW_US)
        content = Content(organisation, entry, IDS.new(NOW_US), NOW_US + days * DAY_US, b"asked", b"answered")
        self.files.write(content)
        return content

    def told(self, kind=None):
        return [json.loads(one.body) for one in self.register.pending(1000) if kind in (None, one.kind)]


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.register.close()


def test_a_reading_is_told_of_with_a_digest_of_its_reason(world):
    content = world.kept()
    assert world.acts.read(content.entry, READER, "苦情 2027-14") == content
    (entry,) = world.register.pending(10)
    assert (entry.kind, entry.actor) == ("access", "key-k1")
    body = json.loads(entry.body)
    assert (body["act"], body["entry"], body["organisation"]) == ("content.read", content.entry, "default")
    assert "苦情" not in entry.body.decode()
    with world.register.transaction(writes=False) as connection:
        (row,) = connection.execute(sa.text("SELECT * FROM content_reads"))
    assert body["read"] == row.id
    assert body["reason_sha256"] == hashlib.sha256(bytes(row.salt) + row.reason.encode()).hexdigest()
    assert list(world.acts.reasons()) == [(content.entry, NOW_US, "key-k1", "苦情 2027-14")]


def test_what_can_not_be_told_of_is_not_shown(world):
    content = world.kept()

    class Failing:
        def transaction(self, *, writes):
            raise RegisterUnavailable("the disk failed")

    acts = ContentActs(world.files, Failing(), world.clock)
    with pytest.raises(RegisterUnavailable):
        acts.read(content.entry, READER, "why")


@pytest.mark.parametrize(
    "reader",
    [
        READER._replace(roles=("caller",)),
        READER._replace(roles=()),
        READER._replace(organisation="other"),
    ],
)
def test_without_the_role_in_that_organisation_nothing_is_read(world, reader):
    content = world.kept()
    with pytest.raises(ReadRefused, match="may not read"):
        world.acts.read(content.entry, reader, "why")
    assert world.told() == []


@pytest.mark.parametrize("reason", ["", "  ", "a\nb", "x" * (REASON_LENGTH_MAX + 1)])
def test_without_a_reason_nothing_is_read(world, reason):
    content = world.kept()
    with pytest.raises(ReadRefused, match="reason"):
        world.acts.read(content.entry, READER, reason)
    assert world.told() == []


def test_past_its_end_nothing_is_read_though_it_is_not_deleted_yet(world):
    content = world.kept()
    world.clock.time_us = content.until
    with pytest.raises(ContentMissing, match="end"):
        world.acts.read(content.entry, READER, "why")
    assert world.told() == []


def test_what_reaches_its_end_is_deleted_and_told_of(world):
    ended, other, later = world.kept(), world.kept("other"), world.kept(days=2)
    assert world.acts.end_due() == 0
    world.clock.time_us = NOW_US + DAY_US
    assert world.acts.end_due() == 2
    assert world.told("change") == [
        {"act": "content.end", "entries": [ended.entry], "organisation": "default"},
        {"act": "content.end", "entries": [other.entry], "organisation": "other"},
    ]
    assert [held.entry for held in world.files.held()] == [later.entry]
    assert world.acts.end_due() == 0


def test_an_ending_that_was_interrupted_is_finished_and_nothing_is_left(world, monkeypatch):
    world.kept()
    world.kept()
    world.clock.time_us = NOW_US + DAY_US
    deleted = []

    def crash(held):
        if deleted:
            raise OSError("crash")
        deleted.append(held)
        ContentFiles.delete(world.files, held)

    monkeypatch.setattr(world.files, "delete", crash)
    with pytest.raises(OSError, match="crash"):
        world.acts.end_due()
    monkeypatch.undo()
    assert world.acts.end_due() == 1
    assert world.files.held() == []


def test_what_one_entry_tells_is_bounded(world, monkeypatch):
    monkeypatch.setattr("sekisho.content.acts.ENTRIES_TOLD_MAX", 2)
    for _ in range(3):
        world.kept()
    world.clock.time_us = NOW_US + DAY_US
    world.acts.end_due()
    assert [len(body["entries"]) for body in world.told("change")] == [2, 1]
    assert ENTRIES_TOLD_MAX * 40 < 60_000


class Demand:
    """What an act needs: an approval's record, nothing (None), or what stands in the way."""

    def __init__(self, result=None):
        self.result = result

    def meet(self, connection, now_us):
        assert now_us == NOW_US
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def test_forgetting_is_told_of(world):
    one, _, other = world.kept(), world.kept(), world.kept("other")
    assert world.acts.organisation_of(one.entry) == "default"
    world.acts.forget_entry(one.entry, "operator", Demand())
    assert world.acts.forget_organisation("default", "operator", Demand({"needed": 1})) == 1
    assert [held.entry for held in world.files.held()] == [other.entry]
    assert world.told("change") == [
        {"act": "content.forget", "entry": one.entry, "organisation": "default"},
        {"act": "content.forget", "approval": {"needed": 1}, "entry": None, "organisation": "default"},
    ]
    with pytest.raises(ContentMissing):
        world.acts.forget_entry(one.entry, "operator", Demand())


@pytest.mark.parametrize("everything", [False, True])
def test_a_forgetting_that_broke_off_is_not_read_any_more_and_finished_by_control(world, monkeypatch, everything):
    """Its approval is used up and the ledger says that it is forgotten: so it must be, whatever comes between."""
    content, other = world.kept(), world.kept("other")

    def crash(*_):
        raise OSError("crash")

    with monkeypatch.context() as patch:
        patch.setattr(world.files, "forget" if everything else "delete", crash)
        forget = world.acts.forget_organisation if everything else world.acts.forget_entry
        with pytest.raises(OSError, match="crash"):
            forget("default" if everything else content.entry, "operator", Demand({"needed": 1}))
    assert len(world.told("change")) == 1
    with pytest.raises(ContentMissing, match="being forgotten"):
        world.acts.read(content.entry, READER, "why")
    assert world.told("access") == []
    later = ContentActs(world.files, world.register, world.clock)
    assert later.end_due() == 0
    assert [held.entry for held in world.files.held()] == [other.entry]
    assert len(world.told("change")) == 1
    kept = world.kept()
    later.end_due()
    assert world.acts.read(kept.entry, READER, "why") == kept, "what is kept later stays"


def test_a_forgetting_whose_end_was_not_noted_is_finished_too(world, monkeypatch):
    content = world.kept()
    delete = ContentFiles.delete

    def crash(held):
        delete(world.files, held)
        raise OSError("crash")

    with monkeypatch.context() as patch:
        patch.setattr(world.files, "delete", crash)
        with pytest.raises(OSError, match="crash"):
            world.acts.forget_entry(content.entry, "operator", Demand())
    assert world.acts.end_due() == 0
    with world.register.transaction(writes=False) as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM content_forgetting")).scalar_one() == 0


@pytest.mark.parametrize("name", ["nobody", "any text at all", "../keys", ""])
def test_of_whom_nothing_is_kept_nothing_is_told(world, name):
    """A name that is none could be any text, and what is told stays in the ledger."""
    world.kept()
    with pytest.raises(ContentMissing):
        world.acts.forget_organisation(name, "operator", Demand())
    assert world.told() == []


def test_without_the_approval_that_is_demanded_nothing_is_forgotten(world):
    content = world.kept()
    missing = Demand(ApprovalMissing("needs the approval of others"))
    for forget in (
        lambda: world.acts.forget_entry(content.entry, "operator", missing),
        lambda: world.acts.forget_organisation("default", "operator", missing),
    ):
        with pytest.raises(ApprovalMissing):
            forget()
    assert world.files.read(content.entry, NOW_US) == content
    assert world.told() == []
