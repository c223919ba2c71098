"""Which files are worth parsing: a test of the bytes that lets every file through in which a rule can find something."""

from __future__ import annotations

from collections.abc import Callable, Iterator

Test = Callable[[bytes], bool]
_SPACE = b" \t\\\r\n)"


def names(*texts: str) -> Test:
    """Whether a file has one of some texts."""
    wanted = [text.encode() for text in texts]
    return lambda source: any(text in source for text in wanted)


def assigns(*attributes: str) -> Test:
    """Whether a file may assign to an attribute of one of these names, by ``=``, by an annotation or by ``setattr``."""
    return lambda source: any(
        source[end : end + 1] in (b"=", b":", b",") and source[end : end + 2] != b"=="
        for name in attributes
        for end in _after(source, name.encode())
    )


def passes(keyword: str) -> Test:
    """Whether a file may pass an argument by a keyword."""
    name = keyword.encode()
    return lambda source: any(
        source[_skipped(source, at + len(name)) :][:1] == b"=" and not _is_in_name(source[at - 1 : at])
        for at in _places(source, name)
    )


def reads(*attributes: str) -> Test:
    """Whether a file may read an attribute of one of these names; longer names that begin so do not count."""
    wanted = [f".{name}".encode() for name in attributes]
    return lambda source: any(
        not _is_in_name(source[at + len(name) : at + len(name) + 1]) for name in wanted for at in _places(source, name)
    )


def defines(*functions: str) -> Test:
    """Whether a file may define a function of one of these names."""
    wanted = [name.encode() for name in functions]
    return lambda source: any(
        source[:at].rstrip(b" \t\\").endswith(b"def") for name in wanted for at in _places(source, name)
    )


def calls(part: str) -> Test:
    """Whether a file may call something in whose name a word is; definitions and imports do not count."""
    word = part.encode()
    return lambda source: any(
        source[end : end + 1] == b"(" and not source[: _start(source, end)].endswith(b"def ")
        for end in _after_names(source, word)
    )


def both(*tests: Test) -> Test:
    """Whether a file passes all tests."""
    return lambda source: all(test(source) for test in tests)


def either(*tests: Test) -> Test:
    """Whether a file passes one of the tests."""
    return lambda source: any(test(source) for test in tests)


def _places(source: bytes, text: bytes) -> Iterator[int]:
    at = source.find(text)
    while at >= 0:
        yield at
        at = source.find(text, at + 1)


def _after(source: bytes, name: bytes) -> Iterator[int]:
    """Where the text goes on behind each mention of a name, in quotes or behind a dot."""
    for at in _places(source, name):
        end = at + len(name)
        if at and source[at - 1 : at] in (b".", b'"', b"'"):
            end += source[end : end + 1] in (b'"', b"'")
            yield _skipped(source, end)


def _after_names(source: bytes, part: bytes) -> Iterator[int]:
    for at in _places(source, part):
        end = at + len(part)
        while _is_in_name(source[end : end + 1]):
            end += 1
        yield _skipped(source, end)


def _is_in_name(char: bytes) -> bool:
    return char.isalnum() or char == b"_" or char > b"\x7f"


def _skipped(source: bytes, at: int) -> int:
    while source[at : at + 1] and source[at : at + 1] in _SPACE:
        at += 1
    return at


def _start(source: bytes, end: int) -> int:
    """Where the identifier begins that ends before a bracket."""
    end = len(source[:end].rstrip(_SPACE))
    while end and _is_in_name(source[end - 1 : end]):
        end -= 1
    return end
