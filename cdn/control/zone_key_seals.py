"""Keys of zones that were sealed with a key that shall go are sealed anew, so that its line can go from the files."""

from __future__ import annotations

import logging
from functools import partial

from cdn.control.state import ControlState
from cdn.errors import CdnError, Conflict
from cdn.journal.record import Change, ZoneKeysSet
from cdn.journal.zone_fold import ZoneFold
from cdn.tls.zone_signing import ZoneKeyMaker

log = logging.getLogger(__name__)


async def seal_anew(state: ControlState, zones: ZoneFold, maker: ZoneKeyMaker) -> int:
    """Record the keys of every zone that are not sealed with the maker's first key; for how many zones it was done.

    What cannot be done now is said in the log, and done when control starts the next time. Raises nothing.
    """
    done = 0
    for zone in zones.zones_with_keys():
        try:
            if maker.resealed(zone, zones.keys(zone)) is None:
                continue
            await state.append(f"zone/{zone}", partial(_decided, zones, maker, zone), "control")
            done += 1
        except CdnError as error:
            log.warning("the keys of %s are not sealed anew: %s", zone, error)
    if done:
        log.warning("the keys of %d zones are sealed anew: name servers need the new key from now on", done)
    return done


def _decided(zones: ZoneFold, maker: ZoneKeyMaker, zone: str) -> Change:
    """Raises Conflict where another has done it, or changed the keys, meanwhile."""
    keys = maker.resealed(zone, zones.keys(zone))
    if keys is None:
        raise Conflict("somebody else did it meanwhile")
    return ZoneKeysSet(zone, keys)
