"""Datasets from folders of files: pictures, sounds and texts, read when their batch is asked for."""

from __future__ import annotations

import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamella.core.errors import ArgumentError, DataError
from lamella.core.settings import one_of, standardize_data_format
from lamella.tools.datasets import Batches
from lamella.tools.images import img_to_array, load_img

_PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_COLORS = ("grayscale", "rgb", "rgba")


class FolderDataset(Batches):
    """Batches of files: `class_names` and `file_paths` say of what."""

    def __init__(
        self, make: Callable[[Any], Any], files: _Files, batch_size: int | None, shuffle: bool, seed: Any
    ) -> None:
        super().__init__(make, len(files.paths), batch_size, shuffle, seed)
        self.class_names, self.file_paths = files.class_names, [str(path) for path in files.paths]


class _Files:
    """The files of a folder, with a label for each: those of the folders inside, given ones, or none."""

    def __init__(
        self, directory: Any, suffixes: tuple[str, ...], labels: Any, class_names: Sequence[str] | None, links: bool
    ) -> None:
        root = Path(directory)
        if not root.is_dir():
            raise DataError(f"There is no folder {str(directory)!r}.")
        folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        if labels == "inferred":
            if class_names is not None and not set(class_names) <= set(folders):
                raise ArgumentError(f"class_names are folders of {root}: {', '.join(folders)}; got {class_names}.")
            names = list(class_names or folders)
            groups = [_within(root / name, suffixes, links) for name in names]
            self.paths = [path for group in groups for path in group]
            self.labels: Any = np.repeat(np.arange(len(names), dtype="int32"), [len(group) for group in groups])
            self.class_names: list[str] | None = names
        else:
            if class_names is not None:
                raise ArgumentError("class_names are for labels='inferred'.")
            self.paths = _within(root, suffixes, links)
            self.labels = None if labels is None else np.asarray(labels)
            self.class_names = None if labels is None else [str(label) for label in sorted(set(labels))]
        if not self.paths:
            raise DataError(f"There are no files of {', '.join(suffixes)} in {str(directory)!r}.")
        if self.labels is not None and len(self.labels) != len(self.paths):
            raise ArgumentError(f"There are {len(self.labels)} labels for {len(self.paths)} files.")

    def reorder(self, seed: int) -> None:
        """Put the files in an order drawn from a seed."""
        self._take(np.random.RandomState(seed).permutation(len(self.paths)))

    def _take(self, places: Any) -> None:
        self.paths = [self.paths[place] for place in places]
        self.labels = None if self.labels is None else self.labels[places]

    def cut(self, share: float, subset: str) -> None:
        """Keep the part for training, or the last `share` for validation."""
        count = int(share * len(self.paths))
        places = np.arange(len(self.paths))
        self._take(places[:-count] if subset == "training" else places[-count:])
        if not self.paths:
            raise DataError(f"validation_split={share} leaves no files for {subset}.")

    def as_targets(self, label_mode: str | None) -> Any:
        """Return the labels in the form that a loss takes."""
        if label_mode == "binary":
            if self.class_names is None or len(self.class_names) != 2:
                raise ArgumentError(f"label_mode='binary' needs two classes, there are {self.class_names}.")
            return self.labels.astype("float32").reshape(-1, 1)
        if label_mode == "categorical":
            return np.eye(len(self.class_names or ()), dtype="float32")[self.labels]
        return self.labels


def _within(folder: Path, suffixes: tuple[str, ...], links: bool) -> list[Path]:
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and (links or not entry.is_symlink()):
            found += _within(entry, suffixes, links)
        elif entry.is_file() and entry.suffix.lower() in suffixes:
            found.append(entry)
    return found


def _dataset(
    read: Callable[[Path], Any],
    stack: Callable[[list[Any]], Any],
    suffixes: tuple[str, ...],
    directory: Any,
    given: Any,
) -> FolderDataset:
    """Return the dataset of a folder; `given` are the arguments that all kinds of folders share."""
    label_mode, share, subset = given["label_mode"], given["validation_split"], given["subset"]
    if label_mode is not None:
        one_of("label_mode", label_mode, ("int", "binary", "categorical"))
    labels = None if label_mode is None else given["labels"]
    if (share is None) != (subset is None):
        raise ArgumentError("validation_split and subset go together.", mend="validation_split=0.2, subset='training'")
    if share is not None and given["shuffle"] and given["seed"] is None:
        raise ArgumentError("A split of shuffled files needs a seed, the same for both subsets.", mend="seed=1")
    files = _Files(directory, suffixes, labels, given["class_names"], given["follow_links"])
    if given["verbose"]:
        kinds = "" if files.class_names is None else f" of {len(files.class_names)} classes"
        print(f"Found {len(files.paths)} files{kinds}.")
    seed = np.random.randint(1 << 30) if given["seed"] is None else given["seed"]
    if given["shuffle"]:
        files.reorder(seed)
    if share is not None:
        if not 0 < share < 1:
            raise ArgumentError(f"validation_split lies between 0 and 1, got {share}.")
        if one_of("subset", subset, ("training", "validation", "both")) == "both":
            raise ArgumentError("subset='both' is not offered.", mend="one call for each subset")
        files.cut(share, subset)
    targets = files.as_targets(label_mode)

    def make(places: Any) -> Any:
        alone = np.ndim(places) == 0
        x = read(files.paths[places]) if alone else stack([read(files.paths[place]) for place in places])
        return x if targets is None else (x, targets[places])

    return FolderDataset(make, files, given["batch_size"], given["shuffle"], seed)


def image_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: tuple[int, int] = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str | None = None,
    verbose: bool = True,
) -> FolderDataset:
    """Return batches of pictures (batch, height, width, channels), and labels by the folders that they lie in."""
    given = dict(locals())
    if pad_to_aspect_ratio:
        raise ArgumentError("pad_to_aspect_ratio is not offered.", mend="crop_to_aspect_ratio=True")
    one_of("color_mode", color_mode, _COLORS)
    layout = standardize_data_format(data_format)

    def read(path: Path) -> Any:
        picture = load_img(path, color_mode, image_size, interpolation, crop_to_aspect_ratio)
        return img_to_array(picture, layout)

    return _dataset(read, np.stack, _PICTURES, directory, given)


def text_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    batch_size: int | None = 32,
    max_length: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    verbose: bool = True,
) -> FolderDataset:
    """Return batches of texts, (batch,) strings cut to `max_length`, and labels by the folders that they lie in."""
    given = dict(locals())

    def read(path: Path) -> str:
        return path.read_text(encoding="utf-8")[:max_length]

    return _dataset(read, lambda texts: np.array(texts, dtype=object), (".txt",), directory, given)


def audio_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    batch_size: int | None = 32,
    sampling_rate: int | None = None,
    output_sequence_length: int | None = None,
    ragged: bool = False,
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    verbose: bool = True,
) -> FolderDataset:
    """Return batches of sounds (batch, time, channels) from -1 to 1, of .wav files, and labels by their folders.

    Shorter sounds are filled up with silence, to `output_sequence_length` or to the longest of the batch.
    """
    given = dict(locals())
    if ragged:
        raise ArgumentError("ragged=True is not offered: JAX has dense arrays.", mend="output_sequence_length=16000")

    def read(path: Path) -> Any:
        rate, sound = _sound(path)
        if sampling_rate is not None and sampling_rate != rate:
            raise DataError(f"{path.name} has {rate} samples a second, not {sampling_rate}; it is not resampled.")
        return sound if output_sequence_length is None else _fitted(sound, output_sequence_length)

    def stack(sounds: list[Any]) -> Any:
        longest = max(len(sound) for sound in sounds)
        return np.stack([_fitted(sound, longest) for sound in sounds])

    return _dataset(read, stack, (".wav",), directory, given)


def _sound(path: Path) -> tuple[int, Any]:
    """Return the rate and the samples (time, channels) of a .wav file of 16 bits."""
    with wave.open(str(path), "rb") as file:
        if file.getsampwidth() != 2:
            raise DataError(f"{path.name} has {8 * file.getsampwidth()} bits a sample; 16 can be read.")
        numbers = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return file.getframerate(), numbers.reshape(-1, file.getnchannels()).astype("float32") / 32768


def _fitted(sound: Any, length: int) -> Any:
    return np.pad(sound[:length], ((0, max(0, length - len(sound))), (0, 0)))
