"""The catalog as a fold: what the records of sites, domains and deploys add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import msgspec

from cdn.errors import InvalidInput
from cdn.journal.record import (
    AliasRemoved,
    AliasSet,
    Audience,
    DeployActivated,
    DeployPrepared,
    DomainAdded,
    DomainRemoved,
    DomainVerified,
    Record,
    SiteChanged,
    SiteCreated,
    SiteRemoved,
    UnknownRecord,
    VariantsSet,
)
from cdn.sites.catalog import Catalog
from cdn.sites.deploy import AliasState, Deploy, Retained
from cdn.sites.settings import SiteSettings, recorded_settings, settings_from
from cdn.sites.site import Site

_LATER_FIELDS = ("commit", "manifest_version")
"""Of a deploy: fields that the first releases do not have. They stand beside the deploys, where there are any."""

_DEPLOY_FIELDS = len(fields(Deploy)) - len(_LATER_FIELDS)


class CatalogFold:
    """Holds one Catalog, the same object for ever, as of the last record applied."""

    name: str = "catalog"
    audience: Audience = Audience.ALL

    def __init__(self, zone: str) -> None:
        self.catalog = Catalog(zone)

    def apply(self, record: Record) -> None:
        """Take one record. Raises UnknownRecord for settings that this program does not understand (DESIGN I14)."""
        catalog = self.catalog
        match record.change:
            case SiteCreated(site_id=site_id, name=name, settings=settings):
                catalog.create_site(Site(site_id, name, record.at, _settings_of(record, settings), record.sequence))
            case SiteChanged(site_id=site_id, settings=settings):
                catalog.change_site(site_id, _settings_of(record, settings), record.sequence)
            case SiteRemoved(site_id=site_id):
                catalog.remove_site(site_id)
            case DomainAdded(domain=domain, site_id=site_id):
                catalog.add_domain(domain, site_id)
            case DomainVerified(domain=domain, site_id=site_id, redirect_to=redirect_to):
                catalog.verify_domain(domain, site_id, redirect_to)
            case DomainRemoved(domain=domain, site_id=site_id):
                catalog.remove_domain(domain, site_id)
            case DeployPrepared() as change:
                catalog.prepare_deploy(_deploy_of(record, change))
            case DeployActivated(site_id=site_id, alias=alias, deploy_id=deploy_id):
                catalog.activate(site_id, alias, deploy_id, record.at, record.sequence)
            case AliasSet() as change:
                catalog.set_alias(
                    change.site_id,
                    change.alias,
                    password=change.password,
                    expires_at=change.expires_at,
                    lock=change.lock,
                    begins_anew=change.begins_anew,
                )
            case AliasRemoved(site_id=site_id, alias=alias):
                catalog.remove_alias(site_id, alias)
            case VariantsSet(site_id=site_id, manifest_digest=manifest_digest, variants_digest=variants_digest):
                catalog.set_variants(site_id, manifest_digest, variants_digest)
            case _:
                pass  # purges, tokens and withheld records are other folds' matter

    def dump(self) -> dict[str, Any]:
        """The catalog as JSON builtins; aliases refer to deploys by id. `redirects` is there where there are any."""
        sites = self.catalog.sites()
        redirects = self.catalog.redirects()
        deploys = msgspec.to_builtins([deploy for site in sites for deploy in reversed(self.catalog.deploys(site.id))])
        details = [one for one in map(_details_to, deploys) if one is not None]
        said = [
            one
            for site in sites
            for alias, state in self.catalog.aliases(site.id).items()
            if (one := _alias_details_to(site.id, alias, state)) is not None
        ]
        variants = {site.id: dict(of) for site in sites if (of := self.catalog.variants_of(site.id))}
        return {
            "sites": [_site_to(site) for site in sites],
            "domains": dict(self.catalog.domains()),
            **({"redirects": dict(redirects)} if redirects else {}),
            # `asdict` takes thirty times as long, and this holds up the loop
            "deploys": deploys,
            **({"deploy_details": details} if details else {}),
            **({"alias_details": said} if said else {}),
            **({"variants": variants} if variants else {}),
            "aliases": [
                _alias_to(site.id, alias, state)
                for site in sites
                for alias, state in self.catalog.aliases(site.id).items()
            ],
        }

    def load(self, section: Any) -> None:
        """Become what `dump` gave; None is the empty catalog."""
        if section is None:
            self.catalog.replace_by((), {}, (), ())
            return
        deploys = {(one.site_id, one.id): one for one in _deploys_from(section["deploys"])}
        for one in section.get("deploy_details", ()):
            of = (one["site_id"], one["id"])
            deploys[of] = replace(deploys[of], **{name: one[name] for name in _LATER_FIELDS if name in one})
        said = {(one["site_id"], one["alias"]): one for one in section.get("alias_details", ())}
        self.catalog.replace_by(
            sites=[_site_from(one) for one in section["sites"]],
            domains=section["domains"],
            deploys=deploys.values(),
            aliases=[
                (one["site_id"], one["alias"], _alias_from(one, deploys, said.get((one["site_id"], one["alias"]), {})))
                for one in section["aliases"]
            ],
            redirects=msgspec.convert(section.get("redirects", {}), dict[str, str]),
            variants=msgspec.convert(section.get("variants", {}), dict[str, dict[str, str]]),
        )


def _settings_of(record: Record, settings: dict[str, Any]) -> SiteSettings:
    try:
        return settings_from(settings)
    except InvalidInput as exc:
        raise UnknownRecord(
            f"record {record.sequence} has settings this program does not understand ({exc}): upgrade this node"
        ) from exc


def _deploy_of(record: Record, change: DeployPrepared) -> Deploy:
    return Deploy(
        id=change.deploy_id,
        site_id=change.site_id,
        alias=change.alias,
        manifest_digest=change.manifest_digest,
        file_count=change.file_count,
        size_bytes=change.size_bytes,
        author=change.author,
        message=change.message,
        prepared_at=record.at,
        sequence=record.sequence,
        commit=change.commit,
        manifest_version=change.manifest_version,
    )


def _details_to(deploy: dict[str, Any]) -> dict[str, Any] | None:
    """What a deploy has beyond the fields of the first releases, taken out of it; None: nothing."""
    commit, manifest_version = deploy.pop("commit"), deploy.pop("manifest_version")
    if not commit and manifest_version == 1:
        return None
    return {"site_id": deploy["site_id"], "id": deploy["id"], "commit": commit, "manifest_version": manifest_version}


def _deploys_from(section: list[dict[str, Any]]) -> list[Deploy]:
    """Raises UnknownRecord for a deploy with fields that this program does not have, msgspec.MsgspecError."""
    if any(len(one) != _DEPLOY_FIELDS for one in section):  # every one of ours is needed, so another is too many
        raise UnknownRecord("a deploy has other fields than this program knows: upgrade this node")
    return msgspec.convert(section, list[Deploy])  # a new node waits for this: four times as quick as `Deploy(**one)`


def _site_to(site: Site) -> dict[str, Any]:
    return {
        "id": site.id,
        "name": site.name,
        "created_at": site.created_at,
        "settings": recorded_settings(site.settings),
        "settings_sequence": site.settings_sequence,
    }


def _site_from(section: dict[str, Any]) -> Site:
    return Site(
        section["id"],
        section["name"],
        section["created_at"],
        settings_from(section["settings"]),
        section.get("settings_sequence", 0),  # snapshots of the first release do not say it
    )


def _alias_to(site_id: str, alias: str, state: AliasState) -> dict[str, Any]:
    return {
        "site_id": site_id,
        "alias": alias,
        "active": None if state.active is None else state.active.id,
        "activated_sequence": state.activated_sequence,
        "activated_at": state.activated_at,
        "retained": [{"deploy": one.deploy.id, "until": one.until} for one in state.retained],
        "preparing": [one.id for one in state.preparing],
        "former": list(state.former),
        **({"promoted": dict(state.promoted)} if state.promoted else {}),  # earlier programs do not mind
    }


def _alias_details_to(site_id: str, alias: str, state: AliasState) -> dict[str, Any] | None:
    """What is said of an alias beside its deploys; None: nothing."""
    if not state.password and state.expires_at is None and not state.lock:
        return None
    return {
        "site_id": site_id,
        "alias": alias,
        "password": state.password,
        "expires_at": state.expires_at,
        "lock": state.lock,
    }


def _alias_from(
    section: dict[str, Any], deploys: dict[tuple[str, str], Deploy], details: Mapping[str, Any]
) -> AliasState:
    def deploy(deploy_id: str) -> Deploy:
        return deploys[section["site_id"], deploy_id]

    return AliasState(
        active=None if section["active"] is None else deploy(section["active"]),
        activated_sequence=section["activated_sequence"],
        activated_at=section["activated_at"],
        retained=tuple(Retained(deploy(one["deploy"]), one["until"]) for one in section["retained"]),
        preparing=tuple(deploy(one) for one in section["preparing"]),
        former=tuple(section["former"]),
        password=details.get("password", ""),
        expires_at=details.get("expires_at"),
        lock=details.get("lock", ""),
        promoted=tuple(msgspec.convert(section.get("promoted", {}), dict[str, int]).items()),
    )
