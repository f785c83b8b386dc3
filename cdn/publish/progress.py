"""What a deploy tells while it runs. The command line draws it; programs leave it silent."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told by the deploy road, from the event loop; implementations return quickly."""

    def step(self, sentence: str) -> None:
        """A step begins, in words."""
        ...

    def notice(self, sentence: str) -> None:
        """Something that the person should know about the bundle."""
        ...

    def uploading(self, file_count: int, size_bytes: int) -> None:
        """So much is going to be uploaded."""
        ...

    def uploaded(self, file_count: int, size_bytes: int) -> None:
        """So much more has arrived."""
        ...

    def uploads_done(self) -> None:
        """Everything has arrived."""
        ...


class Silence:
    """Progress that nobody watches."""

    def step(self, sentence: str) -> None:
        """Nothing is said."""

    def notice(self, sentence: str) -> None:
        """Nothing is said."""

    def uploading(self, file_count: int, size_bytes: int) -> None:
        """Nothing is said."""

    def uploaded(self, file_count: int, size_bytes: int) -> None:
        """Nothing is said."""

    def uploads_done(self) -> None:
        """Nothing is said."""
