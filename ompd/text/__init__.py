"""What medical notes assert, as a course of days, and its correlation with a template (PPDM1).

from ompd.text import Course, PlainAnnotator, load

annotator = PlainAnnotator(load("cardiology"))
course = Course.from_notes(notes, annotator, last=datetime.date.today())
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ompd.text.annotation import Annotator, Mention, Status
    from ompd.text.correlation import correlate
    from ompd.text.course import Course, Note, Template
    from ompd.text.enquiry import (
        Correlation,
        correlation_keys,
        open_reply,
        seal_course,
        seal_template,
    )
    from ompd.text.function import TEXT_CORRELATION, encode_lags
    from ompd.text.lexicon import Concept, Lexicon, available, load
    from ompd.text.pipeline import SpacyAnnotator
    from ompd.text.plain import PlainAnnotator
    from ompd.text.sealed import SealedCourse, SealedReply, SealedTemplate, enquiry_digest

# Lazily: the cloud needs none of what reads notes.
_HOMES = {
    "TEXT_CORRELATION": "function",
    "Annotator": "annotation",
    "Concept": "lexicon",
    "Correlation": "enquiry",
    "Course": "course",
    "Lexicon": "lexicon",
    "Mention": "annotation",
    "Note": "course",
    "PlainAnnotator": "plain",
    "SealedCourse": "sealed",
    "SealedReply": "sealed",
    "SealedTemplate": "sealed",
    "SpacyAnnotator": "pipeline",
    "Status": "annotation",
    "Template": "course",
    "available": "lexicon",
    "correlate": "correlation",
    "correlation_keys": "enquiry",
    "encode_lags": "function",
    "enquiry_digest": "sealed",
    "load": "lexicon",
    "open_reply": "enquiry",
    "seal_course": "enquiry",
    "seal_template": "enquiry",
}

__all__ = [
    "TEXT_CORRELATION",
    "Annotator",
    "Concept",
    "Correlation",
    "Course",
    "Lexicon",
    "Mention",
    "Note",
    "PlainAnnotator",
    "SealedCourse",
    "SealedReply",
    "SealedTemplate",
    "SpacyAnnotator",
    "Status",
    "Template",
    "available",
    "correlate",
    "correlation_keys",
    "encode_lags",
    "enquiry_digest",
    "load",
    "open_reply",
    "seal_course",
    "seal_template",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ompd.text' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ompd.text.{_HOMES[name]}"), name)
