import asyncio
import logging

import pytest

from sekisho.kernel.errors import SekishoError
from sekisho.kernel.retrying import Retrying

LOG = logging.getLogger("test")


def test_what_keeps_going_wrong_is_told_once_and_again_after_it_went_well(caplog):
    trying = Retrying(LOG, "it can't be read")
    for message in ("gone", "gone", "gone for good", "gone"):
        with trying:
            raise SekishoError(message)
    with trying:
        pass
    assert trying.trouble == ""
    with trying:
        raise SekishoError("gone")
    assert trying.trouble == "gone"
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"it can't be read: {said}" for said in ("gone", "gone for good", "gone", "gone")]
    assert not any(record.exc_info for record in caplog.records)


def test_a_fault_of_ours_is_told_with_its_traceback(caplog):
    trying = Retrying(LOG, "it can't be read")
    for _ in range(2):
        with trying:
            raise KeyError("k")
    (record,) = caplog.records
    assert record.exc_info
    assert "a fault of the program, KeyError('k')" in trying.trouble


@pytest.mark.parametrize("ending", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_what_ends_the_loop_is_let_through(ending):
    trying = Retrying(LOG, "it can't be read")
    with pytest.raises(ending), trying:
        raise ending


def test_what_has_no_words_is_told_all_the_same(caplog):
    trying = Retrying(LOG, "it can't be read")
    with trying:
        raise TimeoutError
    assert trying.trouble == "TimeoutError()"
    assert [record.getMessage() for record in caplog.records] == ["it can't be read: TimeoutError()"]
