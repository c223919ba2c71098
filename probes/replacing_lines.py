"""Which lines of a function may replace something, by their bytecode: most only look up, compare and build values.

A trainer's module may have thousands of lines of constants, and to compare all that is watched takes longer than such a line.
"""

from __future__ import annotations

import dis
from types import CodeType

_QUIET = (
    *("LOAD_", "STORE_FAST", "STORE_DEREF", "BUILD_", "LIST_", "SET_", "MAP_ADD", "DICT_", "UNPACK_", "FORMAT_"),
    *("MAKE_", "COPY", "SWAP", "DUP_", "ROT_", "PUSH_", "POP_", "NOP", "CACHE", "RESUME", "EXTENDED_ARG", "KW_NAMES"),
    *("COMPARE_", "CONTAINS_", "IS_OP", "UNARY_", "BINARY_", "INPLACE_", "CONVERT_", "TO_BOOL"),
    *("JUMP_", "GET_ITER", "FOR_ITER", "END_FOR", "YIELD_VALUE", "RETURN_", "GEN_START"),
)
"""What operations begin with that call nothing and store nothing but a local variable. Others count as ones that replace."""

_REPLACING = frozenset(number for name, number in dis.opmap.items() if not name.startswith(_QUIET))

_KNOWN: dict[int, tuple[CodeType, frozenset[int]]] = {}
"""By the identity of the code, which is kept so that no other can have the same: to hash code is to hash its constants."""


def of(code: CodeType) -> frozenset[int]:
    """The numbers of the lines of a function, a class body or a module that may replace something."""
    if id(code) not in _KNOWN:
        _KNOWN[id(code)] = code, _found(code)
    return _KNOWN[id(code)][1]


def _found(code: CodeType) -> frozenset[int]:
    operations = code.co_code[::2]  # an operation and its argument are a byte each
    starts = [(offset // 2, line) for offset, line in dis.findlinestarts(code)]
    ends = [*(offset for offset, _ in starts[1:]), len(operations)]
    return frozenset(
        line
        for (start, line), end in zip(starts, ends)
        if line is not None and not _REPLACING.isdisjoint(operations[start:end])
    )
