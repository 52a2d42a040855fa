"""The plain archive's own reader: what it reads, zipfile reads alike, whatever the bytes are."""

from __future__ import annotations

import io
import random
import zipfile

import pytest

from skin_edge.edge_runtime import ModelFileError
from skin_edge.edge_runtime.archive import Archive
from skin_edge.edge_runtime.model_file import with_archive

NETWORK = b"\x1c\0\0\0TFL3" + bytes(range(256)) * 4
FILES = {"labels.txt": "mel\nnv\n", "metadata.json": '{"format": "skin-edge-model", "name": "Läsion"}\n'}


def by_zipfile(content: bytes) -> tuple[int, dict[str, bytes]]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    entries = archive.infolist()
    return min(entry.header_offset for entry in entries), {entry.filename: archive.read(entry) for entry in entries}


def by_hand(content: bytes) -> tuple[int, dict[str, bytes]] | None:
    """What the reader here reads; None where it leaves the file to zipfile."""
    try:
        archive = Archive(content)
    except ModelFileError:
        return None
    return (archive.start, archive._files) if archive._files else None


def test_a_written_archive_is_read_without_zipfile(monkeypatch):
    content = with_archive(NETWORK, FILES)
    monkeypatch.delattr(zipfile, "ZipFile")
    archive = Archive(content)
    assert archive.is_readable
    assert archive.start == len(NETWORK)
    assert {name: archive.read(name).decode() for name in FILES} == FILES
    assert archive.read("another.txt") is None


def test_without_an_archive_all_is_the_network():
    archive = Archive(NETWORK)
    assert (archive.start, archive.is_readable, archive.read("labels.txt")) == (len(NETWORK), False, None)


@pytest.mark.parametrize("bytes_changed", [1, 2, 4])
def test_damaged_archives_are_left_to_zipfile_or_read_as_it_does(bytes_changed):
    rng, content = random.Random(2026), with_archive(NETWORK, FILES)
    for _ in range(2000):
        damaged = bytearray(content)
        for _ in range(bytes_changed):
            position = rng.randrange(len(NETWORK) - 8, len(content))
            damaged[position] = rng.choice((0, 1, 0xFF, damaged[position] ^ 1 << rng.randrange(8)))
        read = by_hand(bytes(damaged))
        assert read is None or read == by_zipfile(bytes(damaged))


def test_cut_archives_are_left_to_zipfile():
    content = with_archive(NETWORK, FILES)
    assert all(by_hand(content[:length]) is None for length in range(len(NETWORK), len(content)))
    assert all(by_hand(content + bytes(more)) is None for more in (1, 22, 100))


@pytest.mark.parametrize("name", ["notes.txt", "PK\6\7" + "\0" * 16])
def test_other_names_are_left_to_zipfile(name):
    assert by_hand(with_archive(NETWORK, {**FILES, name: "x"})) is None


def test_compressed_files_are_left_to_zipfile():
    buffer = io.BytesIO(NETWORK)
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", "mel\n" * 100)
    assert by_hand(buffer.getvalue()) is None
    assert Archive(buffer.getvalue()).read("labels.txt") == b"mel\n" * 100


def packed(method, files=(("labels.txt", "mel\n" * 100),)):
    buffer = io.BytesIO(NETWORK)
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", method) as archive:
        for name, text in files:
            archive.writestr(name, text)
    return bytearray(buffer.getvalue())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_are_not_unpacked(method):
    """LZMA alone may ask for gigabytes."""
    with pytest.raises(ModelFileError, match="method that is not supported"):
        Archive(bytes(packed(method))).read("labels.txt")


@pytest.mark.parametrize("said", [0, 1, 399, 401, 1_000_000])
def test_what_unpacks_to_another_size_than_it_says(said):
    content = packed(zipfile.ZIP_DEFLATED)
    entry = content.rindex(b"PK\1\2")
    content[entry + 24 : entry + 28] = said.to_bytes(4, "little")
    with pytest.raises(ModelFileError, match="does not unpack to what"):
        Archive(bytes(content)).read("labels.txt")


def test_deflate_that_lies_is_cut_at_its_size():
    """A gigabyte of zeros in a megabyte, said to be ten bytes: nothing beyond those is unpacked."""
    import tracemalloc

    content = packed(zipfile.ZIP_DEFLATED, [("labels.txt", "\0" * 30_000_000)])
    entry = content.rindex(b"PK\1\2")
    content[entry + 24 : entry + 28] = (10).to_bytes(4, "little")
    archive = Archive(bytes(content))
    tracemalloc.start()
    with pytest.raises(ModelFileError, match="does not unpack to what"):
        archive.read("labels.txt")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((("labels.txt", "a"), ("labels.txt", "b")), "twice"),
        ((("a\x1b[2J", "a"),), "no place"),
        ((("a" * 300, "a"),), "no place"),
        (tuple((f"{i}", "") for i in range(1001)), "no place"),
    ],
)
def test_archives_that_no_model_has(files, message):
    with pytest.raises(ModelFileError, match=message):
        Archive(bytes(packed(zipfile.ZIP_STORED, files)))


def test_two_names_of_one_file():
    content = packed(zipfile.ZIP_STORED, (("one.txt", "same"), ("two.txt", "same")))
    first, second = content.index(b"PK\1\2"), content.rindex(b"PK\1\2")
    content[second + 42 : second + 46] = content[first + 42 : first + 46]
    with pytest.raises(ModelFileError, match="overlap"):
        Archive(bytes(content))


def test_a_file_that_begins_before_the_content_is_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("labels.txt", "mel\n")
        archive.writestr("metadata.json", "{}")
    content = bytearray(buffer.getvalue())
    at = content.rfind(b"PK\5\6")
    start = int.from_bytes(content[at + 16 : at + 20], "little")
    content[at + 16 : at + 20] = (start + 60).to_bytes(4, "little")  # so that zipfile finds 60 bytes missing in front
    with pytest.raises(ModelFileError, match="begins outside it"):
        Archive(bytes(content))
