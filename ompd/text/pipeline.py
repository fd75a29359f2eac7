"""An annotator on spaCy and negspacy (extra ``text``), which needs no trained model."""

from __future__ import annotations

from typing import Any

from ompd.errors import BackendUnavailableError
from ompd.text.annotation import Mention, Status, checked
from ompd.text.finding import Finder
from ompd.text.lexicon import Lexicon
from ompd.text.sections import sentences

_STOPS = [
    "but", "however", "although", "except", "apart from", "otherwise", "complains of",
    "positive for", "+ve", "reports", "has", "associated",
]  # fmt: skip
#: What negspacy's own terms lack.
_MORE = {
    "preceding_negations": ["nil", "neg", "-ve", "never", "nor", "hasn't", "unaware of"],
    "following_negations": ["is absent", "are absent", "not present", "not seen", ": nil", "- nil"],
    "termination": _STOPS,
}  # fmt: skip
#: NegEx's reach of cues, for two other kinds of them.
_HYPOTHETICAL = {
    "pseudo_negations": ["no red flags"],
    "preceding_negations": [
        "if", "in case", "should you", "red flag", "red flags", "safety net", "safety netted",
        "watch for", "look out for", "warned", "risk of", "exclude", "rule out", "r/o", "possible",
        "possibly", "probable", "probably", "likely", "unlikely", "suspected", "suspecting",
        "query", "might", "may", "could", "worried about", "worried re", "concerned about",
        "assess for", "?", "??",
    ],
    "following_negations": ["is unlikely", "is possible", "is suspected"],
    "termination": ["but", "however", "although"],
}  # fmt: skip
_FAMILY = {
    "pseudo_negations": ["lives with", "living with"],
    "preceding_negations": [
        "mother", "father", "mum", "mom", "dad", "brother", "sister", "grandmother", "grandfather",
        "uncle", "aunt", "cousin", "son", "daughter", "children", "wife", "husband", "fh", "fhx",
        "family history",
    ],
    "following_negations": ["in his mother", "in her mother", "in his father", "in her father"],
    "termination": ["but", "however", "although", "patient", "pt"],
}  # fmt: skip


class SpacyAnnotator:
    """Classes mentions by NegEx as negspacy implements it, with sections as `PlainAnnotator`.

    Finds the same mentions. Whether a cue reaches a mention is for NegEx to say, once with cues of
    negation, once of condition and doubt, and once of relatives.

    Parameters
    ----------
    lexicon : Lexicon

    Raises
    ------
    BackendUnavailableError
        If the extra ``text`` is not installed.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        missing = False
        try:
            import negspacy.negation  # noqa: F401  (registers the component)
            import spacy
            from negspacy.termsets import termset
        except ImportError:
            missing = True
        if missing:
            raise BackendUnavailableError(
                "annotator: expected spaCy and negspacy: pip install 'ompd[text]'"
            )
        self._lexicon = lexicon
        self._finder = Finder(lexicon)
        self._model: Any = spacy.blank("en")
        negated = termset("en_clinical")
        negated.add_patterns(_MORE)
        for name, terms in (
            ("negated", negated.get_patterns()),
            ("hypothetical", _HYPOTHETICAL),
            ("family", _FAMILY),
        ):
            self._model.add_pipe(
                "negex",
                name=name,
                config={"neg_termset": terms, "extension_name": f"ompd_{name}"},
            )

    @property
    def lexicon(self) -> Lexicon:
        """What it looks for."""
        return self._lexicon

    def annotate(self, text: str) -> list[Mention]:
        """Return all mentions in a note, as `PlainAnnotator.annotate` does.

        Raises
        ------
        NoteError
        """
        text = checked(text)
        document = self._model.make_doc(text)
        sections = list(sentences(text))
        starts = {end - len(text[start:end].lstrip()) for _, start, end in sections}
        for token in document:
            token.is_sent_start = token.idx in starts
        found = list(self._finder.find(text))
        spans = [
            document.char_span(each.start, each.end, label="concept", alignment_mode="expand")
            for each in found
        ]
        # Two mentions in what spaCy takes for one token cannot both be its entities.
        taken = -1
        kept = []
        for place, span in enumerate(spans):
            if span.start >= taken:
                kept.append(place)
                taken = span.end
        document.ents = [spans[place] for place in kept]
        marked = self._model(document)
        kinds = dict(zip(kept, marked.ents, strict=True))
        mentions = []
        last = kinds[0] if kinds else None
        for place, each in enumerate(found):
            last = kinds.get(place, last)
            section = next((name for name, start, end in sections if start <= each.start < end), "")
            mentions.append(Mention(each.concept, each.start, each.end, _status(section, last)))
        return mentions


def _status(section: str, span: Any) -> Status:
    if section == "plan" or span._.ompd_hypothetical:
        return "hypothetical"
    if span._.ompd_negated:
        return "negated"
    if section == "family" or span._.ompd_family:
        return "family"
    return "asserted"
