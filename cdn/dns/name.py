"""Domain names on the wire (RFC 1035 3.1), and from what settings say."""

from __future__ import annotations

from cdn.errors import InvalidInput
from cdn.sites.domain import normalise_domain

MAX_LABEL_OCTETS = 63
MAX_NAME_OCTETS = 255

Labels = tuple[bytes, ...]
"""A name without its root, the leftmost label first, in lower case."""


def labels_of(text: str) -> Labels:
    """The labels of a name that was checked already."""
    return tuple(label.encode("ascii") for label in text.lower().strip(".").split("."))


def wire_of(labels: Labels) -> bytes:
    """The name with its root, without compression."""
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def mailbox_labels(text: str) -> Labels:
    """A mail address as the name that stands for it (RFC 1035 8): dots before the @ stay within the first label.

    Raises InvalidInput.
    """
    user, at, domain = text.rpartition("@")
    is_user = user.isascii() and user.isprintable() and " " not in user and len(user) <= MAX_LABEL_OCTETS
    if not at or not user or not is_user:
        raise InvalidInput(
            f"{text[:80]!r} is no mail address: give one like hostmaster@example.net", field="hostmaster"
        )
    try:
        labels = (user.lower().encode("ascii"), *labels_of(normalise_domain(domain)))
    except InvalidInput as exc:
        raise InvalidInput(exc.message, field="hostmaster") from exc
    if len(wire_of(labels)) > MAX_NAME_OCTETS:
        raise InvalidInput(f"{text[:80]!r} is longer than a name may be", field="hostmaster")
    return labels
