"""Random access to images inside a ZIP, in place, against the same images as unpacked files.

Simulated galaxies of the published size (424 px PNG) are written as files, into one ZIP that only stores, into one that
deflates, and into a tar. Each is then read in the same random order from the page cache by one thread: bytes alone, and
as ingest reads them (bytes, sha256, decoded picture). The rival beside the unpacked files is ``zipfile`` on an open
archive. All ways must give the same bytes. A ZIP has a checksum of each member, which a file has not: ingest verifies
it, the shard stage has the SHA-256 of ingest instead ("unchecked").
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from bench_shards import galaxies
from numpy.typing import NDArray
from timing import machine, median_seconds

from gzflow.cutouts.archives import ImageFiles, ImagePlace, read_image


def write(folder: Path, n: int, pixels: int) -> dict[str, list[ImagePlace]]:
    """The same images four ways; for each way their places, image by image."""
    images = galaxies(min(n, 64), pixels)
    (folder / "files").mkdir()
    ways: dict[str, list[ImagePlace]] = {
        "unpacked files": [],
        "stored in a ZIP": [],
        "deflated in a ZIP": [],
        "tar": [],
    }
    with (
        zipfile.ZipFile(folder / "stored.zip", "w", zipfile.ZIP_STORED) as stored,
        zipfile.ZipFile(folder / "deflated.zip", "w", zipfile.ZIP_DEFLATED) as deflated,
        tarfile.open(folder / "all.tar", "w") as tar,
    ):
        for i in range(n):
            content = cv2.imencode(".png", images[i % len(images)])[1].tobytes()
            name = f"J{i % 100:03}/{i:06}.png"
            file = folder / "files" / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)
            stored.writestr(name, content)
            deflated.writestr(name, content)
            tar.add(file, name)
            ways["unpacked files"].append(ImagePlace(str(file)))
            for way, archive in zip(list(ways)[1:], ("stored.zip", "deflated.zip", "all.tar"), strict=True):
                ways[way].append(ImagePlace(str(folder / archive), name))
    return ways


def as_ingest(content: bytes) -> None:
    hashlib.sha256(content).digest()
    cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)


def rates(
    readers: dict[str, Callable[[int], bytes]], use: Callable[[bytes], object], order: NDArray[np.int64], repeats: int
) -> dict[str, float]:
    """Images a second of each way, the median of rounds in which the ways take turns: a busy moment hits all alike."""
    seconds: dict[str, list[float]] = {way: [] for way in readers}
    for _ in range(repeats):
        for way, read in readers.items():
            start = time.perf_counter()
            for i in order:
                use(read(i))
            seconds[way].append(time.perf_counter() - start)
    return {way: len(order) / statistics.median(each) for way, each in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--pixels", type=int, default=424)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ways = write(folder, options.images, options.pixels)
        rival = zipfile.ZipFile(folder / "stored.zip")
        order = np.random.default_rng(0).permutation(options.images)
        size = sum(Path(place.path).stat().st_size for place in ways["unpacked files"]) / options.images
        print(f"{options.images:,} PNG of {options.pixels} px, {size / 1e3:.0f} kB each, random order, page cache")
        readers: dict[str, Callable[[int], bytes]] = {
            way: lambda i, places=places: read_image(places[i]) for way, places in ways.items()
        }
        readers["stored, unchecked"] = lambda i: read_image(ways["stored in a ZIP"][i], checksum=False)
        readers["zipfile, stored"] = lambda i: rival.read(ways["stored in a ZIP"][i].member or "")
        for i in order[:50]:
            assert len({read(i) for read in readers.values()}) == 1
        one = median_seconds(lambda: ImageFiles([folder / "stored.zip"]), 1)
        print(f"index of the ZIP, once a process: {one * 1e3:.0f} ms")
        for title, use in (("bytes alone", len), ("bytes, sha256, picture", as_ingest)):
            print(title)
            first = 0.0
            for way, rate in rates(readers, use, order, options.repeats).items():
                first = first or rate
                print(f"  {way:<20} {rate:>9,.0f} images/s   {100 * rate / first:>4.0f} % of unpacked files")


if __name__ == "__main__":
    main()
