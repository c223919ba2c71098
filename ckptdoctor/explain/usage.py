"""Whether a text says that gradient checkpointing is used: by settings, by output of libraries, or in the writer's words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ckptdoctor.explain.lines import Line

_NAME = r"(?:gradient|grad|activation)[-_ ]?checkpoint(?:ing|s)?"
_TELLING = re.compile("checkpoint|检查点|require_grads", re.IGNORECASE)
_PRINTED = re.compile(
    r"incompatible with gradient checkpointing|Activation Checkpointing Information|Gradient checkpointing enabled",
    re.IGNORECASE,
)
_SET = re.compile(
    r"(?:gradient|activation)_checkpointing[\"'`]?\s{0,3}[:=]\s{0,3}[\"']?(?:true|1\b|unsloth|offload)"
    r"|(?:gradient|activation)_checkpointing_enable\(|enable_gradient_checkpointing\("
    r"|use_(?:gradient_)?checkpoint(?:ing)?[\"'`]?\s{0,3}(?:[:=]|to\b)\s{0,3}[\"']?true|enable_input_require_grads\("
    r"|--(?:gradient|activation)[-_]checkpointing(?!\S*[\s=]{1,3}(?:false|no|0)\b)",
    re.IGNORECASE,
)
_UNSET = re.compile(
    r"(?:gradient|activation)_checkpointing[\"'`]?\s{0,3}[:=]\s{0,3}[\"']?(?:false|0\b|none|null|no\b)"
    r"|(?:disable|no)_gradient_checkpointing[\"'`]?\s{0,3}[:=]\s{0,3}[\"']?true",
    re.IGNORECASE,
)
_SAID = re.compile(
    r"(?:\b(?:us(?:e|ed|ing)|with|enabl(?:e|ed|ing)|turn(?:ed|ing)? on|set|setting|add(?:ed|ing)?|appl(?:y|ied|ying)"
    r"|try|tried)\b"
    r"|启用|开启|打开|设置|使用)"
    rf"[^.。\n]{{0,40}}?(?:{_NAME}|torch\.utils\.checkpoint)|梯度检查点",
    re.IGNORECASE,
)
_WITHOUT = re.compile(
    rf"\bwithout (?:it|{_NAME}|checkpoint\w{{0,3}})\b|{_NAME} (?:is )?(?:disabled|off|false)\b"
    rf"|do(?:es)?(?: not|n't) use (?:{_NAME}|checkpoint)"
    rf"|(?:disabl\w{{1,3}}|turn(?:ed|ing)? off) (?:{_NAME}|checkpoint)|关闭[^\n]{{0,10}}(?:{_NAME}|检查点)",
    re.IGNORECASE,
)
_RUNS = re.compile(
    r"\b(?:works?|worked|runs?|ran|trains?|ok|okay|no (?:issues?|problems?|errors?))\b|\bfine\b(?![- ]tun)|正常|没问题|可以",
    re.IGNORECASE,
)
_FAILS = re.compile(r"\b(?:not|n't|also|still|too|either|nor|neither)\b|n't\b|也", re.IGNORECASE)
_DENIED = re.compile(
    r"\b(?:without|not|no|never|disabl\w{1,5}|off|don't|doesn't)\b|关闭|没有|不使用|未开启", re.IGNORECASE
)


def is_checkpointing(lines: Iterable[Line]) -> bool:
    """Whether the text says that checkpointing is used, and no setting switches it off."""
    found = False
    for line in lines:
        if not _TELLING.search(line.text):
            continue
        if _UNSET.search(line.text):
            return False
        found = found or bool(
            _PRINTED.search(line.text)
            or _SET.search(line.text)
            or (_SAID.search(line.text) and not _DENIED.search(line.text))
        )
    return found


def runs_without(lines: Iterable[Line]) -> bool:
    """Whether the writer says that training runs without checkpointing, in a sentence that names checkpointing."""
    for line in lines:
        if "heckpoint" not in line.text and "检查点" not in line.text:
            continue
        for clause in re.split(r"[.;\u3002\uff1b](?:\s|$)", line.text):
            said = _WITHOUT.search(clause)
            if said is None or not (re.search(_NAME, clause, re.IGNORECASE) or "heckpoint" in clause):
                continue
            before, after = clause[: said.start()], clause[said.end() :][:60]
            if _RUNS.search(f"{before[-80:]} {after}") and not _FAILS.search(f"{before[-25:]} {after}"):
                return True
    return False
