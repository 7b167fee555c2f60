"""Words with which a writer takes back what stands before them, such as "Wait, that is wrong. Corrected:"."""

from __future__ import annotations

import re

CORRECTION = re.compile(
    r"(?:(?<=[.!?:)])\s+|^\s*|\n\s*)(?:[-*]\s+)?(?:"
    r"(?:wait|hold on|hmm|no|oops|sorry|actually)\s{0,3}[,.!:\u2026-]+\s*(?:[^.!?:\n]{0,60}"
    r"\b(?:wrong|incorrect|not right|not correct|mistake|mistaken|error|correct(?:ion|ed)?|fix|redo|again)\b"
    r"[^.!?:\n]{0,80})[.!?:]*"
    r"|(?:wait|hmm+)\s{0,3}[,.!\u2026-]+\s*(?:no|actually)\b[,.!:]?"
    r"|(?:let me|i(?:'ll| will| need to| must| should)) (?:correct|fix|redo|revise|re-?check) [^.!?:\n]{0,80}[.!?:]+"
    r"|(?:that|this|the above) (?:is|was|'s) (?:wrong|incorrect|not right|not correct|a mistake)[^.!?:\n]{0,60}[.!?:]+"
    r"|scratch that[^.!?:\n]{0,40}[.!?:]+|i made (?:a mistake|an error)[^.!?:\n]{0,60}[.!?:]+"
    r"|on second thoughts?\b[,:]?"
    r"|(?:here is the |here's the |the )?(?:corrected|correction)(?: [a-z]+(?: \([a-z]+\))?){0,2}\s?:"
    r"|(?:here is the |here's the |the )?(?:revised|updated) (?:answer|report|version|parameters|values|json)\s?:)",
    re.IGNORECASE,
)
"""Words with which a writer takes back what stands before them."""
