"""Semantic versions and npm's ranges of them: comparing, and which versions a range takes.

Versions are semver 2.0.0; ranges are those that npm writes into package.json: comparators,
hyphens, x, ~ and ^, joined by || and spaces. A prerelease is only in a range that names a
prerelease of the same MAJOR.MINOR.PATCH, as with npm. Oddities that npm happens to take, such as
``^1.x.3``, are no ranges here.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable

import attrs

MAX_LENGTH = 256
"""Characters of a version, or of a range's part."""

MAX_RANGE = 4096
_MAX_NUMBER = 2**53 - 1

_NUMBER = r"(?:0|[1-9][0-9]*)"
_PRE_PART = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_PRE = rf"(?:-(?P<pre>{_PRE_PART}(?:\.{_PRE_PART})*))?"
_BUILD = r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
_VERSION = re.compile(
    rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER}){_PRE}{_BUILD}"
)
_X = rf"(?:{_NUMBER}|[xX*])"
_PARTIAL = re.compile(
    rf"[v=\s]*(?P<major>{_X})(?:\.(?P<minor>{_X})(?:\.(?P<patch>{_X}){_PRE}{_BUILD})?)?"
)
_OPERATOR = re.compile(r"(?P<operator><=|>=|<|>|=|~>|~|\^|)(?P<rest>.*)", re.DOTALL)
_HYPHEN = re.compile(r"(?P<low>\S+)\s+-\s+(?P<high>\S+)")
_SPACE_AFTER_OPERATOR = re.compile(r"(<=|>=|<|>|=|~>|~|\^)\s+")


@functools.total_ordering
@attrs.frozen(eq=True, order=False)
class Version:
    """Ordered by precedence; build metadata is not kept."""

    major: int
    minor: int
    patch: int
    pre: tuple[int | str, ...] = ()

    @property
    def core(self) -> tuple[int, int, int]:
        return self.major, self.minor, self.patch

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        return f"{text}-{'.'.join(map(str, self.pre))}" if self.pre else text

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key

    @property
    def _key(self) -> tuple[object, ...]:
        """Releases come after their prereleases; numbers before words, fewer parts before more."""
        pre = tuple((0, part, "") if isinstance(part, int) else (1, 0, part) for part in self.pre)
        return (*self.core, not self.pre, pre)


@attrs.frozen
class _Comparator:
    operator: str
    version: Version

    def takes(self, version: Version) -> bool:
        match self.operator:
            case "<":
                return version < self.version
            case "<=":
                return version <= self.version
            case ">":
                return version > self.version
            case ">=":
                return version >= self.version
        return version == self.version


_NOTHING = (_Comparator("<", Version(0, 0, 0, (0,))),)


@attrs.frozen
class Range:
    """Alternatives, each of comparators that must all hold; one without comparators takes all."""

    alternatives: tuple[tuple[_Comparator, ...], ...]

    def takes(self, version: Version) -> bool:
        return any(_all_take(comparators, version) for comparators in self.alternatives)


def parse_version(text: str) -> Version | None:
    """None if ``text`` is not semantic versioning to the letter."""
    match = _VERSION.fullmatch(text) if len(text) <= MAX_LENGTH else None
    return _version(match) if match else None


def clean_version(text: str) -> str | None:
    """What npm makes of the version in a package.json, which may begin with v or =."""
    version = parse_version(text.strip().lstrip("=v").strip())
    return None if version is None else str(version)


def parse_range(text: str) -> Range | None:
    """None if ``text`` is no range of npm's (a tag, an address, a file)."""
    if len(text) > MAX_RANGE:
        return None
    alternatives = []
    for part in text.split("||"):
        comparators = _alternative(part.strip())
        if comparators is None:
            return None
        alternatives.append(comparators)
    return Range(tuple(alternatives))


def newest(versions: Iterable[str]) -> str | None:
    """The one of the highest precedence, releases before all prereleases; None of none."""
    parsed = [version for text in versions if (version := parse_version(text)) is not None]
    if not parsed:
        return None
    return str(max(parsed, key=lambda version: (not version.pre, version)))


def _version(match: re.Match[str]) -> Version | None:
    core = [int(match[name]) for name in ("major", "minor", "patch")]
    if max(core) > _MAX_NUMBER:
        return None
    return Version(core[0], core[1], core[2], _pre(match["pre"]))


def _pre(text: str | None) -> tuple[int | str, ...]:
    if not text:
        return ()
    return tuple(int(part) if part.isdigit() else part for part in text.split("."))


def _all_take(comparators: tuple[_Comparator, ...], version: Version) -> bool:
    if not all(comparator.takes(version) for comparator in comparators):
        return False
    return not version.pre or any(
        comparator.version.pre and comparator.version.core == version.core
        for comparator in comparators
    )


def _alternative(text: str) -> tuple[_Comparator, ...] | None:
    if hyphen := _HYPHEN.fullmatch(text):
        return _hyphen(hyphen["low"], hyphen["high"])
    comparators: list[_Comparator] = []
    for part in _SPACE_AFTER_OPERATOR.sub(r"\1", text).split():
        more = _part(part)
        if more is None:
            return None
        comparators.extend(more)
    return tuple(comparators)


@attrs.frozen
class _Partial:
    """A version of which the last parts may be missing."""

    numbers: tuple[int, ...]
    """One to three of them; none for ``*``."""
    pre: tuple[int | str, ...] = ()

    def first(self) -> Version:
        """The lowest version that begins so."""
        major, minor, patch = (*self.numbers, 0, 0, 0)[:3]
        return Version(major, minor, patch, self.pre)

    def after(self, kept: int) -> Version:
        """The end of all versions whose first ``kept`` numbers are these."""
        numbers = [*self.numbers[:kept], 0, 0, 0][:3]
        numbers[kept - 1] += 1
        return Version(numbers[0], numbers[1], numbers[2], (0,))


def _partial(text: str) -> _Partial | None:
    match = _PARTIAL.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if match is None:
        return None
    given = [match[name] for name in ("major", "minor", "patch") if match[name] is not None]
    numbers = [int(text) for text in itertools.takewhile(str.isdigit, given)]
    if any(map(str.isdigit, given[len(numbers) :])) or max(numbers, default=0) > _MAX_NUMBER:
        return None
    return _Partial(tuple(numbers), _pre(match["pre"]) if len(numbers) == 3 else ())


def _hyphen(low: str, high: str) -> tuple[_Comparator, ...] | None:
    first, last = _partial(low), _partial(high)
    if first is None or last is None:
        return None
    comparators = []
    if first.numbers:
        comparators.append(_Comparator(">=", first.first()))
    if len(last.numbers) == 3:
        comparators.append(_Comparator("<=", last.first()))
    elif last.numbers:
        comparators.append(_Comparator("<", last.after(len(last.numbers))))
    return tuple(comparators)


def _part(text: str) -> tuple[_Comparator, ...] | None:
    match = _OPERATOR.fullmatch(text)
    if match is None or (partial := _partial(match["rest"])) is None:
        return None
    match match["operator"]:
        case "^":
            return _caret(partial)
        case "~" | "~>":
            return _between(partial, min(2, len(partial.numbers)))
        case "" | "=":
            if len(partial.numbers) == 3:
                return (_Comparator("=", partial.first()),)
            return _between(partial, len(partial.numbers))
        case operator:
            return _compared(operator, partial)


def _between(partial: _Partial, kept: int) -> tuple[_Comparator, ...]:
    """All versions that begin with the first ``kept`` numbers, from ``partial`` on."""
    if kept == 0:
        return ()
    return _Comparator(">=", partial.first()), _Comparator("<", partial.after(kept))


def _caret(partial: _Partial) -> tuple[_Comparator, ...]:
    """What does not change the leftmost number that is not zero."""
    kept = 1
    while kept < len(partial.numbers) and not any(partial.numbers[:kept]):
        kept += 1
    return _between(partial, min(kept, len(partial.numbers)))


def _compared(operator: str, partial: _Partial) -> tuple[_Comparator, ...]:
    known = len(partial.numbers)
    if known == 3:
        return (_Comparator(operator, partial.first()),)
    if known == 0:
        return _NOTHING if operator in ("<", ">") else ()
    match operator:
        case ">":  # later than all that begin so
            end = partial.after(known)
            return (_Comparator(">=", attrs.evolve(end, pre=())),)
        case "<=":
            return (_Comparator("<", partial.after(known)),)
        case "<":
            return (_Comparator("<", attrs.evolve(partial.first(), pre=(0,))),)
    return (_Comparator(">=", partial.first()),)
