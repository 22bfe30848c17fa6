"""Every dtype of the format, in both directions: written by the reference library, rewritten by Graft, read by the library."""

from __future__ import annotations

import numpy as np
import pytest

import tensors as st
from values import flattened, same_values

DTYPES = [pytest.param(dtype, id=dtype.stored) for dtype in st.DTYPES]
WHOLE_BYTES = [pytest.param(dtype, id=dtype.stored) for dtype in st.DTYPES if dtype.bits >= 8]


def write(path, contents):
    if all(st.BY_STORED[tensor.dtype].written for tensor in contents.values()):
        return st.write(path, contents)
    return st.write_raw(path, contents)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dtype_survives_a_conversion_bit_for_bit(graft, tmp_path, dtype):
    contents = {
        "matrix": st.random_bits(dtype, (16, 24), seed=1),
        "vector": st.random_bits(dtype, (32,), seed=2),
        "cube": st.random_bits(dtype, (3, 5, 8), seed=3),
        "empty": st.random_bits(dtype, (4, 0, 8), seed=4),
    }
    source = write(tmp_path / "source.safetensors", contents)
    assert st.read(source) == contents, "the reference library does not read its own file back"
    graft.json("convert", source, tmp_path / "result.safetensors")
    assert st.read(tmp_path / "result.safetensors") == contents


@pytest.mark.parametrize("dtype", DTYPES)
def test_inspect_names_a_dtype_as_numpy_does(graft, tmp_path, dtype):
    contents = {"a": st.random_bits(dtype, (4, 8), seed=5)}
    answer = graft.json("inspect", write(tmp_path / "a.safetensors", contents))
    assert answer["format"] == "safetensors"
    [leaf] = answer["leaves"]
    assert (leaf["path"], leaf["dtype"], leaf["shape"]) == ("a", dtype.named, [4, 8])
    assert leaf["logical_bytes"] == leaf["stored_bytes"] == len(contents["a"].data)


@pytest.mark.parametrize("dtype", DTYPES)
def test_peek_shows_the_values_that_numpy_shows(graft, tmp_path, dtype):
    tensor = st.random_bits(dtype, (8, 16), seed=6)
    answer = graft.json("peek", write(tmp_path / "a.safetensors", {"a": tensor}), "a")
    expected = decoded(dtype, tensor.data)
    assert answer["dtype"] == dtype.named
    assert answer["shape"] == [8, 16]
    assert same_values(flattened(answer["values"]), expected)


@pytest.mark.parametrize("dtype", WHOLE_BYTES)
def test_a_scalar_survives_and_is_read(graft, tmp_path, dtype):
    contents = {"a.b": st.from_numpy(np.array(1).astype(dtype.numpy))}
    source = st.write(tmp_path / "a.safetensors", contents)
    graft.json("convert", source, tmp_path / "b.safetensors")
    assert st.read(tmp_path / "b.safetensors") == contents
    answer = graft.json("peek", source, "a/b")
    assert answer["shape"] == []
    assert same_values(flattened(answer["values"]), decoded(dtype, contents["a.b"].data))


def decoded(dtype: st.Dtype, data: bytes) -> np.ndarray:
    """The elements, unpacked as the format packs them: element i has the bits from i · width on, lowest first."""
    if dtype.bits >= 8:
        return np.frombuffer(data, dtype=dtype.numpy)
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little").reshape(-1, dtype.bits)
    codes = (bits << np.arange(dtype.bits, dtype=np.uint8)).sum(axis=1).astype(np.uint8)
    return codes.view(dtype.numpy)
