import io
import tarfile
import zipfile

import pytest

from data import UnreadableDocumentError
from data.loaders.archives import ArchiveLimits, is_archive, list_members, read_member
from tests.data.documents import zipped


def saved(folder, name, raw):
    path = folder / name
    path.write_bytes(raw)
    return path


def tarred(files, mode="w:gz", **kinds):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.type = len(content), kinds.get(name, tarfile.REGTYPE)
            info.linkname = "/etc/passwd" if name in kinds else ""
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def read_all(path, limits=None):
    return {
        member.path: member.problem or read_member(path, member)
        for member in list_members(path, limits)
    }


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a.tar", "w:"),
        ("a.tar.gz", "w:gz"),
        ("a.tgz", "w:gz"),
        ("a.tar.bz2", "w:bz2"),
        ("a.txz", "w:xz"),
    ],
)
def test_files_of_a_tar_are_read_in_any_order(tmp_path, name, mode):
    files = {"a.md": b"one", "deep/er/b.txt": b"two" * 9000, "c.md": b""}
    path = saved(tmp_path, name, tarred(files, mode))

    members = list_members(path)

    assert [member.path for member in members] == list(files)
    assert {m.path: read_member(path, m) for m in reversed(members)} == files


def test_files_of_a_zip_are_read_and_folders_and_hidden_files_left_out(tmp_path):
    raw = zipped(
        {"x/": "", "x/a.md": "one", "__MACOSX/x/._a.md": "?", ".git/config": "?", "b.txt": "two"}
    )

    assert read_all(saved(tmp_path, "a.zip", raw)) == {"x/a.md": b"one", "b.txt": b"two"}


def test_names_in_gbk_are_spelt_as_their_author_wrote_them(tmp_path):
    name = "年度报告/第一季度销售情况说明.txt"
    raw = bytearray(zipped({"?" * len(name.encode("gbk")): "text"}))
    raw = bytes(raw).replace(b"?" * len(name.encode("gbk")), name.encode("gbk"))

    assert read_all(saved(tmp_path, "a.zip", raw)) == {name: b"text"}


def test_archives_in_archives_are_read_as_folders_up_to_a_depth(tmp_path):
    inner = zipped({"a.md": "deep"})
    middle = tarred({"in.zip": inner, "b.md": b"middle"})
    outer = zipped({"mid.tar.gz": middle, "too.zip": zipped({"x.zip": zipped({"y.zip": inner})})})
    path = saved(tmp_path, "o.zip", outer)

    got = read_all(path)

    assert got["mid.tar.gz/in.zip/a.md"] == b"deep"
    assert got["mid.tar.gz/b.md"] == b"middle"
    assert "within 2 others" in got["too.zip/x.zip/y.zip"]


@pytest.mark.parametrize(
    "name", ["/etc/a.md", "../a.md", "x/../../a.md", "C:/a.md", "..\\a.md", "x//a.md"]
)
def test_a_path_that_leads_out_is_refused(tmp_path, name):
    zip_, tar = (
        saved(tmp_path, "a.zip", zipped({name: "x"})),
        saved(tmp_path, "a.tgz", tarred({name: b"x"})),
    )

    for path in (zip_, tar):
        assert ["leads out of the archive" in problem for problem in read_all(path).values()] == [
            True
        ]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(tmp_path, kind):
    path = saved(tmp_path, "a.tar.gz", tarred({"a.md": b""}, **{"a.md": kind}))

    assert "link or a device" in read_all(path)["a.md"]


def test_a_link_in_a_zip_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("a.md")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")

    assert "is a link" in read_all(saved(tmp_path, "a.zip", buffer.getvalue()))["a.md"]


def test_a_zip_bomb_is_refused_by_its_ratio(tmp_path):
    path = saved(tmp_path, "a.zip", zipped({"bomb.txt": bytes(30 * 2**20), "good.txt": "text"}))

    got = read_all(path)

    assert "times its size" in got["bomb.txt"]
    assert got["good.txt"] == b"text"


def test_counts_and_sizes_are_limited(tmp_path):
    path = saved(tmp_path, "a.tgz", tarred({f"{n}.md": b"x" * 100 for n in range(5)}))

    few = read_all(path, ArchiveLimits(members=3))
    small = read_all(path, ArchiveLimits(member_bytes=99))
    total = read_all(path, ArchiveLimits(total_bytes=250))

    assert [type(value) for value in few.values()] == [bytes, bytes, bytes, str]
    assert "more than 3 files" in few["3.md"]
    assert all("that is refused" in value for value in small.values())
    assert list(total) == ["0.md", "1.md", "2.md"]
    assert "unpacks to more than" in total["2.md"]


def test_a_tar_header_that_asks_for_gigabytes_is_damage(tmp_path):
    info = tarfile.TarInfo("a.md")
    info.size, info.type = 2**33, tarfile.XHDTYPE
    path = saved(tmp_path, "a.tar", info.tobuf() + bytes(1024))

    with pytest.raises(UnreadableDocumentError, match="damaged"):
        list_members(path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.txz"])
@pytest.mark.parametrize(
    "raw", [b"PK\x03\x04 cut", b"no archive" * 99, b"\x1f\x8b\x08cut", b"\xfd7zXZ\x00x"]
)
def test_a_damaged_archive_is_refused(tmp_path, name, raw):
    with pytest.raises(UnreadableDocumentError, match="The archive is damaged"):
        list_members(saved(tmp_path, name, raw))


def test_a_file_with_a_wrong_checksum_is_refused_and_the_others_are_read(tmp_path):
    raw = bytearray(zipped({"a.md": "x" * 500, "b.md": "good"}))
    raw[35] ^= 0xFF
    path = saved(tmp_path, "a.zip", bytes(raw))
    bad, good = list_members(path)

    with pytest.raises(UnreadableDocumentError, match="damaged in the archive"):
        read_member(path, bad)
    assert read_member(path, good) == b"good"


def test_a_second_file_of_the_same_name_is_refused(tmp_path):
    path = saved(
        tmp_path, "a.tar", tarred({"a.md": b"1"}, "w:")[:1024] + tarred({"a.md": b"2"}, "w:")
    )

    got = list_members(path)

    assert [bool(member.problem) for member in got] == [False, True]


def test_archives_are_known_by_their_names():
    assert [is_archive(name) for name in ("a.ZIP", "a.tar.gz", "a.gz", "zip", "a.zip.txt")] == [
        True,
        True,
        False,
        False,
        False,
    ]
