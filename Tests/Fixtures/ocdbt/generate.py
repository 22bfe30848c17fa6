#!/usr/bin/env python3
"""Makes the OCDBT databases beside it with TensorStore, and index.json, which says what TensorStore reads from them.

    generate.py        writes one folder for each database, and index.json, into its own folder

Needs Tests/Interop/orbax/requirements.txt. File names and identities are random, so every run gives other bytes.
"""

import hashlib
import json
import pathlib
import shutil

import tensorstore as ts

HERE = pathlib.Path(__file__).parent


def open_database(name: str, **config) -> ts.KvStore:
    spec = {"driver": "ocdbt", "base": f"file://{HERE / name}/"}
    if config:
        spec["config"] = config
    return ts.KvStore.open(spec).result()


def text(seed: str, count: int) -> bytes:
    """Bytes that do not compress."""
    result = b""
    while len(result) < count:
        result += hashlib.sha256(f"{seed}{len(result)}".encode()).digest()
    return result[:count]


def write(store: ts.KvStore, values: dict[bytes, bytes]) -> None:
    """All in one commit."""
    with ts.Transaction() as transaction:
        for key, value in values.items():
            store.with_transaction(transaction)[key] = value


def main() -> None:
    index = {}

    def fresh(name: str) -> None:
        shutil.rmtree(HERE / name, ignore_errors=True)

    def describe(name: str) -> None:
        store = open_database(name)
        keys = sorted(store.list().result())
        index[name] = [[key.hex(), len(store[key]), hashlib.sha256(store[key]).hexdigest()] for key in keys]

    few = {b"a": b"1", b"ab/zarr.json": b"{}", b"ab/c/0/1": text("x", 50), b"z" * 300: b"", b"\xff\x00": text("y", 101), b"big": text("z", 3000)}

    fresh("plain")
    write(open_database("plain", compression=None), few)
    describe("plain")

    fresh("zstd")
    write(open_database("zstd", compression={"id": "zstd", "level": 3}), few)
    describe("zstd")

    fresh("empty")
    store = open_database("empty")
    write(store, {b"a": b"1"})
    store.delete_range(ts.KvStore.KeyRange()).result()
    describe("empty")

    # Nodes of a few entries each: a tree of several levels.
    fresh("high")
    many = {f"layer{i // 7}.kernel/c/{i % 7}/{i}".encode(): text(str(i), i % 130) for i in range(700)}
    write(open_database("high", max_decoded_node_bytes=300, compression=None), many)
    describe("high")

    # Nine commits with two versions to a node: a version tree of three levels.
    fresh("versions")
    store = open_database("versions", version_tree_arity_log2=1)
    for i in range(9):
        write(store, {f"key{i % 5}".encode(): f"value{i}".encode()})
    describe("versions")

    fresh("numbered")
    store = open_database("numbered", manifest_kind="numbered")
    for i in range(4):
        write(store, {f"key{i}".encode(): text(str(i), 20 * i)})
    describe("numbered")

    # Two databases below a third, whose nodes refer to theirs: how Orbax joins what its processes wrote. One context for all,
    # or TensorStore does not see that they have their files in common.
    fresh("joined")
    context = ts.Context({"cache_pool": {"total_bytes_limit": 0}})

    def member(path: str, **config) -> ts.KvStore:
        base = {"driver": "file", "path": f"{HERE}/joined/{path}"}
        return ts.KvStore.open({"driver": "ocdbt", "base": base, "config": config}, context=context).result()

    for process in range(2):
        part = member(f"part{process}/", max_decoded_node_bytes=400)
        write(part, {f"{name}/c/{process}".encode(): text(f"{name}{process}", 150) for name in "abcdefgh"})
    joined = member("")
    with ts.Transaction(atomic=True) as transaction:
        for process in range(2):
            member(f"part{process}/").experimental_copy_range_to(joined.with_transaction(transaction)).result()
    describe("joined")

    (HERE / "index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
