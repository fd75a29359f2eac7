"""A pre-diagnosis by a hospital: what goes out, who learns what of it, and what comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from ompd.errors import OmpdError, OutdatedError, UnknownDiseaseError
from ompd.portal.numbers import number_of
from ompd.portal.pages.page import Page
from ompd.portal.visit import Visit
from ompd.record import report_resources
from ompd.roles.catalogue import Listing
from ompd.schema import Feature


def _hospitals(visit: Visit) -> Response:
    """Show whom one can ask; nobody is told that this page was opened."""
    shown = []
    for name in visit.house.hospitals:
        known = visit.house.known(name)
        shown.append(
            {
                "name": name,
                "diseases": None
                if known is None
                else [
                    (visit.house.handle(f"{name}/{disease}"), disease, listing)
                    for disease, listing in known.items()
                ],
            }
        )
    return visit.page("hospitals.html", shown=shown)


def _look(visit: Visit) -> Response:
    name = visit.form.text("hospital")
    if name in visit.house.hospitals:
        visit.house.client(name).diseases()
    return visit.go("/ask")


def _asked(visit: Visit) -> tuple[str, str, Listing]:
    hospital, _, disease = visit.house.reference(visit.names["handle"]).partition("/")
    known = visit.house.known(hospital)
    if known is None:
        raise OutdatedError("hospital: look up anew what it can be asked")
    if disease not in known:
        raise UnknownDiseaseError("disease: the hospital has it no more")
    return hospital, disease, known[disease]


def _form(visit: Visit) -> Response:
    _, _, listing = _asked(visit)
    found = visit.house.own.vector(listing.schema)
    typed = {
        feature.name: _typed(visit, found.values[feature.name])
        for feature in listing.schema.features
        if found.values.get(feature.name) is not None
    }
    return _shown(visit, typed)


def _typed(visit: Visit, value: Any) -> str:
    return value if isinstance(value, str) else visit.words.number(float(value))


def _shown(
    visit: Visit, typed: Mapping[str, str], error: Mapping[str, str] | None = None
) -> Response:
    hospital, disease, listing = _asked(visit)
    found = visit.house.own.vector(listing.schema)
    features = [
        {
            "field": f"v{place}",
            "feature": feature,
            "options": [(level, level) for level in feature.levels],
            "typed": typed.get(feature.name, ""),
            "read": found.sources.get(feature.name),
            "may_be_missing": not feature.complete,
            "low": visit.words.number(feature.low),
            "high": visit.words.number(feature.high),
        }
        for place, feature in enumerate(listing.schema.features)
    ]
    return visit.page(
        "ask.html",
        status=400 if error else 200,
        error=error,
        hospital=hospital,
        disease=disease,
        listing=listing,
        features=features,
    )


def _send(visit: Visit) -> Response:
    hospital, disease, listing = _asked(visit)
    typed = {
        feature.name: visit.form.text(f"v{place}")
        for place, feature in enumerate(listing.schema.features)
    }
    try:
        person = {
            feature.name: _value(feature, typed[feature.name])
            for feature in listing.schema.features
        }
        diagnosis = visit.house.client(hospital).ask(disease, person)[0]
    except OmpdError as error:
        reason = visit.reason(error)
        return _shown(visit, typed, {**reason, "field": _field(listing, reason["detail"])})
    basis = visit.house.own.vector(listing.schema).basis
    resources = report_resources(diagnosis, hospital=hospital, disease=disease, basis=basis)
    visit.house.own.add_all(resources)
    risk = next(each for each in resources if each.kind == "RiskAssessment")
    handle = visit.house.handle(f"{risk.kind}/{risk.id}")
    return visit.go(f"/record/{handle}", visit.words("ask.kept"))


def _field(listing: Listing, detail: str) -> str:
    """Return the field of the first feature that an error names; empty if it names none."""
    for place, feature in enumerate(listing.schema.features):
        if re.search(rf"(?<!\w){re.escape(feature.name)}(?!\w)", detail):
            return f"v{place}"
    return ""


def _value(feature: Feature, text: str) -> str | float | None:
    if not text:
        return None
    return text if feature.levels or feature.since else number_of(feature.name, text)


PAGES = [
    Page("GET", "/ask", _hospitals),
    Page("POST", "/ask/look", _look),
    Page("GET", "/ask/{handle}", _form),
    Page("POST", "/ask/{handle}", _send),
]
