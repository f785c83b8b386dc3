"""What a client of the API was promised, and how a node that started again is held against it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from tests.e2e.calls import Calls, OutcomeUnknown, Refused
from tests.e2e.running import Answer, RunningCdn

KEPT = "/kept.txt"
"""The same bytes in every deploy of a site: it stays warm until it is purged."""

TAG = "kept"
ZONE = "cdn.localhost"


@dataclass(slots=True)
class Known:
    """A value that was acknowledged, and those asked for whose outcome nobody knows."""

    value: Any
    unsettled: list[Any] = field(default_factory=list)

    @contextmanager
    def becoming(self, value: Any) -> Iterator[None]:
        """Acknowledged when the block ends well, unsettled when its answer was lost."""
        try:
            yield
        except OutcomeUnknown:
            self.unsettled.append(value)
            raise
        self.value = value

    def settle(self, seen: Any, what: str) -> None:
        """What is there now must be one of these; from now on it is what counts."""
        assert seen in (self.value, *self.unsettled), (
            f"{what}: acknowledged {self.value!r}, without answer {self.unsettled!r}, there is {seen!r}"
        )
        self.value, self.unsettled = seen, []


@dataclass(slots=True)
class Activations:
    """Which content a site may show: of the last acknowledged activation, or of one whose answer was lost."""

    site: str
    acknowledged: dict[int, str] = field(default_factory=dict)  # by sequence
    unsettled: set[str] = field(default_factory=set)
    deploys: dict[str, str] = field(default_factory=dict)  # acknowledged ones: id to content

    @property
    def last(self) -> str:
        return self.acknowledged[max(self.acknowledged)]

    def deploy(self, calls: Calls, content: str) -> None:
        """A deploy whose home page says `content`."""
        files = {
            "/index.html": content.encode(),
            KEPT: f"kept by {self.site}".encode(),
            "/changing.css": f"/* {content} */".encode() * 50,
        }
        try:
            done = calls.deploy(self.site, files)
        except OutcomeUnknown:
            self.unsettled.add(content)
            raise
        self.deploys[done["deploy"]["id"]] = content
        self._acknowledge(done, content)

    def activate(self, calls: Calls, deploy_id: str) -> None:
        """Point the site at a deploy of before."""
        content = self.deploys[deploy_id]
        try:
            done = calls.call("POST", f"/v1/sites/{self.site}/deploys/{deploy_id}/activate?wait=10", {})
        except OutcomeUnknown:
            self.unsettled.add(content)
            raise
        self._acknowledge(done, content)

    def check(self, running: RunningCdn, calls: Calls) -> None:
        """After a restart."""
        shown = running.visit(f"{self.site}.{ZONE}")
        seen = shown.content.decode()
        allowed = {self.last, *self.unsettled}
        assert shown.status == 200, f"{self.site}: {shown}"
        assert seen in allowed, f"{self.site} shows {seen!r}, acknowledged was {self.last!r}; possible {allowed}"
        listed = calls.call("GET", f"/v1/sites/{self.site}/deploys")["deploys"]
        lost = self.deploys.keys() - {one["id"] for one in listed}
        assert not lost, f"{self.site}: acknowledged deploys {lost} are gone"
        (active,) = [one["id"] for one in listed if one["active_on"]]
        assert self.deploys.setdefault(active, seen) == seen, f"{self.site}: control names {active}, shown is {seen!r}"
        self.acknowledged = {max(self.acknowledged): seen}
        self.unsettled.clear()

    def _acknowledge(self, done: Any, content: str) -> None:
        assert done["receipt"]["complete"], done
        self.acknowledged[done["receipt"]["position"]["sequence"]] = content


@dataclass(slots=True)
class OwnSite:
    """A site with one caller, who therefore knows exactly what must be true of it."""

    name: str
    activations: Activations
    edge_ttl_s: Known
    is_cold: bool | None = None  # whether nothing of KEPT may be used that is stored; None: nobody knows
    domains: dict[str, Known] = field(default_factory=dict)
    tokens: dict[str, tuple[str, Known]] = field(default_factory=dict)  # by id: text, whether it works
    purges: list[int] = field(default_factory=list)

    @classmethod
    def create(cls, calls: Calls, name: str) -> OwnSite:
        rules = [{"path": KEPT, "fields": [["cache-tag", TAG]]}]
        calls.create_site(name, edge_ttl_s=3600, header_rules=rules)
        return cls(name, Activations(name), Known(3600))

    @property
    def host(self) -> str:
        return f"{self.name}.{ZONE}"

    def purge(self, calls: Calls, **what: Any) -> None:
        """A hard purge that covers KEPT."""
        self.is_cold = None
        receipt = calls.purge(self.name, **what)
        assert receipt["complete"], receipt
        self.purges.append(receipt["position"]["sequence"])
        self.is_cold = True

    def visit(self, running: RunningCdn) -> None:
        """KEPT, and the home page; what was purged is fetched, what is warm is a hit."""
        was_cold = self.is_cold
        self.is_cold = None
        answer = _visit(running, self.host, KEPT)
        assert answer.content == f"kept by {self.name}".encode(), answer
        is_hit = "; hit" in answer.cache_status
        if was_cold is True:
            assert not is_hit, f"{self.name}{KEPT} was purged at {self.purges[-1]} and is served: {answer}"
        if was_cold is False:
            assert is_hit, f"{self.name}{KEPT} was warm and is not served: {answer}"
        self.is_cold = False
        home = _visit(running, self.host, "/")
        assert home.content.decode() == self.activations.last, f"{self.name}: {home}"

    def check(self, running: RunningCdn, calls: Calls) -> None:
        """After a restart: all that was acknowledged is there, and nothing from before a purge is served."""
        if self.is_cold is False:
            self.is_cold = None  # what was stored a moment before the end may be lost: that costs a fetch
        self.activations.check(running, calls)
        self.visit(running)
        view = calls.call("GET", f"/v1/sites/{self.name}")
        self.edge_ttl_s.settle(view["settings"]["edge_ttl_s"], f"{self.name}: edge_ttl_s")
        for domain, claim in self.domains.items():
            claim.settle(domain in view["domains"], f"{self.name}: {domain}")
            assert (_visit(running, domain, KEPT).status == 200) is claim.value, domain
        for token_id, (text, works) in self.tokens.items():
            works.settle(_works(calls, self.name, text), f"{self.name}: token {token_id}")
        for sequence in self.purges[-3:]:
            assert calls.call("GET", f"/v1/receipts/{sequence}")["complete"]


def _visit(running: RunningCdn, host: str, target: str) -> Answer:
    """A visit; a node that ended during it is like a call without an answer."""
    try:
        return running.visit(host, target)
    except (OSError, HTTPException) as exc:
        raise OutcomeUnknown(f"{host}{target}: {exc!r}") from exc


def _works(calls: Calls, site: str, token: str) -> bool:
    try:
        calls.call("GET", f"/v1/sites/{site}", token=token)
    except Refused as refused:
        if refused.status == 401:
            return False
        raise
    return True
