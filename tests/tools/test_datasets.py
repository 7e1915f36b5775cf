"""Datasets made of arrays and of folders, pictures as files, and what programs keep beside a model."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import lamella
from lamella.core import extras
from lamella.training.data import adapt

utils = lamella.utils
DRAW = np.random.default_rng(9)


def test_packing() -> None:
    for batch in (1, (1,), (1, 2), (1, 2, 3), [1, 2]):
        assert utils.unpack_x_y_sample_weight(batch) == keras.utils.unpack_x_y_sample_weight(batch)
    for parts in ((1,), ([1],), (1, 2), (1, 2, 3)):
        assert utils.pack_x_y_sample_weight(*parts) == keras.utils.pack_x_y_sample_weight(*parts)
    with pytest.raises(ValueError, match="got 4 parts"):
        utils.unpack_x_y_sample_weight((1, 2, 3, 4))


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [({"left_size": 0.8}, (8, 2)), ({"right_size": 3}, (7, 3)), ({"left_size": 2, "right_size": 0.5}, (2, 5))],
)
def test_split(sizes: dict[str, Any], counts: tuple[int, int]) -> None:
    x, y = np.arange(10), np.arange(10) * 2
    left, right = utils.split_dataset((x, y), **sizes)
    assert (len(left), len(right)) == counts
    assert [int(a) for a, _ in left] == list(range(counts[0]))
    assert [int(b) for _, b in right] == [2 * i for i in range(10 - counts[1], 10)]


def test_split_of_other_things() -> None:
    left, right = utils.split_dataset(((i, -i) for i in range(6)), left_size=4, shuffle=True, seed=3)
    pairs = [(int(a), int(b)) for part in (left, right) for a, b in part]
    assert sorted(pairs) == [(i, -i) for i in range(6)] and pairs != sorted(pairs)
    left, _ = utils.split_dataset([3, 1, 2], left_size=2)
    assert [int(sample) for sample in left] == [3, 1]
    for sizes, text in (
        ({}, "needs left_size"),
        ({"left_size": 1.5}, "is a share"),
        ({"left_size": 1.0}, "parts hold"),
    ):
        with pytest.raises(ValueError, match=text):
            utils.split_dataset(np.arange(10), **sizes)
    with pytest.raises(ValueError, match="batches are NumPy arrays"):
        utils.split_dataset(np.arange(10), 0.5, preferred_backend="torch")


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("rate", [1, 2])
@pytest.mark.parametrize("bounds", [(None, None), (2, 17)])
def test_windows(stride: int, rate: int, bounds: tuple[Any, Any]) -> None:
    data, targets = DRAW.normal(size=(20, 2)), np.arange(20)
    arguments = {"sequence_stride": stride, "sampling_rate": rate, "start_index": bounds[0], "end_index": bounds[1]}
    batches = utils.timeseries_dataset_from_array(data, targets, 4, batch_size=3, **arguments)
    found = list(batches)
    assert len(found) == len(batches)
    start, end = bounds[0] or 0, bounds[1] or 20
    begins = list(range(start, end - 3 * rate, stride))
    wanted = [data[i : i + 4 * rate : rate] for i in begins]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), wanted)
    np.testing.assert_array_equal(np.concatenate([y for _, y in found]), targets[begins])
    mixed = utils.timeseries_dataset_from_array(data, None, 4, batch_size=None, shuffle=True, seed=1, **arguments)
    assert sorted(float(x[0, 0]) for x in mixed) == sorted(float(x[0, 0]) for x in wanted)


def test_windows_that_do_not_fit() -> None:
    for arguments, text in (
        ({"sequence_length": 9}, "No window"),
        ({"sequence_length": 2, "sampling_rate": 0}, "sampling_rate lies"),
        ({"sequence_length": 2, "start_index": 6, "end_index": 5}, "do not fit"),
    ):
        with pytest.raises(ValueError, match=text):
            utils.timeseries_dataset_from_array(np.arange(7), None, **arguments)


class Numbered(utils.PyDataset):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.events: list[Any] = []

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> Any:
        return np.full((2, 1), index, "float32"), np.full((2, 1), index, "float32")

    def on_epoch_begin(self) -> None:
        self.events.append("begin")

    def on_epoch_end(self) -> None:
        self.events.append("end")


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_by_index(workers: int, shuffle: bool) -> None:
    dataset = Numbered(workers=workers, max_queue_size=2)
    data = adapt(dataset, shuffle=shuffle)
    assert data.first()[0].shape == (2, 1)
    seen = [int(block.arrays[0][0, 0, 0]) for block in data.blocks(1)]
    assert sorted(seen) == list(range(7))
    assert shuffle or seen == list(range(7))
    assert dataset.events == ["begin", "end"] and dataset.num_batches == 7
    list(data.blocks(1))
    assert dataset.events == ["begin", "end"] * 2
    with pytest.raises(ValueError, match="use_multiprocessing"):
        Numbered(use_multiprocessing=True)
    with pytest.raises(NotImplementedError, match="does not define `__getitem__`"):
        utils.Sequence()[0]


PICTURE = DRAW.integers(0, 256, (9, 12, 3)).astype("uint8")


def test_pictures_as_arrays() -> None:
    for layout in ("channels_last", "channels_first"):
        for channels in (1, 3, 4):
            x = DRAW.random((5, 6, channels)) if layout == "channels_last" else DRAW.random((channels, 5, 6))
            mine, theirs = (u.array_to_img(x, layout) for u in (utils, keras.utils))
            assert mine.mode == theirs.mode
            a, b = (u.img_to_array(mine, layout) for u in (utils, keras.utils))
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
    assert utils.array_to_img(np.full((2, 2, 1), 900.0), scale=False).mode == "I"
    with pytest.raises(ValueError, match="1, 3 or 4 channels"):
        utils.array_to_img(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="A picture has shape"):
        utils.array_to_img(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="A picture has shape"):
        utils.img_to_array(np.zeros((2,)))


@pytest.mark.parametrize("color_mode", ["rgb", "grayscale", "rgba"])
@pytest.mark.parametrize(
    "arguments",
    [{}, {"target_size": (5, 4), "interpolation": "bilinear"}, {"target_size": (5, 4), "keep_aspect_ratio": True}],
)
def test_pictures_as_files(tmp_path: Path, color_mode: str, arguments: dict[str, Any]) -> None:
    path = tmp_path / "x.png"
    utils.save_img(path, PICTURE, scale=False)
    mine, theirs = (np.asarray(u.load_img(path, color_mode, **arguments)) for u in (utils, keras.utils))
    np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(np.asarray(utils.load_img(io.BytesIO(path.read_bytes()))), PICTURE)


def test_pictures_without_transparency(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="no transparency"):
        utils.save_img(tmp_path / "x.jpg", DRAW.random((4, 4, 4)))
    assert utils.load_img(tmp_path / "x.jpg").mode == "RGB"


def test_smart_resize() -> None:
    x = DRAW.random((2, 12, 9, 3)).astype("float32")
    out = lamella.preprocessing.image.smart_resize(x, (4, 4))
    assert out.shape == (2, 4, 4, 3)
    first = lamella.preprocessing.image.smart_resize(np.moveaxis(x[0], -1, 0), (4, 4), data_format="channels_first")
    np.testing.assert_array_equal(np.moveaxis(first, 0, -1), out[0])
    even = lamella.preprocessing.image.smart_resize(np.ones((12, 9, 1)), (5, 7))
    np.testing.assert_allclose(even, 1.0, rtol=1e-6)
    assert lamella.preprocessing.sequence.pad_sequences([[1], [2, 3]]).shape == (2, 2)


def test_the_extra_of_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(extras.MissingExtraError, match=r"pip install 'lamella\[images\]'"):
        utils.load_img("x.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, count in (("cats", 3), ("dogs", 5)):
        (tmp_path / name / "deep").mkdir(parents=True)
        for i in range(count):
            where = tmp_path / name / ("deep" if i == 0 else ".")
            utils.save_img(where / f"{i}.png", np.full((4, 6, 3), 10 * i + (name == "dogs")), scale=False)
            (where / f"{i}.txt").write_text(f"{name} {i}")
            with wave.open(str(where / f"{i}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(8000)
                file.writeframes(np.full(10 + i, 16384 * (name == "dogs"), "<i2").tobytes())
    return tmp_path


def test_folders_of_pictures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = utils.image_dataset_from_directory(folder, image_size=(2, 3), batch_size=3, seed=1)
    assert "Found 8 files of 2 classes" in capsys.readouterr().out
    assert data.class_names == ["cats", "dogs"] and len(data) == 3
    for _ in range(2):
        pairs = [(image[0, 0, 0] % 10, label) for x, y in data for image, label in zip(x, y, strict=True)]
        assert len(pairs) == 8 and all(a == b for a, b in pairs)
    x, y = next(iter(utils.image_dataset_from_directory(folder, label_mode="categorical", color_mode="grayscale")))
    assert x.shape == (8, 256, 256, 1) and y.shape == (8, 2)
    (x,) = utils.image_dataset_from_directory(folder, label_mode=None, image_size=(2, 2), data_format="channels_first")
    assert x.shape == (8, 3, 2, 2)
    model = lamella.Sequential([lamella.layers.Flatten(), lamella.layers.Dense(2)])
    model.compile("sgd", lamella.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert len(model.fit(data, epochs=2, verbose=0).history["loss"]) == 2


def test_folders_in_two_parts(folder: Path) -> None:
    parts = [
        utils.text_dataset_from_directory(folder, validation_split=0.25, subset=subset, seed=4, batch_size=None)
        for subset in ("training", "validation")
    ]
    texts = [[str(text) for text, _ in part] for part in parts]
    assert [len(part) for part in texts] == [6, 2]
    assert len({*texts[0], *texts[1]}) == 8
    assert all(("dogs" in str(text)) == label for part in parts for text, label in part)


def test_folders_of_texts_and_sounds(folder: Path) -> None:
    ((x, y),) = utils.text_dataset_from_directory(folder, max_length=4, shuffle=False, label_mode="binary")
    assert x.tolist() == ["cats"] * 3 + ["dogs"] * 5
    assert y.tolist() == [[0.0]] * 3 + [[1.0]] * 5
    ((x, y),) = utils.audio_dataset_from_directory(folder, shuffle=False, verbose=False)
    assert x.shape == (8, 14, 1) and x.max() == 0.5
    np.testing.assert_array_equal(x.max((1, 2)) * 2, y)
    ((x, _),) = utils.audio_dataset_from_directory(folder, output_sequence_length=5, class_names=["dogs"])
    assert x.shape == (5, 5, 1)
    given = utils.text_dataset_from_directory(folder, labels=list(range(8)), shuffle=False, batch_size=None)
    assert [int(label) for _, label in given] == list(range(8))


def test_folders_that_are_not_as_said(folder: Path, tmp_path: Path) -> None:
    texts, sounds, pictures = (
        utils.text_dataset_from_directory,
        utils.audio_dataset_from_directory,
        utils.image_dataset_from_directory,
    )
    (tmp_path / "none" / "a").mkdir(parents=True)
    for call, arguments, text in (
        (texts, {"directory": folder / "birds"}, "no folder"),
        (texts, {"directory": folder / "none"}, "no files of .txt"),
        (texts, {"class_names": ["birds"]}, "are folders of"),
        (texts, {"labels": [1], "class_names": ["cats"]}, "are for labels="),
        (texts, {"labels": [1, 2]}, "2 labels for 8 files"),
        (texts, {"validation_split": 0.5}, "go together"),
        (texts, {"validation_split": 0.5, "subset": "training"}, "needs a seed"),
        (texts, {"validation_split": 2.0, "subset": "training", "seed": 1}, "lies between"),
        (texts, {"validation_split": 0.5, "subset": "both", "seed": 1}, "subset='both'"),
        (texts, {"validation_split": 0.999, "subset": "validation", "seed": 1, "label_mode": "ints"}, "label_mode"),
        (texts, {"label_mode": "binary", "class_names": ["cats"]}, "needs two classes"),
        (sounds, {"ragged": True}, "ragged=True is not"),
        (sounds, {"sampling_rate": 16000}, "it is not resampled"),
        (pictures, {"pad_to_aspect_ratio": True}, "pad_to_aspect_ratio is not"),
    ):
        with pytest.raises(ValueError, match=text):
            list(call(**{"directory": folder, "verbose": False, **arguments}))


def test_config() -> None:
    mine, theirs = utils.Config(rate=0.1), keras.utils.Config(rate=0.1)
    for config in (mine, theirs):
        config.steps = 5
        config["name"] = "x"
        config.freeze()
    assert mine.as_dict() == theirs.as_dict() and mine.to_json() == theirs.to_json()
    assert mine.frozen and dict(mine.items()) == dict(theirs.items()) and "steps" in mine
    with pytest.raises(ValueError, match="is frozen"):
        mine.rate = 1
    with pytest.raises(AttributeError, match="Did you mean 'rate'"):
        _ = mine.rat
    mine.unfreeze()
    del mine.rate
    assert list(mine) == ["steps", "name"]


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    bar = utils.Progbar(4, stateful_metrics=["rate"])
    bar.update(1, [("loss", 4.0), ("rate", 3.0)])
    bar.add(3, [("loss", 8.0), ("rate", 5.0)])
    assert bar.values == {"loss": 7.0, "rate": 5.0}
    assert "4 steps" in capsys.readouterr().out


def test_small_helpers() -> None:
    x, y = lamella.Input((3,)), lamella.Input((3,))
    assert {id(t) for t in utils.get_source_inputs(x + y * 2)} == {id(x), id(y)}
    assert utils.is_keras_tensor(x) and not utils.is_keras_tensor(np.ones(3))
    assert utils.standardize_dtype("int") == keras.utils.standardize_dtype("int")

    def twice(x: Any) -> Any:
        return 2 * x

    utils.get_custom_objects()["twice_here"] = twice
    assert utils.get_registered_object("twice_here") is twice
    assert utils.deserialize_keras_object({"class_name": "function", "config": "twice_here"}) is twice
    del utils.get_custom_objects()["twice_here"]
    assert utils.get_registered_object("twice_here") is None
