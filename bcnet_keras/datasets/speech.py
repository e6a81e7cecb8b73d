"""Speech Commands (Warden, arXiv 1804.03209): spoken words as small images of MFCCs or log-mel bands.

The MFCCs are those of the keyword spotting task of MLPerf Tiny (Banbury et al., arXiv 2106.07597): windows of 40 ms
every 20 ms, 40 mel bands from 20 to 4,000 Hz, 10 coefficients.
"""

from __future__ import annotations

import hashlib
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bcnet_keras.datasets.arrays import TEST_FRACTION, Dataset, Split, missing
from bcnet_keras.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf

RATE = 16000  # samples per second; clips last one second
WINDOW, STRIDE, FFT_LENGTH, COEFFICIENTS = 640, 320, 1024, 10
MEL_BANDS, LOWEST_HERTZ, HIGHEST_HERTZ = 40, 20.0, 4000.0
LOG_OFFSET = 1e-6
KEYWORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
SILENCE, UNKNOWN, NOISE = "_silence_", "_unknown_", "_background_noise_"
_BATCH = 512  # clips that are in memory as samples at a time


class _Clip(NamedTuple):
    """A second of a wav file from sample `start` on, times `volume`."""

    path: object
    start: int = 0
    volume: float = 1.0


def speech_commands(
    data_dir: Path,
    seed: int,
    validation_fraction: float,
    keywords: bool = True,
    features: str = "mfcc",
) -> Dataset:
    """Folders of wav files, one per word.

    Arguments:
      keywords: the task of twelve classes, ten words, `_unknown_` and `_silence_`. Where these two are no folders (they
        are in the data set's test files), other words make up the one, as many as of a keyword, and seconds of the
        recordings in `_background_noise_`, at random volume, the other. Otherwise every word is a class.
      features: "mfcc", float32 [49, 10, 1], or "log_mel", float32 [49, 40, 1].

    Splits are those of `validation_list.txt` and `testing_list.txt`; without these, no speaker is in two splits. Of
    files with the same bytes one is kept, in the test split if any is there. The three splits' silence comes of
    different parts of the recordings.
    """
    root, words = _find(data_dir)
    if keywords and not set(KEYWORDS) <= set(words):
        lacking = ", ".join(sorted(set(KEYWORDS) - set(words)))
        raise DataError(
            f"{root} has no folder of wav files for {lacking}; speech_commands needs all ten keywords, "
            "speech_commands_35 takes the words that are there"
        )
    files = [f"{word}/{path.name}" for word in words for path in sorted((root / word).glob("*.wav"))]
    lists = [root / "validation_list.txt", root / "testing_list.txt"]
    present = [path.is_file() for path in lists]
    if any(present) != all(present):
        raise DataError(f"{root} has only one of validation_list.txt and testing_list.txt")
    if all(present):
        listed = [set(path.read_text().split()) for path in lists]
        parts = np.array([1 if file in listed[0] else 2 if file in listed[1] else 0 for file in files])
    else:
        parts = _by_speaker(files, seed, validation_fraction)
    kept = _without_copies(root, files, parts)
    of_word: dict[str, list[list[int]]] = {word: [[] for _ in range(3)] for word in words}
    for index in kept:
        of_word[files[index].partition("/")[0]][parts[index]].append(_Clip(root / files[index]))
    classes = _twelve(of_word, root, seed) if keywords else of_word

    names = tuple(sorted(classes))
    splits = []
    for part in range(3):
        clips = [clip for name in names for clip in classes[name][part]]
        labels = [label for label, name in enumerate(names) for _ in classes[name][part]]
        if not clips:
            raise DataError(
                f"{root}: a split has no clip; {len(kept)} clips are too few, or the lists name other files"
            )
        splits.append(Split(features_of(clips, features), np.array(labels, np.int64)))

    low, high = (round(float(value), 2) for value in np.percentile(splits[0].images, (0.1, 99.9)))
    counts = ", ".join(
        f"{len(split.labels)} {name}" for split, name in zip(splits, ("training", "validation", "test"), strict=True)
    )
    source = f"{root.name}: {counts} clips, {len(files) - len(kept)} duplicates dropped"
    if all(present):
        source += "; splits of the data set's own lists"
    else:
        source += (
            f"; splits by speaker with seed {seed}, as the data set's own lists are not there: "
            "the figures cannot be set beside published Speech Commands figures"
        )
    return Dataset(
        name="speech_commands",
        train=splits[0],
        validation=splits[1],
        test=splits[2],
        class_names=names,
        raw_range=(low, high),
        source=source,
        augmentation="sound",
        front_end=front_end(features),
    )


def front_end(features: str) -> dict[str, Any]:
    """What a device must compute from a second of sound, scaled to [-1, 1): the parameters of `log_mel` or `mfcc`."""
    steps = {
        "features": features,
        "sample_rate_hertz": RATE,
        "window_samples": WINDOW,
        "window": "hann, periodic",
        "stride_samples": STRIDE,
        "fft_length": FFT_LENGTH,
        "spectrum": "magnitude",
        "mel_bands": MEL_BANDS,
        "mel_scale": "htk",
        "lowest_hertz": LOWEST_HERTZ,
        "highest_hertz": HIGHEST_HERTZ,
        "logarithm": "natural",
        "log_offset": LOG_OFFSET,
    }
    if features == "mfcc":
        # tf.signal scales all coefficients of the DCT-II alike, the first one as well.
        steps |= {"coefficients": COEFFICIENTS, "dct": "II", "dct_scale": 2 / np.sqrt(2 * MEL_BANDS)}
    return steps


def log_mel(samples: tf.Tensor) -> tf.Tensor:
    """Logarithms of the energy in mel bands: float32 [clips, 16000] from -1 to 1 -> tensor [clips, 49, 40, 1]."""
    import tensorflow as tf

    spectrum = tf.abs(tf.signal.stft(samples, WINDOW, STRIDE, FFT_LENGTH, window_fn=tf.signal.hann_window))
    bands = tf.signal.linear_to_mel_weight_matrix(MEL_BANDS, spectrum.shape[-1], RATE, LOWEST_HERTZ, HIGHEST_HERTZ)
    return tf.math.log(spectrum @ bands + LOG_OFFSET)[..., None]


def mfcc(samples: tf.Tensor) -> tf.Tensor:
    """Mel-frequency cepstral coefficients: float32 [clips, 16000] from -1 to 1 -> tensor [clips, 49, 10, 1]."""
    import tensorflow as tf

    return tf.signal.mfccs_from_log_mel_spectrograms(log_mel(samples)[..., 0])[..., :COEFFICIENTS, None]


_FEATURES = {"mfcc": mfcc, "log_mel": log_mel}


def features_of(clips: Sequence[Any], features: str) -> np.ndarray:
    """`mfcc` or `log_mel` of clips: float32 array. Short clips are padded with silence, long ones are cut."""
    parts = []
    for start in range(0, len(clips), _BATCH):
        samples = np.stack([_read_wav(*clip) for clip in clips[start : start + _BATCH]])
        parts.append(_FEATURES[features](samples.astype(np.float32)).numpy())
    return np.concatenate(parts)


def _without_copies(root, files, parts):
    """Indices of `files`, ascending, with one for each content; a copy in the test split goes before others."""
    kept = {}
    for index in sorted(range(len(files)), key=lambda index: -parts[index]):
        kept.setdefault(hashlib.sha1((root / files[index]).read_bytes()).digest(), index)
    return sorted(kept.values())


def _twelve(of_word, root, seed):
    """{class: clips of the three splits} of the task of twelve classes, from {word: clips of the three splits}."""
    classes = {word: of_word[word] for word in KEYWORDS}
    random = np.random.default_rng(seed)
    sizes = [round(np.mean([len(classes[word][part]) for word in KEYWORDS])) for part in range(3)]
    others = sorted(set(of_word) - {*KEYWORDS, SILENCE, UNKNOWN})
    if UNKNOWN in of_word:
        classes[UNKNOWN] = of_word[UNKNOWN]
    elif others:
        clips = [[clip for word in others for clip in of_word[word][part]] for part in range(3)]
        chosen = [np.sort(random.permutation(len(clips[part]))[: sizes[part]]) for part in range(3)]
        classes[UNKNOWN] = [[clips[part][index] for index in chosen[part]] for part in range(3)]
    else:
        raise DataError(f"{root} has no word besides the ten keywords, of which {UNKNOWN} could be made")
    if SILENCE in of_word:
        classes[SILENCE] = of_word[SILENCE]
        return classes
    noises = sorted((root / NOISE).glob("*.wav"))
    lengths = [_wav_length(path) for path in noises]
    # The first eight tenths of a recording are for training, a tenth each for validation and test.
    bounds = [(np.array((0.0, 0.8, 0.9, 1.0)) * length).astype(int) for length in lengths]
    if not noises or min(np.diff(each).min() for each in bounds) < RATE:
        found = [f"{path.name} with {length / RATE:.1f} s" for path, length in zip(noises, lengths, strict=True)]
        raise DataError(
            f"{root / NOISE} must have wav files of at least 10 s for {SILENCE}, found {', '.join(found) or 'none'}"
        )
    classes[SILENCE] = [[], [], []]
    for part, size in enumerate(sizes):
        for _ in range(size):
            which = random.integers(len(noises))
            start = random.integers(bounds[which][part], bounds[which][part + 1] - RATE + 1)
            classes[SILENCE][part].append(_Clip(noises[which], int(start), float(random.uniform(0, 1))))
    return classes


def _wav_length(path):
    _read_wav(path)  # refuses what is no such file
    with wave.open(str(path)) as file:
        return file.getnframes()


def _read_wav(path, start=0, volume=1.0):
    """float32 [16000] from -1 to 1."""
    try:
        with wave.open(str(path)) as file:
            form = file.getframerate(), file.getnchannels(), 8 * file.getsampwidth()
            expected = min(RATE, file.getnframes() - start)
            if form == (RATE, 1, 16):
                file.setpos(start)
                samples = np.frombuffer(file.readframes(RATE), "<i2")
    except (EOFError, wave.Error) as error:
        raise DataError(f"{path} is truncated or not a wav file: {error}") from error
    if form != (RATE, 1, 16):
        raise DataError(f"{path} has {form[0]} Hz, {form[1]} channels, {form[2]} bits; 16000 Hz, mono, 16 bits needed")
    if len(samples) < expected:
        raise DataError(f"{path} is truncated: {len(samples)} samples, its header says {expected}")
    return np.pad(samples, (0, RATE - len(samples))).astype(np.float32) * np.float32(volume / 32768)


def _find(data_dir):
    """The directory of the data set and the words that have a folder with wav files in it."""
    places = [data_dir / "speech_commands_v0.02", data_dir / "speech-commands-test-v0.02", data_dir]
    for place in places:
        if place.is_dir():
            folders = [entry for entry in place.iterdir() if entry.is_dir() and entry.name != NOISE]
            words = tuple(sorted(folder.name for folder in folders if next(folder.glob("*.wav"), None)))
            if words:
                return place, words
    raise missing(
        "speech_commands",
        ["folders of wav files, one per word", *(f"in {place}" for place in places)],
        "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    )


def _by_speaker(files, seed, validation_fraction):
    """0 (training), 1 (validation) or 2 (test) for each file.

    A speaker is what stands before `_nohash_`; in the test files' `_unknown_` the word goes before it with a `_`.
    """
    speakers = np.array([file.rpartition("/")[2].partition("_nohash_")[0].rpartition("_")[2] for file in files])
    names, of_file, clips = np.unique(speakers, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    before = np.cumsum(clips[order]) - clips[order]  # clips of the speakers ahead in the order
    bounds = len(files) * np.array([TEST_FRACTION, TEST_FRACTION + (1 - TEST_FRACTION) * validation_fraction])
    part_of_speaker = np.empty(len(names), np.int64)
    part_of_speaker[order] = np.array([2, 1, 0])[np.searchsorted(bounds, before, side="right")]
    return part_of_speaker[of_file]
