"""Positions by terms, from sets of GTIDs."""

import pytest

from orm.backends.mysql.driver import tracked
from orm.backends.mysql.gtid import GtidSet
from orm.backends.mysql.terms import Term, position, stray, top
from orm.exceptions import ConfigurationError

A, B = "aaaaaaaa-0000-0000-0000-000000000001", "bbbbbbbb-0000-0000-0000-000000000002"


def mysql(number: int, writer: str, base: str) -> Term:
    return Term(number, writer, writer, "h", GtidSet.parse(base), counts_alone=True)


def mariadb(number: int, writer: str, base: str) -> Term:
    return Term(number, writer, writer, "h", GtidSet.parse(base), counts_alone=False)


# A writes up to 18, B takes over at 13 and writes up to 33, A is made anew and takes over.
MYSQL = [mysql(1, A, ""), mysql(2, B, f"{A}:1-13"), mysql(3, A, f"{A}:1-13,{B}:1-33")]
MARIADB = [mariadb(1, "1", ""), mariadb(2, "2", "0-1-13"), mariadb(3, "1", "0-1-13,0-2-33")]


@pytest.mark.parametrize(
    ("terms", "have", "at"),
    [
        (MYSQL[:1], f"{A}:1-18", {1: 18}),
        (MYSQL[:1], f"{A}:1-5:8-18", {1: 5}),
        (MYSQL[:2], f"{A}:1-13,{B}:1-20", {1: 13, 2: 20}),
        (MYSQL[:2], f"{A}:1-12,{B}:1-20", {1: 12}),
        (MYSQL, f"{A}:1-20,{B}:1-33", {1: 13, 2: 33, 3: 20}),
        (MYSQL, f"{A}:1-13,{B}:1-30", {1: 13, 2: 30}),
        (MARIADB[:1], "0-1-18", {1: 18}),
        (MARIADB[:2], "0-2-20", {1: 13, 2: 20}),
        (MARIADB, "0-1-41", {1: 13, 2: 33, 3: 41}),
        (MARIADB, "0-2-30", {1: 13, 2: 30}),
        (MYSQL, "", {}),
    ],
)
def test_a_position_counts_by_terms(terms: list[Term], have: str, at: dict[int, int]) -> None:
    assert position(terms, GtidSet.parse(have)) == at


def test_an_upper_bound_has_what_is_owned_and_what_is_beyond_gaps() -> None:
    have = GtidSet.parse(f"{A}:4#12:5#13,\n{B}:9#7", f"{A}:1-3,{B}:1-7")
    assert top(MYSQL[:1], have) == (1, 5)
    assert top(MYSQL[:2], have) == (2, 9)
    assert top(MYSQL, GtidSet.parse("")) == (3, 14)  # the row of the term is there


def test_writes_that_no_primary_had_are_found() -> None:
    assert stray(MYSQL[:2], GtidSet.parse(f"{A}:1-13,{B}:1-90")) is None
    assert stray(MYSQL[:2], GtidSet.parse(f"{A}:1-14,{B}:1-90")) == A
    assert stray(MYSQL[:2], GtidSet.parse(f"{A}:1-13,{B}:1-90,cc:1")) == "cc"
    assert stray(MARIADB[:2], GtidSet.parse("0-1-13,0-3-14,0-2-20")) == "3"


def test_numbers_that_are_missing() -> None:
    have = GtidSet.parse(f"{A}:1-5:8-9:12")
    assert have.missing(A, 3, 13) == {6, 7, 10, 11, 13}
    assert have.missing(B, 0, 2) == {1, 2}


@pytest.mark.parametrize("gtids", ["1-1-5", f"{A}:1-5:tag:1", "nonsense"])
def test_what_has_no_one_order_is_refused(gtids: str) -> None:
    with pytest.raises(ConfigurationError):
        GtidSet.parse(gtids)


@pytest.mark.parametrize(
    ("tail", "gtid"),
    [
        (b"", None),
        (b"\x00\x12\x00\x10\tlast_gtid\x050-1-6", "0-1-6"),
        (b"\x00\x2a\x03\x28\x00\x26" + f"{A}:7".encode(), f"{A}:7"),
        (b"\x03abc\x07\x01\x05\x04test", None),
    ],
)
def test_the_answer_to_a_commit_tells_its_gtid(tail: bytes, gtid: str | None) -> None:
    assert tracked(tail) == gtid
