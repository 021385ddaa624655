"""Downloads from a local server that breaks off, refuses, or sends other content than before."""

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from file_server import Served, Server, serve
from original_files import ORIGINALS, noise

from cdis import data
from cdis.cli import main
from cdis.data import download
from cdis.data.download import File, fetch
from cdis.data.shapes3d import Shapes3d
from cdis.errors import UserError

HERE = Path(__file__).parent
CONTENT = noise(3_000_000).tobytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    with serve() as running:
        running.files["/set.bin"] = Served(CONTENT)
        yield running


def _file(server: Server, *, paths: tuple[str, ...] = ("/set.bin",), **known: Any) -> File:
    known = known or {"size": len(CONTENT), "sha256": SHA256}
    return File("set.bin", tuple(server.url + path for path in paths), **known)


def _fetch(file: File, folder: Path, manual_dir: Path | None = None) -> Path:
    (path,) = fetch((file,), "a/set", folder / "home", manual_dir, folder / "manual")
    return path


def _left(folder: Path) -> set[str]:
    return {path.name for path in (folder / "home").iterdir()} - {".lock"}


def test_downloaded_once_and_verified(server, tmp_path):
    file = _file(server)
    path = _fetch(file, tmp_path)
    assert path.read_bytes() == CONTENT and _left(tmp_path) == {"set.bin"}
    assert _fetch(file, tmp_path) == path
    assert len(server.requests) == 1


@pytest.mark.parametrize("known", [{"sha256": SHA256}, {"md5": MD5}, {"size": len(CONTENT)}])
def test_any_of_size_and_hashes_may_be_known(known, server, tmp_path, capsys):
    assert _fetch(_file(server, **known), tmp_path).read_bytes() == CONTENT
    said = capsys.readouterr().err
    if "size" in known:
        assert "the correct hash of set.bin is unknown" in said and SHA256 in said
        assert (tmp_path / "home/set.bin.sha256").read_text() == f"{SHA256}  set.bin\n"
    else:
        assert said == "" and _left(tmp_path) == {"set.bin"}


def test_a_broken_connection_resumes(server, tmp_path):
    server.files["/set.bin"].sizes = [1_000_000, 500_000]
    assert _fetch(_file(server), tmp_path).read_bytes() == CONTENT
    assert server.parts() == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_command_resumes(server, tmp_path):
    server.files["/set.bin"].sizes = [1_000_000] + 3 * [0]
    with pytest.raises(UserError, match=r"broke after 1,000,000 of 3,000,000 bytes; the received "):
        _fetch(_file(server), tmp_path)
    assert _left(tmp_path) == {"set.bin.partial", "set.bin.partial.version"}
    assert _fetch(_file(server), tmp_path).read_bytes() == CONTENT
    assert server.parts()[-1] == "bytes=1000000-" and _left(tmp_path) == {"set.bin"}


@pytest.mark.parametrize(
    "now",
    [
        Served(CONTENT, {"ETag": '"2"'}),  # another version
        Served(CONTENT, {}),
        Served(CONTENT, ranges=False),
    ],
)
@pytest.mark.parametrize("known", [{"sha256": SHA256}, {"size": len(CONTENT)}])
def test_a_download_that_cannot_resume_restarts(now, known, server, tmp_path):
    server.files["/set.bin"] = Served(CONTENT[::-1], sizes=[1_000_000] + 3 * [0])
    with pytest.raises(UserError):
        _fetch(_file(server, **known), tmp_path)
    server.files["/set.bin"] = now
    assert _fetch(_file(server, **known), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("version", "asked"),
    [
        ({"Last-Modified": "Wed, 25 Nov 2026 10:00:00 GMT"}, "bytes=1000000-"),
        ({"ETag": 'W/"1"', "Last-Modified": "Wed, 25 Nov 2026 10:00:00 GMT"}, "bytes=1000000-"),
        ({"ETag": 'W/"1"'}, None),  # useless: two versions may share it
        ({}, None),
    ],
)
def test_which_versions_are_trusted(version, asked, server, tmp_path):
    server.files["/set.bin"] = Served(CONTENT, version, sizes=[1_000_000])
    assert _fetch(_file(server), tmp_path).read_bytes() == CONTENT
    assert server.parts() == [None, asked]


def test_a_complete_but_unverified_file_is_not_requested_again(server, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/set.bin.partial").write_bytes(CONTENT)
    (tmp_path / "home/set.bin.partial.version").write_text('"1"')
    assert _fetch(_file(server), tmp_path).read_bytes() == CONTENT
    assert server.parts() == ["bytes=3000000-"]


def test_a_partial_file_that_is_too_long_is_downloaded_anew(server, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/set.bin.partial").write_bytes(CONTENT + b"more")
    (tmp_path / "home/set.bin.partial.version").write_text('"1"')
    assert _fetch(_file(server), tmp_path).read_bytes() == CONTENT
    assert server.parts() == ["bytes=3000004-", None]


# Mirrors and refusals


def test_mirrors_are_tried_in_order(server, tmp_path):
    server.files |= {
        "/refuses": Served(b"", status=403),
        "/other": Served(CONTENT[:-1] + b"?"),
        "/short": Served(CONTENT[:-1]),
        "/page": Served(b"<html>quota exceeded</html>", kind="text/html; charset=utf-8"),
    }
    paths = ("/refuses", "/other", "/short", "/page", "/set.bin", "/never")
    assert _fetch(_file(server, paths=paths), tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == list(paths[:-1])
    assert _left(tmp_path) == {"set.bin"}


def test_every_refusal_is_reported_and_what_to_put_where(server, tmp_path):
    server.files |= {
        "/refuses": Served(b"", status=429),
        "/other": Served(CONTENT[:-1] + b"?"),
        "/page": Served(b"<html>quota exceeded</html>", kind="text/html"),
    }
    file = _file(server, paths=("/refuses", "/other", "/page"))
    file = file._replace(urls=(*file.urls, "http://nowhere.invalid/set.bin"))
    with pytest.raises(UserError) as caught:
        _fetch(file, tmp_path)
    other = hashlib.sha256(CONTENT[:-1] + b"?").hexdigest()
    for words in (
        "a/set: set.bin could not be downloaded",
        "/refuses: HTTP 429 Too Many Requests",
        f"/other: it sent another file: its sha256 is {other}, not {SHA256}",
        "/page: it sent a web page instead of the file",
        "http://nowhere.invalid/set.bin: ",
        f"Put them into {tmp_path / 'manual'}",
        "cdis data prepare a/set --manual_dir FOLDER",
        f"set.bin (3,000,000 bytes, sha256 {SHA256}) from {server.url}/refuses",
    ):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value) and _left(tmp_path) == set()


def test_all_missing_files_are_named(server, tmp_path):
    server.files["/gone"] = Served(b"", status=404)
    files = (
        _file(server),
        File("two.bin", (f"{server.url}/gone",), md5=MD5),
        File("three.bin", (f"{server.url}/gone",)),
    )
    with pytest.raises(
        UserError, match=r"two.bin could not .*two.bin \(md5 \w+\) from .*three"
    ) as e:
        fetch(files, "set", tmp_path / "home", None, tmp_path / "manual")
    assert "three.bin (its hash is unknown)" in str(e.value)
    assert "set.bin (3" not in str(e.value)


# Provided by the user


def test_files_in_the_manual_folder_are_not_downloaded(server, tmp_path):
    (tmp_path / "manual").mkdir()
    (tmp_path / "manual/set.bin").write_bytes(CONTENT)
    assert _fetch(_file(server), tmp_path) == tmp_path / "manual/set.bin"
    assert not server.requests and not (tmp_path / "home").exists()


def test_a_folder_given_by_the_user_must_hold_all_files(server, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(
        UserError, match=rf"{tmp_path}/mine lacks files of a/set: set.bin \(3,000,000 byt"
    ):
        _fetch(_file(server), tmp_path, tmp_path / "mine")
    (tmp_path / "mine/set.bin").write_bytes(CONTENT)
    assert _fetch(_file(server), tmp_path, tmp_path / "mine") == tmp_path / "mine/set.bin"
    assert not server.requests


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({}, "it has 2,999,999 bytes, not 3,000,000"),
        ({"sha256": SHA256}, f"its sha256 is [0-9a-f]{{64}}, not {SHA256}"),
        ({"md5": MD5}, f"its md5 is [0-9a-f]{{32}}, not {MD5}"),
    ],
)
@pytest.mark.parametrize("place", ["mine", "manual", "home"])
def test_another_file_is_not_used(place, known, why, server, tmp_path):
    path = tmp_path / place / "set.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1])
    named = path.parent if place == "mine" else None
    message = rf"^{path} is not the published file of a/set: {why}.* {server.url}/set.bin"
    with pytest.raises(UserError, match=message):
        _fetch(_file(server, **known), tmp_path, named)
    assert path.read_bytes() == CONTENT[:-1] and not server.requests


# Where nothing can be written


def test_a_disk_that_is_too_small_is_reported_beforehand(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=2_999_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        OSError, match=r"3,000,000 bytes remain to be downloaded, but only 2,999,999 are free"
    ):
        _fetch(_file(server), tmp_path)


def test_a_full_disk_loses_nothing(server, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            _fetch(_file(server), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert 0 < (tmp_path / "home/set.bin.partial").stat().st_size <= 2_000_000
    assert _fetch(_file(server), tmp_path).read_bytes() == CONTENT
    assert server.parts()[1] is not None


# A whole data set


class Tiny(NamedTuple):
    path: Path
    file: File


@pytest.fixture
def tiny(server, tmp_path, monkeypatch) -> Tiny:
    """Shapes3D with few images, on the server."""
    original = ORIGINALS["shapes3d"]
    folder = tmp_path / "published"
    folder.mkdir()
    original.write(folder, original.sizes)
    path = folder / "3dshapes.h5"
    content = path.read_bytes()
    server.files["/3dshapes.h5"] = Served(content)
    digest = hashlib.sha256(content).hexdigest()
    file = File("3dshapes.h5", (f"{server.url}/3dshapes.h5",), len(content), digest)
    monkeypatch.setattr(Shapes3d, "SIZES", original.sizes)
    monkeypatch.setattr(Shapes3d, "FILES", (file,))
    return Tiny(path, file)


def _program(tiny: Tiny, data_dir: Path) -> subprocess.Popen:
    program = (
        "import sys; from cdis import data; from cdis.data.download import File\n"
        "from cdis.data.shapes3d import Shapes3d\n"
        f"Shapes3d.SIZES = {ORIGINALS['shapes3d'].sizes}\n"
        f"Shapes3d.FILES = (File(*{tuple(tiny.file)}),)\n"
        f"data.prepare('shapes3d', {str(data_dir)!r})\n"
        "assert 'tensorflow' not in sys.modules"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(HERE.parent.parent), "no_proxy": "*"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_download_resumes(tiny, server, tmp_path):
    data_dir = tmp_path / "data"
    half = server.files["/3dshapes.h5"].content[: tiny.path.stat().st_size // 2]
    server.files["/3dshapes.h5"].sizes = [len(half)]
    server.files["/3dshapes.h5"].hold = threading.Event()
    process = _program(tiny, data_dir)
    partial = data_dir / "downloads/shapes3d/3dshapes.h5.partial"
    deadline = time.monotonic() + 120
    # The process loses what is still in its buffer.
    while not partial.exists() or partial.stat().st_size < len(half) - (2 << 20):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (data_dir / "shapes3d/default/1.0.0").exists()
    assert not partial.with_suffix("").exists()

    have = partial.stat().st_size
    data.prepare("shapes3d", str(data_dir))
    assert server.parts() == [None, f"bytes={have}-"]
    assert partial.with_suffix("").read_bytes() == tiny.path.read_bytes()


def test_two_processes_download_once(tiny, server, tmp_path):
    processes = [_program(tiny, tmp_path / "data") for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert server.parts() == [None]
    assert data.prepared("shapes3d", str(tmp_path / "data")) is not None


def test_commands_from_download_to_counts(tiny, server, tmp_path, capsys):
    data_dir = ("--data_dir", str(tmp_path / "data"))
    server.files["/3dshapes.h5"].status = 403
    assert main(["data", "prepare", "shapes3d", *data_dir]) == 2
    said = capsys.readouterr().err
    assert f"Put them into {tmp_path / 'data/downloads/manual'}" in said
    assert main(["data", "show", "shapes3d", *data_dir]) == 0
    said = capsys.readouterr().out
    assert "object_hue        3 values, circular\n" in said
    assert "shape             2 values, in no meaningful order\n" in said
    assert "To count their transitions, run: cdis data prepare shapes3d" in said
    assert main(["data", "prepare", "shapes3d", *data_dir, "--manual_dir", str(tmp_path)]) == 2
    assert "lacks files of shapes3d: 3dshapes.h5" in capsys.readouterr().err

    by_hand = ("--manual_dir", str(tiny.path.parent))
    assert main(["data", "prepare", "shapes3d", *data_dir, *by_hand]) == 0
    capsys.readouterr()
    assert main(["data", "show", "shapes3d", *data_dir]) == 0
    lines = capsys.readouterr().out.splitlines()
    header = next(line for line in lines if line.startswith("transitions"))
    assert header.split() == ["transitions", "train", "validation", "test"]
    assert any(line.split()[:1] == ["orientation-1"] for line in lines)


@pytest.mark.parametrize("name", ["sprites2d/coloured", "own:."])
def test_a_manual_folder_for_data_that_is_not_downloaded_is_refused(name, tmp_path):
    with pytest.raises(UserError, match="leave --manual_dir out"):
        data.prepare(name, str(tmp_path), str(tmp_path))


def test_a_download_folder_that_is_not_writable_is_reported(tiny, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/downloads").write_text("mine")
    with pytest.raises(
        UserError, match=r"^shapes3d could not be prepared in .*--data_dir or the env"
    ):
        data.prepare("shapes3d", str(tmp_path / "data"))
    assert (tmp_path / "data/downloads").read_text() == "mine"
