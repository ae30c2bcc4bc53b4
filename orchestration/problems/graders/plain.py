r"""One way to write what LaTeX and Unicode have several for.

It knows nothing of what a text means. Invariant: no value changes, and two texts that differ in more than their setting
stay two.
"""

from __future__ import annotations

import functools
import re
import unicodedata

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "×": r"\times ", "✕": r"\times ", "÷": "/",
    "⋅": r"\cdot ", "·": r"\cdot ",
    "∙": r"\cdot ", "∗": "*", "π": r"\pi ", "∞": r"\infty ", "≤": r"\leq ", "≥": r"\geq ", "⩽": r"\leq ", "⩾": r"\geq ",
    "≠": r"\neq ",
    "≈": r"\approx ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "°": r"^\circ ", "±": r"\pm ",
    "∓": r"\mp ",
    "√": r"\sqrt ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "θ": r"\theta ",
    "α": r"\alpha ",
    "β": r"\beta ", "φ": r"\phi ", "λ": r"\lambda ", "⁄": "/", "∕": "/", "′": "'", "’": "'", "\u00a0": " ",
    "\u202f": " ", "\u2009": " ",
    "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "⟨": r"\langle ", "⟩": r"\rangle ", "∧": r"\wedge ",
}  # fmt: skip
_VULGAR = re.compile(r"(?<=\d)(?=[¼½¾⅐-⅞])")

# Commands that mean another, by their names.
_SAME = {
    "dfrac": r"\frac", "tfrac": r"\frac", "cfrac": r"\frac", "le": r"\leq", "leqslant": r"\leq", "ge": r"\geq",
    "geqslant": r"\geq",
    "ne": r"\neq", "lt": "<", "gt": ">", "colon": ":", "lbrace": r"\{", "rbrace": r"\}", "lvert": "|", "rvert": "|",
    "vert": "|",
    "mid": "|", "lparen": "(", "rparen": ")", "lbrack": "[", "rbrack": "]", "ast": "*", "degree": r"^\circ",
    "dots": r"\ldots",
    "cdots": r"\ldots", "varnothing": r"\emptyset", "N": r"\mathbb{N}", "R": r"\mathbb{R}", "Z": r"\mathbb{Z}",
    "Q": r"\mathbb{Q}",
    "reals": r"\mathbb{R}", "integers": r"\mathbb{Z}", "to": r"\rightarrow", "land": r"\wedge", "bar": r"\overline",
    "euro": "€",
    "pounds": "£", "textdollar": "$", "dollar": "$", "infin": r"\infty", "varphi": r"\phi", "arccos": r"\arccos",
    "tg": r"\tan",
    "ctg": r"\cot",
    # Size, space and style alone.
    "left": "", "right": "", "big": "", "Big": "", "bigl": "", "bigr": "", "Bigl": "", "Bigr": "", "displaystyle": "",
    "textstyle": "",
    "quad": " ", "qquad": " ", "limits": "", "nolimits": "", "middle": "", "thinspace": r"\,", "space": " ", "rm": "",
    "bf": "",
    "cfracstyle": "",
}  # fmt: skip
_COMMAND = re.compile(r"\\([A-Za-z]+)[ \t]*")
_STYLE = re.compile(
    r"\\(?:text|textbf|textit|textrm|textnormal|texttt|mathrm|mathbf|mathit|mathsf|mathtt|mbox|hbox|emph|textsf|operatorname\*?)\s*\{([^{}]*)\}"
)
_ARGUMENT = r"(\{[^{}]*\}|\d|[A-Za-z]|\\[A-Za-z]+)"
_FRAC = re.compile(r"\\frac\s*(?:(\d)\s*(\d)|(\d)\s*(?=\{)|(?<=\\frac)\s*(\{(?:[^{}]|\{[^{}]*\})*\})\s*(\d))")
_SQRT = re.compile(r"\\sqrt\s*(?:(\d+|[A-Za-z])|\(([^()]*)\))")
_THIN = re.compile(r"(?<!\\)\\[,!;:> ]|~|\{\s*\}")
_UPRIGHT_LETTER = re.compile(
    r"(?<=.)\\(?:mathrm|text|mathbf|mathit)\s*\{\s*([ei])\s*\}|\\(?:mathrm|text|mathbf|mathit)\s*\{\s*([ei])\s*\}(?=\s*[-+*/^])"
)


@functools.lru_cache(maxsize=16_384)
def cleaned(content: str) -> str:
    """The text with one way to write what LaTeX and Unicode have several for. Words stay in `\\text{}` where anything stands
    beside them."""
    text = _VULGAR.sub(" ", content)
    text = re.sub(r"[⁰¹²³⁴-⁹⁻⁺ⁿ]+", lambda m: "^{" + m[0].translate(_SUPERSCRIPTS) + "}", text)
    text = re.sub(r"[₀-₉]+", lambda m: "_{" + m[0].translate(_SUBSCRIPTS) + "}", text)
    if not text.isascii():
        text = "".join(
            str(unicodedata.digit(one)) if unicodedata.category(one) == "Nd" else one for one in text
        )
    text = unicodedata.normalize("NFKC", "".join(_SYMBOLS.get(one, one) for one in text))
    text = "".join(_SYMBOLS.get(one, one) for one in text if unicodedata.category(one) not in ("So", "Cf"))
    text = (
        text.replace("\ufe0f", "")
        .replace("{,}", ",")
        .replace(r"\$", "$")
        .replace(r"\%", "%")
        .replace(r"\&", "&")
    )
    text = re.sub(r"\\!|\\\s*$", "", text)
    text = _COMMAND.sub(lambda m: _SAME.get(m[1], "\\" + m[1]) + (" " if m[0][-1] in " \t" else ""), text)
    text = text.replace(r"^{\circ}", r"^\circ").replace(r"^{ \circ }", r"^\circ")
    text = re.sub(r"\\text\s*\{[\s.,;:!?]*\}", " ", text)
    text = _UPRIGHT_LETTER.sub(lambda m: m[1] or m[2], text)
    text = _FRAC.sub(_fraction, text)
    text = _SQRT.sub(lambda m: r"\sqrt{" + (m[1] or m[2]) + "}", text)
    text = _THIN.sub(" ", text)
    text = re.sub(r"([_^])\{(\w)\}", r"\1\2", text)
    text = re.sub(r"\*\*(?=\s*[\w({-])", "^", text)
    return " ".join(text.split())


def _fraction(found: re.Match[str]) -> str:
    if found[1]:
        return rf"\frac{{{found[1]}}}{{{found[2]}}}"
    if found[3]:
        return rf"\frac{{{found[3]}}}"
    return rf"\frac{found[4]}{{{found[5]}}}"


def words_of(text: str) -> str:
    """A text without the commands that set it upright or bold."""
    before = None
    while before != text:
        before, text = text, _STYLE.sub(r"\1", text)
    return " ".join(text.replace(r"\ ", " ").split())
