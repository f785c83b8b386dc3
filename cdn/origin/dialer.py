"""Making connections to upstreams: addresses judged one by one, TLS verified."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from cdn.errors import InvalidInput
from cdn.origin.endpoint import Endpoint
from cdn.origin.http1.connection import UpstreamConnection
from cdn.origin.names import Names
from cdn.origin.outbound import Address, OutboundRule
from cdn.origin.upstream import UpstreamBroken, UpstreamFault
from cdn.origin.upstream_limits import UpstreamLimits

MAX_ADDRESSES = 4
"""Addresses of one name that are tried: the time for connecting is shared among them."""


def client_tls(extra_ca_file: Path | None = None) -> ssl.SSLContext:
    """TLS as a client: certificates are verified against the system's authorities and those in `extra_ca_file`.

    Raises InvalidInput when that file holds no certificates.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if extra_ca_file is not None:
        try:
            context.load_verify_locations(cafile=extra_ca_file)
        except (OSError, ssl.SSLError) as exc:
            raise InvalidInput(
                f"The file {extra_ca_file} with authorities for upstreams cannot be used: {exc}. "
                "It has to hold certificates in PEM form."
            ) from exc
    return context


class Dialer:
    """Connects to endpoints. Every address of a user's endpoint passes the rule right before it is connected to."""

    def __init__(
        self, rule: OutboundRule, names: Names, limits: UpstreamLimits, tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls` None: the system's authorities, which are read when the first connection needs them."""
        self._rule = rule
        self._names = names
        self._limits = limits
        self._tls = tls

    async def connect(self, endpoint: Endpoint, timeout_s: float) -> UpstreamConnection:
        """A new connection, its TLS handshake done. Name, connection and handshake have `timeout_s` each.

        Raises UpstreamBroken; a connection that is half made is closed then, as when this is cancelled.
        """
        addresses = await self._names.addresses(endpoint.host, timeout_s)
        allowed = [found for found in addresses if endpoint.is_operators or self._rule.may_connect(found)]
        if not allowed:
            raise UpstreamBroken(
                UpstreamFault.FORBIDDEN_ADDRESS,
                f"The upstream {endpoint} has the address {addresses[0]}, which is inside a private network. "
                "Name one with a public address, or allow its network with allowed_upstream_networks in the settings "
                "of the edge; for development, `cdn up --allow-private-upstreams` allows all.",
            )
        if endpoint.scheme == "http":
            return await self._connect_to_one(endpoint, allowed[:MAX_ADDRESSES], timeout_s)
        tls = self._tls if self._tls is not None else await asyncio.to_thread(client_tls)
        self._tls = tls
        connection = await self._connect_to_one(endpoint, allowed[:MAX_ADDRESSES], timeout_s)
        return await self._secure(endpoint, connection, tls, timeout_s)

    async def _connect_to_one(
        self, endpoint: Endpoint, addresses: list[Address], timeout_s: float
    ) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        is_refused = False
        for number, address in enumerate(addresses):
            share_s = (deadline - loop.time()) / (len(addresses) - number)
            try:
                async with asyncio.timeout(share_s):
                    # The address itself, not the name: what was judged is what is connected to.
                    _, connection = await loop.create_connection(
                        lambda: UpstreamConnection(self._limits, str(endpoint)), str(address), endpoint.port
                    )
            except TimeoutError:
                continue
            except OSError:
                is_refused = True
                continue
            if number:
                self._names.prefer(endpoint.host, address)
            return connection
        if is_refused:
            raise UpstreamBroken(UpstreamFault.CONNECT_REFUSED, f"The upstream {endpoint} refused the connection.")
        raise UpstreamBroken(
            UpstreamFault.CONNECT_TIMEOUT, f"The upstream {endpoint} took no connection within {timeout_s:g} s."
        )

    async def _secure(
        self, endpoint: Endpoint, plain: UpstreamConnection, tls: ssl.SSLContext, timeout_s: float
    ) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        # What an upstream says before the handshake is nothing that TLS protects: it goes to another connection.
        secured = UpstreamConnection(self._limits, str(endpoint))
        try:
            async with asyncio.timeout(timeout_s):
                transport = await loop.start_tls(plain.transport, secured, tls, server_hostname=endpoint.host)
                assert transport is not None
                secured.carry_on(transport)
        except TimeoutError as exc:
            raise UpstreamBroken(
                UpstreamFault.TLS, f"The TLS handshake with {endpoint} took longer than {timeout_s:g} s."
            ) from exc
        except ssl.SSLError as exc:
            raise UpstreamBroken(
                UpstreamFault.TLS, f"The TLS handshake with {endpoint} failed: {_reason(exc)}."
            ) from exc
        except OSError as exc:
            raise UpstreamBroken(
                UpstreamFault.TLS, f"The upstream {endpoint} closed the connection during the TLS handshake."
            ) from exc
        finally:
            if not secured.has_transport:
                plain.abort()
        return secured


def _reason(fault: ssl.SSLError) -> str:
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"its certificate is not good ({fault.verify_message})"
    return (fault.reason or "unknown").lower().replace("_", " ")
