"""Which of many patterns cover a path, without trying them all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cdn.sites.rules.path_glob import PathGlob

Covering = tuple[int, Mapping[str, str]]
"""The place of a pattern in the order they were given, and what was found where."""


class PathIndex:
    """Patterns by the folder that all they cover lies below. Immutable once made."""

    def __init__(self, globs: Sequence[PathGlob]) -> None:
        self._by_folder: dict[str, list[tuple[int, PathGlob]]] = {}
        for number, glob in enumerate(globs):
            self._by_folder.setdefault(glob.folder, []).append((number, glob))
        self._depth = max((folder.count("/") for folder in self._by_folder), default=-1)

    def covering(self, paths: Iterable[str]) -> list[Covering]:
        """The patterns that cover one of `paths` at least, in their order, each with what was found in the first."""
        found: dict[int, Mapping[str, str]] = {}
        for path in paths:
            for number, glob in self._candidates(path):
                if number not in found and (what := glob.match(path)) is not None:
                    found[number] = what
        return sorted(found.items())

    def _candidates(self, path: str) -> Iterable[tuple[int, PathGlob]]:
        """Those below one of the path's folders, and those that name it."""
        if self._depth < 0:
            return
        yield from self._by_folder.get("", ())
        cut = 0
        for _ in range(self._depth):
            cut = path.find("/", cut + 1)
            yield from self._by_folder.get(path if cut < 0 else path[:cut], ())
            if cut < 0:
                return
