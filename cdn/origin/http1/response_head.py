"""From the raw bytes of one whole response head to a judged head (RFC 9112 sections 4 to 6)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cdn.http.fields import Fields
from cdn.http.response_head import ResponseHead
from cdn.origin.http1.framing import Broken, Chunked, FixedLength, Framing, UntilClose, read_field_line
from cdn.origin.upstream import UpstreamFault
from cdn.origin.upstream_limits import UpstreamLimits

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*+)?")
_LENGTH = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class MessageHead:
    """A judged head. `framing` is None when no content follows.

    `is_persistent`: another request may be sent on this connection after the response (RFC 9112 section 9.3).
    """

    head: ResponseHead
    framing: Framing | None
    is_persistent: bool

    @property
    def is_interim(self) -> bool:
        """Whether a further response follows (RFC 9110 section 15.2)."""
        return self.head.status < 200


def read_response_head(raw: bytes, method: str, limits: UpstreamLimits) -> MessageHead | Broken:
    """Judge `raw`, from the status line to the empty line, within the limit on bytes, as the answer to `method`."""
    lines = raw[:-4].split(b"\r\n")
    found = _STATUS_LINE.fullmatch(lines[0])
    if found is None:
        return Broken(UpstreamFault.MALFORMED_HEAD, "its status line is malformed")
    if len(lines) - 1 > limits.max_fields:
        return Broken(UpstreamFault.HEAD_TOO_LARGE, f"its head has more than {limits.max_fields} fields")
    pairs: list[tuple[str, str]] = []
    for line in lines[1:]:
        pair = read_field_line(line)
        if pair is None:
            return Broken(UpstreamFault.MALFORMED_HEAD, "a field line is malformed")
        pairs.append(pair)
    status = int(found[2])
    if status == 101:
        return Broken(UpstreamFault.UNASKED_UPGRADE, "it switched to a protocol that nobody asked for")
    head = ResponseHead(status, Fields(tuple(pairs)))
    is_new = found[1] == b"1"
    framing = _framing_of(head, method, limits, is_new=is_new)
    if isinstance(framing, Broken):
        return framing
    is_persistent = is_new and not isinstance(framing, UntilClose) and not _has_close(head.fields)
    return MessageHead(head, framing, is_persistent)


def _framing_of(head: ResponseHead, method: str, limits: UpstreamLimits, *, is_new: bool) -> Framing | Broken | None:
    """RFC 9112 section 6.3, but that what the section allows to mend is refused."""
    coding = head.fields.get("transfer-encoding")
    lengths = head.fields.get_all("content-length")
    if coding is not None and lengths:
        return Broken(UpstreamFault.WRONG_LENGTH, "it has both Content-Length and Transfer-Encoding")
    if len(lengths) > 1:
        return Broken(UpstreamFault.WRONG_LENGTH, "it has several Content-Length fields")
    if lengths and _LENGTH.fullmatch(lengths[0]) is None:
        return Broken(UpstreamFault.WRONG_LENGTH, "its Content-Length is no length")
    if coding is not None and (not is_new or coding.lower() != "chunked"):
        return Broken(UpstreamFault.UNKNOWN_TRANSFER_CODING, "its transfer coding is not a single chunked of HTTP/1.1")
    if method == "HEAD" or head.status < 200 or head.status in (204, 304):
        return None
    if coding is not None:
        return Chunked(limits)
    return FixedLength(int(lengths[0])) if lengths else UntilClose()


def _has_close(fields: Fields) -> bool:
    options = fields.get("connection")
    return options is not None and any(option.strip(" \t").lower() == "close" for option in options.split(","))
