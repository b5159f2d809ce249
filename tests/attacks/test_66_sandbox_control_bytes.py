"""Control bytes that a sandbox's programs and names bring along: as they are to who asked for
them, and never in words of wit's own."""

from __future__ import annotations

import pytest

from tests.conftest import Run
from tests.sandboxes.local.fixtures import NewBox
from tests.sandboxes.support import chunks, make_tar
from wit.errors import WitError

pytestmark = pytest.mark.attack(66)

ESCAPE = "\x1b]0;title\x07\x1b[2J"


def test_output_is_handed_on_as_it_is(new_box: NewBox, run: Run) -> None:
    ran = run(new_box().run(["printf", "%s", ESCAPE]))
    assert ran.text == ESCAPE


def test_words_about_a_name_hold_no_control_bytes(new_box: NewBox, run: Run) -> None:
    box = new_box()
    name = f"../{ESCAPE}"
    for work in (
        box.provider.read_file(box.ref, name, 10),
        box.provider.upload(box.ref, ".", chunks(make_tar((name, b"x")))),
        box.run(["true"], env={ESCAPE: "x"}),
    ):
        with pytest.raises(WitError) as refused:
            run(work)
        assert refused.value.message.isprintable()


def test_names_with_control_bytes_are_names(new_box: NewBox, run: Run) -> None:
    box = new_box()
    run(box.provider.write_file(box.ref, ESCAPE.replace("/", ""), b"x"))
    assert [one.name for one in run(box.provider.list_files(box.ref, "."))] == [ESCAPE]
