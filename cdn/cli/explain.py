"""`cdn explain`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from cdn.cli.result import Document, ExitStatus, Result
from cdn.cli.run import JsonOption, run
from cdn.cli.text import safe

if TYPE_CHECKING:
    from cdn.publish.client import ControlClient

WORDS = (
    ("floors", "what was stored before `hard` is never used again; before `soft`, only after asking the store"),
    ("admitted", "where the node stood in the journal when it asked the store for what it has; - when it has nothing"),
    ("(uri-miss)", "nothing is stored on this node yet: the next visitor causes a fetch"),
    ("(miss)", "what is stored here may not be used any more: the next visitor causes a fetch"),
)
"""Said below an explanation in which they occur."""


def explain(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The URL as a visitor would ask for it; with --from, a name.")
    ],
    node: Annotated[
        str | None, typer.Option("--node", help="Ask this node only, or this name server.", metavar="NODE")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", help="Say which nodes DNS names for a client there.", metavar="ADDRESS|NETWORK"),
    ] = None,
    is_json: JsonOption = False,
) -> None:
    """Say why a URL is answered as it is: site, deploy, file, what is stored, what a node decides.

    With --from it is about the name alone: where that client is, which nodes are left after each filter and why the
    others are not, and the answer. Exit status 1 when no site has the URL's host, or no name server answers for a
    zone that the name is in.
    """
    if source is not None:
        _explain_name(host_of(url), source, node, is_json=is_json)
        return
    if url.startswith("/") or not url.strip():
        raise typer.BadParameter("give the whole URL, with the host, like http://blog.cdn.localhost:8080/about")

    async def work(client: ControlClient) -> Result:
        answer = await client.explain(url, node=node)
        status = ExitStatus.FAILED if answer["site"] is None else ExitStatus.DONE
        return Result(answer, tuple(explanation_lines(answer)), status)

    run(work, is_json=is_json)


def _explain_name(name: str, source: str, server: str | None, *, is_json: bool) -> None:
    async def work(client: ControlClient) -> Result:
        answer = await client.explain_name(name, source, server=server)
        is_known = any(each["result"] is not None and each["result"].get("zone") for each in answer["servers"])
        return Result(answer, tuple(name_explanation_lines(answer)), ExitStatus.DONE if is_known else ExitStatus.FAILED)

    run(work, is_json=is_json)


def host_of(url: str) -> str:
    """The name in a URL, or the name itself. Raises BadParameter."""
    try:
        host = urlsplit(url if "://" in url else f"//{url}").hostname
    except ValueError:
        host = None
    if not host:
        raise typer.BadParameter("give a name like blog.cdn.localhost, or a URL with one")
    return host


def name_explanation_lines(answer: Document) -> Iterator[str]:
    """What each name server says, as indented lines that are safe for a terminal."""
    yield f"{safe(answer['name'])} for {safe(answer['source'])}"
    yield "  no site has this name" if answer["site"] is None else f"  site {safe(answer['site'])}"
    if not answer["servers"]:
        yield "  no name server follows the control that was asked"
    for server in answer["servers"]:
        yield f"name server {safe(server['node'])}"
        result = server["result"]
        if server["failure"] is not None:
            yield f"  {safe(server['failure'])}"
        elif result["zone"] is None:
            yield "  the name is in no zone that it answers for"
        else:
            for rrtype in ("A", "AAAA"):
                yield from _answer_lines(rrtype, result[rrtype])


def _answer_lines(rrtype: str, said: Document) -> Iterator[str]:
    """One type: the answer, then how it came about."""
    ttl = "" if said["ttl_s"] is None else f", for {said['ttl_s']} s"
    whom = f"all of its /{said['scope_prefix']}" if said["scope_prefix"] else "everybody"
    yield f"  {rrtype}: {_said(said)} (the same for {whom}{ttl})"
    if "filters" not in said:
        return
    client = said["client"]
    where = [*(client["location"] or []), client["country"], client["continent"]]
    place = " ".join(safe(str(each)) for each in where if each != "") or "nobody knows where"
    yield f"    client: {place} (its /{client['prefix']}), slot {client['slot']}"
    for each in said["filters"] if said["addresses"] else said["filters"][-1:]:
        yield f"    {safe(each['filter'])}: {', '.join(_named(each['left'])) or 'nobody'}"
        yield from (f"      without {line}" for line in _named(each["out"]))
    if said["filters"][-1]["left"]:
        yield from (f"    distance of {line}" for line in _named(said["nearest"]))


def _said(said: Document) -> str:
    """The answer in a few words. An earlier name server does not say where a name leads."""
    if said["addresses"]:
        return " ".join(map(safe, said["addresses"]))
    if said.get("leads_to"):
        return f"CNAME {safe(said['leads_to'])}"
    if said["rcode"] != "NOERROR":
        return safe(said["rcode"])
    return "delegated: other name servers answer" if said.get("is_delegated") else "no address of this kind"


def _named(entries: list[Any]) -> list[str]:
    """Nodes, or nodes with a reason."""
    return [safe(each) if isinstance(each, str) else f"{safe(each[0])}: {safe(each[1])}" for each in entries]


def explanation_lines(answer: Document) -> Iterator[str]:
    """What control and each node say, as indented lines that are safe for a terminal."""
    yield safe(answer["url"])
    if answer["site"] is None:
        yield f"  no site has the host {safe(answer['host'])}"
    else:
        yield f"  site {safe(answer['site'])}, alias {safe(str(answer['alias']))}, {_deployed(answer)}"
    yield f"  control is at sequence {answer['position']['sequence']}"
    for node in answer["nodes"]:
        yield f"node {safe(node['node'])}"
        if node["failure"] is not None:
            yield f"  {safe(node['failure'])}"
        else:
            yield from _tree(_shortened(node["result"], answer), 1)
    yield from _explained(answer)


def _deployed(answer: Document) -> str:
    if answer.get("origin", "bundle") != "bundle":
        return f"answered from {safe(answer['origin'])}"
    if answer["deploy"] is not None:
        return f"deploy {safe(str(answer['deploy']))}"
    option = "" if answer["alias"] == "production" else f" --alias {safe(str(answer['alias']))}"
    return f"nothing deployed yet: cdn deploy FOLDER --site {safe(answer['site'])}{option}"


def _shortened(result: Any, answer: Document) -> Any:
    """What a node says beyond what control said already."""
    if not isinstance(result, dict):
        return result
    said = {name: answer.get(name) for name in ("site", "alias", "deploy", "origin")}
    return {
        name: value
        for name, value in result.items()
        if name not in ("site_id", "decision") and (name not in said or said[name] != value)
    }


def _explained(answer: Document) -> Iterator[str]:
    """The words above that not everyone knows, those that occur."""
    results = [node["result"] for node in answer["nodes"] if isinstance(node["result"], dict)]
    words = [(word, meaning) for word, meaning in WORDS if any(word in str(result) for result in results)]
    if words:
        yield "words"
        yield from (f"  {word}: {meaning}" for word, meaning in words)


def _tree(value: Any, depth: int) -> Iterator[str]:
    """JSON as indented lines; a list's entries begin with a dash, pairs of texts stand like a mapping."""
    indent = "  " * depth
    match value:
        case dict():
            for name, inner in value.items():
                if isinstance(inner, dict | list) and inner:
                    yield f"{indent}{safe(str(name))}:"
                    yield from _tree(inner, depth + 1)
                else:
                    yield f"{indent}{safe(str(name))}: {_scalar(inner)}"
        case list():
            for inner in value:
                yield from _entry(inner, depth)
        case _:
            yield f"{indent}{_scalar(value)}"


def _entry(value: Any, depth: int) -> Iterator[str]:
    """One entry of a list: its first line behind a dash, the others below that line."""
    match value:
        case [str(name), (str() | int() | float() | None) as inner]:
            lines = iter([f"{safe(name)}: {_scalar(inner)}"])
        case _:
            lines = _tree(value, 0)
    for number, line in enumerate(lines):
        yield "  " * depth + ("  " if number else "- ") + line


def _scalar(value: Any) -> str:
    match value:
        case None | [] | {}:
            return "-"
        case bool():
            return "yes" if value else "no"
        case _:
            return safe(str(value))
