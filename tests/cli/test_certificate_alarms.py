"""`cdn status` says which certificates end too soon, to those who may see them."""

from __future__ import annotations

from cdn.journal.record import CertificateSet, DomainAdded
from tests.cli.conftest import Cdn
from tests.control.control_room import Control

DAY = 86400.0


async def certify(control: Control, name: str, *, left_s: float, issuer: str = "https://acme.example/dir") -> None:
    """A certificate of 90 days of which so much is left."""
    now, site = control.clock.now, control.plane.services.catalog.site_named("blog")
    await control.plane.state.append_always(f"domain/{name}", DomainAdded(name, site.id), "control")
    begin = now + left_s - 90 * DAY
    change = CertificateSet(name, "ab" * 32, site.id, (name,), begin, now + left_s, issuer, "PEM", {})
    await control.plane.state.append_always(f"certificate/{name}", change, "control")


async def test_certificates_that_end_too_soon_are_told(cdn: Cdn) -> None:
    control = cdn.control
    assert control is not None
    await cdn("site", "create", "blog")
    assert (await cdn("status", "--json")).document["certificates"] == {
        "count": 0,
        "ending_count": 0,
        "ending": [],
        "soonest_end": None,
    }
    await certify(control, "fine.example.com", left_s=29 * DAY)
    assert "certificate" not in (await cdn("status")).out
    await certify(control, "late.example.com", left_s=13 * DAY)
    await certify(control, "own.example.com", left_s=-DAY, issuer="upload")
    lines = [line for line in (await cdn("status")).out.splitlines() if line.startswith("certificate")]
    assert lines[0].startswith("certificate of own.example.com ends 2027-01-14")
    assert lines[0].endswith("and is not renewed: cdn domain certificate set 'own.example.com'")
    assert lines[1].endswith("and is not renewed: cdn domain show 'late.example.com'")
    assert len(lines) == 2
    for number in range(20):
        await certify(control, f"d{number}.example.com", left_s=DAY)
    out = (await cdn("status")).out
    assert "and 2 more: cdn domain certificate list" in out
    await cdn("site", "create", "shop")
    reader = await control.api.token_for("read:shop")
    assert (await reader.get("/v1/status")).document["certificates"]["count"] == 0
