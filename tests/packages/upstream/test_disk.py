import os

from wit.packages.upstream.disk import UNFINISHED, DiskCache


def test_files_are_kept_by_kind_and_key(run, runtime, tmp_path):
    disk = DiskCache(tmp_path, 1000, runtime)
    run(disk.write("a", "../key", b"one", b"two"))
    content, written = run(disk.read("a", "../key"))
    assert content == b"onetwo"
    assert abs(written - runtime.now().timestamp()) < 60
    assert run(disk.read("b", "../key")) is None
    run(disk.remove("a", "../key"))
    assert run(disk.read("a", "../key")) is None
    assert list((tmp_path / UNFINISHED).iterdir()) == []


def test_what_was_used_longest_ago_goes_first(run, runtime, tmp_path):
    disk = DiskCache(tmp_path, 10**6, runtime)
    tmp_path.joinpath("lock").touch()
    for number in range(4):
        run(disk.write("a", str(number), b"x" * 100))
    for path in tmp_path.glob("a/*/*"):
        os.utime(path, (1000, 1000))
    run(disk.touch_key("a", "1"))
    run(disk.touch_key("a", "3"))
    left_over = tmp_path / UNFINISHED / "old"
    left_over.touch()
    os.utime(left_over, (1000, 1000))
    tmp_path.joinpath(UNFINISHED, "new").touch()
    DiskCache(tmp_path, 250, runtime).sweep()
    kept = [number for number in range(4) if run(disk.read("a", str(number)))]
    assert kept == [1, 3]
    assert [path.name for path in (tmp_path / UNFINISHED).iterdir()] == ["new"]
    assert tmp_path.joinpath("lock").exists()


def test_growing_makes_it_tidy_up(run, runtime, tmp_path):
    disk = DiskCache(tmp_path, 1600, runtime)

    async def fill():
        for number in range(40):
            await disk.write("a", str(number), b"x" * 200)
        if disk._sweeping is not None:
            await disk._sweeping

    run(fill())
    disk.sweep()
    assert sum(path.stat().st_size for path in tmp_path.glob("a/*/*")) <= 1600


def test_a_disk_that_cannot_be_written_is_no_error(run, runtime, tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    run(DiskCache(blocked, 1000, runtime).write("a", "key", b"x"))
