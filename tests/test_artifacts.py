"""Claims about what stages leave on disk: whole or not at all, resumable, never on top of something else."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadscribe import artifacts
from roadscribe.artifacts import (
    KeyedLog,
    atomic_open,
    disk_errors,
    finish,
    open_output,
    read_json,
    require_complete,
    write_bytes,
    write_json,
)
from roadscribe.errors import InputError, WorkError

RECIPE = {"footage": {"frames": 10}}


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


class TestAtomicFiles:
    def test_a_file_appears_when_it_is_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "new folder" / "a.bin"
        with atomic_open(path) as file:
            file.write(b"half")
            assert not path.exists()
            file.write(b" and half")
        assert path.read_bytes() == b"half and half"
        assert [item.name for item in path.parent.iterdir()] == ["a.bin"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
        self, tmp_path: Path, error: type[BaseException]
    ) -> None:
        path = tmp_path / "a.json"
        write_json(path, {"old": True})
        with pytest.raises(error), atomic_open(path) as file:
            file.write(b"{")
            raise error
        assert json.loads(path.read_text()) == {"old": True}
        assert list(tmp_path.iterdir()) == [path]

    def test_a_full_disk_leaves_the_old_file_and_nothing_else(self, tiny_disk: Path) -> None:
        path = tiny_disk / "a.bin"
        write_bytes(path, b"old")
        with pytest.raises(WorkError, match="the disk is full"), disk_errors(tiny_disk):
            write_bytes(path, bytes(200_000))
        assert path.read_bytes() == b"old"
        assert list(tiny_disk.iterdir()) == [path]

    def test_json_that_is_no_json_is_refused_before_it_is_written(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "a.json", {"x": float("nan")})
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
    def test_a_file_that_is_no_json_is_named(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "a.json"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.json: not valid JSON .*; expected a scorecard"):
            read_json(path, "a scorecard")
        with pytest.raises(InputError, match="no such file; expected a scorecard"):
            read_json(tmp_path / "none.json", "a scorecard")
        with pytest.raises(InputError, match=r"cannot be read \(Is a directory\)"):
            read_json(tmp_path, "a scorecard")


APPENDER = """
import sys
from pathlib import Path
from roadscribe.artifacts import KeyedLog
with KeyedLog(Path(sys.argv[1])) as log:
    number = len(log.records)
    while True:
        log.append(str(number), text="x" * 5000)
        print(number, flush=True)
        number += 1
"""


class TestKeyedLog:
    def test_what_was_appended_is_there_when_it_is_opened_again(self, tmp_path: Path) -> None:
        path = tmp_path / "folder" / "log.jsonl"
        with KeyedLog(path) as log:
            log.append("a", text="straße\n\u2028")
            log.append("b", text="old")
            log.append("b", text="new")
        with KeyedLog(path) as log:
            assert log.records == {
                "a": {"key": "a", "text": "straße\n\u2028"},
                "b": {"key": "b", "text": "new"},
            }
            assert "a" in log
            assert "c" not in log
        assert len(path.read_bytes().splitlines()) == 3

    @settings(deadline=None, max_examples=30)
    @given(
        records=st.lists(st.tuples(st.text(max_size=5), st.text(max_size=20)), max_size=6),
        cut=st.integers(0, 400),
    )
    def test_cut_anywhere_it_holds_every_whole_record_and_takes_more(
        self, records: list[tuple[str, str]], cut: int, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        path = tmp_path_factory.mktemp("log") / "log.jsonl"
        with KeyedLog(path) as log:
            for key, text in records:
                log.append(key, text=text)
        content = path.read_bytes()[:cut]
        path.write_bytes(content)
        whole = content.count(b"\n")
        with KeyedLog(path) as log:
            assert log.records == {key: {"key": key, "text": text} for key, text in records[:whole]}
            log.append("next", text="more")
        with KeyedLog(path) as log:
            assert log.records["next"] == {"key": "next", "text": "more"}
            assert len(log.records) == len({key for key, _ in records[:whole]} | {"next"})

    def test_killed_while_it_appends_it_loses_no_record_that_was_reported(self, tmp_path: Path) -> None:
        path = tmp_path / "log.jsonl"
        reported = -1
        for _ in range(3):
            process = subprocess.Popen(
                [sys.executable, "-c", APPENDER, path], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            for _ in range(20):
                reported = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            reported = max([reported, *map(int, process.stdout.read().split())])
            process.wait()
            with KeyedLog(path) as log:
                assert list(log.records) == [str(number) for number in range(len(log.records))]
                assert len(log.records) > reported

    def test_a_record_that_does_not_fit_on_the_disk_leaves_no_trace(self, tiny_disk: Path) -> None:
        path = tiny_disk / "log.jsonl"
        with KeyedLog(path) as log:
            log.append("a", text="x" * 30_000)
            with pytest.raises(OSError, match="No space left"):
                log.append("b", text="y" * 100_000)
            assert "b" not in log
            log.append("c", text="z")
        with KeyedLog(path) as log:
            assert list(log.records) == ["a", "c"]

    @pytest.mark.parametrize("line", ["[]", "{}", "word", '{"key": []}', "", "null"])
    def test_a_file_that_is_no_log_is_refused_and_left_alone(self, tmp_path: Path, line: str) -> None:
        path = tmp_path / "log.jsonl"
        path.write_text(f'{{"key": "a"}}\n{line}\n')
        before = path.read_bytes()
        with pytest.raises(InputError, match=r"log\.jsonl:2: not a record"):
            KeyedLog(path)
        assert path.read_bytes() == before


class TestOutput:
    def test_a_stage_from_beginning_to_end(self, tmp_path: Path) -> None:
        out = tmp_path / "a" / "b"
        assert open_output(out, "clips", RECIPE) is False
        with pytest.raises(InputError, match="is unfinished; first run `roadscribe collect --resume`"):
            require_complete(out, "clips", "collect")
        assert open_output(out, "clips", RECIPE, resume=True) is False
        finish(out, clips=3)
        assert open_output(out, "clips", RECIPE, resume=True) is True
        assert require_complete(out, "clips", "collect") == {
            "kind": "clips",
            "complete": True,
            "recipe": RECIPE,
            "summary": {"clips": 3},
        }
        with pytest.raises(
            InputError, match="is of kind 'clips', not 'dataset'; make one with `roadscribe curate`"
        ):
            require_complete(out, "dataset", "curate")
        with pytest.raises(InputError, match="no such folder; make it with `roadscribe collect`"):
            require_complete(tmp_path / "none", "clips", "collect")

    def test_nothing_is_overwritten_unless_told(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        open_output(out, "clips", RECIPE)
        (out / "clips-00000.parquet").write_bytes(b"precious")
        finish(out)
        before = {path: path.read_bytes() for path in out.iterdir()}
        for keywords, said in [
            ({}, "already holds an artifact of kind 'clips'; use --resume to go on, or --overwrite"),
            (
                {"resume": True, "recipe": {"footage": {"frames": 8}}},
                "differs at footage.frames: 10 then, 8 now",
            ),
            (
                {"kind": "dataset"},
                "already holds an artifact of kind 'clips'; use another --out, or --overwrite",
            ),
            (
                {"kind": "dataset", "resume": True},
                "already holds an artifact of kind 'clips'; use another --out",
            ),
        ]:
            arguments: dict[str, Any] = {"kind": "clips", "recipe": RECIPE, **keywords}
            with pytest.raises(InputError) as caught:
                open_output(out, **arguments)
            assert said in str(caught.value)
            assert {path: path.read_bytes() for path in out.iterdir()} == before

    def test_overwrite_empties_only_what_roadscribe_made(self, tmp_path: Path) -> None:
        ours = tmp_path / "ours"
        open_output(ours, "clips", RECIPE)
        (ours / "sub").mkdir()
        (ours / "sub/file").touch()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere/kept").touch()
        (ours / "link").symlink_to(tmp_path / "elsewhere")
        assert open_output(ours, "dataset", {"new": 1}, overwrite=True) is False
        assert [path.name for path in ours.iterdir()] == ["artifact.json"]
        assert read_json(ours / "artifact.json", "") == {
            "kind": "dataset",
            "complete": False,
            "recipe": {"new": 1},
        }
        assert (tmp_path / "elsewhere/kept").exists()

        (tmp_path / "photos").mkdir()
        (tmp_path / "photos/wedding.jpg").touch()
        with pytest.raises(InputError, match="was not made by roadscribe, so --overwrite leaves it alone"):
            open_output(tmp_path / "photos", "clips", RECIPE, overwrite=True)
        assert (tmp_path / "photos/wedding.jpg").exists()

    def test_a_linked_folder_can_be_overwritten(self, tmp_path: Path) -> None:
        open_output(tmp_path / "real", "clips", RECIPE)
        (tmp_path / "link").symlink_to(tmp_path / "real")
        open_output(tmp_path / "link", "dataset", RECIPE, overwrite=True)
        assert read_json(tmp_path / "real/artifact.json", "")["kind"] == "dataset"

    def test_killed_while_it_deletes_a_run_neither_passes_for_whole_nor_keeps_old_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        open_output(out, "clips", RECIPE)
        (out / "clips-00000.parquet").write_bytes(b"of the old recipe")
        finish(out)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(artifacts, "_empty", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
            open_output(out, "clips", {"footage": {"frames": 8}}, overwrite=True)
        with pytest.raises(InputError, match="is unfinished"):
            require_complete(out, "clips", "collect")
        assert open_output(out, "clips", {"footage": {"frames": 8}}, resume=True) is False
        assert [path.name for path in out.iterdir()] == ["artifact.json"]

    def test_resuming_takes_away_what_a_killed_run_left_half_written(self, tmp_path: Path) -> None:
        open_output(tmp_path, "clips", RECIPE)
        (tmp_path / ".clips-00001.parquet.x1y2.tmp").write_bytes(b"half")
        (tmp_path / "clips-00000.parquet").write_bytes(b"whole")
        open_output(tmp_path, "clips", RECIPE, resume=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact.json", "clips-00000.parquet"]

    def test_an_output_that_cannot_be_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "broken").symlink_to(tmp_path / "nowhere" / "deep")
        for out in ("file", "file/below", "broken", "x" * 300):
            with pytest.raises(InputError) as caught:
                open_output(tmp_path / out, "clips", RECIPE)
            assert len(str(caught.value).splitlines()) == 1
        assert open_output(tmp_path / "empty", "clips", RECIPE) is False

    def test_a_disk_that_is_full_or_closed_says_so(self, tiny_disk: Path) -> None:
        (tiny_disk / "big").write_bytes(bytes(60_000))
        with pytest.raises(WorkError, match="the disk is full"):
            open_output(tiny_disk / "out", "clips", {"long": "x" * 10_000})
        for number in (errno.EACCES, errno.EROFS, errno.EPERM):
            with pytest.raises(WorkError, match="cannot write here"), disk_errors(tiny_disk):
                raise OSError(number, os.strerror(number))
        with pytest.raises(FileNotFoundError), disk_errors(tiny_disk):
            (tiny_disk / "none").read_bytes()
