"""Header blocks of requests (RFC 7541), decoded against the table that the client fills. Pure: bytes in, fields out."""

from __future__ import annotations

from typing import Final

from cdn.edge.h2_events import BlockShape, HeaderList
from cdn.edge.hpack_huffman import decode_huffman
from cdn.edge.hpack_table import STATIC_TABLE
from cdn.errors import CdnError

DEFAULT_TABLE_BYTES = 4096
"""The table that a client may fill before it has read our SETTINGS (RFC 9113 section 6.5.2)."""

MAX_REMEMBERED = 8192
"""Literals whose reading is remembered for all connections of the process, of each of two kinds."""

MAX_REMEMBERED_BYTES = 256
"""Longer ones are not remembered. With the bound above: some 8 MiB of each kind at worst, 2 MiB with what browsers
send."""

MAX_TAILS = 8
"""Ends of blocks that a connection remembers until its table changes: one for each kind of thing that a page asks
for."""

MAX_TAIL_BYTES = 128
"""Longer ones are not remembered. With the bound above: 10 KiB of a connection at worst, 1 KiB with browsers."""

MIN_TAIL_FIELDS = 4
"""Shorter ends are read as fast as they are found."""

ENTRY_OVERHEAD_BYTES: Final = 32
"""What a field counts beyond its name and value (RFC 7541 section 4.1)."""

MAX_SHAPES = 8
"""Like MAX_TAILS, of whole blocks without their path: 12 KiB of a connection at worst, 2 KiB with browsers."""

MAX_SHAPE_BYTES = 128
"""What such a block has beside its path: longer ones are not remembered."""

_PATH: Final = 0x04
"""What a path begins with that stays out of the table: a literal with the static table's name (section 6.2.2)."""

_FIRST_DYNAMIC: Final = len(STATIC_TABLE) + 1
_LARGEST_STATIC: Final = ENTRY_OVERHEAD_BYTES + max(len(name) + len(value) for name, value in STATIC_TABLE)
_MAX_CONTINUATIONS: Final = 4
"""Octets of an integer after its prefix: 2^28 is beyond every length and size that is allowed here (section 5.1)."""

_PERSONAL: Final = frozenset(("authorization", "cookie", "proxy-authorization"))
"""Fields that are not remembered beyond their connection: no two clients send the same."""

_fields: Final[dict[bytes, tuple[str, str]]] = {}
"""Literals with a static or literal name, by all their octets: they mean the same on every connection."""

_values: Final[dict[bytes, str]] = {}
"""Values of literals with a dynamic name, by all their octets."""


_CUT_SHORT: Final = "The block ends within a field, or points beyond its tables."
_INDEX_ZERO: Final = "A field has the index 0, which no table has."
_LATE_RESIZE: Final = "A table size stands behind a field; it belongs at the beginning of the block."


class HpackFault(CdnError):
    """A block that cannot be decoded: the connection is over, with COMPRESSION_ERROR (RFC 9113 section 4.3)."""


class HpackDecoder:
    """Decodes the blocks of one connection in the order in which they came.

    `is_list_too_large` tells of the block decoded last that its list exceeds `max_list_bytes` (names, values, and 32
    octets for each: RFC 9113 section 6.5.2): what did not was returned, and the table is in step. What a block makes
    before it is cut is less than eight times its octets beside the fields of the table, which are not copied. `shape`
    is that of the block decoded last, where it was remembered.
    """

    __slots__ = (
        "_block",
        "_decoded",
        "_entries",
        "_largest",
        "_max_list_bytes",
        "_max_table_bytes",
        "_must_shrink",
        "_path_at",
        "_said_bytes",
        "_shapes",
        "_table_bytes",
        "_tails",
        "_used_bytes",
        "is_list_too_large",
        "shape",
    )

    def __init__(self, max_list_bytes: int, table_bytes: int = DEFAULT_TABLE_BYTES) -> None:
        """`table_bytes` is what our SETTINGS say; it holds once `settings_acknowledged` was called."""
        self.is_list_too_large = False
        self.shape: BlockShape | None = None
        self._shapes: dict[bytes, BlockShape] = {}
        self._path_at = -1
        self._max_list_bytes = max_list_bytes
        self._said_bytes = table_bytes
        self._max_table_bytes = DEFAULT_TABLE_BYTES
        self._table_bytes = DEFAULT_TABLE_BYTES
        self._used_bytes = 0
        self._must_shrink = False
        # By index: nothing, the static table, and the dynamic one, which begins with what came last. To insert in the
        # middle moves less than a KiB, and an index needs no arithmetic.
        self._entries: list[tuple[str, str]] = [("", ""), *STATIC_TABLE]
        self._largest = _LARGEST_STATIC
        self._block = b""
        self._decoded: HeaderList = []
        self._tails: dict[bytes, tuple[tuple[str, str], ...]] = {}

    @property
    def dynamic_table(self) -> tuple[tuple[str, str], ...]:
        """What the client has put there, the last first."""
        return tuple(self._entries[_FIRST_DYNAMIC:])

    def settings_acknowledged(self) -> None:
        """The client has read our SETTINGS_HEADER_TABLE_SIZE: a smaller one binds it from here on."""
        self._max_table_bytes = self._said_bytes
        # The next block has to begin with the size that the client chose (RFC 9113 section 4.3.1).
        self._must_shrink = self._table_bytes > self._said_bytes
        self._shapes.clear()

    def decode(self, block: bytes) -> HeaderList:
        """The fields of a whole block, which nobody may change: the next equal block gives the same list.

        Equal fields are mostly the same tuple. Raises HpackFault, after which the decoder is of no more use.
        """
        if block == self._block and block:
            return self._decoded
        self.is_list_too_large = False
        self._block = block  # unless the table changes on the way
        try:
            fields = self._read_alike(block) if self._shapes else None
            if fields is None:
                self.shape = None
                at = self._resize(block) if self._must_shrink or (block and block[0] & 0xE0 == 0x20) else 0
                fields = self._read(block, at)
                if self._block:
                    self._remember_shape(block, fields)
        except IndexError:
            raise HpackFault(_CUT_SHORT) from None
        if len(fields) * self._largest + 2 * len(block) > self._max_list_bytes:  # mostly not: nothing is summed up
            self._cut(fields)
        self._decoded = fields
        return fields

    def _read_alike(self, block: bytes) -> HeaderList | None:
        """The fields of a block that differs from a remembered one in its path alone; None when it differs otherwise.
        0.6 us, of whatever length the block is."""
        at = self._path_at
        if len(block) < at + 2 or block[at] != _PATH:
            return None
        length = block[at + 1]
        end = at + 2 + (length & 0x7F)
        if length & 0x7F == 0x7F or end > len(block):
            return None
        shape = self._shapes.get(block[:at] + block[end:])
        if shape is None:
            return None
        self.shape = shape
        path = _fields.get(block[at:end]) or self._literal(block, at, _PATH, 0x0F)[0]
        return [*shape.before, path, *shape.after]

    def _remember_shape(self, block: bytes, fields: HeaderList) -> None:
        """After a block that has left the table as it was: all before its path stands in tables, an octet for each."""
        at = 0
        while at < len(block) and 0x80 < block[at] < 0xFF:
            at += 1
        if len(block) < at + 2 or block[at] != _PATH or block[at + 1] & 0x7F == 0x7F or ":path" in dict(fields[:at]):
            return
        end = at + 2 + (block[at + 1] & 0x7F)
        key = block[:at] + block[end:]
        if len(key) > MAX_SHAPE_BYTES:
            return
        if at != self._path_at or len(self._shapes) >= MAX_SHAPES:
            self._shapes.clear()
            self._path_at = at
        self.shape = self._shapes[key] = BlockShape(fields[:at], fields[at + 1 :])

    def _read(self, block: bytes, at: int) -> HeaderList:
        """The fields from `at` on. IndexError where the block, or a table, ends too early.

        Whole blocks hardly come again, but their ends do: a browser asks for one path after the other with the same
        fields, which stand in the table. So the octets after a literal that changes nothing are looked up at once.
        """
        entries, tails = self._entries, self._tails
        fields: HeaderList = []
        end = len(block)
        tail_at = tail_fields = -1
        has_changed = at > 0
        while at < end:
            octet = block[at]
            if octet > 0x80:
                at += 1
                if octet == 0xFF:
                    index, at = _integer(block, at, 0x7F)
                    fields.append(entries[index])
                else:
                    fields.append(entries[octet & 0x7F])
            elif octet & 0x40:
                field, at = self._literal(block, at, octet, 0x3F)
                fields.append(field)
                self._insert(field)
                has_changed = True
            elif octet & 0xE0:
                raise HpackFault(_INDEX_ZERO if octet == 0x80 else _LATE_RESIZE)
            else:
                field, at = self._literal(block, at, octet, 0x0F)
                fields.append(field)
                known = tails.get(block[at:]) if tails else None
                if known is not None:
                    fields += known
                    break
                tail_at, tail_fields, has_changed = at, len(fields), False
        else:
            if tail_at >= 0 and not has_changed:
                self._remember_tail(block[tail_at:], fields[tail_fields:])
        return fields

    def _literal(self, block: bytes, at: int, octet: int, prefix: int) -> tuple[tuple[str, str], int]:
        """The literal that begins at `at` with `octet`, and where it ends (section 6.2)."""
        start = at
        at += 1
        index = octet & prefix
        if index == prefix:
            index, at = _integer(block, at, prefix)
        name_at = at
        if index == 0:
            at = _end_of_string(block, at)
        value_at = at
        length = block[at] & 0x7F
        at += 1
        if length == 0x7F:
            length, at = _integer(block, at, 0x7F)
        at += length
        if at > len(block):
            raise HpackFault(_CUT_SHORT)
        if index >= _FIRST_DYNAMIC:
            name = self._entries[index][0]
            return (name, _value(name, block[value_at:at], octet)), at
        raw = block[start:at]
        known = _fields.get(raw)
        if known is None:
            name = self._entries[index][0] if index else _text(block[name_at:value_at])
            known = name, _text(block[value_at:at])
            if _may_remember(name, raw, octet):
                if len(_fields) >= MAX_REMEMBERED:
                    _fields.clear()
                _fields[raw] = known
        return known, at

    def _insert(self, field: tuple[str, str]) -> None:
        """Add an entry to the dynamic table (section 4.4); one that is larger than the table empties it."""
        if self._block:  # the first that this block adds
            self._block = b""
            self._tails.clear()
            self._shapes.clear()
        size_bytes = len(field[0]) + len(field[1]) + ENTRY_OVERHEAD_BYTES
        self._used_bytes += size_bytes
        if self._used_bytes > self._table_bytes:
            self._evict(self._table_bytes - size_bytes, self._used_bytes - size_bytes)
            if size_bytes > self._table_bytes:
                return
            self._used_bytes += size_bytes
        self._entries.insert(_FIRST_DYNAMIC, field)
        if size_bytes > self._largest:  # noqa: PLR1730 - a third of the call
            self._largest = size_bytes

    def _evict(self, target_bytes: int, used_bytes: int) -> None:
        """Take the oldest entries away until the others, which take `used_bytes`, fit (section 4.3)."""
        entries = self._entries
        while used_bytes > target_bytes and len(entries) > _FIRST_DYNAMIC:
            name, value = entries.pop()
            used_bytes -= len(name) + len(value) + ENTRY_OVERHEAD_BYTES
        self._used_bytes = used_bytes

    def _resize(self, block: bytes) -> int:
        """Obey the table sizes with which `block` begins (section 6.3); where its first field begins.

        An encoder has to send two at most; some send each that they were ever told.
        """
        at = 0
        while at < len(block) and block[at] & 0xE0 == 0x20:
            size_bytes = block[at] & 0x1F
            at += 1
            if size_bytes == 0x1F:
                size_bytes, at = _integer(block, at, 0x1F)
            if size_bytes > self._max_table_bytes:
                raise HpackFault(
                    f"The block sets its table to {size_bytes} octets; SETTINGS allow {self._max_table_bytes}."
                )
            self._table_bytes = size_bytes
            self._evict(size_bytes, self._used_bytes)
            self._must_shrink = False
        if self._must_shrink:
            raise HpackFault("SETTINGS made the table smaller, and the block does not begin with its new size.")
        self._block = b""
        self._tails.clear()
        self._shapes.clear()
        return at

    def _remember_tail(self, tail: bytes, fields: HeaderList) -> None:
        if len(fields) < MIN_TAIL_FIELDS or len(tail) > MAX_TAIL_BYTES:
            return
        if len(self._tails) >= MAX_TAILS:
            self._tails.clear()
        self._tails[tail] = tuple(fields)

    def _cut(self, fields: HeaderList) -> None:
        size_bytes = 0
        for place, (name, value) in enumerate(fields):
            size_bytes += len(name) + len(value) + ENTRY_OVERHEAD_BYTES
            if size_bytes > self._max_list_bytes:
                del fields[place:]
                self.is_list_too_large = True
                return


def _integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """The rest of an integer whose prefix is all ones, and where it ends (section 5.1)."""
    value = prefix
    for shift in range(0, 7 * _MAX_CONTINUATIONS, 7):
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
    raise HpackFault(f"An integer has more than {_MAX_CONTINUATIONS} octets after its prefix.")


def _end_of_string(block: bytes, at: int) -> int:
    length = block[at] & 0x7F
    at += 1
    if length == 0x7F:
        length, at = _integer(block, at, 0x7F)
    return at + length


def _text(raw: bytes) -> str:
    """The string literal that `raw` is, with its length (section 5.2)."""
    at = 1 if raw[0] & 0x7F != 0x7F else _integer(raw, 1, 0x7F)[1]
    if raw[0] < 0x80:
        return raw[at:].decode("latin-1")
    text = decode_huffman(raw[at:])
    if text is None:
        raise HpackFault("A string is not well coded in Huffman's code.")
    return text


def _value(name: str, raw: bytes, octet: int) -> str:
    """The value that `raw` is, of a literal with a dynamic name."""
    known = _values.get(raw)
    if known is None:
        known = _text(raw)
        if _may_remember(name, raw, octet):
            if len(_values) >= MAX_REMEMBERED:
                _values.clear()
            _values[raw] = known
    return known


def _may_remember(name: str, raw: bytes, octet: int) -> bool:
    """Not what is long, or one client's own; nor what is never to be indexed (section 7.1.3)."""
    return len(raw) <= MAX_REMEMBERED_BYTES and octet & 0xF0 != 0x10 and name not in _PERSONAL
