from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import stat
import tarfile
import zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from io import BytesIO, UnsupportedOperation
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gzflow.cutouts import places
from gzflow.cutouts.archives import ImageFiles, ImagePlace, read_image
from gzflow.errors import MissingImage, NotAnImage, SettingsError, TruncatedImage
from tests.unlistable import bury


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def zipped(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name.encode())
    return path


def test_the_published_layout_in_folders_and_zips(tmp_path: Path) -> None:
    put(tmp_path / "gz_decals_dr5_png_part1", "J081/J081412.47+220853.0.png")
    zipped(tmp_path / "gz_decals_dr5_png_part2.zip", "gz_decals_dr5_png_part2/J112/J112330.91+280016.8.png")
    zipped(tmp_path / "deeper" / "gz_decals_dr5_png_part3.zip", "J124/J124641.47-041304.7.png")
    files = ImageFiles([tmp_path])
    assert len(files) == 3
    for name in ("J081412.47+220853.0", "J112330.91+280016.8", "J124641.47-041304.7"):
        place = files.find(f"{name[:4]}/{name}.png")
        assert place is not None
        assert files.read(place).endswith(f"{name}.png".encode())
    assert files.find("J999/J999.png") is None


def test_the_real_archive_layout(shared_data: Path) -> None:
    folder = shared_data / "gz_samples" / "galaxy_zoo_decals"
    files = ImageFiles(sorted(folder.glob("gz_decals_dr5_png_part*")))
    assert len(files) == 18
    place = files.find("J081/J081412.47+220853.0.png")
    assert place is not None
    assert "part1" in place.path
    assert files.find("dr5/J081/J081412.47+220853.0.png") == place  # `png_loc` of the published table
    assert len(files.unclaimed([place])) == 17


def test_a_path_relative_to_a_folder_wins_over_a_deeper_namesake(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "old/a.png")
    place = ImageFiles([tmp_path]).find("a.png")
    assert place == ImagePlace(str(tmp_path / "a.png"))


def test_absolute_and_foreign_paths(tmp_path: Path) -> None:
    put(tmp_path, "J081/x.png", "J082/y.png")
    files = ImageFiles([tmp_path])
    assert files.find(str(tmp_path / "J081" / "x.png")) == ImagePlace(str(tmp_path / "J081" / "x.png"))
    assert files.find("/elsewhere/pngs/J081/x.png") == ImagePlace(str(tmp_path / "J081" / "x.png"))
    assert files.find(r"D:\pngs\J081\x.png") == ImagePlace(str(tmp_path / "J081" / "x.png"))
    assert files.find("/elsewhere/x.png") is None
    assert files.find("") is None


def test_a_namesake_in_another_folder_is_no_match(tmp_path: Path) -> None:
    put(tmp_path, "spiral/1.png")
    assert ImageFiles([tmp_path]).find("elliptical/1.png") is None


def test_ambiguous_names_are_reported_with_their_places(tmp_path: Path) -> None:
    put(tmp_path, "one/a.png", "two/a.png")
    files = ImageFiles([tmp_path])
    with pytest.raises(MissingImage) as caught:
        files.find("a.png")
    assert "2 files could be 'a.png'" in str(caught.value)
    assert str(tmp_path / "two" / "a.png") in str(caught.value)
    assert files.find("two/a.png") is not None


def test_resolve_accounts_for_every_galaxy_and_every_image(tmp_path: Path) -> None:
    put(tmp_path, "one/a.png", "two/a.png", "two/b.png", "two/c.jpg", "two/d.png")
    files = ImageFiles([tmp_path])
    members = {
        "1": "one/a.png",
        "2": "a.png",
        "3": None,
        "4": "two/c.png",
        "5": "two/zzz.png",
        "6": "test/two/b.png",
        "7": "train/two/b.png",
    }
    result = files.resolve(members)
    assert set(result.places) | set(result.failures) == set(members)
    assert not set(result.places) & set(result.failures)
    assert set(result.places) == {"1"}
    assert "could be" in str(result.failures["2"])
    assert "names no image" in str(result.failures["3"])
    assert "c.jpg" in str(result.failures["4"])
    assert "among 5 images" in str(result.failures["5"])
    assert "claimed by 2 galaxies" in str(result.failures["6"])
    assert all(error.where == id_str for id_str, error in result.failures.items())
    assert len(result.unclaimed) == 4


def test_two_galaxies_may_share_an_image_by_the_same_name(tmp_path: Path) -> None:
    result = ImageFiles([put(tmp_path, "a.png")]).resolve({"1": "a.png", "2": "a.png"})
    assert set(result.places) == {"1", "2"}


def test_bad_paths_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "notes.tar.gz").write_bytes(b"x")
    (tmp_path / "broken.zip").write_bytes(zipped(tmp_path / "whole.zip", "a.png").read_bytes()[:40])
    with pytest.raises(SettingsError) as caught:
        ImageFiles([tmp_path / "absent", tmp_path / "notes.tar.gz", tmp_path / "broken.zip", tmp_path / "whole.zip"])
    message = str(caught.value)
    assert len(caught.value.problems) == 3
    assert "absent does not exist" in message
    assert "notes.tar.gz is a compressed tar" in message
    assert f"tar -xf {tmp_path / 'notes.tar.gz'} -C {tmp_path / 'notes'}" in message
    assert "broken.zip is not a complete ZIP" in message


def test_hostile_members_are_never_indexed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = zipped(tmp_path / "h.zip", "../../evil.png", "/etc/evil.png", "C:/evil.png", "a/../b.png", "good/a.png")
    with caplog.at_level(logging.WARNING):
        files = ImageFiles([path])
    assert len(files) == 1
    assert len(files.refused) == 4
    assert "leaves the archive" in files.refused[0]
    assert "4 archives or members refused" in caplog.text
    assert files.find("../../evil.png") is None


def test_what_is_not_an_image_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.JPG", "readme.txt", ".hidden.png", "__MACOSX/._a.png", ".git/x.png", "c.fits")
    zipped(tmp_path / "z.zip", "__MACOSX/._q.png", "q.jpeg", "q.csv", "folder/")
    assert len(ImageFiles([tmp_path])) == 4
    assert len(ImageFiles([tmp_path / "a.png", tmp_path / "a.png"])) == 1


def test_a_folder_that_links_to_itself_is_walked_once(tmp_path: Path) -> None:
    put(tmp_path / "real", "a.png")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real")
    assert len(ImageFiles([tmp_path / "real"])) == 1


def test_places_survive_pickling_and_many_threads(tmp_path: Path) -> None:
    names = [f"{k:03}/{k:05}.png" for k in range(200)]
    files = ImageFiles([zipped(tmp_path / "z.zip", *names)])
    places = [files.find(name) for name in names]
    copies = pickle.loads(pickle.dumps(places))
    assert copies == places
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read_image, copies * 5)) == [name.encode() for name in names] * 5


def _read_all(places: list[ImagePlace]) -> list[bytes]:
    return [read_image(place) for place in places]


def test_forked_children_and_their_parent_share_an_open_archive(tmp_path: Path) -> None:
    names = [f"{k:03}.png" for k in range(300)]
    places = [ImagePlace(str(zipped(tmp_path / "z.zip", *names)), name) for name in names]
    expected = _read_all(places)
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("fork")) as pool:
        futures = [pool.submit(_read_all, places) for _ in range(6)]
        assert _read_all(places) == expected
        assert all(future.result() == expected for future in futures)


def test_the_directory_of_an_archive_is_read_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "z.zip", "a.png", "b.png")
    opened = []
    real = places.OpenArchive.__init__
    monkeypatch.setattr(places.OpenArchive, "__init__", lambda self, path: (opened.append(path), real(self, path))[1])
    files = ImageFiles([path])
    assert [read_image(files.find(name)) for name in ("a.png", "b.png", "a.png")] == [b"a.png", b"b.png", b"a.png"]
    assert opened == [str(path)]
    zipped(path, "c.png")  # another file of the same name is another archive
    os.utime(path, (1, 1))
    assert read_image(ImagePlace(str(path), "c.png")) == b"c.png"


def test_every_way_of_packing_reads_alike(tmp_path: Path) -> None:
    content = os.urandom(5000) + b"galaxy" * 1000
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            archive.writestr(f"{method}.png", content, compress_type=method)
        padded = zipfile.ZipInfo("padded.png")
        padded.extra = (0x7075).to_bytes(2, "little") + (500).to_bytes(2, "little") + bytes(500)
        archive.writestr(padded, content)
    files = ImageFiles([tmp_path])
    for name in ("0.png", "8.png", "12.png", "padded.png"):
        assert read_image(files.find(name)) == content
    assert "14.png: its compression (method 14)" in files.refused[0]


class _Pipe(BytesIO):
    """A stream that cannot go back: sizes then stand behind the data, not before them."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise UnsupportedOperation("seek")

    def tell(self) -> int:
        raise UnsupportedOperation("tell")


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"\A[a-zäλ]{1,6}\.png\Z"),
        st.tuples(st.binary(max_size=300), st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
    st.binary(max_size=50),
)
def test_reading_equals_zipfile(tmp_path_factory: pytest.TempPathFactory, members, streamed: bool, before) -> None:
    stream = _Pipe() if streamed else BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, (content, method) in members.items():
            archive.writestr(name, content, compress_type=method)
    path = tmp_path_factory.mktemp("zip") / "z.zip"
    path.write_bytes(before + stream.getvalue())  # as a self-extracting archive begins
    files = ImageFiles([path])
    with zipfile.ZipFile(path) as archive:
        for name in members:
            assert read_image(files.find(name)) == archive.read(name)


def test_the_real_images_read_alike_from_an_archive(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "gz_samples" / "galaxy_zoo_decals"
    loose = sorted(folder.glob("gz_decals_dr5_png_part*/*/*.png"))
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in loose:
            archive.write(path, path.relative_to(folder))
    files = ImageFiles([tmp_path / "all.zip"])
    assert [read_image(files.find(f"{path.parent.name}/{path.name}")) for path in loose] == [
        path.read_bytes() for path in loose
    ]


def test_a_zip_beyond_4_gib(tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    with path.open("wb") as stream, zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("first.png", b"first")
        stream.seek(4 * 2**30 + 4096)  # a hole: the disk stores nothing for it
        archive.start_dir = stream.tell()
        archive.writestr("last.png", b"last")
    files = ImageFiles([path])
    assert [read_image(files.find(name)) for name in ("first.png", "last.png")] == [b"first", b"last"]


def test_a_tar_is_read_in_place_and_a_compressed_one_is_named(tmp_path: Path) -> None:
    folder = put(tmp_path / "loose", "hubble/10.jpg", "hubble/11.jpg", "notes.txt")
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        archive.add(folder, arcname=".")
        for name, target in (("link.png", "/etc/passwd"), ("../out.png", None)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = (tarfile.SYMTYPE, target) if target else (tarfile.REGTYPE, "")
            archive.addfile(member)
    with tarfile.open(tmp_path / "images.tar.gz", "w:gz") as archive:
        archive.add(folder, arcname=".")
    files = ImageFiles([tmp_path / "images.tar"])
    assert read_image(files.find("hubble/10.jpg")) == b"hubble/10.jpg"
    assert len(files) == 2
    assert sorted(reason.rsplit(": ")[-1] for reason in files.refused) == [
        "it is a link",
        "its name leaves the archive",
    ]
    assert any("compressed tar" in reason for reason in ImageFiles([tmp_path]).refused)
    whole = (tmp_path / "images.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: whole.index(b"hubble/11.jpg\0") + 515])
    with pytest.raises(SettingsError, match=r"cut.tar is not a complete tar file"):
        ImageFiles([tmp_path / "cut.tar"])


def test_links_bombs_and_lies_in_a_zip(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("bomb.png", bytes(50 * 2**20))
    content = bytearray((tmp_path / "z.zip").read_bytes())
    at = content.rindex(b"bomb.png") - 46 + 24  # the directory's word on the unpacked size
    content[at : at + 4] = (1000).to_bytes(4, "little")
    (tmp_path / "z.zip").write_bytes(content)
    files = ImageFiles([tmp_path])
    assert [reason.rsplit(": ")[-1] for reason in files.refused] == ["it is a link"]
    with pytest.raises(TruncatedImage, match="instead of 1,000"):
        read_image(files.find("bomb.png"))


def test_files_that_vanish_or_break_have_typed_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.png")
    files = ImageFiles([tmp_path, zipped(tmp_path / "z.zip", "in/q.png")])
    loose, inside = files.find("a.png"), files.find("in/q.png")
    assert loose is not None
    assert inside is not None
    (tmp_path / "a.png").unlink()
    with pytest.raises(MissingImage, match="no longer there"):
        read_image(loose)
    with pytest.raises(MissingImage):
        read_image(ImagePlace(inside.path, "other.png"))
    content = bytearray(Path(inside.path).read_bytes())
    content[content.index(b"in/q.png") + 9] ^= 0xFF  # the member's data follow its name
    Path(inside.path).write_bytes(content)
    os.utime(inside.path, (1, 1))
    with pytest.raises(TruncatedImage, match="CRC"):
        read_image(inside)
    assert read_image(inside, checksum=False) != b"in/q.png"  # for a caller that knows a better checksum
    monkeypatch.setattr(places, "MAX_BYTES", 2)
    with pytest.raises(NotAnImage, match="too many"):
        read_image(inside)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.from_regex(r"\A[ab]{1,2}/[ab]{1,2}/[xy]{1,2}\.png\Z"), min_size=1, max_size=12))
def test_every_indexed_image_is_found_by_its_relative_path(tmp_path_factory: pytest.TempPathFactory, names) -> None:
    folder = tmp_path_factory.mktemp("images")
    files = ImageFiles([put(folder, *sorted(names))])
    for name in names:
        assert files.find(name) == ImagePlace(str(folder / name))
    for absent in {"a/a/x.png", "b/b/y.png"} - names:
        found = None
        try:
            found = files.find(absent)
        except MissingImage:
            continue
        assert found is None or found.path.endswith(absent[2:])


def test_looking_up_costs_the_same_in_a_large_archive(tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for k in range(20_000):
            archive.writestr(f"part/{k % 997:03}/{k}.png", b"")
    files = ImageFiles([path])
    result = files.resolve({str(k): f"{k % 997:03}/{k}.png" for k in range(20_001)})
    assert len(result.places) == 20_000
    assert set(result.failures) == {"20000"}
    assert result.unclaimed == []


def test_a_folder_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    bury(tmp_path)
    with pytest.raises(SettingsError, match="File name too long"):
        ImageFiles([tmp_path])
