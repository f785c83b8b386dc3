"""Heads that came before, in any of three ways: byte for byte, but for the cookies, or by their gist.

Browsers of one kind send one head for a page, and each visitor's cookies in it. So what is left without them is
remembered beside the whole heads, which costs 2 us for a head that never came before; its gist costs 5, judging 13.
"""

from __future__ import annotations

import re
from typing import Final

from cdn.edge.access_line import Words, encode_words
from cdn.edge.head_gist import UNTELLING, GistReader, may_stand_for
from cdn.edge.head_memo import HeadMemo, Remembered
from cdn.edge.head_parser import MessageHead
from cdn.edge.limits import HttpLimits
from cdn.edge.prepared import Prepared
from cdn.edge.traffic import HTTP_1_0, HTTP_1_1, Told, Traffic
from cdn.http.fields import Fields
from cdn.http.request import Request

_END: Final = b"\r\n\r\n"
_COOKIE: Final = b"\r\nCookie: "
# A well-formed value: as of any field (RFC 9110 section 5.5), so that the line may be left out as it stands.
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*+")


class KnownHeads:
    """Of the connections of one listener. Times are monotonic.

    Gists have a memo of their own: there are few of them, and many visitors' whole heads push them out of a joint one.
    Of 60,000 requests for 10,000 objects by Zipf, 10,500 missed a joint memo (simulated), and none misses two.
    """

    __slots__ = ("_by_gists", "_gists", "_max_bytes", "_memo")

    def __init__(self, memo: HeadMemo, limits: HttpLimits, words: Words = encode_words) -> None:
        """`memo` is of whole heads, and has half of the limits; gists have the other half.

        `words` says of a head's untelling lines what the access log has of them.
        """
        self._memo = memo
        self._by_gists = memo_of(limits)
        self._gists = GistReader(limits, words)
        self._max_bytes = min(limits.max_request_line_bytes, limits.max_fields_bytes)

    def alike(self, head: bytes, now: float) -> Remembered | None:
        """What heads like this one led to, usable; None also when this is not one whole head."""
        if head.find(_END) != len(head) - 4 or len(head) > self._max_bytes:
            return None
        memo = self._memo
        key = _without_cookies(head)
        known = None if key is None else _usable(memo, key, now)
        if known is None:
            known = self._by_gist(head, now)
            if known is None:
                return None
            if key is not None and memo.has_come(key):  # a gist leads to nothing that cookies chose
                memo.put(key, known)
        memo.offer(head, known)
        return known

    def learn(self, head: bytes, message: MessageHead, prepared: Prepared, traffic: Traffic) -> Remembered:
        """What is said of this hit; remembered where a head like this may come again."""
        known = (prepared, told_of(message, prepared, traffic))
        if not prepared.may_come_again:
            return known
        self._memo.offer(head, known)
        by_gists = self._by_gists
        gist = self._gists.read(head)
        if gist is not None and may_stand_for(prepared):
            alike = by_gists.get(gist[0])
            if by_gists.has_come(gist[0]) if alike is None else alike[0] is not prepared:
                by_gists.put(gist[0], (prepared, told_of(_untold(message), prepared, traffic)))
        return known

    def _by_gist(self, head: bytes, now: float) -> Remembered | None:
        gist = self._gists.read(head)
        if gist is None:
            return None
        known = _usable(self._by_gists, gist[0], now)
        if known is None or not gist[1]:
            return known
        told = known[1].with_words(gist[1])
        return None if told is None else (known[0], told)


def memo_of(limits: HttpLimits) -> HeadMemo:
    """A memo of half of what the limits say: a listener has two, of whole heads and of gists."""
    return HeadMemo(limits.max_memo_entries // 2, limits.max_memo_bytes // 2, limits.max_memo_head_bytes)


def _usable(memo: HeadMemo, key: bytes, now: float) -> Remembered | None:
    known = memo.get(key)
    if known is None or known[0].is_usable(now):
        return known
    memo.forget(key)
    memo.note(key)
    return None


def told_of(message: MessageHead, prepared: Prepared, traffic: Traffic) -> Told:
    """What is said of a hit that a request led to."""
    size_bytes = 0 if message.request.method == "HEAD" else prepared.size_bytes
    protocol = HTTP_1_1 if message.minor == 1 else HTTP_1_0
    return traffic.told(message.request, prepared.status, size_bytes, protocol)


def _without_cookies(head: bytes) -> bytes | None:
    """The head without its Cookie line, of which a NUL is left: no head that was judged well has one. So it is nobody
    else's, and the limit on lines has counted the one that was there. None without such a line."""
    start = head.find(_COOKIE)
    if start < 0:
        return None
    end = head.find(b"\r\n", start + 2)
    if _VALUE.fullmatch(head, start + 2, end) is None:
        return None
    return b"\0".join((head[:start], head[end:]))


def _untold(message: MessageHead) -> MessageHead:
    """Without what a gist leaves out."""
    request = message.request
    kept = Fields(tuple(line for line in request.fields if line[0] not in UNTELLING))
    asked = Request(request.method, request.target, request.host, request.port, kept, request.scheme)
    return MessageHead(asked, None, message.is_persistent, True, False, message.minor)
