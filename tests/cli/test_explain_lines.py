from __future__ import annotations

from typing import Any

from cdn.cli.explain import explanation_lines

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
