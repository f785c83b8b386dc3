"""What a message to a hook makes happen is done: a purge or an activation, each one record."""

from __future__ import annotations

from typing import assert_never

from cdn.control.deploys import Deploys
from cdn.control.purges import Purges
from cdn.control.services import Services
from cdn.errors import Conflict, NotFound, Unprocessable
from cdn.journal.journal import Trimmed
from cdn.journal.record import DeployActivated, Purged, Record
from cdn.purge.hook_plan import ActivatePlan, PurgePlan
from cdn.sites.deploy import Deploy
from cdn.sites.name import check_alias, check_pair
from cdn.sites.site import Site

READ_BATCH = 1000


class HookActions:
    """Does plans, under the name of the delivery that they come of."""

    def __init__(self, services: Services, deploys: Deploys, purges: Purges) -> None:
        self._services = services
        self._deploys = deploys
        self._purges = purges

    async def do(self, site: Site, plan: PurgePlan | ActivatePlan, actor: str) -> Record:
        """The record. Raises what `Purges.purge` and `Deploys.activate` raise; NotFound, Unprocessable where no deploy
        is the one that is named."""
        match plan:
            case PurgePlan():
                hook = actor.rpartition(":")[0]  # all of its messages together
                return await self._purges.purge(site, plan.request, actor, counted_as=hook)
            case ActivatePlan():
                alias = check_alias(plan.on)
                check_pair(alias, site.name)
                deploy = self._deploy_of(site, plan)
                return (await self._deploys.activate(site, alias, deploy, actor)).record
            case _:
                assert_never(plan)

    async def done(self, site: Site, plan: PurgePlan | ActivatePlan, actor: str, began: int) -> Record | None:
        """What `do` has recorded under this name after the record `began`, when it is not known how it ended.

        Raises Conflict where nobody can say and it may not be done twice.
        """
        state, after = self._services.state, began
        found: Record | None = None
        while after < state.position.sequence:
            records = await state.journal.read(after, limit=READ_BATCH)
            if isinstance(records, Trimmed):
                self._require_repeatable(site, plan)
                return None
            if not records:
                break
            for record in records:
                if record.actor == actor and isinstance(record.change, Purged | DeployActivated):
                    found = record
            after = records[-1].sequence
        return found

    def _require_repeatable(self, site: Site, plan: PurgePlan | ActivatePlan) -> None:
        """A purge is made again, which harms nobody; a deploy that was replaced since must not come back."""
        if isinstance(plan, PurgePlan):
            return
        raise Conflict(
            f"Whether the deploy was activated on {plan.on!r} of {site.name!r} is too long ago to be said: activate it "
            "by hand."
        )

    def _deploy_of(self, site: Site, plan: ActivatePlan) -> Deploy:
        catalog = self._services.catalog
        if plan.deploy:
            return self._deploys.find(site, plan.deploy)
        if plan.alias:
            state = catalog.alias(site.id, check_alias(plan.alias))
            if state is None or state.active is None:
                raise NotFound(f"Nothing is active on the alias {plan.alias!r} of {site.name!r}.")
            return state.active
        if len(plan.commit) < MIN_COMMIT_CHARS:
            raise Unprocessable(f"{plan.commit!r} names no commit: give at least {MIN_COMMIT_CHARS} of its letters.")
        for deploy in catalog.deploys(site.id):
            if deploy.commit and (deploy.commit == plan.commit or deploy.commit.startswith(plan.commit)):
                return deploy
        raise NotFound(
            f"The site {site.name!r} has no deploy of commit {plan.commit!r} yet: send it again once it has."
        )


MIN_COMMIT_CHARS = 7
"""Fewer letters may be another commit's too."""
