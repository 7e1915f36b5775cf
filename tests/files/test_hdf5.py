"""HDF5 files that ask for more than weights: each is refused, with its place, before anything is allocated."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lamella import Input, Sequential, layers
from lamella.errors import FileFormatError
from lamella.saving import hdf5, hdf5_text
from lamella.saving.hdf5 import Source, reading
from lamella.saving.legacy import read_legacy_weights
from lamella.saving.weights import read_weights, write_weights
from tests.files import campaign

KERNEL = "layers/dense/vars/0"


def small() -> Any:
    return Sequential([Input((3,)), layers.Dense(2)])


def good() -> bytes:
    file = io.BytesIO()
    write_weights(small(), file)
    return file.getvalue()


def soft(file: Any, folder: Path) -> None:
    file[KERNEL] = h5py.SoftLink("/layers/dense/vars/1")


def external(file: Any, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["kernel"] = np.ones((3, 2), "float32")
    file[KERNEL] = h5py.ExternalLink(str(folder / "secret.h5"), "kernel")


def group_elsewhere(file: Any, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["vars/0"] = np.ones((3, 2), "float32")
    del file["layers/dense"]
    file["layers/dense"] = h5py.ExternalLink(str(folder / "secret.h5"), "/")


def external_storage(file: Any, folder: Path) -> None:
    (folder / "secret.bin").write_bytes(bytes(24))
    file.create_dataset(KERNEL, (3, 2), "float32", external=[(str(folder / "secret.bin"), 0, 24)])


def virtual(file: Any, folder: Path) -> None:
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["kernel"] = np.ones((3, 2), "float32")
    layout = h5py.VirtualLayout((3, 2), "float32")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "kernel", (3, 2))
    file.create_virtual_dataset(KERNEL, layout)


def bomb(file: Any, folder: Path) -> None:
    file.create_dataset(KERNEL, (1 << 20, 1 << 20), "float32", chunks=(1024, 1024), compression="gzip")


def compressed(file: Any, folder: Path) -> None:
    file.create_dataset(KERNEL, data=np.ones((3, 2), "float32"), compression="gzip")


def unknown_filter(file: Any, folder: Path) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((3, 2))
    plan.set_filter(31999, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple((3, 2))
    h5py.h5d.create(file["layers/dense/vars"].id, b"0", h5py.h5t.IEEE_F32LE, space, plan)


def no_data(file: Any, folder: Path) -> None:
    file.create_dataset(KERNEL, (1 << 20, 1 << 20), "float32")


def no_shape(file: Any, folder: Path) -> None:
    file[KERNEL] = h5py.Empty("float32")


def texts(file: Any, folder: Path) -> None:
    file[KERNEL] = np.array([["a", "b"]] * 3, dtype=h5py.string_dtype())


def records(file: Any, folder: Path) -> None:
    file[KERNEL] = np.zeros((3, 2), [("a", "float32")])


def references(file: Any, folder: Path) -> None:
    file.create_dataset(KERNEL, (1,), h5py.ref_dtype)[0] = file.ref


def lists(file: Any, folder: Path) -> None:
    file.create_dataset(KERNEL, (3, 2), h5py.vlen_dtype("float32"))


def other_order(file: Any, folder: Path) -> None:
    file[KERNEL] = np.ones((3, 2), ">f4")


def a_group(file: Any, folder: Path) -> None:
    file.create_group(KERNEL)


def an_array_as_group(file: Any, folder: Path) -> None:
    del file["layers/dense/vars"]
    file["layers/dense/vars"] = np.ones(3)


def circle(file: Any, folder: Path) -> None:
    file[KERNEL] = np.ones((3, 2), "float32")
    file["layers/dense/again"] = file["layers"]


ATTACKS: dict[Callable[[Any, Path], None], str] = {
    soft: f"'{KERNEL}' in the file is a link to another place, which is not followed",
    external: f"'{KERNEL}' in the file is a link to another place, which is not followed",
    group_elsewhere: "'layers/dense' in the file is a link to another place",
    external_storage: f"'{KERNEL}' in the file keeps its data in another file, which is not opened",
    virtual: f"'{KERNEL}' in the file is virtual, compressed or in pieces",
    bomb: f"'{KERNEL}' in the file is virtual, compressed or in pieces",
    compressed: "h5repack",
    unknown_filter: f"'{KERNEL}' in the file is virtual, compressed or in pieces",
    no_data: f"'{KERNEL}' in the file claims the shape (1048576, 1048576), 4,398.0 GB",
    no_shape: "has no shape",
    texts: "has a type that no weight has",
    records: "has a type that no weight has",
    references: "has a type that no weight has",
    lists: "has a type that no weight has",
    other_order: "has a type that no weight has",
    a_group: f"'{KERNEL}' in the file should be a dataset; it is a group",
    an_array_as_group: "'layers/dense/vars' in the file should be a group; it is a dataset",
    circle: "nests them over 64 deep",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_no_plain_array_is_refused(attack: Callable[[Any, Path], None], tmp_path: Path) -> None:
    file, model = io.BytesIO(good()), small()
    with h5py.File(file, "r+") as opened:
        del opened[KERNEL]
        attack(opened, tmp_path)
    before = model.get_weights()
    tracemalloc.start()
    with pytest.raises(FileFormatError) as caught:
        read_weights(model, file)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ATTACKS[attack] in str(caught.value)
    assert most < 10_000_000
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_text_that_is_named_over_and_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many places may name one long text: what is read in all is bounded by the file's size."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs.create("layer_names", ["x" * 100] * 20, dtype=h5py.string_dtype())
    monkeypatch.setattr(hdf5_text, "_REPEATED", 0)
    monkeypatch.setattr(hdf5_text, "_SMALL", 3000)
    with open(tmp_path / "a.h5", "rb") as file, pytest.raises(FileFormatError, match="more text than fits"):
        read_legacy_weights(small(), file)


def test_too_many_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "MOST_MEMBERS", 1)
    with reading(io.BytesIO(good())) as source, pytest.raises(FileFormatError, match="has 2 members, at most 1"):
        source.members("layers/dense/vars")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com", "it begins with b'version '"),
        (b"PK\x03\x04", "a zip archive"),
        (hdf5.SIGNATURE, "The file is broken at '/'"),
    ],
)
def test_other_files(data: bytes, said: str) -> None:
    with pytest.raises(FileFormatError, match=said):
        read_weights(small(), io.BytesIO(data))


def test_paths_that_are_not_there() -> None:
    with reading(io.BytesIO(good())) as source:
        assert isinstance(source, Source)
        assert not source.has("layers/dense_7/vars") and source.members("nothing/at/all") == []
        assert source.declared("layers/dense/vars/9") is None
        with pytest.raises(FileFormatError, match="nothing at 'layers/dense/vars/9'"):
            source.read("layers/dense/vars/9")


def test_cut_off_at_every_byte() -> None:
    """Only what follows the last array may be missing."""
    data = good()
    refused = sum(campaign.outcome(data[:length]) == "refused" for length in range(0, len(data) - 1, 37))
    assert refused == len(range(0, len(data) - 1, 37))


def test_broken_files_never_crash() -> None:
    counts = campaign.run(150, seed=1)
    assert set(counts) <= {"refused", "read"} and counts["refused"] > 20
