"""What a sentence about a drive claims: the value it gives to one of the report's parameters.

`read_claims` reads prose, `compare` holds a claim against a report's values, `section_sentences` cuts a prose
section into the sentences that are read. A claim that is doubtful is not reported: a wrong reading costs a true
sentence, a missed one only leaves a sentence unread.
"""

from __future__ import annotations

from roadscribe.answers.claims.claim import TOPICS, Claim, Verdict, compare, contradicts
from roadscribe.answers.claims.reader import read_claims, section_sentences

__all__ = ["TOPICS", "Claim", "Verdict", "compare", "contradicts", "read_claims", "section_sentences"]
