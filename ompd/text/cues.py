"""Words that decide what a note says of what it names, as patterns.

The kinds follow NegEx (Chapman and others, 2001) and ConText (Harkema and others, 2009); the words
are those of notes that clinicians write in a hurry.
"""

from __future__ import annotations

import re

#: Stands for each character of a mention while cues are looked for, so that none is found in it.
MASK = "\x01"

_RELATIVE = (
    r"(?:grand)?(?:mother|father|parents?)|mum|mom|mummy|dad|daddy|brothers?|brthr|sisters?|"
    r"siblings?|uncles?|aunt(?:ie)?s?|cousins?|nephew|niece|sons?|daughters?|child(?:ren)?|wife|"
    r"husband|spouse|relatives?|household"
)
_REPORTS = r"says?|said|reports?|reported|states?|noticed|notices|thinks?|feels?|tells|called"

#: Statements end here: at ends of lines, semicolons, and points that end no abbreviation or number.
SENTENCE_END = re.compile(r"\n|;|(?<!\be\.g)(?<!\bi\.e)[.!](?=\s|$|[A-Z][a-z])")

#: What takes hold of the mentions behind it, the first alternative that fits.
FORWARD = re.compile(
    rf"""
    (?P<mention>{MASK}+)
    # Looks like a negation and is none: something is there, and as it was.
    | (?P<pseudo>
        \bno(?:t|\ significant)?\ (?:change|increase|decrease|improvement|relief|doubt|difference)\b
        | \bno\ (?:more\ than|longer\ than|one\b|worsening\ of|further\ (?:treatment|tests?))
        | \bno-one\b
        | \b(?:nil|nothing|none|no)\ (?:of\ note|significant\b|else\b|regular\b)
        | \bnot\ (?:only|just|certain|sure|necessarily|better|settling|improving|improved|resolving|
            resolved|relieved|help(?:ing|ed))\b
        | \bwithout\ (?:difficulty|delay|change)\b
        | \b(?:liv(?:es?|ing)|stay(?:s|ing)?|shares?|home|house)\ (?:at\ home\ )?with\b[^.;{MASK}]*
        | \b(?:{_RELATIVE})\b\s+(?:{_REPORTS})\b
      )
    # Ends what reached until here: what follows is said to be there.
    | (?P<stop>
        \b(?:but|however|although|though|except|apart\ from|other\ than|otherwise|yet|despite)\b
      )
    | (?P<affirm>
        (?:[,(]|\s-\s|\band\b|(?<={MASK}))\s*(?:also\s+|now\s+|still\s+|then\s+)*
        (?:(?:pt|patient|he|she|they|you|i)\s+)?
        (?:has|had|have|is|are|was|feels|feel|felt|feeling|reports|reported|complains|complaining|
          c/o|℅|developed|develops|started|presents|presented|presenting|noticed|gets|remains|
          positive\ for|some|mild|slight|moderate|severe|occasional|occ|ongoing|increas(?:ed|ing)|
          worsening|associated|assoc|just|yes)\b
      )
    # A reason is there, whatever is not done because of it.
    | (?P<reason>\b(?:due\ to|because(?:\ of)?|secondary\ to|caused\ by|owing\ to)\b)
    | (?P<negation>
        \b(?:no|nil|negative|denies|denied|denying)\s+(?:\w+\s+)?red\ flags?
            (?:\s+(?:sx|symptoms|signs))?
        | \b(?:no|nil|not|none|without|never|neg|denies|denied|denying|nor|neither|cannot|cant|dont|
            doesnt|didnt|hasnt|isnt|wasnt)\b
        | \w+n['’]t\b
        | \b(?:absence|free|clear|negative|devoid)\ (?:of|from|for)\b
        | \bunaware\ of\b
        | (?<!\w)-ve\b(?:\ for\b)?
      )
    # Something that may come, or may be.
    | (?P<condition>
        \b(?:if|unless|in\ case(?:\ of)?|when\ to|whether|should\ (?:you|he|she|they|there|the|any)|
          red\ flags?|safety[\s-]?net\w*|watch(?:ing)?\ (?:out\ )?for|look(?:ing)?\ out\ for|
          warned|warn|warnings?|advised\ (?:about|re|of|on|regarding)|risks?\ of)\b
      )
    | (?P<possible>
        \b(?:(?:need(?:s|ed)?\ |must\ |want\ |trying\ )?to\ (?:exclude|rule\ out)|rule\ out|r/o|
          exclude|excluding|possibl[ey]|probabl[ey]|likely|unlikely|suspect(?:ed|ing|s)?|query|
          querying|might|could|would|(?<!in\ )may|worr(?:y|ies|ied)\ (?:about|re|regarding)|
          concern(?:s|ed)?\ (?:about|re|regarding|for)|fear(?:s|ed)?|afraid\ of|wonder\w*|
          (?:screen|screening|assess|assessment|check|monitor|monitoring)\ for|prevent\w*|
          prophyla\w*|side\ effects?|s/e|differentials?)\b
      )
    | (?P<query>\?+\s?(?=[\w{MASK}])|\+/-)
    | (?P<open>\()
    | (?P<close>\))
    | (?P<history>\b(?:family\ (?:history|hx)|FHx?|FMHx?|F/H)\b(?:\s+of\b)?)
    | (?P<relative>\b(?:{_RELATIVE})\b)
    | (?P<comma>,)
    """,
    re.IGNORECASE | re.VERBOSE,
)

#: Mentions that stand together; never tried in parts, which would take a long list a time that
#: grows as its square.
LIST = re.compile(rf"{MASK}++(?:\s*+(?:,|/|&|\+|\band\b|\bor\b)\s*+{MASK}++)*+", re.IGNORECASE)
_END = r"(?=\s*(?:$|[,.;/)\n]|\b(?:and|but|now|today|on|in|at|over|since)\b))"

#: One of them.
ONE = re.compile(rf"{MASK}++")

#: What behind such a list takes hold of it.
NEGATED_BEFORE = re.compile(
    rf"""\s*(?:
      (?:is|are|was|were|has\ been|have\ been|had\ been)\s+(?:all\s+|both\s+|also\s+|now\s+)?
      (?:absent|denied|excluded|ruled\ out|negative|nil|not\ (?:present|seen|noted|noticed|found|
        felt|evident|reported|there)|no\ longer\ (?:present|there))\b
      | (?:[:=–-]|\?)\s*(?:nil|none|no|nope|absent|negative|neg|denied|denies|-ve)\b{_END}
      | (?:nil|none|absent|denied|negative|not\ present)\b{_END}
      | \((?:nil|none|no|absent|denied|negative|-ve)\)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
POSSIBLE_BEFORE = re.compile(
    rf"""\s*(?:
      (?:is|are|was|were|seems?|appears?|being)\s+
      (?:possible|likely|unlikely|suspected|probable|feared|being\ ruled\ out|to\ be\ excluded)\b
      | (?:possible|unlikely|suspected)\b{_END}
      | \?+(?=\s*(?:$|[,./)\n]))
    )""",
    re.IGNORECASE | re.VERBOSE,
)
FAMILY_BEFORE = re.compile(
    rf"\s*(?:\(|-\s*|–\s*|\b(?:in|of)\s+)(?:(?:his|her|their|your|the|my|both)\s+)?"
    rf"(?:{_RELATIVE})\b",
    re.IGNORECASE,
)

#: Headings, by what stands under them.
HEADING = re.compile(
    r"""
    (?P<family>family\ (?:medical\ )?(?:history|hx)|f\.?m?\.?hx?|f/h)
    | (?P<plan>plans?|pln|management(?:\ plan)?|mx|treatment(?:\ plan)?|advice|follow[\s-]?up|f/?u|
        safety[\s-]?net\w*|red\ flags?(?:\ (?:sx|symptoms))?|recommendations?|next\ steps|rx|
        (?-i:ICE)|d\.?dx|differentials?(?:\ diagnos[ie]s)?)
    | (?P<other>p\.?c|hpc|h/?o|hx|history(?:\ of\ presenting\ complaint)?|
        presenting\ complaint|p\.?m\.?hx?|psh|(?:past\ )?medical\ history|d\.?hx?|drug\ history|
        medications?|meds|allerg(?:y|ies)|s\.?hx?|social\ history|ex|o/?e|oex|examination|
        imp(?:ression)?|diagnosis|dx|se|systems?\ (?:review|enquiry)|ros|symptoms|sx|note)
    """,
    re.IGNORECASE | re.VERBOSE,
)
#: What must follow: a mark, the end of the line, or, at its beginning, a space for some of them.
HEADING_MARK = re.compile(r"[ \t\r]*(?:[:;#,]|(?<=\s)[–-]|[–-](?=\s|$)|(?=\n)|$)")
#: Headings that stand without a mark; the last of two letters, in capitals.
UNMARKED = re.compile(r"((?i:plans?|fhx|pmhx|dhx|shx|hpc|ddx)|FH|PMH|DH|SH|PC)(?!\s+of\b)\b")
#: What begins an item of a list.
BULLET = re.compile(r"\s*(?:[-–*•]|\d{1,2}[.)])\s*")
