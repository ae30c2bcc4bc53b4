r"""Where a solution's final answer stands: in a box, behind the last `####`, or behind "the answer is".

It knows nothing of what an answer means. What a chat model writes around it is left out: its thinking, text behind the end of
its turn, a next question that it goes on to ask itself, emphasis, and what follows on later lines. Invariant: nothing raises,
and time is linear in the text.
"""

from __future__ import annotations

import re

MARKER = "####"
"""What stands before a final answer, as in GSM8K."""

END_OF_TURN = re.compile(
    r"<\|(?:im_end|im_start|eot_id|endoftext|end_of_text|end|eom_id|user|assistant|return|START_OF_TURN_TOKEN"
    r"|END_OF_TURN_TOKEN|end_of_turn)\|>|<(?:end_of_turn|start_of_turn|eos|pad)>|</s>|<｜end▁of▁sentence｜>|\[/?INST\]"
)
"""Text of tokens that end a turn: behind it another turn begins, whoever speaks it."""

_NEXT_QUESTION = re.compile(
    r"^[ \t#*]*(?:next )?(?:question|problem|q|human|user|instruction|exercise)\b[ \t]*+\d*+[ \t]*+[*]*[:.][*]*[ \t]*\S",
    re.IGNORECASE | re.MULTILINE,
)
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*")
_NAMED_BEFORE = re.compile(r"([A-Za-z](?:_\{?\w+\}?)?)\s*=\s*\$?\s*$")
_DEEPEST = 50
"""Boxes in one another that are opened, at most."""

# What may stand between two boxes that list values.
_BETWEEN = re.compile(
    r"[\s$]*+(?:[,;&]|\\text\{\s*(?:and|or)\s*\}|\band\b|\bor\b|\\quad)[\s$,&]*+(?:(?:and|or)\b[\s$]*+)?"
    r"(?:[A-Za-z](?:_\{?\w+\}?)?\s*+=\s*+)?[\s$]*+"
)
_PHRASE = re.compile(
    r"\banswer\b(?:\s+(?:to|for|in|of)\s[^.\n:=]{0,60}?)?\s*"
    r"(?:is\b|are\b|would be\b|will be\b|should be\b|:|=)\s*(?::|=)?\s*(?:(?:therefore|thus|hence|then|simply)\b,?\s*)?"
    r"|^[ \t#]*(?:the\s+)?(?:final\s+)?answer[ \t]*\n",
    re.IGNORECASE | re.MULTILINE,
)
# From the first white space of a run alone: each would look at all behind it.
_REASON = re.compile(r"(?:,|(?<![\s,]))\s+(?:because|since)\s")
_IN_WORDS = re.compile(r"\s+(?!and\b|or\b|to\b)[a-z][a-z ]*[.!]?")
_LABEL = re.compile(
    r"(?:(?:so|thus|hence|therefore)[, ]+)?(?:the\s+)?(?:(?:final|correct)\s+)?"
    r"(?:answer|result|solution)\s*(?:is\b\s*:?|[:=])\s*",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"(?:step\b.*|(?:the\s+)?(?:final\s+)?(?:answer|solution|result|conclusion|summary)\s*[:.]?)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\.(?=\s+[A-Z(])|[.!?](?=\s+(?:I|Hope|Let)\b)")
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("__", "__"), ("`", "`"))


def final_answer(text: str) -> str | None:
    """What is in the last full box, or boxes that list values, else behind the last `####`, else behind "answer is"; None
    where there is none of them."""
    for part in _parts(text):
        found = boxed(part) or _marked(part) or _told(part)
        if found is not None:
            return found
    return None


def marked_answer(text: str) -> str | None:
    """The same, of what follows `####` alone."""
    for part in _parts(text):
        found = _marked(part)
        if found is not None:
            return found
    return None


def own_turn(text: str) -> str:
    """The text up to where the turn ends."""
    end = next((one.start() for one in END_OF_TURN.finditer(text) if text[: one.start()].strip()), None)
    return text if end is None else text[:end]


def unwrapped(content: str) -> str:
    """An answer without emphasis, math delimiters and the full stop around it."""
    before = None
    while before != content:
        before = content
        content = content.strip()
        if content.endswith(".") and not content.endswith(".."):
            content = content[:-1].rstrip()
        for left, right in _WRAPPERS:
            if (
                len(content) > len(left) + len(right)
                and content.startswith(left)
                and content.endswith(right)
                and left not in content[len(left) : -len(right)]
            ):
                content = content[len(left) : -len(right)].strip()
                break
    return content


def boxed(text: str, deep: int = 0) -> str | None:
    """What is in the last box that is closed and not empty; with it what is in boxes before it that list further values. A
    box that lies `deep` in others is opened as far as anybody means it."""
    found = _boxes(text, deep) if deep < _DEEPEST else []
    if not found:
        return None
    group = [found[-1]]
    for one in reversed(found[:-1]):
        if not _BETWEEN.fullmatch(text[one[1] : group[0][0]]):
            break
        group.insert(0, one)
    values = [value for _, _, value in group]
    if len(group) == 1:
        return values[0]
    names = [_NAMED_BEFORE.search(text[max(0, start - 40) : start]) for start, _, _ in group]
    if all(names):
        return ", ".join(f"{name[1]}={value}" for name, value in zip(names, values, strict=True) if name)
    return ", ".join(dict.fromkeys(values))


def _parts(text: str) -> list[str]:
    """Where to look, in this order."""
    text = own_turn(text)
    _, thought, after = text.rpartition("</think>")
    parts = [after, text] if thought else [text]
    if (cut := _NEXT_QUESTION.search(parts[0])) is not None:
        parts.insert(0, parts[0][: cut.start()])
    return parts


def _boxes(text: str, deep: int) -> list[tuple[int, int, str]]:
    """Start, end and content of each box that is closed and not empty; of one in another the outer."""
    found, place = [], 0
    closing = _closing(text)
    while (start := _BOX.search(text, place)) is not None:
        place = start.end()
        if text[place : place + 1] == "{":
            end = closing.get(place)
            if end is None:
                continue
            content = text[place + 1 : end].strip()
            place = end + 1
        else:
            bare = re.compile(r"-?[\w.,]*\w|-?\\[A-Za-z]+(?:\{[^{}]*\})*").match(text, place)
            content = bare[0] if bare is not None else ""
            place = bare.end() if bare is not None else place
        if inner := boxed(content, deep + 1):
            content = inner
        if content:
            found.append((start.start(), place, content))
    return found


def _closing(text: str) -> dict[int, int]:
    """By the place of each brace that is closed: the place of the one that does."""
    found: dict[int, int] = {}
    opened: list[int] = []
    for one in re.compile(r"\\[{}]|[{}]").finditer(text):
        if one[0] == "{":
            opened.append(one.start())
        elif one[0] == "}" and opened:
            found[opened.pop()] = one.start()
    return found


def _marked(text: str) -> str | None:
    _, marker, tail = text.rpartition(MARKER)
    if not marker:
        return None
    line = _first(tail)
    if line is None:
        return None
    content, rest = line
    plain = content.replace("*", "").strip()
    if _HEADING.fullmatch(plain):
        return boxed(rest) or _told(rest) or _told(text) or _after(rest)
    plain = unwrapped(content)
    if (label := _LABEL.match(plain.replace("**", ""))) is not None:
        plain = plain.replace("**", "")[label.end() :]
    return boxed(plain) or unwrapped(plain) or None


def _after(text: str) -> str | None:
    line = _first(text)
    return None if line is None else unwrapped(line[0]) or None


def _told(text: str) -> str | None:
    text = text.replace("**", "")
    last = None
    for last in _PHRASE.finditer(text):  # noqa: B007
        pass
    if last is None:
        return None
    line = _first(text[last.end() :])
    if line is None:
        return None
    content = _REASON.split(line[0])[0]
    for left, right in _WRAPPERS[:4]:
        # A formula ends where it is closed, a price has no such end.
        if content.startswith(left) and (end := content.find(right, len(left))) > 0:
            rest = content[end + len(right) :]
            if not rest.strip(" .,;:!") or _SENTENCE_END.match(rest) or _IN_WORDS.fullmatch(rest):
                return unwrapped(content[: end + len(right)]) or None
            break
    cut = _SENTENCE_END.search(content)
    return unwrapped(content[: cut.start()] if cut is not None else content) or None


def _first(text: str) -> tuple[str, str] | None:
    """The first line with something on it, or the display formula that begins there, and what follows."""
    text = text.lstrip()
    if not text:
        return None
    for left, right in (("$$", "$$"), (r"\[", r"\]")):
        if text.startswith(left) and (end := text.find(right, len(left))) > 0:
            between = text[end + len(right) :].partition("\n")
            return " ".join(text[: end + len(right)].split()) + between[0], between[2]
    line, _, rest = text.partition("\n")
    return line.strip(), rest
