"""How `cdn control` gets certificates: the table [acme], and the keys with which secrets of certificates are sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cdn.cli.secret_setting import secret_setting
from cdn.cli.settings_file import SettingsFile
from cdn.control.acme_settings import AcmeSettings, IssuingSettings
from cdn.control.dns_asker import LookupSettings
from cdn.errors import InvalidInput
from cdn.sites.region import check_region
from cdn.tls.acme.authority import ExternalAccount
from cdn.tls.acme.transport import authority_tls
from cdn.tls.sealed import KeyRing

ACME_EAB_KEY = "CDN_ACME_EAB_KEY"

NO_REGION = ""
"""The group of nodes without a region, and of every region that has no key file of its own."""


@dataclass(frozen=True, slots=True)
class SealingFiles:
    """Key files in [control]: each has 32 random octets in base64 on a line, as `openssl rand -base64 32` prints."""

    control_key_file: Path | None = None
    """What only control may read is sealed with it: secrets of hooks and of tokens that sign, accounts with
    authorities. Every replica has the same file. Alone it is enough for hooks; certificates need `edge_key_file`
    beside it."""
    edge_key_file: Path | None = None
    """Private keys of certificates are sealed with it: edges of no region have the same file, and those of regions that
    have no file of their own."""
    region_key_files: tuple[str, ...] = ()
    """Files of regions, as "REGION FILE": a stolen edge shows only certificates of domains that its region serves."""


@dataclass(frozen=True, slots=True)
class IssuingRole:
    """What `ControlPart` makes an `Issuing` of. `development_dir`: where the development authority keeps its root; it
    signs when no directory is named, else for names of `development_zone`. Neither: only certificates that users bring
    are served."""

    control_ring: KeyRing
    rings: Mapping[str, KeyRing]
    acme: AcmeSettings = field(default_factory=AcmeSettings)
    eab_key: str | None = field(default=None, repr=False)
    development_dir: Path | None = None
    development_zone: str = ""
    own_zone: bool = True
    """Whether certificates for the CDN's own zone are got: an authority needs its name servers to be ours."""
    limits: IssuingSettings = field(default_factory=IssuingSettings)
    """Of the work behind domains."""
    lookups: LookupSettings = field(default_factory=LookupSettings)
    """How name servers of domains are asked."""


def issuing_role(file: SettingsFile, folder: Path, environ: Mapping[str, str]) -> IssuingRole | None:
    """None: no key files are named, so no certificates are kept here. `folder`: where relative paths begin.

    Raises InvalidInput that names the line, and never a secret.
    """
    acme, files = file.made("acme", AcmeSettings), file.made("control", SealingFiles)
    rings = _rings(file, folder, files)
    if files.control_key_file is None or not rings:
        if files.control_key_file is None and files != SealingFiles():
            raise file.fault("control", "control_key_file", "certificates need control_key_file beside edge_key_file")
        if acme != AcmeSettings():
            raise file.fault("acme", "directories", "certificates need control_key_file and edge_key_file in [control]")
        return None
    eab_key = secret_setting(file, "acme", "eab_key_file", acme.eab_key_file, ACME_EAB_KEY, environ)
    if acme.eab_key_id and eab_key is None:
        raise file.fault("acme", "eab_key_id", f"its key is missing: give eab_key_file, or {ACME_EAB_KEY}")
    _check_acme(file, acme, eab_key)
    control_ring = _ring(file, "control_key_file", files.control_key_file)
    if any(map(control_ring.shares_key_with, rings.values())):
        said = "it has a key that edges hold too: make one for control alone (openssl rand -base64 32)"
        raise file.fault("control", "control_key_file", said)
    lookups = file.made("lookups", LookupSettings)
    return IssuingRole(
        control_ring,
        rings,
        acme,
        eab_key,
        limits=file.made("acme", IssuingSettings),
        lookups=lookups,
    )


def control_ring(file: SettingsFile) -> KeyRing | None:
    """What secrets of hooks are sealed with; None: no file is named, and no hooks are made.

    Raises InvalidInput that names the line.
    """
    path = file.made("control", SealingFiles).control_key_file
    return None if path is None else _ring(file, "control_key_file", path)


def _check_acme(file: SettingsFile, acme: AcmeSettings, eab_key: str | None) -> None:
    """What is in the files that [acme] names."""
    try:
        authority_tls(acme.ca_file)
    except InvalidInput as exc:
        raise file.fault("acme", "ca_file", exc.message) from exc
    if eab_key is None:
        return
    try:
        ExternalAccount.read(acme.eab_key_id, eab_key)
    except InvalidInput as exc:
        raise file.fault("acme", "eab_key_id", exc.message) from exc


def _rings(file: SettingsFile, folder: Path, files: SealingFiles) -> Mapping[str, KeyRing]:
    rings: dict[str, KeyRing] = {}
    if files.edge_key_file is not None:
        rings[NO_REGION] = _ring(file, "edge_key_file", files.edge_key_file)
    for line in files.region_key_files:
        region, _, path = line.partition(" ")
        try:
            check_region(region)
        except InvalidInput as exc:
            raise file.fault("control", "region_key_files", exc.message) from exc
        if not path.strip() or region in rings:
            raise file.fault("control", "region_key_files", 'give each region once, as "REGION FILE"')
        rings[region] = _ring(file, "region_key_files", folder / path.strip())
    if rings and NO_REGION not in rings:
        raise file.fault("control", "edge_key_file", "it is needed beside region_key_files, for all other edges")
    return rings


def _ring(file: SettingsFile, key: str, path: Path) -> KeyRing:
    try:
        return KeyRing.read(path)
    except InvalidInput as exc:
        raise file.fault("control", key, exc.message) from exc
