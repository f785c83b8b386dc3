"""Which paths a rule covers: segments, placeholders and one splat. Matching takes linear time, it never goes back.

The text of a pattern is a path in which `:name` stands for one segment and `*` for anything. The rest is literal;
what is percent-encoded there is the character itself (`%2A` a star, `%3A` a colon). The two readings differ:

* NETLIFY: a placeholder is a whole segment, a splat is a whole segment or ends the pattern; a slash at the end of path
  or pattern does not count, and `/news/*` covers `/news` too.
* CLOUDFLARE: placeholders and the splat may stand within segments, and every slash counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from cdn.errors import InvalidInput
from cdn.sites.path import shown
from cdn.sites.rules.mode import RulesMode

MAX_PATTERN_LENGTH = 2048
"""Characters of one pattern: what Cloudflare Pages takes for a whole line, and twice the longest path of a bundle."""

MAX_SEGMENTS = 64
"""Segments of one pattern: no site nests its pages deeper, and each is looked at."""

MAX_PLACEHOLDERS = 16
"""Placeholders of one pattern, each kept for the target."""

SPLAT = "splat"
"""The name under which a target finds what `*` stood for."""

Captures = dict[str, str]
"""What placeholders and the splat stood for, decoded, by name."""

# Old pages of Netlify write `/:month:/`.
_NETLIFY_NAME = re.compile(r":([A-Za-z0-9_][A-Za-z0-9_.\-]*):?")
_CLOUDFLARE_NAME = re.compile(r":([A-Za-z]\w*)", re.ASCII)
_CLOUDFLARE_PIECE = re.compile(r"(\*|:[A-Za-z]\w*)", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NEVER_ASKED = re.compile(r"[\x00-\x1f\x7f\\/]")


@dataclass(frozen=True, slots=True)
class Hole:
    """A placeholder: at least one character, no slash. The splat is the hole without a name: any number of any."""

    name: str = ""


STAR = Hole()
Piece = str | Hole


@dataclass(frozen=True, slots=True)
class PiecedText:
    """Literals with holes between them, to fit the whole of a text.

    Of all ways to fit, the one in which the first hole is longest, then the second, and so on, as in greedy regular
    expressions. Each literal goes as far to the right as those after it leave room, from the last to the first: that
    comes to the same, and no choice is ever taken back. Literals are kept backwards, to look for the rightmost.
    """

    backwards: tuple[str, ...]
    holes: tuple[Hole, ...]

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> PiecedText:
        """From pieces in order."""
        literals, holes = [""], []
        for piece in pieces:
            if isinstance(piece, Hole):
                holes.append(piece)
                literals.append("")
            else:
                literals[-1] += piece
        return cls(tuple(literal[::-1] for literal in literals), tuple(holes))

    def fit(self, text: str) -> list[str] | None:
        """What each hole stands for; None when the text does not fit."""
        mirrored = text[::-1]
        if not mirrored.startswith(self.backwards[-1]) or not mirrored.endswith(self.backwards[0]):
            return None
        found = []
        at = len(self.backwards[-1])
        for number in range(len(self.holes) - 1, -1, -1):
            literal = self.backwards[number]
            least = at if self.holes[number] is STAR else at + 1
            start = mirrored.find(literal, least) if number else len(text) - len(literal)
            if start < least:
                return None
            found.append(mirrored[at:start][::-1])
            at = start + len(literal)
        found.reverse()
        return found if self.holes or at == len(text) else None


Segment = str | Hole | PiecedText


@dataclass(frozen=True, slots=True)
class PathPattern:
    """One pattern, read. `head` are the segments before the splat (all without one); `before` and `after` what stands
    beside the splat in its own segment, `tail` the segments after it. `names` are what a target may use."""

    mode: RulesMode
    head: tuple[Segment, ...]
    has_splat: bool = False
    before: tuple[Piece, ...] = ()
    after: tuple[Piece, ...] = ()
    tail: tuple[Segment, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def is_static(self) -> bool:
        """One path alone (in two spellings, where a slash at the end does not count)."""
        return not self.has_splat and all(isinstance(segment, str) for segment in self.head)

    @property
    def is_plain(self) -> bool:
        """Whole segments, and the splat the last of them: what an index finds without trying."""
        beside = self.before or self.after or self.tail
        return not beside and not any(isinstance(segment, PiecedText) for segment in self.head)

    def match(self, path: str) -> Captures | None:
        """What was found in a decoded path that starts with "/"; None when the pattern does not cover it."""
        return self.fit(path, segments_of(path, self.mode))

    def fit(self, path: str, segments: Sequence[str]) -> Captures | None:
        """`match`, for who has the segments of the path already."""
        captures: Captures = {}
        if not self.has_splat:
            return captures if _match_all(self.head, segments, captures) else None
        size, first, after_last = len(segments), len(self.head), len(segments) - len(self.tail)
        if after_last < first or not _match_all(self.head, segments[:first], captures):
            return None
        if not _match_all(self.tail, segments[after_last:], captures):
            return None
        if self.mode is RulesMode.CLOUDFLARE:
            return captures if self._match_between(segments[first:after_last], captures) else None
        if self.before:
            return self._match_prefix(path, captures) if size > first else None
        captures[SPLAT] = "/".join(segments[first:after_last]) if self.tail else rest_of(path, first)
        return captures

    def _match_prefix(self, path: str, captures: Captures) -> Captures | None:
        """`/news*` on Netlify: the slash after "news" is not part of what the splat stands for."""
        rest, prefix = rest_of(path, len(self.head)), str(self.before[0])
        if not rest.startswith(prefix):
            return None
        captures[SPLAT] = rest[len(prefix) :].removeprefix("/")
        return captures

    def _match_between(self, segments: Sequence[str], captures: Captures) -> bool:
        if not segments:
            return False
        if len(segments) == 1:
            return _match_segment(PiecedText.of((*self.before, STAR, *self.after)), segments[0], captures)
        *between, last = segments[1:]
        if not _match_segment(PiecedText.of((*self.before, STAR)), segments[0], captures):
            return False
        start = captures[SPLAT]
        if not _match_segment(PiecedText.of((STAR, *self.after)), last, captures):
            return False
        captures[SPLAT] = "/".join((start, *between, captures[SPLAT]))
        return True


def segments_of(path: str, mode: RulesMode) -> list[str]:
    """The segments of a decoded path; under NETLIFY the slash at the end does not begin another."""
    if mode is RulesMode.NETLIFY:
        return path[1:].removesuffix("/").split("/") if len(path) > 1 else []
    return path[1:].split("/")


def rest_of(path: str, count: int) -> str:
    """What follows the first `count` segments of a path and their slash, with a slash at the end if there is one."""
    parts = path.split("/", count + 1)
    return parts[-1] if len(parts) > count + 1 else ""


def parse_pattern(text: str, mode: RulesMode) -> PathPattern:
    """Read a pattern. Raises InvalidInput that says what is wrong with it."""
    if not text.startswith("/"):
        raise InvalidInput(f'{shown(text)} has to start with "/"')
    if text.startswith("//"):
        raise InvalidInput(
            f'{shown(text)} names a host without a scheme: write "https:{text}", or one slash for a path'
        )
    if len(text) > MAX_PATTERN_LENGTH:
        raise InvalidInput(f"the path has {len(text)} characters, at most {MAX_PATTERN_LENGTH} are allowed")
    if _BAD_ESCAPE.search(text) is not None:
        raise InvalidInput('a "%" that no two hexadecimal digits follow: write "%25" for a percent sign')
    if text.count("*") > 1:
        raise InvalidInput('only one "*" may stand in a path: use placeholders such as ":name" for single segments')
    raw = segments_of("/" + text[1:].rstrip("/") if mode is RulesMode.NETLIFY else text, mode)
    if len(raw) > MAX_SEGMENTS:
        raise InvalidInput(f"the path has {len(raw)} segments, at most {MAX_SEGMENTS} are allowed")
    read = _netlify_pieces if mode is RulesMode.NETLIFY else _cloudflare_pieces
    return _assembled(mode, [read(segment, n == len(raw) - 1) for n, segment in enumerate(raw)])


def _assembled(mode: RulesMode, segments: list[list[Piece]]) -> PathPattern:
    names = [piece.name or SPLAT for pieces in segments for piece in pieces if isinstance(piece, Hole)]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f'":{name}" stands twice in the path: give every placeholder a name of its own')
    if len(names) > MAX_PLACEHOLDERS:
        raise InvalidInput(f"the path has {len(names)} placeholders, at most {MAX_PLACEHOLDERS} are allowed")
    for number, pieces in enumerate(segments):
        if STAR in pieces:
            at = pieces.index(STAR)
            head, tail = segments[:number], segments[number + 1 :]
            before, after = tuple(pieces[:at]), tuple(pieces[at + 1 :])
            return PathPattern(mode, _segments(head), True, before, after, _segments(tail), tuple(names))
    return PathPattern(mode, _segments(segments), names=tuple(names))


def _segments(segments: list[list[Piece]]) -> tuple[Segment, ...]:
    return tuple(pieces[0] if len(pieces) == 1 else PiecedText.of(pieces) for pieces in segments)


def _netlify_pieces(segment: str, is_last: bool) -> list[Piece]:
    if segment.startswith(":"):
        name = _NETLIFY_NAME.fullmatch(segment)
        if name is None:
            raise InvalidInput(
                f"{shown(segment)} is no placeholder: after the colon come letters, digits, hyphens, dots and "
                'underscores; write "%3A" for a colon at the start of a segment'
            )
        return [Hole(name[1])]
    if "*" not in segment:
        return [_literal(segment)]
    if segment == "*":
        return [STAR]
    if is_last and segment.endswith("*"):
        return [_literal(segment[:-1]), STAR]
    raise InvalidInput(
        f'"*" stands for whole segments, and {shown(segment)} has more in it: end the path with "*", or read '
        'rules as Cloudflare Pages does (rules_mode = "cloudflare")'
    )


def _cloudflare_pieces(segment: str, _is_last: bool) -> list[Piece]:
    pieces: list[Piece] = []
    for part in _CLOUDFLARE_PIECE.split(segment):
        name = _CLOUDFLARE_NAME.fullmatch(part)
        if name is not None:
            pieces.append(Hole(name[1]))
        elif part:
            pieces.append(STAR if part == "*" else _literal(part))
    return pieces or [""]


def _literal(text: str) -> str:
    """Decoded. Raises InvalidInput for what no request can have in its path."""
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeError as exc:
        raise InvalidInput(f"{shown(text)} is not UTF-8 once it is decoded") from exc
    if _NEVER_ASKED.search(decoded) is not None:
        raise InvalidInput(f"{shown(text)} has a character that no path of a request has: take it out")
    if decoded in {".", ".."}:
        raise InvalidInput('a "." or ".." segment is in no path of a request: write the path without it')
    return decoded


def _match_all(pattern: Sequence[Segment], segments: Sequence[str], captures: Captures) -> bool:
    return len(pattern) == len(segments) and all(
        _match_segment(wanted, given, captures) for wanted, given in zip(pattern, segments, strict=True)
    )


def _match_segment(wanted: Segment, given: str, captures: Captures) -> bool:
    if isinstance(wanted, str):
        return wanted == given
    if isinstance(wanted, Hole):
        captures[wanted.name] = given
        return given != ""
    found = wanted.fit(given)
    if found is None:
        return False
    captures.update(zip((hole.name or SPLAT for hole in wanted.holes), found, strict=True))
    return True
