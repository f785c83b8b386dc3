"""Certificates as they are kept and sent: the chain in clear, the private key sealed for each group of nodes that may
serve it, so that a stolen edge opens only what its region serves."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from cdn.errors import InvalidInput
from cdn.tls.certificate import MAX_CHAIN_BYTES, Certificate
from cdn.tls.sealed import KeyRing, Purpose

NO_REGION = ""
"""The group of nodes without a region, and of every region that has no ring of its own."""

MAX_GROUPS = 64
"""Rings of one fleet: regions are continents or countries, not towns."""

MAX_OBJECT_BYTES = 128 * 1024
"""Of a certificate in the store: a chain, and 64 sealed keys of 1 KB (RSA's are 2.5 KB, and few)."""

_FORMAT = 1


class CertificateObject(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the object store keeps below `cdn.origin.layout.certificate_key`. `sealed_keys`: by group, in base64."""

    certificate_id: str
    chain: str
    sealed_keys: dict[str, str]
    format: int = _FORMAT

    def to_bytes(self) -> bytes:
        """JSON. Raises InvalidInput when it would not be read again."""
        raw = _encoder.encode(self)
        if len(raw) > MAX_OBJECT_BYTES:
            raise InvalidInput(
                f"certificate {self.certificate_id} has {len(raw)} bytes with its sealed keys, {MAX_OBJECT_BYTES} at "
                "most are kept: use ECDSA keys, or fewer regions with rings of their own"
            )
        return raw

    @classmethod
    def from_bytes(cls, raw: bytes, certificate_id: str) -> CertificateObject:
        """What `to_bytes` gave for this certificate. Raises InvalidInput for anything else, also for a newer form."""
        try:
            read = _decoder.decode(raw) if len(raw) <= MAX_OBJECT_BYTES else None
        except msgspec.MsgspecError:
            read = None
        if read is None or read.format != _FORMAT or len(read.chain) > MAX_CHAIN_BYTES:
            raise InvalidInput(f"what the store has for certificate {certificate_id} is damaged, or of a newer form")
        if read.certificate_id != certificate_id:
            raise InvalidInput(f"the store has certificate {read.certificate_id} in the place of {certificate_id}")
        return read


class RingSet(Mapping[str, KeyRing]):
    """Key rings by group of nodes: a region's name, or NO_REGION."""

    def __init__(self, rings: Mapping[str, KeyRing]) -> None:
        """Raises InvalidInput when there are too many."""
        if len(rings) > MAX_GROUPS:
            raise InvalidInput(f"{len(rings)} regions have key files of their own, at most {MAX_GROUPS} may")
        self._rings = dict(rings)

    @classmethod
    def read(cls, files: Mapping[str, Path]) -> RingSet:
        """From key files by group. Raises InvalidInput, which names the file and never what stands there."""
        return cls({group: KeyRing.read(path) for group, path in files.items()})

    def __getitem__(self, group: str) -> KeyRing:
        return self._rings[group]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rings)

    def __len__(self) -> int:
        return len(self._rings)

    def group_of(self, region: str) -> str | None:
        """In which group nodes of a region ("": of none) are; None: nobody has a ring for them."""
        if region in self._rings:
            return region
        return NO_REGION if NO_REGION in self._rings else None

    def groups_of(self, regions: Iterable[str]) -> tuple[str, ...]:
        """Groups of the nodes that serve a site of these regions; none: of one that is served everywhere."""
        named = tuple(regions)
        if not named:
            return tuple(sorted(self._rings))
        return tuple(sorted({group for region in named if (group := self.group_of(region)) is not None}))

    def sealed(self, certificate_id: str, key: bytes, groups: Iterable[str]) -> dict[str, str]:
        """`key` sealed for each group, in base64. Raises KeyError for a group that is none, InvalidInput for none."""
        sealed = {
            group: base64.b64encode(self._rings[group].sealed(key, Purpose.CERTIFICATE_KEY, certificate_id)).decode()
            for group in sorted(set(groups))
        }
        if not sealed:
            raise InvalidInput(f"no nodes have a key file with which certificate {certificate_id} could be sealed")
        return sealed

    def seal(self, certificate: Certificate, groups: Iterable[str]) -> CertificateObject:
        """As the store keeps it. Raises as `sealed`."""
        sealed_keys = self.sealed(certificate.certificate_id, certificate.key, groups)
        return CertificateObject(certificate.certificate_id, certificate.chain, sealed_keys)

    def opened(self, certificate_id: str, sealed_keys: Mapping[str, str]) -> bytes:
        """The private key in PEM form, by whichever ring opens it. Raises InvalidInput, which says why each did not."""
        faults = []
        for group in sorted(sealed_keys.keys() & self._rings.keys()):
            try:
                envelope = base64.b64decode(sealed_keys[group], validate=True)
                return self._rings[group].opened(envelope, Purpose.CERTIFICATE_KEY, certificate_id)
            except binascii.Error:
                faults.append(f"certificate-key {certificate_id} for {group or 'nodes of no region'} is not in base64")
            except InvalidInput as exc:
                faults.append(exc.message)
        if not faults:
            groups = ", ".join(group or "nodes of no region" for group in sorted(sealed_keys)) or "nobody"
            faults = [f"the key of certificate {certificate_id} is sealed for {groups}, and no ring for these is here"]
        raise InvalidInput("; ".join(faults))

    def is_current(self, sealed_keys: Mapping[str, str], groups: Iterable[str]) -> bool:
        """Whether it is sealed for exactly these groups, each with the first key of its ring."""
        wanted = set(groups)
        if sealed_keys.keys() != wanted:
            return False
        return all(group in self._rings and self._is_current(group, sealed_keys[group]) for group in wanted)

    def resealed(self, kept: CertificateObject, groups: Iterable[str]) -> CertificateObject | None:
        """The same certificate for `groups`, with the first keys of their rings; None: it is so already.

        Raises InvalidInput when no ring here opens it.
        """
        wanted = tuple(groups)
        if self.is_current(kept.sealed_keys, wanted):
            return None
        key = self.opened(kept.certificate_id, kept.sealed_keys)
        return CertificateObject(kept.certificate_id, kept.chain, self.sealed(kept.certificate_id, key, wanted))

    def _is_current(self, group: str, sealed_key: str) -> bool:
        try:
            return self._rings[group].is_current(base64.b64decode(sealed_key, validate=True))
        except binascii.Error:
            return False


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(CertificateObject)
