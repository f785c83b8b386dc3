"""Claims, verified domains, redirects and certificates after a restore from the object store alone."""

from __future__ import annotations

import pytest

from cdn.journal.record import AnswerSet, CertificateSet, Change, DomainVerified
from tests.control.control_room import ControlMaker
from tests.control.test_restoration import restored_control

WILD, OWN = "*.example.com", "*.cdn.localhost"


@pytest.mark.parametrize("snapshot_every", [2, 1_000_000])
async def test_they_come_back_from_the_archive_and_from_snapshots(
    make_control: ControlMaker, snapshot_every: int
) -> None:
    control = await make_control(archive_interval_s=0.0, snapshot_every_records=snapshot_every, keep_records=0)
    await control.api.post("/v1/sites", {"name": "blog"})
    for domain in (WILD, "example.com", "open.example.com"):
        assert (await control.api.post("/v1/sites/blog/domains", {"domain": domain})).status == 201
    site_id = control.plane.services.catalog.site_named("blog").id
    now, until = control.clock.now, control.clock.now + 86400.0
    recorded: tuple[tuple[str, Change], ...] = (
        (f"domain/{WILD}", DomainVerified(WILD, site_id)),
        ("domain/example.com", DomainVerified("example.com", site_id, WILD)),
        (f"certificate/{WILD}", CertificateSet(WILD, "ab" * 32, site_id, (WILD,), now, until, "upload", "PEM", {})),
        (f"certificate/{OWN}", CertificateSet(OWN, "cd" * 32, "", (OWN,), now, until, "development", "PEM", {})),
        ("answer/open.example.com", AnswerSet("http-01", "open.example.com", "t", "v", until)),
    )
    for subject, change in recorded:
        await control.plane.state.append_always(subject, change, "control")
    services = control.plane.services
    before = [fold.dump() for fold in (services.catalog_fold, services.claims, services.certificates)]
    assert all(before)
    assert before[0]["redirects"] == {"example.com": WILD}
    await control.close()
    restored, again = await restored_control(control, make_control)
    assert restored.domains == 2
    services = again.plane.services
    assert [fold.dump() for fold in (services.catalog_fold, services.claims, services.certificates)] == before
    assert len((await again.api.get("/v1/certificates")).document["certificates"]) == 2
    claimed = await again.api.post("/v1/sites/blog/domains", {"domain": "open.example.com"})
    assert claimed.status == 200, "the claim is there, with its token"
    await again.close()
