"""Secrets of hooks that were sealed with a key that shall go are sealed anew, so that its line can go from the file."""

from __future__ import annotations

import logging
from functools import partial

from cdn.control.hook_secrets import HookSecrets
from cdn.control.state import ControlState
from cdn.errors import CdnError, Conflict
from cdn.journal.hook_fold import Hook, HookFold
from cdn.journal.record import Change, HookSet

log = logging.getLogger(__name__)


async def seal_hooks_anew(state: ControlState, hooks: HookFold, secrets: HookSecrets) -> int:
    """Record every hook whose secret is not sealed with the first key; for how many it was done.

    What cannot be done now is said in the log, and done when control starts the next time. Raises nothing.
    """
    done = 0
    for hook in hooks.all():
        try:
            if not secrets.is_sealed_with_another_key(hook):
                continue
            await state.append(f"hooks/{hook.site_id}", partial(_decided, hooks, secrets, hook), "control")
            done += 1
        except CdnError as error:
            log.warning("the secret of hook %s is not sealed anew: %s", hook.id, error)
    if done:
        log.info("the secrets of %d hooks are sealed anew", done)
    return done


def _decided(hooks: HookFold, secrets: HookSecrets, hook: Hook) -> Change:
    """Raises Conflict where another has done it, or removed the hook, meanwhile."""
    now = hooks.get(hook.id)
    if now is None or not secrets.is_sealed_with_another_key(now):
        raise Conflict("somebody else did it meanwhile")
    return HookSet(now.id, now.site_id, now.direction, now.settings, secrets.sealed(now.id, secrets.opened(now)))
