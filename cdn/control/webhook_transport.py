"""One message to a receiver's server: every address judged, everything bounded, redirects not followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from cdn import __version__
from cdn.http.fields import FieldLines
from cdn.http.response_head import ResponseHead
from cdn.http.reuse_terms import retry_after_s
from cdn.origin.outbound import OutboundRule
from cdn.origin.upstream import UpstreamBroken, UpstreamContent, UpstreamFault, UpstreamRequest, UpstreamTimeouts
from cdn.origin.upstream_limits import UpstreamLimits
from cdn.origin.upstreams import Upstreams
from cdn.purge.hook import OutboundHook

TIMEOUT_S = 20.0
"""One exchange, whole. Receivers take a message and work on it later: the specification's advice is 15 to 30 s."""

MAX_ANSWER_BYTES = 16 * 1024
"""Read of an answer; beyond, the connection is closed. Nothing depends on it."""

SHOWN_CHARS = 200
"""Of an answer: enough to see what a receiver did not like."""

LIMITS = UpstreamLimits(max_connections=64, max_connections_per_upstream=4, max_waiting=256, idle_timeout_s=5.0)
"""Messages are few: a connection is kept for those that happen together."""

TIMEOUTS = UpstreamTimeouts(connect_s=5.0, read_s=15.0, retries=0)

USER_AGENT = f"cdn-webhooks/{__version__}"


@dataclass(frozen=True, slots=True)
class Sent:
    """How one try ended. `status` None: there was no answer."""

    status: int | None
    says: str
    retry_after_s: float | None = None


class WebhookTransport:
    """Connections to receivers."""

    def __init__(self, rule: OutboundRule, upstreams: Upstreams | None = None) -> None:
        self._upstreams = upstreams or Upstreams(rule, LIMITS)

    async def aclose(self) -> None:
        """Close connections."""
        await self._upstreams.aclose()

    async def send(self, hook: OutboundHook, fields: Sequence[tuple[str, str]], content: bytes, now: float) -> Sent:
        """Post a message; what came of it is never raised. `now` is wall time."""
        endpoint = hook.endpoint
        lines: FieldLines = (("host", endpoint.authority), ("user-agent", USER_AGENT), ("accept", "*/*"), *fields)
        request = UpstreamRequest("POST", hook.target, lines, _once(content), len(content))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                response = await self._upstreams.of(endpoint, TIMEOUTS).send(request, _ignored)
                try:
                    shown = await _beginning(response.content)
                finally:
                    await response.content.aclose()
        except TimeoutError:
            return Sent(None, f"it did not answer within {TIMEOUT_S:g} s")
        except UpstreamBroken as broken:
            return Sent(None, _why(broken))
        status = response.head.status
        if 300 <= status < 400:
            shown = "it redirects, which is not followed: give the URL that it leads to"
        return Sent(status, shown, retry_after_s(response.head.fields, now))


def _why(broken: UpstreamBroken) -> str:
    if broken.fault is UpstreamFault.FORBIDDEN_ADDRESS:
        return (
            "its address is inside a private network: name a public one, or let the operator allow it with "
            "allowed_webhook_networks in the settings of control (cdn up --allow-private-upstreams)"
        )
    return broken.message


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _ignored(interim: ResponseHead) -> None:
    del interim


async def _beginning(content: UpstreamContent) -> str:
    read = bytearray()
    try:
        async for part in content:
            read += part
            if len(read) > MAX_ANSWER_BYTES:
                break
    except UpstreamBroken:
        pass  # the status came, and it is what counts
    text = bytes(read[: 4 * SHOWN_CHARS]).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else " " for letter in text[:SHOWN_CHARS]).strip()
