"""Speech Commands (Warden, arXiv 1804.03209): spoken words as small images of MFCCs.

The front end is that of the keyword spotting task of MLPerf Tiny (Banbury et al., arXiv 2106.07597): windows of 40 ms
every 20 ms, 40 mel bands from 20 to 4,000 Hz, 10 coefficients.
"""

import hashlib
import wave

import numpy as np

from bcnet_keras.datasets.arrays import TEST_FRACTION, Dataset, Split, missing

RATE = 16000  # samples a second; clips last one second
WINDOW, STRIDE, COEFFICIENTS = 640, 320, 10
MEL_BANDS, LOWEST_HERTZ, HIGHEST_HERTZ = 40, 20.0, 4000.0
_BATCH = 512  # clips that are in memory as samples at a time


def speech_commands(data_dir, seed, validation_fraction):
    """One folder a word with wav files; every folder is a class, but for `_background_noise_`.

    float32 [49, 10, 1] MFCCs. Splits are those of `validation_list.txt` and `testing_list.txt`; without these, no
    speaker is in two splits. Of files with the same bytes one is kept, in the test split if any is there.
    """
    root, words = _find(data_dir)
    files, labels, digests = [], [], []
    for label, word in enumerate(words):
        for path in sorted((root / word).glob("*.wav")):
            files.append(f"{word}/{path.name}")
            labels.append(label)
            digests.append(hashlib.sha1(path.read_bytes()).digest())
    lists = [root / "validation_list.txt", root / "testing_list.txt"]
    present = [path.is_file() for path in lists]
    if any(present) != all(present):
        raise ValueError(f"{root} has only one of validation_list.txt and testing_list.txt")
    if all(present):
        listed = [set(path.read_text().split()) for path in lists]
        parts = np.array([1 if file in listed[0] else 2 if file in listed[1] else 0 for file in files])
    else:
        parts = _by_speaker(files, seed, validation_fraction)
    kept = {}
    for index in sorted(range(len(files)), key=lambda index: -parts[index]):
        kept.setdefault(digests[index], index)
    kept = np.array(sorted(kept.values()))
    features, labels, parts = (
        mfcc_of_files([root / files[index] for index in kept]),
        np.array(labels)[kept],
        parts[kept],
    )
    splits = [Split(features[parts == part], labels[parts == part].astype(np.int64)) for part in range(3)]
    if not all(len(split.labels) for split in splits):
        raise ValueError(f"{root}: a split has no clip; {len(kept)} clips are too few, or the lists name other files")

    low, high = np.percentile(splits[0].images, (0.1, 99.9))
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
        class_names=words,
        raw_range=(round(float(low), 2), round(float(high), 2)),
        source=source,
    )


def mfcc(samples):
    """Mel-frequency cepstral coefficients.

    Arguments:
      samples: float32 [clips, 16000] from -1 to 1.

    Returns:
      float32 tensor [clips, 49, 10, 1].
    """
    import tensorflow as tf

    spectrum = tf.abs(tf.signal.stft(samples, WINDOW, STRIDE, window_fn=tf.signal.hann_window))
    bands = tf.signal.linear_to_mel_weight_matrix(MEL_BANDS, spectrum.shape[-1], RATE, LOWEST_HERTZ, HIGHEST_HERTZ)
    log_mel = tf.math.log(spectrum @ bands + 1e-6)
    return tf.signal.mfccs_from_log_mel_spectrograms(log_mel)[..., :COEFFICIENTS, None]


def mfcc_of_files(paths):
    """`mfcc` of wav files: float32 array [files, 49, 10, 1]. Short clips are padded with silence, long ones are cut."""
    features = np.empty((len(paths), 1 + (RATE - WINDOW) // STRIDE, COEFFICIENTS, 1), np.float32)
    for start in range(0, len(paths), _BATCH):
        samples = np.stack([_read_wav(path) for path in paths[start : start + _BATCH]])
        features[start : start + _BATCH] = mfcc(samples.astype(np.float32) / 32768)
    return features


def _read_wav(path):
    try:
        with wave.open(str(path)) as file:
            form = file.getframerate(), file.getnchannels(), 8 * file.getsampwidth()
            expected = file.getnframes()
            samples = np.frombuffer(file.readframes(RATE), "<i2") if form == (RATE, 1, 16) else None
    except (EOFError, wave.Error) as error:
        raise ValueError(f"{path} is truncated or not a wav file: {error}") from error
    if samples is None:
        raise ValueError(f"{path} has {form[0]} Hz, {form[1]} channels, {form[2]} bits; 16000 Hz, mono, 16 bits needed")
    if len(samples) < min(expected, RATE):
        raise ValueError(f"{path} is truncated: {len(samples)} samples, its header says {expected}")
    return np.pad(samples, (0, RATE - len(samples)))


def _find(data_dir):
    """The directory of the data set and the words that have a folder with wav files in it."""
    places = [data_dir / "speech_commands_v0.02", data_dir / "speech-commands-test-v0.02", data_dir]
    for place in places:
        if place.is_dir():
            folders = [entry for entry in place.iterdir() if entry.is_dir() and entry.name != "_background_noise_"]
            words = tuple(sorted(folder.name for folder in folders if next(folder.glob("*.wav"), None)))
            if words:
                return place, words
    raise missing(
        "speech_commands",
        ["folders of wav files, one a word", *(f"in {place}" for place in places)],
        "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    )


def _by_speaker(files, seed, validation_fraction):
    """0 (training), 1 (validation) or 2 (test) for each file; a speaker is the file name up to `_nohash_`."""
    speakers = np.array([file.rpartition("/")[2].partition("_nohash_")[0] for file in files])
    names, of_file, clips = np.unique(speakers, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    before = np.cumsum(clips[order]) - clips[order]  # clips of the speakers ahead in the order
    bounds = len(files) * np.array([TEST_FRACTION, TEST_FRACTION + (1 - TEST_FRACTION) * validation_fraction])
    part_of_speaker = np.empty(len(names), np.int64)
    part_of_speaker[order] = np.array([2, 1, 0])[np.searchsorted(bounds, before, side="right")]
    return part_of_speaker[of_file]
