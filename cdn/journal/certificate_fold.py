"""Which certificates there are, and what nodes answer an authority, from the records: facts, no keys and no chains."""

from __future__ import annotations

from sys import intern
from typing import Any

import msgspec

from cdn.journal.record import (
    AnswerRemoved,
    AnswerSet,
    Audience,
    CertificateRemoved,
    CertificateSet,
    DomainRemoved,
    DomainVerified,
    Record,
    SiteRemoved,
)
from cdn.sites.catalog import Catalog

ALARM_PART = 1 / 6
"""Of a certificate's lifetime that is left: renewal begins at a third, so half of the time for it has failed."""

LONGEST_ALARM_S = 14 * 86400.0
"""Before the end of a certificate it is early enough to say so, however long it holds: two weeks are left to act."""

MAX_ANSWERS = 10_000
"""Answers that count at one time: control has a few orders under way at a time, each with a handful. Beyond it the one
that ends first goes, never the one that was set just now."""


class CertificateFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """The certificate for `name` as the record `sequence` set it; see `CertificateSet`. Times are wall time in seconds.
    Its chain and sealed keys are found by `certificate_id`: on the node's disk, and in the object store."""

    name: str
    certificate_id: str
    site_id: str
    names: tuple[str, ...]
    not_before: float
    not_after: float
    issuer: str
    sequence: int

    @property
    def alarm_at(self) -> float:
        """From when on somebody has to be told that it has not been renewed."""
        return self.not_after - min(LONGEST_ALARM_S, ALARM_PART * (self.not_after - self.not_before))


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True, gc=False):
    """See `AnswerSet`; it counts before the wall time `expires_at`."""

    method: str
    domain: str
    token: str
    value: str
    expires_at: float


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    certificates: tuple[CertificateFacts, ...]
    answers: tuple[Answer, ...]


class CertificateFold:
    """Certificates by name and answers by method, domain and token.

    It goes by a `catalog` whose fold stands BEFORE this one among a node's folds: a certificate is there only while its
    name is a domain of its site, or with the site id "" of none. So a domain that is removed, or goes to another site,
    takes its certificate along, and one that is recorded too late is none. An answer that is over
    is forgotten with the next that is set; until then `answer` compares.
    """

    name: str = "certificates"
    audience: Audience = Audience.ALL

    def __init__(self, catalog: Catalog) -> None:
        self.changes = 0
        """Higher as soon as anything here has changed."""
        self._catalog = catalog
        self._certificates: dict[str, CertificateFacts] = {}
        self._answers: dict[tuple[str, str, str], Answer] = {}

    def __len__(self) -> int:
        return len(self._certificates)

    def certificate(self, name: str) -> CertificateFacts | None:
        """The certificate that was set for exactly this name, which may be a wildcard."""
        return self._certificates.get(name)

    def for_host(self, host: str) -> CertificateFacts | None:
        """What a handshake for `host` (lower case, no final dot) is answered with: its own certificate, else the
        wildcard's of the name above, else for "" the CDN's own zone's."""
        if not host:
            zone = self._catalog.zone
            return self._certificates.get(f"*.{zone}") or self._certificates.get(zone)
        own = self._certificates.get(host)
        if own is not None:
            return own
        _, dot, above = host.partition(".")
        return self._certificates.get(f"*.{above}") if dot else None

    def certificates(self) -> tuple[CertificateFacts, ...]:
        """All of them, by name."""
        return tuple(self._certificates[name] for name in sorted(self._certificates))

    def of_site(self, site_id: str) -> tuple[CertificateFacts, ...]:
        """Those of a site ("": the CDN's own zone's), by name."""
        return tuple(facts for facts in self.certificates() if facts.site_id == site_id)

    def is_in_service(self, certificate_id: str) -> bool:
        """Whether any name has this certificate: a look at all of them (5 ms for 100,000)."""
        return any(facts.certificate_id == certificate_id for facts in self._certificates.values())

    def soonest_end(self) -> CertificateFacts | None:
        """The certificate that is over first."""
        return min(self._certificates.values(), key=lambda facts: facts.not_after, default=None)

    def answer(self, method: str, domain: str, token: str, now: float) -> str | None:
        """What an authority that looks by `method` is answered, at the wall time `now`."""
        found = self._answers.get((method, domain, token))
        return None if found is None or found.expires_at <= now else found.value

    def answers(self) -> tuple[Answer, ...]:
        """All of them, by method, domain and token, and those that are over too."""
        return tuple(self._answers[key] for key in sorted(self._answers))

    def apply(self, record: Record) -> None:
        """See `Fold.apply`."""
        match record.change:
            case CertificateSet() as change:
                self._set(change, record.sequence)
            case CertificateRemoved(name=name):
                self._certificates.pop(name, None)
            case DomainRemoved(domain=domain) | DomainVerified(domain=domain):
                self._drop_if_lost(domain)
            case SiteRemoved(site_id=site_id):
                self._forget_site(site_id)
            case AnswerSet() as change:
                self._answer(change, record.at)
            case AnswerRemoved(method=method, domain=domain, token=token):
                self._answers.pop((method, domain, token), None)
            case _:
                return  # other folds' matter
        self.changes += 1

    def dump(self) -> Any:
        """The state as JSON builtins; None when there is none, so that earlier programs can read the snapshot."""
        if not (self._certificates or self._answers):
            return None
        return msgspec.to_builtins(_Section(tuple(self._certificates.values()), self.answers()))

    def load(self, section: Any) -> None:
        """See `Fold.load`. Raises msgspec.MsgspecError, and then nothing has changed."""
        state = _Section((), ()) if section is None else msgspec.convert(section, _Section)
        self._certificates = {facts.name: _shared(facts) for facts in state.certificates}
        self._answers = {(each.method, each.domain, each.token): each for each in state.answers}
        self.changes += 1

    def _set(self, change: CertificateSet, sequence: int) -> None:
        facts = CertificateFacts(
            change.name,
            change.certificate_id,
            change.site_id,
            change.names,
            change.not_before,
            change.not_after,
            change.issuer,
            sequence,
        )
        if self._is_held(facts):
            self._certificates[change.name] = _shared(facts)

    def _is_held(self, facts: CertificateFacts) -> bool:
        return (self._catalog.domain_owner(facts.name) or "") == facts.site_id

    def _drop_if_lost(self, domain: str) -> None:
        facts = self._certificates.get(domain)
        if facts is not None and not self._is_held(facts):
            del self._certificates[domain]

    def _forget_site(self, site_id: str) -> None:
        for facts in [each for each in self._certificates.values() if each.site_id == site_id]:
            del self._certificates[facts.name]

    def _answer(self, change: AnswerSet, at: float) -> None:
        for key in [key for key, each in self._answers.items() if each.expires_at <= at]:
            del self._answers[key]
        key = change.method, change.domain, change.token
        self._answers[key] = Answer(*key, change.value, change.expires_at)
        while len(self._answers) > MAX_ANSWERS:
            others = (each for each in self._answers if each != key)
            del self._answers[min(others, key=lambda each: (self._answers[each].expires_at, each))]


def _shared(facts: CertificateFacts) -> CertificateFacts:
    """With strings that thousands of certificates have in common, or that stand in it twice, held once."""
    names = tuple(facts.name if name == facts.name else name for name in facts.names)
    return msgspec.structs.replace(facts, names=names, issuer=intern(facts.issuer), site_id=intern(facts.site_id))
