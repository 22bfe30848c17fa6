"""TensorStore alone on Orbax's checkpoints: the arrays are opened by their names, all read at once, without JAX.

Its documented settings are the concurrency of reading files and of copying and decoding, which is the number of processors unless given, and
a batch, which lets it coalesce reads.
"""

from __future__ import annotations

import ml_dtypes  # noqa: F401  (tells NumPy of bfloat16 and its like)
import numpy as np
import tensorstore as ts

from comparison import parts
from comparison.peers import prepared, sync_folder


def _context(concurrency: int | None) -> ts.Context:
    limit = {} if concurrency is None else {"limit": concurrency}
    return ts.Context({"file_io_concurrency": limit, "data_copy_concurrency": limit, "cache_pool": {"total_bytes_limit": 0}})


def _database(path: str) -> dict:
    return {"driver": "ocdbt", "base": f"file://{path}/state/"}


def names(path: str, context: ts.Context) -> list[str]:
    """The arrays in the checkpoint's database."""
    store = ts.KvStore.open(_database(path), context=context).result()
    keys = store.list().result()
    found = [key.decode().removesuffix("/zarr.json") for key in keys if key.endswith(b"/zarr.json")]
    if not found:
        raise ValueError(f"there is no array in {path}")
    return found


def _opened(path: str, wanted: list[str], context: ts.Context) -> dict:
    futures = {
        name: ts.open({"driver": "zarr3", "kvstore": {**_database(path), "path": f"{name}/"}}, read=True, open=True, context=context)
        for name in wanted}  # fmt: skip
    return {name: future.result() for name, future in futures.items()}


def load(path: str, concurrency: int | None = None):
    """Every array, read in one batch."""
    context = _context(concurrency)
    with ts.Batch() as batch:
        futures = {name: store.read(batch=batch) for name, store in _opened(path, names(path, context), context).items()}
    return {name: future.result() for name, future in futures.items()}


@prepared
def load_into_kept(path: str, concurrency: int | None = None):
    """Every array into memory that is kept from one load to the next."""
    context = _context(concurrency)
    kept = {name: np.zeros(store.shape, store.dtype.numpy_dtype) for name, store in _opened(path, names(path, context), context).items()}

    def run():
        context = _context(concurrency)
        stores = _opened(path, names(path, context), context)
        futures = [ts.array(kept[name], context=context, copy=False, write=True).write(store) for name, store in stores.items()]
        for future in futures:
            future.result()
        return kept

    return run


def parameters(path: str, concurrency: int | None = None):
    context = _context(concurrency)
    wanted = [name for name in names(path, context) if parts.is_parameter(name)]
    with ts.Batch() as batch:
        futures = {name: store.read(batch=batch) for name, store in _opened(path, wanted, context).items()}
    return {name: future.result() for name, future in futures.items()}


def slices(path: str, concurrency: int | None = None):
    context = _context(concurrency)
    stores = _opened(path, names(path, context), context)
    with ts.Batch() as batch:
        futures = {name: store[parts.of_tensor(name, store.shape)].read(batch=batch) for name, store in stores.items()}
    return {name: future.result() for name, future in futures.items()}


def stack(path: str, concurrency: int | None = None):
    """Every layer read into its place in the stack."""
    context = _context(concurrency)
    found, futures = {}, []
    stores = _opened(path, names(path, context), context)
    for name, layers in parts.stacked(stores).items():
        first = stores[layers[0]]
        shape = tuple(first.shape) if layers == [name] else (len(layers), *first.shape)
        found[name] = np.empty(shape, first.dtype.numpy_dtype)
        places = [found[name]] if layers == [name] else list(found[name])
        for place, layer in zip(places, layers):
            futures.append(ts.array(place, context=context, copy=False, write=True).write(stores[layer]))
    for future in futures:
        future.result()
    return found


def cast(path: str, concurrency: int | None = None):
    context = _context(concurrency)
    stores = _opened(path, names(path, context), context)
    with ts.Batch() as batch:
        futures = {name: ts.cast(store, np.float32).read(batch=batch) for name, store in stores.items()}
    return {name: future.result() for name, future in futures.items()}


def merge(a: str, b: str, path: str) -> None:
    """The stored chunks of two checkpoints copied into one database as they are; Orbax's own files beside it are not made."""
    context = _context(None)
    target = ts.KvStore.open({**_database(path), "path": ""}, context=context).result()
    with ts.Transaction() as transaction:
        writes = []
        for prefix, source in (("a", a), ("b", b)):
            store = ts.KvStore.open(_database(source), context=context).result()
            keys = store.list().result()
            with ts.Batch() as batch:
                reads = {key: store.read(key, batch=batch) for key in keys}
            changed = target.with_transaction(transaction)
            writes += [changed.write(f"{prefix}.".encode() + key, read.result().value) for key, read in reads.items()]
        for write in writes:
            write.result()
    sync_folder(path)


def metadata(path: str):
    """Every array opened, for its dtype and shape."""
    context = _context(None)
    return {name: (store.dtype.name, tuple(store.shape)) for name, store in _opened(path, names(path, context), context).items()}
