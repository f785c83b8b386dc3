"""How far nodes are: measured first, then by coordinates, country, continent; bias as Route 53 has it."""

from __future__ import annotations

import pytest

from cdn.dns.distance import (
    FAR_KM,
    KM_PER_MS,
    SAME_CONTINENT_KM,
    SAME_COUNTRY_KM,
    Basis,
    Distance,
    Spot,
    bias_factor,
    distance,
    great_circle_km,
    vector_of,
)
from cdn.dns.geography import Place

FRANKFURT = Place(50.11, 8.68, "DE", "EU")
NEW_YORK = Place(40.71, -74.01, "US", "NA")
LONDON = Place(51.51, -0.13, "GB", "EU")
SYDNEY = Place(-33.87, 151.21, "AU", "OC")


def spot(place: Place, *names: str, bias: int = 0) -> Spot:
    return Spot(place, vector_of(place), bias_factor(bias), names, (0,))


def km(one: Place, other: Place) -> float:
    first, second = vector_of(one), vector_of(other)
    assert first is not None
    assert second is not None
    return great_circle_km(first, second)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (NEW_YORK, LONDON, 5570),
        (LONDON, SYDNEY, 16_990),
        (FRANKFURT, LONDON, 640),
        (Place(0, 0), Place(0, 180), 20_015),
    ],
)
def test_great_circles_have_the_lengths_of_the_world(one: Place, other: Place, expected: float) -> None:
    assert km(one, other) == pytest.approx(expected, rel=0.005)
    assert km(one, other) == pytest.approx(km(other, one))


@pytest.mark.parametrize(
    "place", [FRANKFURT, NEW_YORK, SYDNEY, Place(90, 0), Place(-90, 0), Place(0, 180), Place(0, 0)]
)
def test_rounding_never_leaves_the_sphere(place: Place) -> None:
    assert km(place, place) < 0.02
    antipode = Place(-(place.latitude or 0.0), (place.longitude or 0.0) - 180)
    assert km(place, antipode) == pytest.approx(20_015, abs=1)


@pytest.mark.parametrize(
    ("bias", "factor"), [(0, 1.0), (50, 0.5), (-50, 2.0), (99, 0.01), (-99, 100.0), (20, 0.8), (-20, 1.25)]
)
def test_bias_is_as_route_53_has_it(bias: int, factor: float) -> None:
    assert bias_factor(bias) == pytest.approx(factor)
    found = distance(spot(LONDON, bias=bias), NEW_YORK, vector_of(NEW_YORK), {})
    assert found.km == pytest.approx(km(NEW_YORK, LONDON) * factor)
    assert found.basis is Basis.COORDINATES


def test_what_was_measured_goes_before_what_is_near_and_a_nodes_own_before_its_regions() -> None:
    measured = {"n1": 10.0, "eu": 20.0}
    for names, ms in ((("n1", "eu"), 10.0), (("n2", "eu"), 20.0)):
        found = distance(spot(FRANKFURT, *names), FRANKFURT, vector_of(FRANKFURT), measured)
        assert found == Distance(ms * KM_PER_MS, Basis.MEASURED)
    found = distance(spot(FRANKFURT, "n3", "us"), FRANKFURT, vector_of(FRANKFURT), measured)
    assert found.basis is Basis.COORDINATES


@pytest.mark.parametrize(
    ("client", "node", "expected"),
    [
        (Place(country="DE", continent="EU"), FRANKFURT, Distance(SAME_COUNTRY_KM, Basis.COUNTRY)),
        (FRANKFURT, Place(country="DE", continent="EU"), Distance(SAME_COUNTRY_KM, Basis.COUNTRY)),
        (Place(country="FR", continent="EU"), FRANKFURT, Distance(SAME_CONTINENT_KM, Basis.CONTINENT)),
        (Place(continent="EU"), FRANKFURT, Distance(SAME_CONTINENT_KM, Basis.CONTINENT)),
        (Place(country="US", continent="NA"), FRANKFURT, Distance(FAR_KM, Basis.NOTHING)),
        (Place(), FRANKFURT, Distance(FAR_KM, Basis.NOTHING)),
        (FRANKFURT, Place(), Distance(FAR_KM, Basis.NOTHING)),
        (Place(), Place(), Distance(FAR_KM, Basis.NOTHING)),
    ],
)
def test_without_coordinates_countries_and_continents_count_and_bias_does_not(
    client: Place, node: Place, expected: Distance
) -> None:
    assert distance(spot(node, bias=70), client, vector_of(client), {}) == expected
