from __future__ import annotations

from typing import Any

import pytest
import typer

from cdn.cli.explain import explanation_lines, host_of, name_explanation_lines

ANSWER: dict[str, Any] = {
    "url": "http://blog.cdn.localhost/a",
    "host": "blog.cdn.localhost",
    "site": "blog",
    "alias": "production",
    "deploy": "d1",
    "position": {"epoch": "e", "sequence": 9},
    "nodes": [
        {
            "node": "edge-1",
            "failure": None,
            "result": {
                "route": {"file": "/a.html", "status": 200},
                "stored": True,
                "fields": [["etag", '"x\x1b"'], ["age", 5]],
                "floors": [],
                "reason": None,
            },
        },
        {"node": "edge-2", "failure": "it did not answer\n", "result": None},
        {"node": "edge-3", "failure": None, "result": "nothing"},
    ],
}


def test_every_answer_becomes_indented_lines() -> None:
    assert list(explanation_lines(ANSWER)) == [
        "http://blog.cdn.localhost/a",
        "  site blog, alias production, deploy d1",
        "  control is at sequence 9",
        "node edge-1",
        "  route:",
        "    file: /a.html",
        "    status: 200",
        "  stored: yes",
        "  fields:",
        r'    - etag: "x\x1b"',
        "    - age: 5",
        "  floors: -",
        "  reason: -",
        "node edge-2",
        r"  it did not answer\n",
        "node edge-3",
        "  nothing",
        "words",
        "  floors: what was stored before `hard` is never used again; before `soft`, only after asking the store",
    ]


def test_a_site_with_an_upstream_says_so_and_what_its_nodes_know() -> None:
    origin = "https://upstream.example"
    stored = [{"status": 200, "vary": {"accept-language": "de"}}, {"status": 404, "vary": {}}]
    result = {"site": "shop", "origin": origin, "name": "/a?b=1", "stored": stored, "may serve": True}
    nodes = [{"node": "n", "failure": None, "result": result}]
    answer = {**ANSWER, "site": "shop", "deploy": None, "origin": origin, "nodes": nodes}
    assert list(explanation_lines(answer))[1:] == [
        "  site shop, alias production, answered from https://upstream.example",
        "  control is at sequence 9",
        "node n",
        "  name: /a?b=1",
        "  stored:",
        "    - status: 200",
        "      vary:",
        "        accept-language: de",
        "    - status: 404",
        "      vary: -",
        "  may serve: yes",
    ]


def test_an_unknown_host_is_said_so() -> None:
    answer = {**ANSWER, "site": None, "nodes": []}
    assert "  no site has the host blog.cdn.localhost" in list(explanation_lines(answer))


def test_nodes_do_not_repeat_what_control_said() -> None:
    result = {"site": "blog", "site_id": "5", "alias": "production", "deploy": "d0", "decision": "x", "answer": "x"}
    answer = {**ANSWER, "nodes": [{"node": "n", "failure": None, "result": result}]}
    assert list(explanation_lines(answer))[3:] == ["node n", "  deploy: d0", "  answer: x"]


def _of_type(addresses: list[str], *filters: dict[str, Any]) -> dict[str, Any]:
    return {
        "rcode": "NOERROR",
        "addresses": addresses,
        "ttl_s": 30 if addresses else None,
        "scope_prefix": 24,
        "client": {"location": [50.11, 8.68], "country": "DE", "continent": "EU", "prefix": 16, "slot": 7},
        "resort": "shares",
        "filters": list(filters),
        "nearest": [["n1", "3 km (coordinates)"]],
    }


NAME: dict[str, Any] = {
    "name": "blog.cdn.localhost",
    "source": "10.1.0.0/24",
    "site": "blog",
    "servers": [
        {
            "node": "ns-1",
            "failure": None,
            "result": {
                "zone": "cdn.localhost",
                "A": _of_type(
                    ["192.0.2.1"],
                    {"filter": "eligible", "left": ["n1", "n2", "and 5 more"], "out": [["n3", "outside-region\x1b"]]},
                    {"filter": "nearest", "left": ["n1"], "out": []},
                ),
                "AAAA": _of_type([], {"filter": "family", "left": [], "out": [["n1", "it has no IPv6 address"]]}),
            },
        },
        {"node": "ns-2", "failure": "too slow\n", "result": None},
        {"node": "ns-3", "failure": None, "result": {"zone": None}},
    ],
}


def test_a_name_is_explained_filter_by_filter() -> None:
    lines = list(name_explanation_lines(NAME))
    assert lines[:9] == [
        "blog.cdn.localhost for 10.1.0.0/24",
        "  site blog",
        "name server ns-1",
        "  A: 192.0.2.1 (the same for all of its /24, for 30 s)",
        "    client: 50.11 8.68 DE EU (its /16), slot 7",
        "    eligible: n1, n2, and 5 more",
        *[line for line in lines if "n3" in line],
        "    nearest: n1",
        "    distance of n1: 3 km (coordinates)",
    ]
    assert "  AAAA: no address of this kind (the same for all of its /24)" in lines
    assert "    family: nobody" in lines
    assert "      without n1: it has no IPv6 address" in lines
    assert lines[-1] == "  the name is in no zone that it answers for"
    assert not any("\x1b" in line or "\n" in line for line in lines)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (
            {"ttl_s": 60, "leads_to": "blog.cdn.localhost"},
            "CNAME blog.cdn.localhost (the same for everybody, for 60 s)",
        ),
        ({"leads_to": None, "is_delegated": True}, "delegated: other name servers answer (the same for everybody)"),
        ({"rcode": "NXDOMAIN"}, "NXDOMAIN (the same for everybody)"),
    ],
)
def test_an_answer_without_addresses_says_what_it_is(more: dict[str, Any], line: str) -> None:
    said = {"rcode": "NOERROR", "addresses": [], "ttl_s": None, "scope_prefix": 0, **more}
    server = {"node": "ns-1", "failure": None, "result": {"zone": "example.org", "A": said, "AAAA": said}}
    assert f"  A: {line}" in name_explanation_lines({**NAME, "servers": [server]})


def test_without_a_name_server_or_a_site_that_is_said() -> None:
    assert list(name_explanation_lines({**NAME, "site": None, "servers": []})) == [
        "blog.cdn.localhost for 10.1.0.0/24",
        "  no site has this name",
        "  no name server follows the control that was asked",
    ]


@pytest.mark.parametrize("text", ["blog.cdn.localhost", "http://blog.cdn.localhost:8080/a?b", "blog.cdn.localhost/a"])
def test_the_name_of_a_url_is_what_is_explained(text: str) -> None:
    assert host_of(text) == "blog.cdn.localhost"


@pytest.mark.parametrize("text", ["", "http://", "//[", "/about"])
def test_what_has_no_name_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="give a name like"):
        host_of(text)
