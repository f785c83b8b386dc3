"""Names of objects in the store.

Blobs and manifests are named by their SHA-256 below the site that proved them (docs/decisions/001): to hold an object
under a site's own prefix is the proof that this site once sent the bytes (DESIGN I7).
"""

from __future__ import annotations


def blob_key(site_id: str, digest: str) -> str:
    """Where a site's blob lives."""
    return f"sites/{site_id}/blobs/{digest[:2]}/{digest}"


def blob_prefix(site_id: str) -> str:
    """All blobs of a site."""
    return f"sites/{site_id}/blobs/"


def digest_of_blob_key(key: str) -> str:
    """The digest a blob key ends with."""
    return key.rsplit("/", 1)[1]


def manifest_key(site_id: str, digest: str) -> str:
    """Where a site's manifest lives."""
    return f"sites/{site_id}/manifests/{digest}"


def activation_key(site_id: str, alias: str) -> str:
    """Where it stands what an alias of a site answers from."""
    return f"sites/{site_id}/active/{alias}"


def certificate_key(certificate_id: str) -> str:
    """Where a certificate's chain and its sealed keys are; see `CertificateSet`."""
    return f"certificates/{certificate_id}"


def variants_key(site_id: str, digest: str) -> str:
    """Where the list of coded forms of a deploy's files is; see `cdn.sites.variants`."""
    return f"sites/{site_id}/variants/{digest}"
