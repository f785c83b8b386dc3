"""Which nodes may have a site's bytes (DESIGN I12)."""

from __future__ import annotations

from enum import Enum

from cdn.fleet.node import NodeFacts
from cdn.sites.site import Site


class Eligibility(Enum):
    """Whether a node may answer for a site, and why."""

    ANYWHERE = "anywhere"  # the site names no region
    IN_REGION = "in-region"  # the node stands in one that the site names
    OUTSIDE = "outside-region"  # it stands in another
    UNPLACED = "unplaced"  # nobody said where it stands, so it may be anywhere

    @property
    def allows(self) -> bool:
        """Whether the node may answer, fetch and store."""
        return self in {Eligibility.ANYWHERE, Eligibility.IN_REGION}


def eligibility(node: NodeFacts, site: Site) -> Eligibility:
    """How the node's region stands to those of the site. Names are compared whole, so a typo allows nothing more."""
    regions = site.settings.region
    if not regions:
        return Eligibility.ANYWHERE
    if not node.region:
        return Eligibility.UNPLACED
    return Eligibility.IN_REGION if node.region in regions else Eligibility.OUTSIDE


def eligible(node: NodeFacts, site: Site) -> bool:
    """Whether the node may answer for the site, fetch its bytes and store them."""
    return eligibility(node, site).allows
