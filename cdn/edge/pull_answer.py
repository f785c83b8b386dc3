"""An upstream's answer as a cache reads it: its head, when it was asked for and when it came."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cdn.edge.pull_visit import PullVisit
from cdn.edge.stored import PulledHead, StoredResponse
from cdn.http.connection_fields import without_connection_fields
from cdn.http.content_coding import varied_head
from cdn.http.date import format_date
from cdn.http.fields import Fields
from cdn.http.range import parse_content_range
from cdn.http.response_head import ResponseHead
from cdn.http.reuse_terms import ReuseTerms
from cdn.http.vary import vary_names
from cdn.origin.upstream import UpstreamResponse
from cdn.sites.origin import HttpOrigin
from cdn.sites.upstream_reference import visitor_reference

MAX_PART_BYTES = 64 * 1024 * 1024
"""A larger part of a representation is passed on, not stored: a video asked for in overlapping parts is stored whole
or in small parts, never many times over."""


_REFERENCES = frozenset(("location", "content-location"))


@dataclass(frozen=True, slots=True)
class Answer:
    """A head with the wall times that its age is reckoned from (RFC 9111 section 4.2.3)."""

    head: ResponseHead
    requested_at: float
    received_at: float

    def kept(self, visit: PullVisit, terms: ReuseTerms, size_bytes: int | None) -> PulledHead | None:
        """What is stored of it; None for a part that does not say which part it is, contradicts itself, or is large.

        `size_bytes` is what was announced of the content.
        """
        names = vary_names(self.head.fields)
        if names is None:
            return None
        withheld = terms.withheld_fields | {"content-length"}
        lines = tuple(line for line in self.head.fields if line[0] not in withheld)
        kept = PulledHead(
            ResponseHead(self.head.status, Fields(lines)), visit.selecting(names), self.requested_at, self.received_at
        )
        if self.head.status != 206:
            return kept
        part = parse_content_range(self.head.fields.get("content-range"))
        if part is None or part.complete_length is None or size_bytes != part.stop - part.start:
            return None
        if size_bytes == part.complete_length:  # all of it: an answer also to those who ask for no range (section 3.4)
            lines = tuple(line for line in lines if line[0] != "content-range")
            return replace(kept, head=ResponseHead(200, Fields(lines)), complete_length=size_bytes)
        if size_bytes > MAX_PART_BYTES:
            return None
        return replace(kept, complete_length=part.complete_length, part_start=part.start)


def answer_of(visit: PullVisit, response: UpstreamResponse, requested_at: float, received_at: float) -> Answer:
    """Without what concerns only the connection, and with a Date (RFC 9110 sections 6.6.1 and 7.6.1).

    What names a place on the upstream names it as a place of the site. A coded response varies with Accept-Encoding,
    which went upstream as the client sent it, whether or not the upstream says so: many servers leave that out.
    """
    lines = without_connection_fields(response.head.fields.lines)
    origin = visit.site.settings.origin
    # Of a rewrite's target nobody knows which paths of it the site has.
    if visit.sent_target is None and isinstance(origin, HttpOrigin) and any(name in _REFERENCES for name, _ in lines):
        lines = tuple(
            (name, visitor_reference(value, origin, visit.forwarding.host) if name in _REFERENCES else value)
            for name, value in lines
        )
    if "date" not in response.head.fields:
        lines = (*lines, ("date", format_date(received_at)))
    head = ResponseHead(response.head.status, Fields(lines))
    return Answer(varied_if_coded(head), requested_at, received_at)


def varied_if_coded(head: ResponseHead) -> ResponseHead:
    """The head, naming Accept-Encoding in Vary when its content is coded."""
    return varied_head(head) if "content-encoding" in head.fields else head


def selecting_names(pulled: PulledHead) -> tuple[str, ...]:
    """The request fields that Vary named when it was stored."""
    return tuple(name for name, _ in pulled.selecting)


def could_answer(visit: PullVisit, stored: StoredResponse) -> bool:
    """Whether Vary allows a stored response for a request (RFC 9111 section 4.1)."""
    pulled = stored.pulled
    return pulled is not None and visit.selecting(selecting_names(pulled)) == pulled.selecting
