"""Header blocks of requests (RFC 7541), decoded against the table that the client fills. Pure: bytes in, fields out."""

from __future__ import annotations

from cdn.edge.h2_events import HeaderList
from cdn.errors import CdnError

DEFAULT_TABLE_BYTES = 4096
"""The table that a client may fill before it has read our SETTINGS (RFC 9113 section 6.5.2)."""


class HpackFault(CdnError):
    """A block that cannot be decoded: the connection is over, with COMPRESSION_ERROR (RFC 9113 section 4.3)."""


class HpackDecoder:
    """Decodes the blocks of one connection in the order in which they came.

    `is_list_too_large` tells of the block decoded last that its list exceeds `max_list_bytes` (names, values, and 32
    octets for each: RFC 9113 section 6.5.2): what did not was returned, and the table is in step.
    """

    __slots__ = ("is_list_too_large",)

    def __init__(self, max_list_bytes: int, table_bytes: int = DEFAULT_TABLE_BYTES) -> None:
        """`table_bytes` is what our SETTINGS say; it holds once `settings_acknowledged` was called."""
        self.is_list_too_large = False

    def settings_acknowledged(self) -> None:
        """The client has read our SETTINGS_HEADER_TABLE_SIZE: a smaller one binds it from here on."""

    def decode(self, block: bytes) -> HeaderList:
        """The fields of a whole block, which nobody may change: the next equal block gives the same list.

        Equal fields are mostly the same tuple. Raises HpackFault, after which the decoder is of no more use.
        """
        raise NotImplementedError
