"""Patterns of what delimits a private value, plain or escaped.

Runs are bounded: an attacker may have written the text of a report to stall whoever reads it.
"""

from __future__ import annotations

SLASH = r"(?:/|\\{1,8}/|\\{1,8}u002f|%(?:25){0,3}2f)"

BACKSLASH = r"(?:\\{1,8}|/|%(?:25){0,3}5c)"

WORD = r"(?:(?<![A-Za-z0-9])|(?<=%[0-9a-fA-F][0-9a-fA-F])|(?<=u00[0-9a-fA-F][0-9a-fA-F])|(?<=\\[nrt]))"
"""Where a word begins: also after an escape, whose last character may be a letter."""
