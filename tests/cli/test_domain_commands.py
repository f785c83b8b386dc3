"""`cdn domain`: what it says to somebody who sets DNS records by hand, and how it ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cdn.cli.domain_lines import domain_lines, step_lines
from tests.cli.conftest import Cdn
from tests.control.office_stage import CHAIN, StagedOffice, staff

WWW = "www.example.com"


@pytest.fixture
async def office(cdn: Cdn) -> AsyncIterator[StagedOffice]:
    """Somebody who looks after domains, for commands of `cdn`."""
    control = cdn.control
    assert control is not None
    office = StagedOffice(control.plane)
    await staff(control, office)
    cdn.environ["CDN_CONTROL_URL"] = str(control.api.client.make_url("")).rstrip("/")
    assert (await cdn("site", "create", "blog")).status == 0
    yield office
    await control.api.client.close()


async def test_a_claim_says_which_records_to_set_and_what_comes_next(cdn: Cdn, office: StagedOffice) -> None:
    added = await cdn("domain", "add", "WWW.Example.com", "--site", "blog")
    assert added.status == 0, added.err
    lines = added.out.splitlines()
    assert lines[0] == "www.example.com of site blog is claimed; whose it is has to be shown in DNS"
    assert "TXT    _cdn-verify.www.example.com  cdn-verify=" in added.out
    assert "CNAME  www.example.com              blog.cdn.localhost" in added.out
    assert lines[-2].startswith("visitors try example.com too: cdn domain add www.example.com --site blog")
    assert lines[-1] == "when they are set: cdn domain check www.example.com --wait 5m"
    again = await cdn("domain", "add", WWW, "--site", "blog", "--no-www")
    assert (again.status, "visitors try" in again.out) == (0, False)


async def test_a_twin_is_offered_only_until_it_is_there(cdn: Cdn, office: StagedOffice) -> None:
    both = await cdn("domain", "add", WWW, "--site", "blog", "--www")
    assert both.out.splitlines()[-1] == (
        "when they are set: cdn domain check www.example.com --wait 5m && cdn domain check example.com --wait 5m"
    )
    again = await cdn("domain", "add", WWW, "--site", "blog")
    assert (again.status, "visitors try" in again.out) == (0, False)


async def test_the_star_of_a_wildcard_can_be_pasted_into_a_shell(cdn: Cdn, office: StagedOffice) -> None:
    added = await cdn("domain", "add", "*.example.com", "--site", "blog")
    assert added.out.splitlines()[-1] == "when they are set: cdn domain check '*.example.com' --wait 5m"
    shown = await cdn("domain", "show", "*.example.com")
    assert shown.out.splitlines()[-1] == "look now: cdn domain check '*.example.com'"


async def test_a_check_shows_each_step_with_its_evidence(cdn: Cdn, office: StagedOffice) -> None:
    await cdn("domain", "add", WWW, "--site", "blog")
    looked = await cdn("domain", "check", WWW)
    assert looked.status == 3, "it is not live"
    assert "  NO  ownership: ns1.example.net has no TXT record there" in looked.out
    assert "        ns1.example.net (192.0.2.53): NXDOMAIN" in looked.out
    assert "it goes no further, 2 tries so far: no TXT record" in looked.out
    assert "looked at 1970-01-01 00:00:01Z, looked at again 1970-01-01 00:01:01Z" in looked.out
    office.is_right = True
    await cdn("domain", "check", WWW)
    office.is_live = True
    looked = await cdn("domain", "check", WWW, "--wait", "1s")
    assert (looked.status, looked.out.splitlines()[0]) == (
        0,
        "www.example.com of site blog is live: answered over HTTPS",
    )
    assert "DNS records" not in looked.out
    assert office.checked[-1][2] == pytest.approx(1.0, abs=0.5)


async def test_adding_may_wait_until_it_is_done(cdn: Cdn, office: StagedOffice) -> None:
    waited = await cdn("domain", "add", "example.com", "--site", "blog", "--redirect-to", "apex", "--wait", "0s")
    assert waited.status == 3
    assert [domain for _, domain, _ in office.checked] == ["example.com", "www.example.com"]
    assert "_cdn-verify.www.example.com" in waited.err, "records are told before it waits"
    office.is_right = office.is_live = True
    done = await cdn("domain", "add", "example.com", "--site", "blog", "--wait", "5s", "--json")
    assert (done.status, done.document["stage"], done.err) == (0, "live", "")
    twin = await cdn("domain", "show", WWW, "--json")
    assert twin.document["redirect_to"] == "example.com"


async def test_domains_on_an_administrators_word_are_listed_and_released(cdn: Cdn, office: StagedOffice) -> None:
    added = await cdn("domain", "add", WWW, "--site", "blog", "--verified", "--no-www")
    assert added.status == 0
    assert "www.example.com is answered from site blog" in added.out
    assert "complete on 1 of 1 nodes" in added.out
    listed = await cdn("domain", "list")
    assert "www.example.com  blog  verified  -" in listed.out
    (entry,) = (await cdn("domain", "list", "--site", "blog", "--json")).document["domains"]
    assert (entry["domain"], entry["site"], entry["verified"]) == (WWW, "blog", True)
    removed = await cdn("domain", "rm", "www.EXAMPLE.com.")
    assert removed.status == 0
    assert "there are no domains yet" in (await cdn("domain", "list")).out
    gone = await cdn("domain", "rm", WWW)
    assert gone.status == 1
    assert gone.err.startswith("cdn: no site of yours has the domain www.example.com\n")


async def test_of_several_claims_of_ones_own_sites_the_site_has_to_be_said(cdn: Cdn, office: StagedOffice) -> None:
    await cdn("site", "create", "shop")
    for site in ("blog", "shop"):
        await cdn("domain", "add", "*.example.com", "--site", site)
    unclear = await cdn("domain", "check", "*.example.com")
    assert (unclear.status, "say which with --site: blog, shop" in unclear.err) == (1, True)
    assert (await cdn("domain", "rm", "*.example.com", "--site", "shop")).status == 0
    assert (await cdn("domain", "show", "*.EXAMPLE.com")).status == 0


async def test_a_certificate_of_ones_own(cdn: Cdn, office: StagedOffice, tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_text(CHAIN)
    key.write_text("the key")
    words = ("--certificate", str(chain), "--key", str(key))
    assert "there are no certificates yet" in (await cdn("domain", "certificate", "list")).out
    await cdn("domain", "add", WWW, "--site", "blog", "--verified")
    put = await cdn("domain", "certificate", "set", WWW, *words)
    assert put.status == 0, put.err
    assert "is served with your certificate, which ends 20" in put.out
    assert "the key" not in put.out + put.err
    assert office.keys == ["the key"]
    assert "www.example.com  blog  20" in (await cdn("domain", "certificate", "list")).out
    assert "certificate for www.example.com from upload, until 20" in (await cdn("domain", "show", WWW)).out
    assert (await cdn("domain", "certificate", "rm", WWW)).status == 0
    key.write_bytes(b"\x30\x82\xff")
    refused = await cdn("domain", "certificate", "set", WWW, *words)
    assert (refused.status, "is not in PEM form" in refused.err) == (1, True)
    missing = await cdn("domain", "certificate", "set", WWW, "--certificate", str(chain), "--key", str(tmp_path / "no"))
    assert (missing.status, "cannot be read" in missing.err) == (1, True)
    chain.write_bytes(b"-" * 600_000)
    assert "it is no file of certificates" in (await cdn("domain", "certificate", "set", WWW, *words)).err


def test_what_servers_say_moves_no_cursor() -> None:
    servers = [{"server": "ns\x1b[2J", "answer": f"TXT \u202e{number}"} for number in range(9)]
    step = {"step": "ownership", "right": None, "says": "\x07?", "servers": servers}
    domain = {
        "domain": WWW,
        "site": "blog",
        "stage": "added",
        "redirect_to": "",
        "records": [],
        "steps": [step],
        "fault": "\x1b]0;t",
        "waits_for": "",
        "failures": 1,
        "checked_at": None,
        "next_try_at": None,
        "certificate": None,
    }
    lines = domain_lines(domain)
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert "it goes no further, 1 try so far: \\x1b]0;t" in lines
    assert step_lines(domain)[-1] == "        and 1 server more"
    assert "it goes no further, 1 try so far: see ownership above" in domain_lines({**domain, "fault": "\x07?"})


@pytest.mark.parametrize("words", [("add",), ("show",), ("check",), ("rm",), ("certificate", "rm")])
@pytest.mark.parametrize(
    ("domain", "status", "says"),
    [("", 2, "is empty"), ("\udcff\udcfe", 1, "not Unicode text"), ("..", 1, "empty label"), ("a/b", 1, "not a bare")],
)
async def test_domains_that_are_none_are_refused_in_a_document_too(
    cdn: Cdn, office: StagedOffice, words: tuple[str, ...], domain: str, status: int, says: str
) -> None:
    said = await cdn("domain", *words, domain, "--site", "blog", "--json")
    assert said.status == status, said.err
    assert says in json.loads(said.out)["error"]["message"]
    assert "please report" not in said.err
