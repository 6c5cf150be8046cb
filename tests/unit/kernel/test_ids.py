import uuid

from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel.ids import IdSource, is_uuid7, uuid7_time_us

times_us = st.integers(0, 2**48 * 1000 - 1)


@given(times_us)
def test_identifiers_are_version_7_and_hold_their_millisecond(now_us: int) -> None:
    identifier = IdSource().new(now_us)
    parsed = uuid.UUID(identifier)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert is_uuid7(identifier)
    assert uuid7_time_us(identifier) == now_us // 1000 * 1000


def test_identifiers_are_unique_and_sort_by_time() -> None:
    source = IdSource()
    made = [source.new(1_700_000_000_000_000 + 10 * n) for n in range(2000)]
    assert len(set(made)) == 2000
    assert made == sorted(made)


def test_other_text_is_no_identifier() -> None:
    assert not is_uuid7(str(uuid.UUID(int=5)))
    assert not is_uuid7(IdSource().new(5).upper())
    assert not is_uuid7(IdSource().new(5) + "\n")
