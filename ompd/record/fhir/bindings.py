"""Value sets that FHIR R4B requires, and that fhir.resources does not check.

Of most elements fhir.resources at least lists the values. Where its list ends in "+", and where it
has none, it is here.
"""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OBSERVED = _words(
    "registered preliminary final amended corrected cancelled entered-in-error unknown"
)
_COMPARED = frozenset({"<", "<=", ">=", ">"})

#: Allowed values by class and element.
CODES: dict[tuple[str, str], frozenset[str]] = {
    ("Observation", "status"): _OBSERVED,
    ("RiskAssessment", "status"): _OBSERVED,
    ("DiagnosticReport", "status"): _OBSERVED | {"partial", "appended"},
    ("Task", "status"): _words(
        "draft requested received accepted rejected ready cancelled in-progress on-hold failed "
        "completed entered-in-error"
    ),
    ("Encounter", "status"): _words(
        "planned arrived triaged in-progress onleave finished cancelled entered-in-error unknown"
    ),
    ("DeviceUseStatement", "status"): _words(
        "active completed entered-in-error intended stopped on-hold"
    ),
    ("DeviceUdiCarrier", "entryType"): _words("barcode rfid manual card self-reported unknown"),
    ("QuestionnaireItem", "type"): _words(
        "group display boolean decimal integer date dateTime time string text url choice "
        "open-choice attachment reference quantity"
    ),
    ("TimingRepeat", "when"): _words(
        "MORN MORN.early MORN.late NOON AFT AFT.early AFT.late EVE EVE.early EVE.late NIGHT PHS "
        "HS WAKE C CM CD CV AC ACM ACD ACV PC PCM PCD PCV"
    ),
    ("Composition", "confidentiality"): _words("U L M N R V"),
    **{
        (name, "comparator"): _COMPARED
        for name in ("Quantity", "Age", "Duration", "Count", "Distance")
    },
}
CODES["EncounterStatusHistory", "status"] = CODES["Encounter", "status"]

_SYSTEMS = "http://terminology.hl7.org/CodeSystem/"

#: Concepts that must be of a system, and one of these.
CONCEPTS: dict[tuple[str, str], tuple[str, frozenset[str]]] = {
    ("Condition", "clinicalStatus"): (
        f"{_SYSTEMS}condition-clinical",
        _words("active recurrence relapse inactive remission resolved"),
    ),
    ("Condition", "verificationStatus"): (
        f"{_SYSTEMS}condition-ver-status",
        _words("unconfirmed provisional differential confirmed refuted entered-in-error"),
    ),
    ("AllergyIntolerance", "clinicalStatus"): (
        f"{_SYSTEMS}allergyintolerance-clinical",
        _words("active inactive resolved"),
    ),
    ("AllergyIntolerance", "verificationStatus"): (
        f"{_SYSTEMS}allergyintolerance-verification",
        _words("unconfirmed confirmed refuted entered-in-error"),
    ),
}

_MEDIA = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}(\s*;[^\x00-\x1f]{1,99})?"
)
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,7}")

#: Elements whose values are not listed, but have a form.
FORMS: dict[tuple[str, str], tuple[re.Pattern[str], str]] = {
    ("Attachment", "contentType"): (_MEDIA, "a media type, such as text/plain"),
    ("Binary", "contentType"): (_MEDIA, "a media type, such as text/plain"),
    ("Attachment", "language"): (_LANGUAGE, "a language's tag, such as de-AT"),
}

#: Every resource may say its language.
ANY_FORMS: dict[str, tuple[re.Pattern[str], str]] = {
    "language": (_LANGUAGE, "a language's tag, such as de-AT"),
}

#: Kinds of resources that a record keeps.
KINDS = _words(
    "AllergyIntolerance Appointment Binary Bundle CarePlan CareTeam Composition Condition Device "
    "DeviceUseStatement DiagnosticReport DocumentReference Encounter FamilyMemberHistory Goal "
    "Immunization Location Medication MedicationRequest MedicationStatement Observation "
    "Organization Patient Practitioner PractitionerRole Procedure Questionnaire "
    "QuestionnaireResponse RelatedPerson RiskAssessment ServiceRequest Specimen Task"
)
