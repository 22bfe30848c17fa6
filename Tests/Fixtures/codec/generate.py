#!/usr/bin/env python3
"""Makes the encoded files beside it, with the libraries whose output Graft has to decode, and index.json, which says what they are.

    generate.py        writes *.bin and index.json into its own folder

Needs zstandard, numcodecs (c-blosc) and crc32c of Tests/Interop/orbax/requirements.txt. The content of every file is `content(count)`
below, which the Swift tests compute too, so only the encoded bytes are kept.
"""

import json
import pathlib
import struct

import crc32c
import numcodecs.blosc
import numpy
import zstandard

HERE = pathlib.Path(__file__).parent


def content(count: int) -> bytes:
    """Bytes that compress by about half: 0..31, each five times."""
    index = numpy.arange(count, dtype=numpy.uint64) // 5
    return ((index * 2654435761 & 0xFFFFFFFF) >> 27).astype(numpy.uint8).tobytes()


def summed(data: bytes) -> bytes:
    return data + struct.pack("<I", crc32c.crc32c(data))


def skippable(payload: bytes) -> bytes:
    return struct.pack("<II", 0x184D2A53, len(payload)) + payload


def zstd(data: bytes, level: int = 3, **options) -> bytes:
    return zstandard.ZstdCompressor(level=level, **options).compress(data)


def streamed(data: bytes, **options) -> bytes:
    """As TensorStore writes: a stream whose size is not known when it begins."""
    compressor = zstandard.ZstdCompressor(**options).compressobj()
    return compressor.compress(data) + compressor.flush()


def windowed(data: bytes, log: int) -> bytes:
    """A frame with this window, however small its content."""
    parameters = zstandard.ZstdCompressionParameters(
        window_log=log, write_content_size=False, enable_ldm=False, strategy=1, hash_log=12, chain_log=12
    )
    return streamed(data, compression_params=parameters)


def main() -> None:
    files = {}

    def add(name: str, codecs: list[str], count: int, encoded: bytes) -> None:
        (HERE / f"{name}.bin").write_bytes(encoded)
        files[name] = {"codecs": codecs, "count": count}

    for count in (0, 1, 1000, 300_000):
        add(f"zstd-{count}", ["zstd"], count, zstd(content(count)))
    add("zstd-level-1", ["zstd"], 50_000, zstd(content(50_000), 1))
    add("zstd-level-19", ["zstd"], 50_000, zstd(content(50_000), 19))
    add("zstd-frame-checksum", ["zstd"], 50_000, zstd(content(50_000), write_checksum=True))
    add("zstd-no-content-size", ["zstd"], 300_000, streamed(content(300_000), level=1))
    whole = content(90_000)
    add("zstd-three-frames", ["zstd"], 90_000, zstd(whole[:10]) + streamed(whole[10:40_000]) + zstd(whole[40_000:]))
    add(
        "zstd-skippable",
        ["zstd"],
        90_000,
        skippable(b"before") + zstd(whole[:60_000]) + skippable(b"") + zstd(b"") + zstd(whole[60_000:]) + skippable(b"after" * 9),
    )
    add("zstd-window-64KiB", ["zstd"], 200_000, windowed(content(200_000), 16))
    add("zstd-window-128MiB", ["zstd"], 2_000, windowed(content(2_000), 27))
    add("crc32c", ["crc32c"], 5_000, summed(content(5_000)))
    add("crc32c-of-zstd", ["crc32c", "zstd"], 70_000, summed(zstd(content(70_000))))
    add("zstd-of-crc32c", ["zstd", "crc32c"], 70_000, zstd(summed(content(70_000))))
    add("crc32c-of-zstd-of-crc32c", ["crc32c", "zstd", "crc32c"], 70_000, summed(zstd(summed(content(70_000)))))
    add("zstd-of-zstd", ["zstd", "zstd"], 70_000, zstd(zstd(content(70_000))))
    for name in ("blosclz", "lz4", "lz4hc", "zlib", "zstd"):
        for shuffle in (0, 1, 2):
            encoded = numcodecs.blosc.Blosc(cname=name, clevel=5, shuffle=shuffle, blocksize=16_384).encode(
                numpy.frombuffer(content(80_000), numpy.float32)
            )
            add(f"blosc-{name}-{shuffle}", ["blosc"], 80_000, bytes(encoded))
    stored = numcodecs.blosc.Blosc(cname="lz4", clevel=0).encode(content(5_000))
    add("blosc-stored", ["blosc"], 5_000, bytes(stored))
    add("zstd-of-blosc", ["zstd", "blosc"], 80_000, zstd(bytes(numcodecs.blosc.Blosc(cname="lz4").encode(content(80_000)))))

    sums = {str(count): crc32c.crc32c(content(count)) for count in (0, 1, 7, 8, 100, 767, 768, 24_575, 24_576, 24_583, 1_000_003)}
    text = {"files": files, "crc32c": sums, "zstandard": zstandard.__version__, "c-blosc": numcodecs.blosc.VERSION_STRING}
    (HERE / "index.json").write_text(json.dumps(text, indent=1) + "\n")


if __name__ == "__main__":
    main()
