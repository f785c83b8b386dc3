"""File names that carry a fingerprint of the content, as build tools write them.

A wrong yes is dear: browsers would keep a file that changes for a year. A wrong no costs a validation, and `keep` mends
what it costs beyond. So the answer is yes only for what people hardly write, and from the name alone:

- hexadecimal, 8 to 64 digits with letters among them: `app.3f2a9c1b.js`, `main.3f2a9c1b.chunk.js`, `x_5d4...c592.png`
- base 32 in 8 letters (esbuild, Angular): `chunk-2QH7N3VB.js`
- base 64 in 8 letters (Rollup, Vite): `index-BfX3k_9a.css`; without a digit, `index-DiwrgTda.js`, only below a folder
  that build tools write to; never when a part of it reads as a word (`logo-DarkMode.svg`)

The last two count only on scripts and styles, and on anything below such a folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cdn.sites.content_type import is_page

BUNDLER_FOLDERS = ("/assets/", "/static/", "/_astro/", "/_nuxt/", "/_app/immutable/", "/build/", "/dist/")
"""Folders that build tools fill (Next.js writes below `_next/static/`)."""

SHORT_LENGTH = 8
"""Letters of a base 32 or base 64 fingerprint; the tools that use these agree on it."""

_CODE = frozenset({"js", "mjs", "cjs", "css"})
_POSSIBLE = re.compile(r"[0-9a-f]{8}|[0-9A-F]{8}|(?:\A|[-.])[A-Za-z0-9_-]{8}\.")
_ATTACHED = (".map", ".br", ".gz", ".zst", ".LICENSE.txt")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

_HEX = re.compile(r"[0-9a-f]{8,64}|[0-9A-F]{8,64}")
_HEX_BY_PEOPLE = re.compile(r"[a-f]+[0-9]{0,3}|[0-9]+[a-f]?|(?:19|20)[0-9]{6}[0-9a-f]{0,6}", re.IGNORECASE)
_LONG_HEX_DIGITS = 16

_BASE32 = re.compile(r"[A-Z2-7]{8}")
_BASE64 = re.compile(r"(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9_-]{8}")
_BASE64_BY_PEOPLE = re.compile(r"[A-Z][a-z]+|[^0-9]+[0-9]{2,}|[0-9]{2,}[^0-9]+")
_DIGIT = re.compile(r"[0-9]")
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

_SYLLABLES = re.compile(r"([^aeiouy]*)([aeiouy](?:.*[aeiouy])?)([^aeiouy]*)")
_HARD = re.compile(r"[^aeiouy]{4}|[aeiou]{4}|q(?!u)")
_ONSETS = frozenset(
    re.findall(
        "[a-z]+",
        """bl br ch chr cl cr dr dw fl fr gl gn gr kn ph phr pl pr ps qu rh sc sch scr sh shr sk sl sm sn sp
        sph spl spr squ st str sw th thr tr tw wh wr""",
    )
)
_CODAS = frozenset(
    re.findall(
        "[a-z]+",
        """bs ch ck cks ct cts dd dge ds ff fs ft fts gg gh ght ghts gn gs ks lb ld lds lf lfs lk lks ll lls lm
        lms lp lps ls lt lts mb mbs mp mps mpt ms nc nch nd nds ng ngs ngth nk nks nn ns nt nts nth ph phs
        ps pt pts rb rbs rc rch rd rds rf rg rk rks rl rld rls rm rms rn rns rp rps rr rs rst rt rth rts rv
        sh sk sks sm sp sps ss st sts tch th ths ts tt wd wk wl wls wn wns ws xt xts zz""",
    )
)


def has_fingerprint(path: str) -> bool:
    """Whether the file's name changes whenever its content does. Never for pages and hidden files."""
    if is_hidden(path) or is_page(path):
        return False
    name = path.rpartition("/")[2]
    if _POSSIBLE.search(name) is None:
        return False
    name = _without_attached(name)
    stem, dot, extension = name.rpartition(".")
    if not dot or _UUID.search(stem) is not None:
        return False
    parts = stem.split(".")
    if any(map(_is_hexadecimal, _hexadecimal_candidates(parts))):
        return True
    is_built = any(folder in path for folder in BUNDLER_FOLDERS)
    if not is_built and extension not in _CODE:
        return False
    return any(_is_base32(token) or _is_base64(token, is_built) for token in _short_candidates(parts, is_built))


def is_hidden(path: str) -> bool:
    """Whether the file or a folder above it is hidden (`/.env`, `/.git/config`)."""
    return "/." in path


def _without_attached(name: str) -> str:
    """The name without what tools add behind the whole (`app.3f2a9c1b.js.map`). Linear: visitors choose names too."""
    end = len(name)
    while name.endswith(_ATTACHED, 0, end):
        end -= next(len(suffix) for suffix in _ATTACHED if name.endswith(suffix, 0, end))
    return name[:end]


def _hexadecimal_candidates(parts: list[str]) -> Iterator[str]:
    """The end of each dotted part (`app-HASH.chunk.js`), and whatever is long (`HASH-s.p.woff2`)."""
    for part in parts:
        *others, last = re.split("[-_]", part)
        yield last
        yield from (piece for piece in others if len(piece) >= _LONG_HEX_DIGITS)


def _short_candidates(parts: list[str], is_built: bool) -> Iterator[str]:
    """The end of each dotted part after a hyphen, or all of it; all of the first part only when built."""
    for n, part in enumerate(parts):
        before, token = part[:-SHORT_LENGTH], part[-SHORT_LENGTH:]
        if before.endswith("-") or (not before and (n > 0 or is_built)):
            yield token


def _is_hexadecimal(token: str) -> bool:
    """Neither a word of these letters nor a number, a date or a counter."""
    return _HEX.fullmatch(token) is not None and _HEX_BY_PEOPLE.fullmatch(token) is None


def _is_base32(token: str) -> bool:
    """A digit before a letter says so (`2QH7N3VB`); else it must not read as a word (`CHAPTER2`)."""
    if _BASE32.fullmatch(token) is None:
        return False
    letters = token.rstrip("234567")
    return _DIGIT.search(letters) is not None or not _reads_as_word(letters)


def _is_base64(token: str, is_built: bool) -> bool:
    """Neither a capitalised word, nor numbered, nor made of words."""
    if _BASE64.fullmatch(token) is None or _BASE64_BY_PEOPLE.fullmatch(token) is not None:
        return False
    if not is_built and _DIGIT.search(token) is None:
        return False
    parts = _PART.findall(token)
    words = [part for part in parts if _reads_as_word(part)]
    return len(words) < len(parts) and all(len(word) < 4 for word in words)


def _reads_as_word(part: str) -> bool:
    """Whether English could pronounce it: rough, and rather once too often than too seldom."""
    match = _SYLLABLES.fullmatch(part.lower())
    if match is None:
        return False
    onset, core, coda = match.groups()
    if len(onset) > 1 and onset not in _ONSETS:
        return False
    return (len(coda) < 2 or coda in _CODAS) and _HARD.search(core) is None
