"""Certificates that owners bring, over HTTP: what is wrong with one is said, and nothing of its key."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from cdn.control.domain_schema import SetCertificate
from cdn.journal.record import DomainAdded
from tests.control.control_room import EPOCH_2026, Answer, ControlMaker
from tests.control.domain_room import TestSight, issuing
from tests.tls.chains import DAY_S, Signed, Wish, authority, key_pem, signed

WWW = "www.example.com"
MIDDLE = signed(
    Wish(common_name="middle", is_authority=True, not_before=0.0, not_after=EPOCH_2026 + 900 * DAY_S), authority("root")
)


def lasting(now: float, begins: float, ends: float, name: str = WWW) -> Signed:
    return signed(Wish((name,), not_before=now + begins * DAY_S, not_after=now + ends * DAY_S), MIDDLE)


async def test_what_is_wrong_is_said_and_nothing_of_the_key(
    make_control: ControlMaker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    control = await make_control()
    control.issuing, control.sight = issuing(None), TestSight()
    await control.reopen()
    await control.following_node()
    await control.api.post("/v1/sites", {"name": "blog"})
    change = DomainAdded(WWW, control.plane.services.catalog.site_named("blog").id)
    await control.plane.state.append(f"domain/{WWW}", lambda: change, "test")
    now = control.clock.now

    async def put(one: Signed, key: Any = None) -> Answer:
        sent = {"certificate": one.chain, "key": key_pem(key or one.key).decode()}
        answer: Answer = await control.api.call("PUT", f"/v1/sites/blog/domains/{WWW}/certificate", sent)
        return answer

    good = lasting(now, -1, 89)
    answers = {
        "was good until 2027-01-14": await put(lasting(now, -90, -1)),
        "is good from 2027-01-16": await put(lasting(now, 1, 90)),
        "does not belong to the certificate": await put(good, lasting(now, -1, 1).key),
        "not for www.example.com, but for b.example": await put(lasting(now, -1, 89, "b.example")),
        "names no domain": await put(
            signed(Wish(common_name=WWW, not_before=now - DAY_S, not_after=now + DAY_S), MIDDLE)
        ),
    }
    for says, answer in answers.items():
        assert answer.is_problem, (says, answer)
        assert answer.status in {400, 422}, (says, answer)
        assert says in answer.document["detail"], answer
        assert answer.document["field"] in {"certificate", "key"}, "as the request calls them"
    assert control.plane.services.certificates.certificate(WWW) is None

    taken = await put(good)
    assert taken.status == 200, taken
    shown = await control.api.get(f"/v1/sites/blog/domains/{WWW}")
    body = key_pem(good.key).decode().splitlines()[1]
    for told in (str(answers), str(taken), str(shown), caplog.text):
        assert body not in told
    for path in control.root.rglob("*"):
        assert not path.is_file() or body.encode() not in path.read_bytes(), path


def test_a_request_with_a_key_shows_nothing_of_it() -> None:
    assert "PRIVATE" not in repr(SetCertificate("CHAIN", "-----BEGIN PRIVATE KEY-----"))
