"""The ledger of an installation: it is begun once, by `init` or `restore`, and never anew under the old name."""

import shutil

import pytest

from sekisho.app.gateway import open_writer
from sekisho.app.installation import Listen, create_installation
from sekisho.app.ledger import make_publisher
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.ids import IdSource
from sekisho.settings import DataDirectory, load_settings


@pytest.fixture
def directory(installation_template, tmp_path):
    return DataDirectory(shutil.copytree(installation_template, tmp_path / "site"))


def writers_of_the_ledger():
    return (make_publisher, open_writer)


@pytest.mark.parametrize("write", writers_of_the_ledger())
@pytest.mark.parametrize("absent", ["the directory is empty", "the directory is not there"])
async def test_nothing_is_begun_where_the_ledgers_disk_is_not_mounted(directory, write, absent):
    """G3: a log begun anew under the old name and key would sign each size a second time."""
    settings = load_settings(directory.root)
    directory.ledger.rename(directory.root / "unmounted")
    if absent == "the directory is empty":
        directory.ledger.mkdir()
    before = sorted(directory.root.rglob("*"))
    with pytest.raises(SekishoError, match="mounted") as refused:
        write(directory, settings, SystemClock(), IdSource())
    assert "new node" in refused.value.remedy
    assert sorted(directory.root.rglob("*")) == before


@pytest.mark.parametrize("write", writers_of_the_ledger())
async def test_the_ledger_of_another_installation_is_refused(directory, write, tmp_path):
    create_installation(tmp_path / "other", Listen())
    other = DataDirectory(tmp_path / "other")
    shutil.copy(other.enrolment, directory.enrolment)
    shutil.copy(other.site_vkey, directory.site_vkey)
    with pytest.raises(SekishoError, match="is the ledger of"):
        write(directory, load_settings(directory.root), SystemClock(), IdSource())


@pytest.mark.parametrize("gone", ["enrolment", "site_vkey"])
async def test_a_single_file_that_is_gone_is_put_back_from_a_backup(directory, gone):
    settings = load_settings(directory.root)
    publisher = make_publisher(directory, settings, SystemClock(), IdSource())
    publisher.start()
    publisher.close()
    getattr(directory, gone).unlink()
    with pytest.raises(SekishoError, match="put it back from a backup"):
        make_publisher(directory, settings, SystemClock(), IdSource())
