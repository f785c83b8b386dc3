"""The routes about what name servers answer: zones, their keys, challenges, geography."""

from __future__ import annotations

from collections.abc import Sequence

from cdn.control import zone_schema as schema
from cdn.control.challenges_api import ChallengesApi
from cdn.control.geography_api import GeographyApi
from cdn.control.route import Access, Parameter, Route
from cdn.control.services import Services
from cdn.control.signing_api import SigningApi
from cdn.control.zones_api import ZonesApi

ZONE = "/v1/zones/{zone}"
SIGNING = ZONE + "/signing"

_PUT_DETAIL = (
    "The content is a zone file (RFC 1035 5), `text/dns`, of the zone in the path; `ALIAS NAME` at a name answers A "
    "and AAAA as the site or preview NAME of the CDN's own zone does. A fault leaves the zone as it was and is told "
    "with its line in `details`. 201: there was no such zone before."
)
_SIGNING_DETAIL = "Each action is one record. `next_step` of the answer says what has to be done next, and when."


def dns_routes(services: Services) -> Sequence[Route]:
    return (*_zone_routes(services), *_challenge_routes(services), *_geography_routes(services))


def _zone_routes(services: Services) -> Sequence[Route]:
    zones, signing = ZonesApi(services), SigningApi(services)
    return (
        Route("GET", "/v1/zones", "listZones", "The zones that name servers answer for", zones.list, Access.ADMIN,
              {200: schema.ZoneList}),
        Route("GET", ZONE, "showZone", "One zone, as a zone file", zones.show, Access.ADMIN, {200: schema.ZoneContent}),
        Route(
            "PUT", ZONE, "importZone", "Import a zone file, in place of what there was", zones.put, Access.ADMIN,
            {200: schema.ZoneImported, 201: schema.ZoneImported}, takes_bytes="text/dns", detail=_PUT_DETAIL,
            query=(
                Parameter("file", "What faults call the content"),
                Parameter("replaces", "Only in place of the zone of the record with this sequence; 0: of none",
                          is_number=True),
            ),
        ),
        Route("DELETE", ZONE, "removeZone", "Answer for a zone no longer", zones.remove, Access.ADMIN,
              {200: schema.ZoneRemovedView}),
        Route("GET", SIGNING, "showSigning", "How a zone is signed (DNSSEC)", signing.show, Access.ADMIN,
              {200: schema.SigningView}),
        Route("POST", SIGNING, "changeSigning", "Sign a zone, change its key, or stop", signing.change, Access.ADMIN,
              {200: schema.SigningView}, takes=schema.ChangeSigning, detail=_SIGNING_DETAIL),
    )  # fmt: skip


def _challenge_routes(services: Services) -> Sequence[Route]:
    api = ChallengesApi(services)
    return (
        Route("POST", "/v1/challenges", "setChallenge", "Answer a certificate authority's challenge by DNS", api.set,
              Access.ADMIN, {201: schema.ChallengeSetView}, takes=schema.SetChallenge),
        Route("GET", "/v1/challenges", "listChallenges", "The challenges that are answered now", api.list, Access.ADMIN,
              {200: schema.ChallengeList}),
        Route(
            "DELETE", "/v1/challenges", "removeChallenge", "Answer a challenge no longer", api.remove, Access.ADMIN,
            {200: schema.ChallengeRemovedView},
            query=(
                Parameter("name", "Where it is", is_required=True),
                Parameter("value", "Which of those there", is_required=True),
            ),
        ),
    )  # fmt: skip


def _geography_routes(services: Services) -> Sequence[Route]:
    api = GeographyApi(services)
    return (
        Route("GET", "/v1/geography", "showGeography", "By which table of places name servers go", api.show,
              Access.ADMIN, {200: schema.GeographyView}),
        Route(
            "PUT", "/v1/geography", "setGeography", "Send name servers another table of places", api.put, Access.ADMIN,
            {200: schema.GeographySetView}, takes_bytes="application/octet-stream",
            query=(
                Parameter("digest", "The SHA-256 of the content, in lower-case hex", is_required=True),
                Parameter("note", "What the table is"),
            ),
            detail="The content is what `cdn geo update` compiles of a database; it needs a Content-Length.",
        ),
        Route("DELETE", "/v1/geography", "resetGeography", "Go by the table that comes with the program", api.reset,
              Access.ADMIN, {200: schema.GeographySetView}),
        Route("GET", "/v1/geography/{digest}", "fetchGeography", "The table itself, for name servers", api.fetch,
              Access.DNS, {200: bytes}),
    )  # fmt: skip
