"""Bookmarks as values, and as input from strangers."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orm import Bookmark, InvalidBookmark
from orm.bookmark import MAX_TOKEN_LENGTH
from orm.exceptions import ForeignBookmark

KEY, OTHER_KEY = b"k" * 32, b"o" * 32

names = st.text("abcXYZ019_-", min_size=1, max_size=32)
positions = st.dictionaries(names, st.integers(0, 2**63 - 1), min_size=1, max_size=4)
bookmarks = st.builds(
    lambda history, position, shown: Bookmark(history, tuple(sorted(position.items())), shown),
    names,
    positions,
    st.one_of(st.just(0), st.integers(0, 2**63 - 1)),
)


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
