"""What CDS Hooks 2.0 and FHIR R4 ask of an answer, in plain Python; imports nothing of ompd."""

from __future__ import annotations

import re

_HTTP = re.compile(r"https?://\S+")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_DATE_TIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?")
_TOKEN = re.compile(r"\{\{context\.[A-Za-z]+\}\}")
_STATUSES = {
    "registered", "preliminary", "final", "amended", "corrected", "cancelled",
    "entered-in-error", "unknown",
}  # fmt: skip


def no_empty_parts(part, path="$", *, may_be_empty=()):
    """No null, no empty text, object or array, except lists that the specification names."""
    assert part is not None, path
    if isinstance(part, str):
        assert part.strip(), path
    elif isinstance(part, dict):
        assert part, path
        for name, inner in part.items():
            no_empty_parts(inner, f"{path}.{name}", may_be_empty=may_be_empty)
    elif isinstance(part, list):
        assert part or path in may_be_empty, path
        for place, inner in enumerate(part):
            no_empty_parts(inner, f"{path}[{place}]", may_be_empty=may_be_empty)


def only(part, required, optional=()):
    assert set(required) <= set(part), sorted(set(required) - set(part))
    assert set(part) <= {*required, *optional, "extension"}, sorted(part)


def text(part):
    assert isinstance(part, str)
    assert part.strip()


def discovery(answer):
    only(answer, ["services"])
    no_empty_parts(answer, may_be_empty=("$.services",))
    ids = [(each["hook"], each["id"]) for each in answer["services"]]
    assert len(set(ids)) == len(ids)
    for each in answer["services"]:
        only(each, ["hook", "description", "id"], ["title", "prefetch", "usageRequirements"])
        for name in set(each) - {"prefetch", "extension"}:
            text(each[name])
        for key, query in each.get("prefetch", {}).items():
            text(key)
            text(query)
            rest = _TOKEN.sub("", query)
            assert not set(rest) & set("{} "), query
            # Reading one resource, or a search with the subset that clients shall know.
            if "?" in query:
                names = [pair.partition("=")[0] for pair in query.partition("?")[2].split("&")]
                assert set(names) <= {"patient", "code", "status", "date", "_sort", "_count"}
            else:
                assert re.fullmatch(r"[A-Z][A-Za-z]+/\{\{context\.[A-Za-z]+\}\}", query), query


def cards(answer):
    only(answer, ["cards"], ["systemActions"])
    no_empty_parts(answer, may_be_empty=("$.cards",))
    for each in answer["cards"]:
        card(each)


def card(each):
    only(
        each,
        ["summary", "indicator", "source"],
        ["uuid", "detail", "suggestions", "selectionBehavior", "overrideReasons", "links"],
    )
    text(each["summary"])
    assert len(each["summary"]) < 140
    assert each["indicator"] in {"info", "warning", "critical"}
    only(each["source"], ["label"], ["url", "icon", "topic"])
    text(each["source"]["label"])
    if "url" in each["source"]:
        assert _HTTP.fullmatch(each["source"]["url"])
    if "uuid" in each:
        assert _UUID.fullmatch(each["uuid"])
    if "suggestions" in each:
        assert each["selectionBehavior"] in {"at-most-one", "any"}
    for suggestion in each.get("suggestions", []):
        only(suggestion, ["label"], ["uuid", "isRecommended", "actions"])
        text(suggestion["label"])
        for action in suggestion.get("actions", []):
            only(action, ["type", "description"], ["resource", "resourceId"])
            assert action["type"] in {"create", "update", "delete"}
            if action["type"] == "create":
                risk_assessment(action["resource"])


def risk_assessment(resource):
    """RiskAssessment of FHIR R4, as far as it is used: cardinalities, bindings, its invariants."""
    only(
        resource,
        ["resourceType", "status", "subject"],
        ["method", "code", "encounter", "occurrenceDateTime", "performer", "basis", "prediction",
         "mitigation", "note"],
    )  # fmt: skip
    assert resource["resourceType"] == "RiskAssessment"
    assert resource["status"] in _STATUSES
    # Of a new resource the server makes the id.
    assert "id" not in resource
    reference(resource["subject"], "Patient")
    if "encounter" in resource:
        reference(resource["encounter"], "Encounter")
    if "occurrenceDateTime" in resource:
        assert _DATE_TIME.fullmatch(resource["occurrenceDateTime"])
    for each in resource.get("basis", []):
        reference(each, "Observation")
    for each in resource.get("prediction", []):
        only(each, [], ["outcome", "probabilityDecimal", "probabilityRange", "rationale"])
        concept(each["outcome"])
        assert 0 <= each["probabilityDecimal"] <= 100
    for name in ("method", "code"):
        if name in resource:
            concept(resource[name])
    if "performer" in resource:
        only(resource["performer"], [], ["reference", "display"])
    for each in resource.get("note", []):
        only(each, ["text"], ["time"])


def reference(part, kind):
    only(part, [], ["reference", "display"])
    name, _, found = part["reference"].partition("/")
    assert name == kind
    assert _ID.fullmatch(found)


def concept(part):
    only(part, [], ["coding", "text"])
    for each in part.get("coding", []):
        only(each, ["system", "code"], ["display"])
