"""What all HTTP/2 connections of one listener share, beside the Service."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cdn.edge.access_line import Words, encode_words
from cdn.edge.h2_limits import H2Limits
from cdn.edge.h2_request import RequestGist, RequestReader
from cdn.edge.head_gist import UNTELLING, may_stand_for
from cdn.edge.head_memo import HeadMemo
from cdn.edge.limits import HttpLimits
from cdn.edge.prepared import Prepared
from cdn.edge.traffic import HTTP_2, Traffic
from cdn.http.fields import Fields
from cdn.http.request import Request


@dataclass(frozen=True, slots=True)
class H2Service:
    """`requests` remembers what it has read of all clients, `memo` by their gists what requests led to: with the bounds
    that heads of HTTP/1.1 have, beside them."""

    limits: H2Limits
    requests: RequestReader
    memo: HeadMemo

    @classmethod
    def of(cls, http: HttpLimits, limits: H2Limits | None = None, words: Words = encode_words) -> H2Service:
        """With these limits; None: the defaults. `words` says what the access log has of a request's fields."""
        memo = HeadMemo(http.max_memo_entries, http.max_memo_bytes, http.max_memo_head_bytes)
        return cls(limits or H2Limits(), RequestReader(http, words), memo)

    def remember(self, gist: RequestGist, request: Request, prepared: Prepared, traffic: Traffic) -> None:
        """That a request with this gist led to this hit; when it has come for the second time."""
        if not may_stand_for(prepared):
            return
        memo = self.memo
        known = memo.get(gist.key)
        if memo.has_come(gist.key) if known is None else known[0] is not prepared:
            fields = Fields(tuple(line for line in request.fields if line[0] not in UNTELLING))
            size_bytes = 0 if gist.is_head else prepared.size_bytes
            told = traffic.told(replace(request, fields=fields), prepared.status, size_bytes, HTTP_2)
            memo.put(gist.key, (prepared, told))
