"""Zone files: what is read, and how every fault is told, by file and line."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdn.dns import zone_check, zone_file
from cdn.dns.zone_file import read_zone_file
from cdn.dns.zone_records import labels_from_text
from cdn.errors import InvalidInput, TooLarge
from cdn.journal.record import Audience, Draft, ZoneSet, validate_draft
from tests.dns.told_answers import labels

HEAD = """\
$ORIGIN example.com.
$TTL 300
@ SOA ns.other.net. hostmaster 1 2 3 4 5
@ NS  ns.other.net.
"""
DS = "1 13 2 " + "00" * 32


def read(text: str, *, name: str | None = None) -> ZoneSet:
    return read_zone_file(text, file="my.zone", cdn_zone="cdn.example.net", name=name)


def told(zone: ZoneSet) -> list[str]:
    """The records as text, without SOA and NS of the zone itself."""
    lines = []
    for rrset in zone.rrsets:
        for rdata in rrset.rdatas:
            wire = b64decode(rdata)
            made = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType.make(rrset.type), wire, 0, len(wire))
            lines.append(f"{rrset.name} {rrset.ttl_s} {dns.rdatatype.to_text(made.rdtype)} {made.to_text()}")
    return lines[2:]


def faults(text: str, *, name: str | None = None) -> tuple[str, ...]:
    with pytest.raises(InvalidInput) as caught:
        read(text, name=name)
    assert caught.value.message == caught.value.details[0]
    return caught.value.details


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("www 60 IN A 192.0.2.1", ["www.example.com 60 A 192.0.2.1"]),
        ("www IN 60 A 192.0.2.1", ["www.example.com 60 A 192.0.2.1"]),
        ("WWW.Example.COM. 1h A 192.0.2.1", ["www.example.com 3600 A 192.0.2.1"]),
        ("a A 192.0.2.2\n  A 192.0.2.1 ; comment", ["a.example.com 300 A 192.0.2.1", "a.example.com 300 A 192.0.2.2"]),
        ("a A 192.0.2.1\na A 192.0.2.1", ["a.example.com 300 A 192.0.2.1"]),
        ("a CNAME B.Example.NET.", ["a.example.com 300 CNAME b.example.net."]),
        ("a MX (10 ; first\n Mail\n)", ["a.example.com 300 MX 10 mail.example.com."]),
        ("$GENERATE 8-10/2 h${0,3} A 1.0.0.$", ["h008.example.com 300 A 1.0.0.8", "h010.example.com 300 A 1.0.0.10"]),
        ("$ORIGIN sub\nx TXT \"a;b\" c", ['x.sub.example.com 300 TXT "a;b" "c"']),
        ("x TYPE4711 \\# 3 010203", ["x.example.com 300 TYPE4711 \\# 3 010203"]),
        (r"a\.b TXT x", [r'a\.b.example.com 300 TXT "x"']),
        (r"a\032b TXT x", [r'a\032b.example.com 300 TXT "x"']),
        ("x ALIAS Next--Blog.CDN.example.net.", ["x.example.com 300 ALIAS next--blog.cdn.example.net."]),
        ("x SVCB 1 svc alpn=h2,h3 port=53", ['x.example.com 300 SVCB 1 svc.example.com. alpn="h2,h3" port="53"']),
        ('x CAA 0 issue "a.example"', ['x.example.com 300 CAA 0 issue "a.example"']),
        ("x NS ns.x\nns.x A 192.0.2.1", ["x.example.com 300 NS ns.x.example.com.", "ns.x.example.com 300 A 192.0.2.1"]),
        (f"x NS ns.other.net.\nx DS {DS}", ["x.example.com 300 NS ns.other.net.", f"x.example.com 300 DS {DS}"]),
        ("x NS ns.y\ny NS o.", ["x.example.com 300 NS ns.y.example.com.", "y.example.com 300 NS o."]),
        ("\u00e4.x A 192.0.2.1", ["xn--4ca.x.example.com 300 A 192.0.2.1"]),
    ],
)  # fmt: skip
def test_records_in_canonical_form(line: str, expected: list[str]) -> None:
    assert told(read(HEAD + line + "\n")) == expected


def test_the_zone_is_named_by_its_soa_or_by_who_imports_it() -> None:
    assert read(HEAD).zone == "example.com"
    bare = HEAD.partition("\n")[2]
    assert read(bare, name="Example.ORG.").zone == "example.org"
    assert read(HEAD, name="example.com").zone == "example.com"


def test_files_of_other_systems() -> None:
    assert read("\ufeff" + HEAD.replace("\n", "\r\n") + "www A 192.0.2.1\r\n") == read(HEAD + "www A 192.0.2.1")


def test_names_come_back_as_they_were() -> None:
    for name in (r"a\.b.example.com", r"a\032b.example.com", "*.example.com", "_x-1.example.com", r"\000\255.x", ""):
        assert labels_from_text(name) == labels(name + ".")


@pytest.mark.parametrize("name", ["a..b", "\u00e4" * 64, "a" * 64, "x." * 130 + "x", "\\", "-\\300"])
def test_what_is_no_name_is_said_to_be_none(name: str) -> None:
    with pytest.raises(InvalidInput):
        labels_from_text(name)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("www A 192.0.2", "5: this cannot be read as a record"),
        ("\n\nwww A 192.0.2.1 192.0.2.2", "7: expected EOL or EOF"),
        ("www FOO 1", "5: unknown rdatatype 'FOO'"),
        ("www CH A 192.0.2.1", "5: RR class is not zone's class"),
        ("www", "5: this cannot be read as a record"),
        ('www TXT "open', "5: newline in quoted string"),
        ("www TXT (open\n", "5: "),
        ("a." * 130 + " A 192.0.2.1", "5: "),
        ("a" * 64 + " A 192.0.2.1", "5: "),
        ("$INCLUDE /etc/passwd", "5: zone file directive '$INCLUDE' is not allowed"),
        ("$TTL forever", "5: "),
        ("x 4294967295 A 192.0.2.1", "5: the TTL is 4294967295 s, at most 2147483647"),
        ("other.net. A 192.0.2.1", "5: other.net is not in the zone example.com"),
        ("$GENERATE 1-2 h$.other.net. A 192.0.2.1", "5: h1.other.net is not in the zone"),
        ("@ SOA a b 1 2 3 4 6", "5: example.com has another SOA in line 3"),
        ("x SOA a b 1 2 3 4 5", "5: a SOA stands at x.example.com"),
        ("@ CNAME www", "5: a CNAME cannot stand at the zone itself"),
        ("x CNAME y\nx A 192.0.2.1", "5: a CNAME cannot stand at x.example.com, which has more"),
        ("x CNAME y\nx CNAME z", "6: x.example.com has another CNAME in line 5"),
        ("x A 192.0.2.1\nx 60 A 192.0.2.2", "6: the TTL of x.example.com A is 60 here and 300 in line 5"),
        ("x NS ns", "5: the name server ns.example.com has no address"),
        ("@ NS ns\nns CNAME x", "5: ns.example.com is a CNAME"),
        ("@ NS ns\nns ALIAS blog.cdn.example.net.", "5: the name server ns.example.com has no address"),
        ("x NS ns.x", "5: the name server ns.x.example.com has no address"),
        ("x NS y.other.\nx TXT a", "6: x.example.com is delegated: only NS, DS and addresses"),
        ("x NS y.other.\nb.a.x A 192.0.2.1", "6: b.a.x.example.com is below x.example.com, which is delegated"),
        ("x NS y.other.\na.x NS b.other.", "6: a.x.example.com is below x.example.com"),
        ("*.x NS y.other.", "5: a NS at a wildcard"),
        ("*.x DNAME y.other.", "5: a DNAME at a wildcard"),
        (f"x DS {DS}", "5: x.example.com has a DS and is not delegated"),
        (f"@ DS {DS}", "5: the DS of a zone belongs to the zone above"),
        ("x DNAME y\na.b.x TXT a", "6: a.b.x.example.com is below x.example.com, whose DNAME"),
        ("x DNAME y\nx DNAME z", "6: x.example.com has another DNAME in line 5"),
        ("x NS y.other.\nx DNAME z", "5: x.example.com has NS and DNAME"),
        ("x ALIAS example.net.", "5: example.net is no site: an ALIAS names SITE.cdn.example.net"),
        ("x ALIAS cdn.example.net.", "5: cdn.example.net is no site"),
        ("x ALIAS a.b.cdn.example.net.", "5: a.b.cdn.example.net is no site"),
        ("x ALIAS -.cdn.example.net.", "5: -.cdn.example.net is no site"),
        ("x ALIAS a.cdn.example.net.\nx ALIAS b.cdn.example.net.", "6: x.example.com has another ALIAS in line 5"),
        ("x ALIAS a.cdn.example.net.\nx A 192.0.2.1\nx AAAA ::1", "5: x.example.com has A and AAAA beside its ALIAS"),
        ("x ALIAS a.cdn.example.net.\nx CNAME y", "6: a CNAME cannot stand at x.example.com"),
        ("x NSEC y A", "5: NSEC records are made here when the zone is signed"),
        ("x TYPE251 \\# 0", "5: IXFR is a type of questions"),
    ],
)
def test_a_fault_is_told_with_its_line(lines: str, expected: str) -> None:
    assert any(fault.startswith(f"my.zone:{expected}") for fault in faults(HEAD + lines + "\n")), faults(HEAD + lines)


def test_every_fault_is_told_in_the_order_of_lines() -> None:
    found = faults(HEAD + "x ALIAS y.\ny CNAME z\ny A 192.0.2.1\nout. A 192.0.2.1\n")
    assert [fault.split(":")[1] for fault in found] == ["5", "6", "8"]


def test_a_zone_needs_its_soa_and_its_name_servers() -> None:
    assert faults("$ORIGIN example.com.\nwww 60 A 192.0.2.1\n") == (
        "my.zone:1: the zone has no SOA record, so nobody can say what it is: add one",
    )
    assert "has no SOA record" in faults("www 60 A 192.0.2.1", name="example.com")[0]
    assert "has no NS record" in faults("@ 60 SOA a. b. 1 2 3 4 5", name="example.com")[0]
    assert "root zone" in faults(". 60 SOA a. b. 1 2 3 4 5\n. 60 NS a.")[0]


def test_relative_names_need_something_to_be_relative_to() -> None:
    for text in ("@ 60 SOA a. b. 1 2 3 4 5", "example.com. 60 SOA a b. 1 2 3 4 5", "www 60 A 192.0.2.1"):
        assert faults(text) == (
            "my.zone:1: a name without a final dot, and nothing says what it is relative to: begin the file with "
            "$ORIGIN and the zone's name, or give --name",
        )


def test_a_text_that_ends_too_early() -> None:
    assert faults(HEAD + 'www TXT "open') == (
        "my.zone:5: the text ends within a record: a quote or a parenthesis is not closed",
    )


def test_a_name_of_a_zone_that_is_none() -> None:
    with pytest.raises(InvalidInput, match="is no name of a zone"):
        read(HEAD, name="a..b")


def test_a_file_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zone_file, "MAX_ZONE_RECORDS", 12)
    with pytest.raises(TooLarge, match=r"my\.zone:5: the zone has more than 12 records"):
        read(HEAD + "$GENERATE 1-4000000000 h$ A 192.0.2.1\n")
    with pytest.raises(TooLarge, match="more than 12 records"):
        read(HEAD + "$GENERATE 1-4000000000 h$.out. A 192.0.2.1\n")
    monkeypatch.setattr(zone_file, "MAX_ZONE_FILE_BYTES", 100)
    with pytest.raises(TooLarge, match="at most 100"):
        read(HEAD + ";" * 100)
    monkeypatch.setattr(zone_file, "MAX_FAULTS", 3)
    monkeypatch.setattr(zone_file, "MAX_ZONE_FILE_BYTES", 10_000)
    assert len(faults(HEAD + "x CNAME y\ny CNAME x\nz NS z\n" + "out. A 192.0.2.1\n" * 5)) == 3


def test_names_that_stand_between_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zone_check, "MAX_ZONE_NAMES", 6)
    assert read(HEAD + "a.b.c TXT x\nx.b.c TXT x\nb.c TXT x\nd.e TXT x\n")
    assert faults(HEAD + "a.b.c TXT x\nx.b.c TXT x\nb.c TXT x\nd.e.f TXT x\n") == (
        "my.zone:1: the zone has more than 6 names, with all that stand between: delegate parts",
    )


def test_a_zone_fits_the_record_it_was_read_for() -> None:
    zone = read(HEAD + "$GENERATE 1-5000 h$ A 192.0.2.1\n")
    draft, size_bytes = validate_draft(Draft("zone/example.com", zone, "test", Audience.DNS))
    assert draft.change == zone
    assert size_bytes < 600_000


lines = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.lists(
            st.sampled_from(
                ["@", "a", "*", "\t", '"', "(", ")", ";", "\\", "\\0", "$TTL", "$ORIGIN", "$GENERATE", "1-3", "$", "${",
                 "A", "NS", "TXT", "CNAME", "SOA", "ALIAS", "SVCB", "\\#", "60", "1w", "IN", "CH", "192.0.2.1", "::1",
                 ".", "..", "0", "\x00"]
            ),
            max_size=8,
        ).map(" ".join),
    ),
    max_size=6,
)  # fmt: skip


@settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
@given(lines, st.booleans())
def test_whatever_is_handed_in_is_a_zone_or_a_fault_with_a_line(found: list[str], has_head: bool) -> None:
    try:
        zone = read((HEAD if has_head else "") + "\n".join(found))
    except InvalidInput as exc:
        told_faults = (exc.message, *exc.details)
    else:
        told_faults = ()
        assert zone.zone
    assert all(fault.startswith("my.zone:") for fault in told_faults)


def test_the_zone_of_the_documentation_is_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "dns.md").read_text()
    zone = text[text.index("$ORIGIN") :].partition("```")[0]
    assert len(told(read(zone))) == 7
