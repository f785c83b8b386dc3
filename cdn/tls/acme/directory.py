"""Where an authority takes what (RFC 8555 7.1.1)."""

from __future__ import annotations

import msgspec


class DirectoryMeta(msgspec.Struct, frozen=True, rename="camel"):
    """What it says of itself. `profiles`: certificate profiles by name, with a text for people
    (draft-ietf-acme-profiles); None: it knows of none."""

    terms_of_service: str = ""
    website: str = ""
    caa_identities: tuple[str, ...] = ()
    external_account_required: bool = False
    profiles: dict[str, str] | None = None


class Directory(msgspec.Struct, frozen=True, rename="camel"):
    """URLs. `renewal_info` is "" where the authority does not say when to renew (RFC 9773 4.1)."""

    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str = ""
    renewal_info: str = ""
    meta: DirectoryMeta = DirectoryMeta()
