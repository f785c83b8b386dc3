"""Content of the type multipart/form-data (RFC 7578), read whole: what short forms with a few files are."""

from __future__ import annotations

import re

from cdn.errors import InvalidInput

MAX_PARTS = 64
"""More than any form that is taken here has."""

MAX_BOUNDARY_BYTES = 70
"""RFC 2046 5.1.1."""

MAX_HEAD_BYTES = 4096
"""Of one part: name, file name and type. More is no head, and searching it would take seconds."""

_BOUNDARY = re.compile(r"[0-9A-Za-z\'()+_,./:=? -]*[0-9A-Za-z\'()+_,./:=?-]")
_NAME = re.compile(rb'\A[^\r\n]*?;[ \t]*name="((?:[^"\\\r\n]|\\.)*)"', re.DOTALL)
_DISPOSITION = re.compile(rb"(?:\A|\r\n)content-disposition:([^\r\n]*)", re.IGNORECASE)


def read_form(content: bytes, boundary: str | None) -> dict[str, bytes]:
    """The content of every part by its name. `boundary` is the parameter of the Content-Type.

    Raises InvalidInput for what is no such form, for a name that stands twice and for more than MAX_PARTS parts.
    """
    if not boundary or len(boundary) > MAX_BOUNDARY_BYTES or _BOUNDARY.fullmatch(boundary) is None:
        raise InvalidInput("The request's content is no form: send multipart/form-data with a boundary.")
    delimiter = b"\r\n--" + boundary.encode()
    sections = (b"\r\n" + content).split(delimiter, MAX_PARTS + 2)
    if len(sections) > MAX_PARTS + 2:
        raise InvalidInput(f"A form has at most {MAX_PARTS} parts.")
    if len(sections) < 2 or not sections[-1].startswith(b"--"):
        raise InvalidInput("The form is cut off: its last boundary is missing.")
    form = dict[str, bytes]()
    for section in sections[1:-1]:
        name, value = _part(section)
        if name in form:
            raise InvalidInput(f"The form has two parts of the name {name[:80]!r}.", field=name[:80])
        form[name] = value
    return form


def _part(section: bytes) -> tuple[str, bytes]:
    padding, _, rest = section.partition(b"\r\n")
    head, end, value = rest.partition(b"\r\n\r\n")
    disposition = None if len(head) > MAX_HEAD_BYTES else _DISPOSITION.search(head)
    name = None if disposition is None else _NAME.match(disposition[1])
    if padding.strip(b" \t") or not end or name is None:
        raise InvalidInput("A part of the form has no name.")
    return name[1].decode("utf-8", "replace"), value
