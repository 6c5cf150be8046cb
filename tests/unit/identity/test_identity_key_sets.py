import asyncio
import logging

import pytest

from issuer_keys import jwk, key_set, private_key
from sekisho.catalog.interfaces import Issuer
from sekisho.identity.errors import IssuerKeysUnavailable, KeySetError, TokenUnknownKey
from sekisho.identity.key_files import KeyFiles, source_of
from sekisho.identity.key_sets import KeySets

NOW_US = 1_800_000_000_000_000
IDP = "https://idp.example/realms/bank"
DISCOVERY = f"{IDP}/.well-known/openid-configuration"
JWKS = f"{IDP}/keys"
PUBLISHED = {DISCOVERY: f'{{"issuer": "{IDP}", "jwks_uri": "{JWKS}"}}'.encode(), JWKS: key_set(jwk("RS256"))}
WAIT_S = 20  # bounds a test that fails


class Clock:
    now = NOW_US

    def now_us(self):
        return self.now


class Published:
    """`Fetches` from a dict; an exception in it is raised. `asked` are the URLs, in order."""

    def __init__(self, documents):
        self.documents = documents
        self.asked = []
        self.heard = asyncio.Event()

    async def get(self, url, ca_file, bytes_max):
        self.asked.append(url)
        self.heard.set()
        document = self.documents.get(url, KeySetError("404"))
        if isinstance(document, Exception):
            raise document
        assert len(document) <= bytes_max
        return document


class FullDisk(KeyFiles):
    has_room = False

    def __init__(self, *places):
        super().__init__(*places)
        self.loop, self.saved = asyncio.get_running_loop(), asyncio.Event()

    def save(self, *what):
        if not self.has_room:
            raise OSError("no space")
        super().save(*what)
        self.loop.call_soon_threadsafe(self.saved.set)


class World:
    def __init__(self, root, documents=PUBLISHED, interval_s=0.001, files=None):
        self.files = files or KeyFiles(root, root / "copies")
        self.fetches, self.clock = Published(dict(documents)), Clock()
        self.changes, self.changed = 0, asyncio.Event()
        self.sets = KeySets(self.files, self.fetches, self.clock, changed=self._changed, interval_s=interval_s)

    def _changed(self):
        self.changes += 1
        self.changed.set()

    async def until_changed(self):
        async with asyncio.timeout(WAIT_S):
            await self.changed.wait()
        self.changed.clear()

    async def until_asked(self, times):
        async with asyncio.timeout(WAIT_S):
            while len(self.fetches.asked) < times:
                self.fetches.heard.clear()
                await self.fetches.heard.wait()


@pytest.fixture
async def world(tmp_path):
    made = World(tmp_path)
    yield made
    await made.sets.close()


def source(**changes):
    return source_of(Issuer(IDP, ("a",), ("RS256",), **changes))


async def test_keys_are_discovered_and_kept_for_the_next_start(world, tmp_path):
    await world.sets.refresh(source())
    assert world.fetches.asked == [DISCOVERY, JWKS]
    assert world.sets.find(source(), "k1", "RS256") == private_key("RS256").public_key()
    offline = World(tmp_path, {})
    offline.sets.preload([source()])
    assert offline.sets.find(source(), "k1", "RS256") == private_key("RS256").public_key()
    assert offline.fetches.asked == []


async def test_a_declared_url_is_asked_without_discovery(world):
    await world.sets.refresh(source(jwks_url=JWKS))
    assert world.fetches.asked == [JWKS]


async def test_a_declared_file_is_read_and_nothing_is_fetched(world, tmp_path):
    declared = source(jwks_file="keys.json")
    world.sets.preload([declared])
    with pytest.raises(IssuerKeysUnavailable):
        world.sets.find(declared, "k1", "RS256")
    (tmp_path / "keys.json").write_bytes(key_set(jwk("RS256")))
    world.sets.preload([declared])
    assert world.sets.find(declared, "k1", "RS256")
    (tmp_path / "keys.json").write_bytes(key_set(jwk("ES256")))
    await world.sets.refresh(declared)
    assert world.sets.find(declared, "k1", "ES256")
    assert (world.fetches.asked, world.changes) == ([], 1)
    assert not (tmp_path / "copies").exists()


@pytest.mark.parametrize(
    "document",
    [
        b"<html>",
        b"[]",
        b"{}",
        f'{{"issuer": "https://evil.example", "jwks_uri": "{JWKS}"}}'.encode(),
        f'{{"issuer": "{IDP}/", "jwks_uri": "{JWKS}"}}'.encode(),
        f'{{"issuer": "{IDP}"}}'.encode(),
        f'{{"issuer": "{IDP}", "jwks_uri": "http://127.0.0.1:8400/keys"}}'.encode(),
        f'{{"issuer": "{IDP}", "jwks_uri": 7}}'.encode(),
        f'{{"issuer": "{IDP}", "jwks_uri": "{JWKS}", "jwks_uri": "https://evil.example"}}'.encode(),
    ],
)
async def test_a_discovery_document_of_another_issuer_or_kind_is_refused(world, document):
    world.fetches.documents[DISCOVERY] = document
    with pytest.raises(KeySetError):
        await world.sets.refresh(source())
    assert world.fetches.asked == [DISCOVERY]


@pytest.mark.parametrize("document", [b"<html>", b'{"keys": []}', KeySetError("500"), TimeoutError()])
async def test_when_keys_can_not_be_refreshed_those_held_stay(world, document):
    await world.sets.refresh(source())
    world.fetches.documents[JWKS] = document
    with pytest.raises((KeySetError, TimeoutError)):
        await world.sets.refresh(source())
    assert world.sets.find(source(), "k1", "RS256")
    assert world.changes == 1


async def test_a_key_that_is_published_no_more_is_not_found(world):
    await world.sets.refresh(source())
    world.fetches.documents[JWKS] = key_set(jwk("RS256", "k2", which=1))
    await world.sets.refresh(source())
    with pytest.raises(TokenUnknownKey):
        world.sets.find(source(), "k1", "RS256")
    assert world.changes == 2
    await world.sets.refresh(source())
    assert world.changes == 2, "the same keys are no change"


async def test_a_key_never_changes_its_algorithm_with_the_header(world):
    await world.sets.refresh(source())
    for algorithm in ("ES256", "HS256", "none"):
        with pytest.raises(TokenUnknownKey):
            world.sets.find(source(), "k1", algorithm)


async def test_an_unknown_key_has_the_keys_read_again(world):
    world.sets.use([source(refresh_seconds=86_400)])
    await world.until_changed()
    world.fetches.documents[JWKS] = key_set(jwk("RS256"), jwk("RS256", "k2", which=1))
    with pytest.raises(TokenUnknownKey):
        world.sets.find(source(refresh_seconds=86_400), "k2", "RS256")
    await world.until_changed()
    assert world.sets.find(source(refresh_seconds=86_400), "k2", "RS256")


async def test_many_unknown_keys_ask_an_issuer_once_per_interval(tmp_path):
    world = World(tmp_path, interval_s=3600)
    world.sets.use([source()])
    await world.until_changed()
    for number in range(1000):
        with pytest.raises(TokenUnknownKey):
            world.sets.find(source(), f"unknown-{number}", "RS256")
        await asyncio.sleep(0)
    assert world.fetches.asked == [DISCOVERY, JWKS]
    await world.sets.close()


async def test_an_issuer_that_fails_is_tried_again_and_complained_of_once(tmp_path, caplog):
    world = World(tmp_path, {DISCOVERY: OSError("no route")})
    with caplog.at_level(logging.WARNING):
        world.sets.use([source()])
        await world.until_asked(4)
        with pytest.raises(IssuerKeysUnavailable):
            world.sets.find(source(), "k1", "RS256")
        world.fetches.documents |= PUBLISHED
        await world.until_changed()
    assert world.sets.find(source(), "k1", "RS256")
    assert [record.message for record in caplog.records].count(
        f"the keys of {IDP} can't be refreshed, those held, if any, stay in force: no route"
    ) == 1
    await world.sets.close()


async def test_a_fault_of_ours_is_logged_and_does_not_end_the_refreshing(tmp_path, caplog):
    world = World(tmp_path, {DISCOVERY: ZeroDivisionError("ours")})
    world.sets.use([source()])
    await world.until_asked(2)
    assert "a fault of the program, ZeroDivisionError('ours')" in caplog.text
    world.fetches.documents |= PUBLISHED
    await world.until_changed()
    await world.sets.close()


async def test_a_dropped_source_is_forgotten(world):
    world.sets.use([source()])
    await world.until_changed()
    world.sets.use([])
    with pytest.raises(IssuerKeysUnavailable):
        world.sets.find(source(), "k1", "RS256")
    assert world.sets.ages_s() == {}


async def test_the_age_is_the_time_since_the_source_was_read(world):
    world.sets.use([source()])
    await world.until_changed()
    world.clock.now += 90_000_000
    assert world.sets.ages_s() == {IDP: 90.0}


@pytest.mark.parametrize("apart_s", [-86_400, 86_400])
async def test_a_copy_of_another_time_is_neither_fresh_nor_kept_from_being_read_again(world, tmp_path, apart_s):
    world.clock.now += apart_s * 1_000_000
    await world.sets.refresh(source())
    again = World(tmp_path)
    again.sets.preload([source()])
    again.sets.use([source()])
    assert again.sets.ages_s() == {IDP: 86_400.0}
    await again.until_asked(2)
    await again.sets.close()


async def test_fetched_keys_count_on_a_full_disk_and_their_copy_is_told_of_and_tried_again(tmp_path, caplog):
    disk = FullDisk(tmp_path, tmp_path / "copies")
    world = World(tmp_path, files=disk)
    world.sets.use([source()])
    await world.until_changed()
    assert world.sets.find(source(), "k1", "RS256")
    await world.until_asked(4)
    assert "can't be refreshed, those held, if any, stay in force: no space" in caplog.text
    disk.has_room = True
    async with asyncio.timeout(WAIT_S):
        await disk.saved.wait()
    await world.sets.close()


async def test_a_fetch_that_times_out_is_told(tmp_path, caplog):
    world = World(tmp_path, {DISCOVERY: TimeoutError()})
    world.sets.use([source()])
    await world.until_asked(2)
    assert f"the keys of {IDP} can't be refreshed, those held, if any, stay in force: TimeoutError()" in caplog.text
    await world.sets.close()


async def test_the_age_of_keys_never_read_counts_from_the_unix_epoch(tmp_path):
    world = World(tmp_path, {}, interval_s=3600)
    world.sets.use([source()])
    assert world.sets.ages_s() == {IDP: NOW_US / 1e6}
    await world.sets.close()


async def test_a_damaged_copy_is_complained_of_and_fetched_anew(world, tmp_path, caplog):
    await world.sets.refresh(source())
    (copy,) = (tmp_path / "copies").iterdir()
    copy.write_text("{}")
    again = World(tmp_path)
    again.sets.preload([source()])
    assert "is not a copy" in caplog.text
    again.sets.use([source()])
    await again.until_changed()
    assert again.sets.find(source(), "k1", "RS256")
    await again.sets.close()
