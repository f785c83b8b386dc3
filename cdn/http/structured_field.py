"""Structured field values (RFC 9651), read as strictly as section 4.2 says: with one fault the whole field is none.

Every parser takes linear time and raises nothing. Lines of one field are joined by ", " before they are read here.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

_INTEGER = re.compile(r"-?[0-9]{1,15}")
_DECIMAL = re.compile(r"-?[0-9]{1,12}\.[0-9]{1,3}")
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*+)"')
_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*")
_BYTES = re.compile(r":([A-Za-z0-9+/]*+)(={0,2}):")
_BOOLEAN = re.compile(r"\?([01])")
_DATE = re.compile(r"@(-?[0-9]{1,15})")
_DISPLAY_STRING = re.compile(r'%"((?:[ !#$&-~]|%[0-9a-f]{2})*+)"')
_KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_SPACES = re.compile(r" *")
_OPTIONAL_WHITESPACE = re.compile(r"[ \t]*")
_ESCAPED_CHAR = re.compile(r'\\(["\\])')
_ESCAPED_OCTET = re.compile(rb"%([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Token:
    """A short word without quotes (section 3.3.4)."""

    text: str


@dataclass(frozen=True, slots=True)
class Date:
    """A moment (section 3.3.7)."""

    epoch_s: int


@dataclass(frozen=True, slots=True)
class DisplayString:
    """Unicode text for people (section 3.3.8)."""

    text: str


BareItem = int | Decimal | str | Token | bytes | bool | Date | DisplayString
Parameters = Mapping[str, BareItem]


@dataclass(frozen=True, slots=True)
class Item:
    """One value and what was said about it (section 3.3)."""

    value: BareItem
    parameters: Parameters


@dataclass(frozen=True, slots=True)
class InnerList:
    """Items in parentheses, and what was said about all of them (section 3.1.1)."""

    items: tuple[Item, ...]
    parameters: Parameters


Member = Item | InnerList


def parse_item(text: str) -> Item | None:
    """A field that is one item (section 4.2.3); None when it is malformed."""
    reader = _Reader(text.strip(" "))
    item = reader.item()
    return item if item is not None and reader.is_at_end() else None


def parse_list(text: str) -> tuple[Member, ...] | None:
    """A field that is a list (section 4.2.1); None when it is malformed. An empty field is an empty list."""
    reader = _Reader(text.strip(" "))
    members: list[Member] = []
    is_open = not reader.is_at_end()
    while is_open:
        member = reader.member()
        if member is None:
            return None
        members.append(member)
        follows = reader.next_follows()
        if follows is None:
            return None
        is_open = follows
    return tuple(members)


def parse_dictionary(text: str) -> dict[str, Member] | None:
    """A field that is a dictionary (section 4.2.2); None when it is malformed.

    Of a repeated key the last value counts. An empty field is an empty dictionary.
    """
    reader = _Reader(text.strip(" "))
    members: dict[str, Member] = {}
    is_open = not reader.is_at_end()
    while is_open:
        key = reader.take(_KEY)
        if key is None:
            return None
        member = reader.member() if reader.skip("=") else reader.flag()
        if member is None:
            return None
        members[key[0]] = member
        follows = reader.next_follows()
        if follows is None:
            return None
        is_open = follows
    return members


class _Reader:
    """A place in the text. Each method reads one thing there, or returns None: then the field is malformed.

    What a pattern leaves unread of a malformed number or string is found by whatever is read next: nothing that may
    follow a bare item can start with a digit or a dot.
    """

    __slots__ = ("_position", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def is_at_end(self) -> bool:
        return self._position == len(self._text)

    def skip(self, char: str) -> bool:
        is_there = self._text.startswith(char, self._position)
        self._position += is_there
        return is_there

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._position)
        if match is not None:
            self._position = match.end()
        return match

    def next_follows(self) -> bool | None:
        """After a member: whether a comma and another one follow. None: neither the end nor another member."""
        self.take(_OPTIONAL_WHITESPACE)
        if self.is_at_end():
            return False
        if not self.skip(","):
            return None
        self.take(_OPTIONAL_WHITESPACE)
        return None if self.is_at_end() else True

    def member(self) -> Member | None:
        return self.inner_list() if self.skip("(") else self.item()

    def flag(self) -> Item | None:
        """A dictionary member that is a key alone."""
        parameters = self.parameters()
        return None if parameters is None else Item(True, parameters)

    def inner_list(self) -> InnerList | None:
        items: list[Item] = []
        self.take(_SPACES)
        while not self.skip(")"):
            item = self.item()
            if item is None:
                return None
            items.append(item)
            is_separated = self.skip(" ")
            self.take(_SPACES)
            if not is_separated and not self._text.startswith(")", self._position):
                return None
        parameters = self.parameters()
        return None if parameters is None else InnerList(tuple(items), parameters)

    def item(self) -> Item | None:
        value = self.bare_item()
        if value is None:
            return None
        parameters = self.parameters()
        return None if parameters is None else Item(value, parameters)

    def parameters(self) -> Parameters | None:
        found: dict[str, BareItem] = {}
        while self.skip(";"):
            self.take(_SPACES)
            key = self.take(_KEY)
            if key is None:
                return None
            value = self.bare_item() if self.skip("=") else True
            if value is None:
                return None
            found[key[0]] = value
        return found

    def bare_item(self) -> BareItem | None:
        match self._text[self._position : self._position + 1]:
            case '"':
                string = self.take(_STRING)
                return None if string is None else _ESCAPED_CHAR.sub(r"\1", string[1])
            case ":":
                return self._bytes()
            case "?":
                boolean = self.take(_BOOLEAN)
                return None if boolean is None else boolean[1] == "1"
            case "@":
                date = self.take(_DATE)
                return None if date is None else Date(int(date[1]))
            case "%":
                return self._display_string()
            case _:
                return self._number_or_token()

    def _number_or_token(self) -> BareItem | None:
        decimal = self.take(_DECIMAL)
        if decimal is not None:
            return Decimal(decimal[0])
        integer = self.take(_INTEGER)
        if integer is not None:
            return int(integer[0])
        token = self.take(_TOKEN)
        return None if token is None else Token(token[0])

    def _bytes(self) -> bytes | None:
        """Padding may be missing, as section 4.2.7 allows; there is never more than the octets need."""
        sequence = self.take(_BYTES)
        if sequence is None:
            return None
        digits, padding = sequence.groups()
        missing = -len(digits) % 4
        if missing == 3 or len(padding) > missing:
            return None
        return binascii.a2b_base64(digits + "=" * missing)

    def _display_string(self) -> DisplayString | None:
        string = self.take(_DISPLAY_STRING)
        if string is None:
            return None
        octets = _ESCAPED_OCTET.sub(lambda escape: bytes.fromhex(escape[1].decode("ascii")), string[1].encode("ascii"))
        try:
            return DisplayString(octets.decode("utf-8"))
        except UnicodeDecodeError:
            return None
