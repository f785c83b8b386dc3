"""The catalog: every site with its domains, deploys and aliases, as the journal's records add up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf

from cdn.sites.deploy import AliasState, Deploy, Retained
from cdn.sites.name import PRODUCTION, split_label
from cdn.sites.settings import MAX_KEEP_DEPLOYS, SiteSettings
from cdn.sites.site import Site

MAX_RETAINED_PER_ALIAS = 256
"""Superseded deploys whose files stay reachable, and steps a rollback can go back; the oldest go first."""

MAX_PREPARING_PER_ALIAS = 16
"""Deploys that are prepared and not yet active: more than race in earnest; the oldest go first."""

MAX_DEPLOYS_LISTED_PER_SITE = MAX_KEEP_DEPLOYS
"""Deploys remembered per site, or fewer where it says so; the oldest go first, never one that is active, retained or
being prepared."""

MAX_ALIASES_PER_SITE = 1000
"""Aliases per site; the preview that was activated longest ago goes first, never production."""

MAX_DOMAINS_PER_SITE = 1000
"""Domains per site: every one is an entry that each node holds."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a host stands for."""

    site_id: str
    alias: str


@dataclass(slots=True)
class _SiteState:
    site: Site
    domains: set[str] = field(default_factory=set)
    deploys: dict[str, Deploy] = field(default_factory=dict)
    aliases: dict[str, AliasState] = field(default_factory=dict)
    variants: dict[str, str] = field(default_factory=dict)


class Catalog:
    """In memory and without IO. The same records in the same order give the same catalog on every node.

    A change that cannot hold (it names a site or deploy that is gone, or lost a race that the journal let through)
    changes nothing and returns False: a follower must be able to apply whatever the journal has.
    """

    def __init__(self, zone: str) -> None:
        self.zone = zone.lower().strip(".")
        self._suffix = "." + self.zone
        self._sites: dict[str, _SiteState] = {}
        self._id_of_name: dict[str, str] = {}
        self._binding_of_domain: dict[str, Binding] = {}
        self._redirects: dict[str, str] = {}

    # questions

    def bind(self, host: str) -> Binding | None:
        """The site and alias that answer for `host` (lower case, without port and final dot): as a domain, else by a
        wildcard of the name above it, else as a name in the CDN's own zone."""
        binding = self._binding_of_domain.get(host)
        if binding is not None:
            return binding
        if not host.endswith(self._suffix):
            _, dot, above = host.partition(".")
            return self._binding_of_domain.get(f"*.{above}") if dot else None
        alias, name = split_label(host[: -len(self._suffix)])
        site_id = self._id_of_name.get(name)
        return None if site_id is None else Binding(site_id, alias)

    def is_in_zone(self, domain: str) -> bool:
        """Whether the domain is the zone or below it, where hosts are named by sites and cannot be added."""
        return domain == self.zone or domain.endswith(self._suffix)

    def site(self, site_id: str) -> Site | None:
        """The site with this id."""
        state = self._sites.get(site_id)
        return None if state is None else state.site

    def site_named(self, name: str) -> Site | None:
        """The site with this name."""
        site_id = self._id_of_name.get(name)
        return None if site_id is None else self._sites[site_id].site

    def sites(self) -> tuple[Site, ...]:
        """All sites, by name."""
        return tuple(self._sites[self._id_of_name[name]].site for name in sorted(self._id_of_name))

    def domains(self, site_id: str | None = None) -> Mapping[str, str]:
        """Domain to site id, sorted: of one site, or of all."""
        if site_id is None:
            return {domain: self._binding_of_domain[domain].site_id for domain in sorted(self._binding_of_domain)}
        state = self._sites.get(site_id)
        return {} if state is None else dict.fromkeys(sorted(state.domains), site_id)

    def domain_owner(self, domain: str) -> str | None:
        """The id of the site a domain belongs to."""
        binding = self._binding_of_domain.get(domain)
        return None if binding is None else binding.site_id

    def redirect_of(self, domain: str) -> str:
        """The domain of the same site to which visitors of this one are sent; "": they are answered."""
        target = self._redirects.get(domain)
        if target is None or self.domain_owner(target) != self.domain_owner(domain):
            return ""  # not verified yet, or gone: nobody is sent to a name that may be another's
        return target

    def asked_redirect_of(self, domain: str) -> str:
        """Where visitors are to be sent, whether the site has that domain yet or not."""
        return self._redirects.get(domain, "")

    def redirects(self) -> Mapping[str, str]:
        """Every domain whose visitors are sent to another, and which, sorted."""
        return {domain: self._redirects[domain] for domain in sorted(self._redirects)}

    def deploy(self, site_id: str, deploy_id: str) -> Deploy | None:
        """One deploy of a site."""
        state = self._sites.get(site_id)
        return None if state is None else state.deploys.get(deploy_id)

    def deploys(self, site_id: str) -> tuple[Deploy, ...]:
        """A site's deploys, newest first."""
        state = self._sites.get(site_id)
        return () if state is None else tuple(reversed(state.deploys.values()))

    def alias(self, site_id: str, alias: str) -> AliasState | None:
        """What an alias answers from; None when nothing was ever prepared for it."""
        state = self._sites.get(site_id)
        return None if state is None else state.aliases.get(alias)

    def aliases(self, site_id: str) -> Mapping[str, AliasState]:
        """A site's aliases by name."""
        state = self._sites.get(site_id)
        return {} if state is None else dict(sorted(state.aliases.items()))

    def preparing(self, site_id: str) -> tuple[Deploy, ...]:
        """The deploys of a site that are prepared and not yet active, on any alias."""
        state = self._sites.get(site_id)
        return () if state is None else tuple(one for of in state.aliases.values() for one in of.preparing)

    def rollback_target(self, site_id: str, alias: str) -> Deploy | None:
        """Where a rollback that names no deploy goes: the deploy last active of those that came here before the active.

        So a second rollback goes one step further back, instead of forth again.
        """
        state = self._sites.get(site_id)
        of = None if state is None else state.aliases.get(alias)
        if state is None or of is None or of.active is None:
            return None
        former = (state.deploys[deploy_id] for deploy_id in of.former)
        return next((one for one in former if of.rank(one) < of.rank(of.active)), None)

    def roll_forward_target(self, site_id: str, alias: str) -> Deploy | None:
        """Where a rollback is undone to: the deploy last active of those that came here after the active one."""
        state = self._sites.get(site_id)
        of = None if state is None else state.aliases.get(alias)
        if state is None or of is None or of.active is None:
            return None
        former = (state.deploys[deploy_id] for deploy_id in of.former)
        return next((one for one in former if of.rank(one) > of.rank(of.active)), None)

    # changes

    def create_site(self, site: Site) -> bool:
        """Add a site. False when the id or the name is taken."""
        if site.id in self._sites or site.name in self._id_of_name:
            return False
        self._sites[site.id] = _SiteState(site)
        self._id_of_name[site.name] = site.id
        return True

    def change_site(self, site_id: str, settings: SiteSettings, sequence: int = 0) -> bool:
        """Give a site new settings by the record at `sequence`. Retention applies to what is superseded from now on."""
        state = self._sites.get(site_id)
        if state is None:
            return False
        state.site = replace(state.site, settings=settings, settings_sequence=sequence)
        _drop_deploys(state)
        return True

    def remove_site(self, site_id: str) -> bool:
        """Forget a site, its domains, deploys and aliases."""
        state = self._sites.pop(site_id, None)
        if state is None:
            return False
        del self._id_of_name[state.site.name]
        for domain in state.domains:
            del self._binding_of_domain[domain]
            self._redirects.pop(domain, None)
        return True

    def add_domain(self, domain: str, site_id: str) -> bool:
        """Answer for `domain` from the site's production alias. False when it is taken or below the zone."""
        if domain in self._binding_of_domain or not self._takes(domain, site_id):
            return False
        self._sites[site_id].domains.add(domain)
        self._binding_of_domain[domain] = Binding(site_id, PRODUCTION)
        return True

    def _takes(self, domain: str, site_id: str) -> bool:
        """Whether the site is there and may have another domain, and the name is none of the zone's."""
        state = self._sites.get(site_id)
        return state is not None and not self.is_in_zone(domain) and len(state.domains) < MAX_DOMAINS_PER_SITE

    def verify_domain(self, domain: str, site_id: str, redirect_to: str = "") -> bool:
        """Answer for `domain` from this site, whoever had it before, and send its visitors to `redirect_to` unless that
        is "". False when the site is gone or has too many, or the name is below the zone."""
        owner = self.domain_owner(domain)
        if owner != site_id and not self._takes(domain, site_id):
            return False
        if owner is not None and owner != site_id:
            self.remove_domain(domain, owner)
        self._sites[site_id].domains.add(domain)
        self._binding_of_domain[domain] = Binding(site_id, PRODUCTION)
        self._redirects.pop(domain, None)
        if redirect_to:
            self._redirects[domain] = redirect_to
        return True

    def remove_domain(self, domain: str, site_id: str) -> bool:
        """Stop answering for `domain`. False when it is not this site's."""
        if self.domain_owner(domain) != site_id:
            return False
        del self._binding_of_domain[domain]
        self._redirects.pop(domain, None)
        self._sites[site_id].domains.discard(domain)
        return True

    def prepare_deploy(self, deploy: Deploy) -> bool:
        """Remember a deploy; from now on its fingerprinted files are reachable on its alias."""
        state = self._sites.get(deploy.site_id)
        if state is None or deploy.id in state.deploys:
            return False
        state.deploys[deploy.id] = deploy
        of = state.aliases.get(deploy.alias, AliasState())
        preparing = (deploy, *of.preparing)[:MAX_PREPARING_PER_ALIAS]
        state.aliases[deploy.alias] = replace(of, preparing=preparing)
        _drop_aliases(state, but=deploy.alias)
        _drop_deploys(state)
        return True

    def activate(self, site_id: str, alias: str, deploy_id: str, at: float, sequence: int) -> bool:
        """Answer for `alias` from a deploy from `sequence` on; what was active before is retained."""
        state = self._sites.get(site_id)
        deploy = None if state is None else state.deploys.get(deploy_id)
        if state is None or deploy is None:
            return False
        of = state.aliases.get(alias, AliasState())
        retained = tuple(one for one in of.retained if one.deploy.id != deploy_id)
        former = tuple(one for one in of.former if one != deploy_id)
        if of.active is not None and of.active.id != deploy_id:
            retained = (Retained(of.active, at + state.site.settings.retention_s), *retained)
            former = (of.active.id, *former)
        state.aliases[alias] = replace(
            of,
            active=deploy,
            activated_sequence=sequence,
            activated_at=at,
            retained=retained[:MAX_RETAINED_PER_ALIAS],
            preparing=tuple(one for one in of.preparing if one.id != deploy_id),
            former=former[:MAX_RETAINED_PER_ALIAS],
            promoted=_promoted(state, of, deploy, former, sequence),
        )
        _drop_aliases(state, but=alias)
        _drop_deploys(state)
        return True

    def set_alias(
        self,
        site_id: str,
        alias: str,
        *,
        password: str,
        expires_at: float | None,
        lock: str,
        begins_anew: bool = False,
    ) -> bool:
        """Say of an alias who may see it, until when, and whether it may change; with `begins_anew` nothing that was
        deployed to it is reachable under it any more. False when the site is gone."""
        state = self._sites.get(site_id)
        if state is None:
            return False
        of = AliasState() if begins_anew else state.aliases.get(alias, AliasState())
        state.aliases[alias] = replace(of, password=password, expires_at=expires_at, lock=lock)
        _drop_aliases(state, but=alias)
        _drop_deploys(state)
        return True

    def remove_alias(self, site_id: str, alias: str) -> bool:
        """Answer nothing under a preview's alias any more. False when there is none, and for production."""
        state = self._sites.get(site_id)
        if state is None or alias == PRODUCTION or state.aliases.pop(alias, None) is None:
            return False
        _drop_deploys(state)
        return True

    def set_variants(self, site_id: str, manifest_digest: str, variants_digest: str) -> bool:
        """Remember which list of coded forms goes with a manifest. False when no deploy has it."""
        state = self._sites.get(site_id)
        if state is None or all(one.manifest_digest != manifest_digest for one in state.deploys.values()):
            return False
        state.variants[manifest_digest] = variants_digest
        return True

    def variants(self, site_id: str, manifest_digest: str) -> str:
        """The digest of the list of coded forms that goes with a manifest; "": there is none."""
        state = self._sites.get(site_id)
        return "" if state is None else state.variants.get(manifest_digest, "")

    def variants_of(self, site_id: str) -> Mapping[str, str]:
        """Of every manifest that has one: the digest of its list of coded forms."""
        state = self._sites.get(site_id)
        return {} if state is None else dict(sorted(state.variants.items()))

    def forget_retained(self, now: float) -> bool:
        """Let go what is no longer reachable at wall time `now`. True when anything went.

        Reachability itself is judged by `AliasState.reachable`; this only frees the room.
        """
        went = False
        for state in self._sites.values():
            for alias, of in state.aliases.items():
                left = of.without_unreachable(now)
                if left is not of:
                    state.aliases[alias] = left
                    went = True
        return went

    def replace_by(  # noqa: PLR0917 - the parts of a snapshot
        self,
        sites: Iterable[Site],
        domains: Mapping[str, str],
        deploys: Iterable[Deploy],
        aliases: Iterable[tuple[str, str, AliasState]],
        redirects: Mapping[str, str] | None = None,
        variants: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Become the catalog of a snapshot. `deploys` oldest first; `aliases` as (site id, alias, state); `variants` by
        site id."""
        self._sites = {site.id: _SiteState(site) for site in sites}
        self._id_of_name = {state.site.name: site_id for site_id, state in self._sites.items()}
        bindings = {site_id: Binding(site_id, PRODUCTION) for site_id in self._sites}  # held once a site
        self._binding_of_domain = {domain: bindings[site_id] for domain, site_id in domains.items()}
        self._redirects = dict(redirects or {})
        for domain, site_id in domains.items():
            self._sites[site_id].domains.add(domain)
        for deploy in deploys:
            self._sites[deploy.site_id].deploys[deploy.id] = deploy
        for site_id, alias, of in aliases:
            self._sites[site_id].aliases[alias] = of
        for site_id, lists in (variants or {}).items():
            self._sites[site_id].variants.update(lists)


def _promoted(
    state: _SiteState, of: AliasState, deploy: Deploy, former: tuple[str, ...], sequence: int
) -> tuple[tuple[str, int], ...]:
    """`AliasState.promoted` once `deploy` is active by the record at `sequence`; `former` are the others then."""
    kept = tuple(one for one in of.promoted if one[0] == deploy.id or one[0] in former)
    if of.active is None or of.active.id == deploy.id or deploy.id in of.former:
        return kept  # it came to the alias before
    ranks = [of.rank(of.active), *(of.rank(state.deploys[deploy_id]) for deploy_id in of.former)]
    return kept if deploy.sequence > max(ranks) else (*kept, (deploy.id, sequence))


def _drop_aliases(state: _SiteState, but: str) -> None:
    while len(state.aliases) > MAX_ALIASES_PER_SITE:
        previews = (alias for alias in state.aliases if alias not in (PRODUCTION, but))
        del state.aliases[min(previews, key=lambda alias: _rank_in_leaving(state.aliases[alias]))]


def _rank_in_leaving(of: AliasState) -> float:
    """A preview whose deploy is on its way goes last when somebody has said who may see it: it would come back open."""
    is_awaited = of.activated_sequence == 0 and (of.password or of.lock or of.expires_at is not None)
    return inf if is_awaited else of.activated_sequence


def _drop_deploys(state: _SiteState) -> None:
    """Keep the newest, as many as the site keeps, and every one that something still needs."""
    most = min(state.site.settings.keep_deploys, MAX_DEPLOYS_LISTED_PER_SITE)
    if len(state.deploys) <= most:
        return
    needed: set[str] = set()
    for of in state.aliases.values():
        needed.update(one.deploy.id for one in of.retained)
        needed.update(one.id for one in of.preparing)
        needed.update(of.former[:1])
        if of.active is not None:
            needed.add(of.active.id)
    surplus = len(state.deploys) - most
    droppable = [deploy_id for deploy_id in state.deploys if deploy_id not in needed][:surplus]
    for deploy_id in droppable:
        del state.deploys[deploy_id]
    if droppable:
        left = {one.manifest_digest for one in state.deploys.values()}
        for digest in [digest for digest in state.variants if digest not in left]:
            del state.variants[digest]
        gone = set(droppable)
        for alias, of in state.aliases.items():
            if not gone.isdisjoint(of.former):
                state.aliases[alias] = replace(of, former=tuple(one for one in of.former if one not in gone))
