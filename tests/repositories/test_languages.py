"""Which files are counted, for which language, and how often git is asked."""

from __future__ import annotations

import re

import pytest

from wit.git.trees import File
from wit.repositories.language_table import COLORS, language_of
from wit.repositories.languages import count


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("main.py", "Python"), ("MAIN.PY", "Python"), ("a.b.rs", "Rust"), ("x.TS", "TypeScript"),
        ("Makefile", "Makefile"), ("Dockerfile", "Dockerfile"), ("app.dockerfile", "Dockerfile"),
        ("x.h", "C"), ("x.hpp", "C++"), ("CMakeLists.txt", "CMake"), (".bashrc", "Shell"),
        ("deploy.sh", "Shell"), ("query.sql", "SQL"), ("x.vb", "Visual Basic .NET"),
        ("README.md", None), ("data.json", None), ("x.yaml", None), ("noending", None),
        (".py", None), ("py", None), ("", None), ("x.", None), ("makefile.txt", None),
    ],
)  # fmt: skip
def test_names(name: str, language: str | None) -> None:
    assert language_of(name) == language


def test_the_table_is_well_made() -> None:
    assert len(COLORS) > 100
    assert all(re.fullmatch("#[0-9A-Fa-f]{6}", color) for color in COLORS.values())


def file(path: str, size: int | None = 100, mode: int = 0o100644) -> File:
    return File(mode, path.encode("utf-8", "surrogateescape"), size)


def test_shares() -> None:
    found = count(
        [file("a.py", 600), file("b.py", 150), file("c.go", 200), file("README.md", 9999),
         file("d.css", 50, 0o100755)]
    )  # fmt: skip
    assert found == [
        {"language": "Python", "bytes": 750, "percentage": 75.0, "color": "#3572A5"},
        {"language": "Go", "bytes": 200, "percentage": 20.0, "color": "#00ADD8"},
        {"language": "CSS", "bytes": 50, "percentage": 5.0, "color": "#663399"},
    ]
    assert count([]) == []


@pytest.mark.parametrize(
    "path",
    ["vendor/a.go", "x/node_modules/y/z.js", "third_party/a.c", "docs/conf.py", "dist/app.js",
     "app.min.js", "static/jquery-3.1.js", "api_pb2.py", "x/api.pb.go", "types.d.ts",
     "configure", ".venv/lib/a.py", "examples/a.py"],
)  # fmt: skip
def test_not_counted(path: str) -> None:
    assert count([file(path)]) == []


@pytest.mark.parametrize(
    "path", ["vendored.go", "src/vendor.py", "mydocs/a.py", "min.js", "src/distance/x.py", "ü.py",
             "\udcff.py"],
)  # fmt: skip
def test_counted(path: str) -> None:
    assert len(count([file(path)])) == 1


def test_links_submodules_and_empty_files_are_not_counted() -> None:
    files = [file("l.py", 10, 0o120000), file("s.py", None, 0o160000), file("e.py", 0)]
    assert count(files) == []
