"""Bookmarks as values, and as input from strangers."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orm import Bookmark, InvalidBookmark
from orm.bookmark import MAX_TOKEN_LENGTH
from orm.exceptions import ForeignBookmark

MAX_SEQUENCE = 2**63 - 1
KEY, OTHER_KEY = b"k" * 32, b"o" * 32

Transactions = set[tuple[str, int]]
"""What a bookmark stands for: pairs of domain and number; 0 says that the domain is known."""

names = st.text("abcXYZ019_-", min_size=1, max_size=32)
transactions = st.dictionaries(
    st.sampled_from(["", "a", "3E11FA47-71CA-11E1-9E33-C80AA9429562:tag"]),
    st.frozensets(st.integers(1, 12)),
    min_size=1,
).map(lambda sets: {(domain, n) for domain, numbers in sets.items() for n in {0, *numbers}})
positions = st.dictionaries(names, st.integers(0, MAX_SEQUENCE), min_size=1, max_size=4)
bookmarks = st.builds(
    lambda history, position, shown: Bookmark(history, tuple(sorted(position.items())), shown),
    names,
    positions,
    st.one_of(st.just(0), st.integers(0, MAX_SEQUENCE)),
)


def standing_for(those: Transactions, shown: int = 0) -> Bookmark:
    intervals: dict[str, list[tuple[int, int]]] = {domain: [] for domain, _ in those}
    for domain, number in sorted(those, reverse=True):
        if number:  # every other one overlaps the next, for `of_intervals` to merge
            intervals[domain].append((number, number + ((domain, number + 1) in those)))
    return Bookmark.of_intervals("h", intervals, shown)


def written(payload: str) -> str:
    return "v1." + base64.urlsafe_b64encode(payload.encode()).decode().rstrip("=")


@given(bookmarks, st.sampled_from([(), (KEY,), (KEY, OTHER_KEY)]))
def test_what_was_encoded_decodes(bookmark: Bookmark, keys: tuple[bytes, ...]) -> None:
    assert Bookmark.decode(bookmark.encode(keys), keys) == bookmark


@given(bookmarks)
def test_token_can_stand_in_a_url(bookmark: Bookmark) -> None:
    token = bookmark.encode([KEY])
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


@given(st.one_of(st.text(), st.text("abcv1.=_-"), st.binary().map(lambda b: "v1." + b.hex())))
def test_garbage_is_refused(token: str) -> None:
    for keys in ((), (KEY,)):
        with pytest.raises(InvalidBookmark):
            Bookmark.decode(token, keys)


@given(st.binary(max_size=200))
def test_any_payload_is_a_bookmark_or_refused(payload: bytes) -> None:
    token = "v1." + base64.urlsafe_b64encode(payload).rstrip(b"=").decode()
    try:
        bookmark = Bookmark.decode(token)
    except InvalidBookmark:
        return
    assert bookmark.encode() == token


@given(bookmarks, st.data())
def test_altered_token_is_refused_where_tokens_are_signed(bookmark: Bookmark, data) -> None:
    token = bookmark.encode([KEY])
    index = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("abcXYZ019_-.").filter(lambda x: x != token[index]))
    with pytest.raises(InvalidBookmark):
        Bookmark.decode(token[:index] + letter + token[index + 1 :], [KEY])


@pytest.mark.parametrize(
    "token",
    [
        "",
        "v1.",
        "v2.aC89MQ",
        "v1.aC89MQ==",  # one state has one spelling
        "v1.aC89MR",
        "v1.aC89MQ\n",
        "v1.aC89MQé",
        "v1." + base64.urlsafe_b64encode(b"h/b=1/a=1").decode(),  # not sorted
        "v1." + base64.urlsafe_b64encode(b"h/a=01").decode().rstrip("="),
        "v1." + base64.urlsafe_b64encode(b"h/a=9999999999999999999").decode().rstrip("="),
        "v1." + base64.urlsafe_b64encode(b"h/=1~0").decode().rstrip("="),
        "v1." + base64.urlsafe_b64encode(b"h/=1~9999999999999999999").decode().rstrip("="),
        "v1." + "A" * MAX_TOKEN_LENGTH,
        *map(
            written,
            [
                "h/=9!0-2",  # holes begin at 1
                "h/=9!3-2",
                "h/=9!8-9",  # and end below the last number
                "h/=9!2-3!4-5",  # two are apart
                "h/=9!4-5!2-2",  # and sorted
                "h/=9!2-5!4-6",
                "h/=9!2-02",
                "h/=9!2",
                "h/=9!",
                "h/=0!1-1",
                "h/=9~7!2-2",
                "h/=9999999999999999999!2-2",
            ],
        ),
    ],
)
def test_other_spellings_are_refused(token: str) -> None:
    assert Bookmark.decode("v1.aC89MQ") == Bookmark.at("h", 1)
    with pytest.raises(InvalidBookmark):
        Bookmark.decode(token)


@pytest.mark.parametrize("thing", [None, 5, b"v1.aC89MQ", ["v1.aC89MQ"]])
def test_what_is_no_string_is_refused(thing) -> None:
    with pytest.raises(InvalidBookmark):
        Bookmark.decode(thing)


def test_keys_can_be_rotated() -> None:
    token = Bookmark.at("h", 1).encode([OTHER_KEY])
    assert Bookmark.decode(token, [KEY, OTHER_KEY]) == Bookmark.at("h", 1)
    with pytest.raises(InvalidBookmark, match="signature"):
        Bookmark.decode(token, [KEY])


def test_signed_and_unsigned_are_not_mixed() -> None:
    bookmark = Bookmark.at("h", 1)
    with pytest.raises(InvalidBookmark, match="not signed"):
        Bookmark.decode(bookmark.encode(), [KEY])
    with pytest.raises(InvalidBookmark, match="no key"):
        Bookmark.decode(bookmark.encode([KEY]))


@given(positions, positions)
def test_merge_is_the_least_that_covers_both(one: dict[str, int], two: dict[str, int]) -> None:
    a, b = (Bookmark("h", tuple(sorted(p.items()))) for p in (one, two))
    merged = a.merge(b)
    assert merged == b.merge(a)
    assert merged.covers(a) and merged.covers(b)
    assert all(sequence in (one.get(d), two.get(d)) for d, sequence in merged.position)
    assert a.covers(b) == (merged == a)


@given(transactions, transactions)
def test_bookmarks_compare_as_sets_do(one: Transactions, two: Transactions) -> None:
    a, b = standing_for(one), standing_for(two)
    assert (a == b) == (one == two)
    assert a.covers(b) == (one >= two)
    assert a.merge(b) == standing_for(one | two)
    assert a.behind(b) == sum(number > 0 for _, number in two - one)


@given(transactions, st.integers(0, MAX_SEQUENCE), st.sampled_from([(), (KEY,)]))
def test_bookmarks_with_gaps_travel(
    those: Transactions, shown: int, keys: tuple[bytes, ...]
) -> None:
    at = standing_for(those, shown)
    assert Bookmark.decode(at.encode(keys), keys) == at


@given(transactions)
def test_up_to_the_first_gap_nothing_is_missing(those: Transactions) -> None:
    kept = {(d, n) for d, n in those if all((d, before) in those for before in range(n))}
    assert standing_for(those).up_to_first_gap() == standing_for(kept)


def test_gaps_are_what_is_missing_below_the_last_number() -> None:
    at = Bookmark.of_intervals("h", {"b": [(8, 20), (9, 10), (1, 5)], "a": [(3, 4), (5, 6)]})
    assert at.position == (("a", 6), ("b", 20))
    assert at.holes == (("a", 1, 2), ("b", 6, 7))
    assert at.encode() == written("h/a=6!1-2/b=20!6-7")


@given(bookmarks)
def test_bookmarks_without_gaps_are_spelt_as_they_always_were(at: Bookmark) -> None:
    position = "".join(f"/{domain}={sequence}" for domain, sequence in at.position)
    assert at.encode() == written(f"{at.history}{position}" + (f"~{at.shown}" if at.shown else ""))
    assert at.holes == ()


def test_longest_name_of_a_domain_travels() -> None:
    name = "3E11FA47-71CA-11E1-9E33-C80AA9429562:" + "t" * 32
    at = Bookmark("h", ((name, MAX_SEQUENCE),))
    assert Bookmark.decode(at.encode()) == at
    with pytest.raises(InvalidBookmark):
        Bookmark.decode(Bookmark("h", ((f"{name}t", 1),)).encode())


def test_no_bookmark_is_handed_out_that_would_be_refused() -> None:
    many = [(number, number) for number in range(1, 400, 2)]
    at = Bookmark.of_intervals("h", {"a": many})
    with pytest.raises(InvalidBookmark, match=r"at most 1024 characters, and this one has .* 199"):
        at.encode()
    assert at.up_to_first_gap().encode() == written("h/a=1")
    longest = Bookmark.of_intervals("h", {"a": many[:79]})
    assert len(longest.encode([KEY])) <= MAX_TOKEN_LENGTH
    assert Bookmark.decode(longest.encode([KEY]), [KEY]) == longest


def test_merge_keeps_what_either_was_shown() -> None:
    at, shown = Bookmark.at("h", 1), Bookmark("h", (("", 1),), 7)
    assert at.merge(shown) == shown.merge(at) == shown
    assert at.covers(shown)  # a replica that is there shows it


def test_histories_do_not_compare() -> None:
    here, there = Bookmark.at("here", 5), Bookmark.at("there", 1)
    assert not here.covers(there)
    assert here.behind(there) is None
    with pytest.raises(ForeignBookmark):
        here.merge(there)


def test_distance_counts_every_line_of_commits() -> None:
    head = Bookmark("h", (("a", 7), ("b", 2)))
    assert Bookmark("h", (("a", 5),)).behind(head) == 4
    assert head.behind(head) == 0
    assert Bookmark("h", (("a", 9), ("b", 9))).behind(head) == 0


@pytest.mark.parametrize(
    ("bookmark", "shown"),
    [
        (Bookmark.at("h1", 17), "<Bookmark history=h1 17>"),
        (Bookmark("h1", (("", 5), ("2", 7)), 40), "<Bookmark history=h1 5, 2=7, shown below 40>"),
        (
            Bookmark.of_intervals("h1", {"a:t": [(1, 5), (8, 20)], "b": [(1, 9)], "c": [(8, 8)]}),
            "<Bookmark history=h1 a:t=1-5:8-20, b=9, c=8-8>",
        ),
    ],
)
def test_it_is_printed_for_people(bookmark: Bookmark, shown: str) -> None:
    assert repr(bookmark) == str(bookmark) == shown


@given(transactions, transactions)
def test_two_bookmarks_are_printed_alike_only_if_they_are_equal(
    one: Transactions, other: Transactions
) -> None:
    first, second = standing_for(one), standing_for(other)
    assert (repr(first) == repr(second)) == (first == second)
