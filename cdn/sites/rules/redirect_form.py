"""Redirects as they stand in a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cdn.sites.rules.redirect_rule import RedirectRule


def redirects_to(rules: Sequence[RedirectRule]) -> list[dict[str, Any]]:
    """The rules as JSON builtins, what is not the default alone."""
    raise NotImplementedError


def redirects_from(document: Any) -> tuple[RedirectRule, ...]:
    """The rules that `redirects_to` gave. Raises InvalidInput for anything else."""
    raise NotImplementedError
