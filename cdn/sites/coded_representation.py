"""How the coded form of a file is answered: another representation of the same URL (RFC 9110 section 8.4)."""

from __future__ import annotations

from dataclasses import replace

from cdn.http.content_coding import CODINGS, IDENTITY_DIGESTS, may_be_coded, varied_head
from cdn.http.entity_tag import EntityTag
from cdn.http.fields import FieldLines, Fields
from cdn.http.response_head import ResponseHead
from cdn.sites.manifest import FileEntry
from cdn.sites.representation import ENTITY_TAG_DIGITS, Representation
from cdn.sites.variants import Forms


def may_have_forms(representation: Representation, size_bytes: int) -> bool:
    """Whether a coded form may be sent in the place of this: not where its fields say that it is coded already or must
    not be transformed. A page that stands in for something absent may be coded like any other."""
    return may_be_coded(ResponseHead(200, Fields(representation.fields)), size_bytes)


def codings_of(forms: Forms) -> tuple[str, ...]:
    """The codings of these forms, smallest content first: among those a client likes equally the first is taken."""
    return tuple(sorted(forms, key=lambda coding: (forms[coding].size_bytes, CODINGS.index(coding))))


def coded_representation(representation: Representation, coding: str, form: FileEntry) -> Representation:
    """The coded form, whose content is `form`: with a strong entity tag of its own, as it is other octets.

    What describes the octets of the identity form (digests) is left out. Names, tags and lifetimes are the same, so a
    purge of either is one of both.
    """
    entity_tag = representation.entity_tag
    lines: list[tuple[str, str]] = []
    for name, value in _varied(representation):
        if name == "etag" and entity_tag is not None:
            entity_tag = EntityTag(form.digest[:ENTITY_TAG_DIGITS], is_weak=False)
            lines.append((name, entity_tag.serialise()))
        elif name not in IDENTITY_DIGESTS:
            lines.append((name, value))
    return replace(representation, fields=(*lines, ("content-encoding", coding)), entity_tag=entity_tag)


def varied_representation(representation: Representation) -> Representation:
    """The identity form of a file that has coded ones: other caches must know (RFC 9110 section 12.5.5)."""
    return replace(representation, fields=_varied(representation))


def _varied(representation: Representation) -> FieldLines:
    return varied_head(ResponseHead(representation.status, Fields(representation.fields))).fields.lines
