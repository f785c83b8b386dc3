"""What a site's owner says about https: readings, refusals, and the field that browsers are told."""

from __future__ import annotations

from typing import Any

import pytest

from cdn.errors import InvalidInput
from cdn.sites.settings import MAX_HSTS_S, ONE_YEAR_S, HttpsPolicy, recorded_settings, settings_from, settings_to


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, None),
        ({"hsts_s": 300}, "max-age=300"),
        ({"hsts_s": 300, "hsts_subdomains": True}, "max-age=300; includeSubDomains"),
        (
            {"hsts_s": MAX_HSTS_S, "hsts_subdomains": True, "hsts_preload": True, "https": "always"},
            f"max-age={MAX_HSTS_S}; includeSubDomains; preload",
        ),
    ],
)
def test_what_browsers_are_told(given: dict[str, Any], told: str | None) -> None:
    settings = settings_from(given)
    assert settings.strict_transport_security == told
    assert recorded_settings(settings) == given
    assert settings_from(settings_to(settings)) == settings


def test_whose_visitors_are_sent_to_https_is_named() -> None:
    assert settings_from({}).https is HttpsPolicy.AUTO
    assert settings_from({"https": "off"}).https is HttpsPolicy.OFF


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"https": "yes"}, "https"),
        ({"https": True}, "https"),
        ({"hsts_s": -1}, "hsts_s"),
        ({"hsts_s": MAX_HSTS_S + 1}, "hsts_s"),
        ({"hsts_s": 300, "hsts_subdomains": 1}, "hsts_subdomains"),
        ({"hsts_s": 300, "https": "off"}, "hsts_s"),
        ({"hsts_subdomains": True}, "hsts_subdomains"),
        ({"hsts_s": ONE_YEAR_S, "hsts_preload": True}, "hsts_preload"),
        ({"hsts_s": ONE_YEAR_S - 1, "hsts_preload": True, "hsts_subdomains": True}, "hsts_preload"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        settings_from(given)
    assert caught.value.field == field
