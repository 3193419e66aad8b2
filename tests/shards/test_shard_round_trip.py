from __future__ import annotations

import multiprocessing
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gzflow.errors import ShardError
from gzflow.shards import ShardHeader, ShardReader, reusable, write_shard
from gzflow.shards.codec import decode_jpeg, encode_jpeg

MakeHeader = Callable[..., ShardHeader]
MakeGalaxies = Callable[..., dict[str, Any]]

IDS = st.lists(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30),
    min_size=1,
    max_size=50,
    unique=True,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    ids=IDS,
    pixels=st.sampled_from([16, 17, 33]),
    channels=st.sampled_from(["RGB", "L"]),
    codec=st.sampled_from(["raw", "jpeg"]),
    data=st.data(),
)
def test_what_goes_in_comes_out(
    make_header: MakeHeader,
    make_galaxies: MakeGalaxies,
    ids: list[str],
    pixels: int,
    channels: str,
    codec: str,
    data: st.DataObject,
) -> None:
    header = make_header(pixels=pixels, channels=channels, codec=codec)
    given = make_galaxies(header, len(ids)) | {"ids": ids}
    rows = data.draw(st.lists(st.integers(-len(ids), len(ids) - 1), max_size=20))
    part = data.draw(st.slices(len(ids)))
    with tempfile.TemporaryDirectory() as folder:
        entry = write_shard(Path(folder) / "a.h5", header, **given)
        reader = ShardReader(Path(folder) / "a.h5")
        assert reader.header == header
        assert reader.entry() == entry
        assert entry.n == len(reader) == len(ids)
        assert reader.ids == ids
        for name in ("votes", "ra", "dec", "pixscale"):
            np.testing.assert_array_equal(getattr(reader, name), given[name], strict=True)
        expected = given["images"] if codec == "raw" else _decoded(given["images"], header)
        for chosen in (rows, np.array(rows, np.int64), part):
            found = reader.images(chosen)
            np.testing.assert_array_equal(found, expected[np.array(rows, int) if chosen is not part else part])
            assert found.dtype == np.uint8
            assert found.flags.c_contiguous
            assert found.flags.writeable
        reader.verify()


def _decoded(images: Sequence[bytes], header: ShardHeader) -> NDArray[np.uint8]:
    flag = cv2.IMREAD_COLOR if header.recipe.channels == "RGB" else cv2.IMREAD_GRAYSCALE
    decoded = [cv2.imdecode(np.frombuffer(content, np.uint8), flag) for content in images]
    pixels = [image[..., ::-1] if image.ndim == 3 else image[..., None] for image in decoded]
    return np.stack(pixels)


def test_positions_that_are_not_there(tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies) -> None:
    for codec in ("raw", "jpeg"):
        header = make_header(codec=codec)
        write_shard(tmp_path / f"{codec}.h5", header, **make_galaxies(header, 3))
        with pytest.raises(IndexError):
            ShardReader(tmp_path / f"{codec}.h5").images([3])


def test_the_same_galaxies_give_the_same_bytes(
    tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies
) -> None:
    for codec in ("raw", "jpeg"):
        header = make_header(codec=codec)
        first = write_shard(tmp_path / "one" / f"{codec}.h5", header, **make_galaxies(header, 9))
        again = make_galaxies(header, 9)
        again["images"] = list(again["images"])
        second = write_shard(tmp_path / "two" / f"{codec}.h5", header, **again)
        assert first == second
        one, two = (tmp_path / name / f"{codec}.h5" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_the_fingerprint_sees_every_change(
    tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies
) -> None:
    header = make_header()
    given = make_galaxies(header, 4)
    entry = write_shard(tmp_path / "a.h5", header, **given)
    seen = {entry.fingerprint}
    for name in ("images", "votes", "ra", "dec", "pixscale"):
        changed = given[name].copy()
        changed.reshape(-1)[0] = 1
        seen.add(write_shard(tmp_path / "b.h5", header, **given | {name: changed}).fingerprint)
    seen.add(write_shard(tmp_path / "b.h5", header, **given | {"ids": ["x", *given["ids"][1:]]}).fingerprint)
    seen.add(write_shard(tmp_path / "b.h5", make_header(survey="other"), **given).fingerprint)
    assert len(seen) == 8
    # Where it lies, which split it serves and what it was made from are not its content.
    other = make_header(split="test", source_fingerprint="elsewhere")
    assert write_shard(tmp_path / "c.h5", other, **given).fingerprint == entry.fingerprint
    # Integers of another width and NaN of another bit pattern mean the same.
    odd = np.where(np.isnan(given["ra"]), -np.float64("nan"), given["ra"])
    same = given | {"votes": given["votes"].astype(np.uint8), "ra": odd}
    assert write_shard(tmp_path / "d.h5", header, **same).fingerprint == entry.fingerprint


def test_images_may_be_made_one_at_a_time(tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies) -> None:
    header = make_header()
    given = make_galaxies(header, 20)

    class Lazy(Sequence[Any]):
        alive = 0

        def __len__(self) -> int:
            return 20

        def __getitem__(self, position: Any) -> Any:
            raise AssertionError("images are asked for in order, once")

        def __iter__(self) -> Iterator[Any]:
            for image in given["images"]:
                self.alive += 1
                yield image.copy()

    lazy = Lazy()
    write_shard(tmp_path / "a.h5", header, **given | {"images": lazy})
    assert lazy.alive == 20
    np.testing.assert_array_equal(ShardReader(tmp_path / "a.h5").images(slice(None)), given["images"])


def test_pixels_are_mapped_not_loaded(tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies) -> None:
    """A reader that has been used pickles to its path: no pixels travel to loader workers."""
    header = make_header(pixels=64)
    given = make_galaxies(header, 50)
    write_shard(tmp_path / "a.h5", header, **given)
    reader = ShardReader(tmp_path / "a.h5")
    reader.images([0])
    assert len(reader.ids) == 50
    assert len(pickle.dumps(reader)) < 500
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copy.images([7, 3]), given["images"][[7, 3]])
    found = reader.images(slice(0, 2))
    found[:] = 0  # the caller's own memory
    np.testing.assert_array_equal(reader.images(slice(0, 2)), given["images"][:2])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # other tests' threads
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_readers_in_worker_processes(
    tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies, method: str
) -> None:
    header = make_header()
    given = make_galaxies(header, 12)
    write_shard(tmp_path / "a.h5", header, **given)
    reader = ShardReader(tmp_path / "a.h5")
    reader.images([0])  # opened before the fork
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        found = pool.map(reader.images, [[row] for row in range(12)])
    np.testing.assert_array_equal(np.concatenate(found), given["images"])


def test_a_repacked_shard_is_read_too(tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies) -> None:
    header = make_header()
    given = make_galaxies(header, 6)
    write_shard(tmp_path / "a.h5", header, **given)
    with h5py.File(tmp_path / "a.h5") as old, h5py.File(tmp_path / "b.h5", "w") as new:
        for name in old:
            new.create_dataset(name, data=old[name][()], chunks=True, compression="gzip") if name == "images" else (
                old.copy(name, new)
            )
        new.attrs.update(old.attrs)
    reader = ShardReader(tmp_path / "b.h5")
    np.testing.assert_array_equal(reader.images([5, 0]), given["images"][[5, 0]])
    reader.verify()


def test_damage_is_found(tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies) -> None:
    header = make_header()
    path = tmp_path / "a.h5"
    write_shard(path, header, **make_galaxies(header, 40))
    whole = path.read_bytes()
    with h5py.File(path) as file:
        place = file["images"].id.get_offset() + 1000
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(ShardError, match="not what was written"):
        ShardReader(path).verify()
    for length in (len(whole) - 1, place, 100, 0):
        path.write_bytes(whole[:length])
        with pytest.raises(ShardError, match="no whole shard"):
            ShardReader(path).images([0])
    path.unlink()
    with pytest.raises(ShardError, match="there is no such shard"):
        ShardReader(path).images([0])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), codec=st.sampled_from(["raw", "jpeg"]))
def test_no_flipped_bit_goes_unnoticed(
    make_header: MakeHeader, make_galaxies: MakeGalaxies, where: float, bit: int, codec: str
) -> None:
    """Whatever bit of the file flips: an error of ours, or bytes that nothing uses."""
    header = make_header(pixels=16, codec=codec)
    given = make_galaxies(header, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        write_shard(path, header, **given)
        content = bytearray(path.read_bytes())
        content[int(where * len(content))] ^= 1 << bit
        path.write_bytes(content)
        reader = ShardReader(path)
        try:
            reader.verify()
        except ShardError:
            return
        assert reader.ids == given["ids"]
        np.testing.assert_array_equal(reader.votes, given["votes"])


def test_a_foreign_file_is_no_shard(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(ShardError, match="is no gzflow shard"):
        _ = ShardReader(tmp_path / "a.h5").header
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(ShardError, match=r"format version 99(.|\n)*expected: format version 1"):
        _ = ShardReader(tmp_path / "a.h5").header


def test_finished_shards_are_reusable(tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies) -> None:
    header = make_header()
    path = tmp_path / "a.h5"
    assert reusable(path, header) is None
    entry = write_shard(path, header, **make_galaxies(header, 5))
    assert reusable(path, header) == entry
    for changes in ({"source_fingerprint": "newer"}, {"split": "test"}, {"pixels": 18}, {"codec": "jpeg"}):
        assert reusable(path, make_header(**changes)) is None
    path.write_bytes(path.read_bytes()[:2000])
    assert reusable(path, header) is None


def test_jpeg_keeps_its_colours() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = 200
    found = decode_jpeg(encode_jpeg(image), 3)
    assert found is not None
    assert np.abs(found.astype(int) - image).max() <= 4
    assert decode_jpeg(b"\xff\xd8 no image \xff\xd9", 3) is None


def test_a_tree_of_a_thousand_questions(tmp_path: Path, make_header: MakeHeader, make_galaxies: MakeGalaxies) -> None:
    """More text than the 64 kB that HDF5's older formats give an attribute."""
    tree = [{"name": f"question-{q}", "answers": [f"answer-{a}" for a in range(9)]} for q in range(1000)]
    header = make_header(tree=tree)
    given = make_galaxies(header, 1) | {"votes": np.ones((1, 9000), np.int32)}
    write_shard(tmp_path / "a.h5", header, **given)
    assert ShardReader(tmp_path / "a.h5").header == header
