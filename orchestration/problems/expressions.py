"""Which texts look like a single expression in LaTeX, told without a parser.

It knows commands and signs, nothing of what they mean. Invariant: what the parser would read as something else than it is
does not look like one; what does may still not parse.
"""

from __future__ import annotations

import re

_LONGEST = 400

_KNOWN = frozenset(
    "frac sqrt pi cdot times div ln log exp sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh binom infty lfloor"
    " rfloor lceil rceil alpha beta gamma delta theta phi lambda mu omega epsilon rho sigma tau eta zeta xi psi kappa nu"
    " Gamma Delta Omega Phi Psi"
    " Sigma Lambda max min gcd choose".split()
)
_TOKEN = re.compile(r"\\([A-Za-z]+)|([A-Za-z]+)|(\d+(?:\.\d+)?|\.\d+)|([-+*/^_!|=(){}\[\]])|(\s+)|(.)")
_NUMBERS_APART = re.compile(r"\d\s+\.?\d")
_BASE = re.compile(r"(?<![A-Za-z}])\d[\d.]*\s*_")


def readable(text: str) -> bool:
    """Whether the parser reads all of it as what it is, if it reads it at all."""
    if not text or len(text) > _LONGEST or _BASE.search(text) or _NUMBERS_APART.search(text):
        return False
    if re.search(r"!\s*!|'|\\circ|\\frac\s*\d", text):
        return False
    for command, letters, _, _, _, other in _TOKEN.findall(text):
        if other or (command and command not in _KNOWN):
            return False
        # Words, and names of points, are no products.
        if letters and (len(letters) > 3 or (len(letters) > 1 and letters.isupper())):
            return False
    return True
