"""Which ideas for a better gate are worth a long training? Each tried once on small sets, on two seeds.

    python -m experiments.ideas --data_dir=~/datasets
    python -m experiments.ideas --sets=fashion_mnist_14 --ideas=base,gatekeeper   # some of it
    python -m experiments.ideas --data_dir=~/datasets --again   # judges the kept answers of trained nets anew
    python -m experiments.ideas --data_dir=~/datasets --record=ideas_nets --ideas=base,shuffled   # a base of its own

The score margin leaves most of what an oracle's gate would gain. A set here is drawn from the training images of
Fashion-MNIST or CIFAR-10 and halved in height and width, so that a pair trains in minutes; as on the whole sets, the
nets err on their training images too, so that a loss which looks at errors finds some. Binary and int8 net share a stem
and have the layers of the benchmarks' nets, the binary one half of the filters. All rows of a seed share the data, the
float net, the stem and the first weights. Ideas that train the binary net on (`TUNED`) begin with that of the base.
Each row has an int8 net of its own that was boosted beside its binary net; the cooperative stage, which only
fine-tunes, is left out.

Half of the validation images fit what is fitted behind the training (boost, temperature, learned gates) and say what
is spent: the cost of the base's most accurate threshold within half of the int8 net's cycles. The other half judges:
each row, the base too, gets the threshold at which that half costs as much. Test images judge nothing.
The share of the gap that a row closes is (its accuracy - base's) / (oracle's - base's), where the oracle escalates
those images alone that the base's sum puts right. It knows labels: where the sum would spoil a right answer, it keeps
that. Two rows are ceilings, whose gates run the int8 net on every image: one knows where the sum changes the answer,
and so has at most the sum's accuracy; one has learned which of these changes to believe. The few products of a learned
gate, less than a thousandth of the binary net's, are not counted. Accuracy at one cost depends on a few images, so the
mean over `BUDGETS` stands beside it.

The rule, written down before the first result: an idea goes on to the whole sets where, on the validation images that
judge, it closes at least a tenth of the gap in the mean of sets and seeds, and no cell's share is negative. Otherwise
it stops here. For `TUNED` ideas the base is not enough, because they train for longer: their mean must also be above
that of `on`, which trains on for as long with the loss of the base.

`experiments/results/ideas.json` (`--record` names another) is written after each row; rows that it has are not
repeated. The rows of one file stand beside its base: train them on one machine, and at prices of one time.
"""

import functools
import json
import math
import pathlib
import time

import numpy as np
from absl import app, flags

from experiments import report

SETS = {"fashion_mnist_14": "fashion_mnist", "cifar10_16": "cifar10"}
SEEDS = (0, 1)
IMAGES, VALIDATION_IMAGES, TEST_IMAGES = 5000, 4000, 5000
BATCH, WIDTH = 64, 0.5
EPOCHS = {"float": 8, "binary": 6, "tuned": 2, "boosted": 2}
RATES = {"float": 2e-3, "binary": 3e-3, "tuned": 1e-3, "boosted": 1e-3}
BUDGET, PART = 0.5, 0.1  # of the int8 net's cycles; of the gap, that an idea must close
BUDGETS = np.linspace(0.25, 0.6, 15)  # whose mean accuracy varies less from seed to seed, and judges nothing

# What stands behind the training of the base's pair, and costs no training of a net.
GATES = {
    "temperature": "base, temperature fitted",
    "per_class": "base, one threshold per class",
    "gate_logits": "learned gate: benefit, from the sorted logits",
    "gate_features": "learned gate: benefit, from pooled features and sorted logits",
    "gate_net_benefit": "learned gate: benefit less harm, from the same",
    "disagreement": "ceiling: a gate that knows where binary net and sum differ",
    "both_nets": "ceiling: which of these to escalate, learned from both nets' logits",
}
# Names -> what the loss of the binary net is beside that of the base, see `Bench.binary_step`.
TUNED = {
    "on": {},
    "gatekeeper": {"gatekeeper": 1.0, "alpha": 0.5},
    "gatekeeper_9": {"gatekeeper": 1.0, "alpha": 0.9},
    "ranking": {"ranking": 0.5},
}
# Those with "net" have another binary net, see `other_net`, and those with "teacher" another teacher, see `TEACHERS`.
TRAINED = {
    "no_distillation": {"distillation": 0.0},
    "smoothing": {"smoothing": 0.1},
    "self_adaptive": {"self_adaptive": 0.9},
    "two_stage": {"two_stage": 0.5},
    "long": {"epochs": 2},
    "concatenation": {"net": "concatenation"},
    "long_concatenation": {"net": "concatenation", "epochs": 2},
    "shuffled": {"net": "shuffled"},
    "late": {"net": "late"},
    "planes_8": {"net": "planes_8"},
    "learned_levels": {"net": "learned_levels"},
    "long_teacher": {"teacher": "long_teacher"},
    "two_teachers": {"teacher": "two_teachers"},
}
# Name -> (times the epochs of the float net, seeds after that of the float net's own) of each net whose logits count.
TEACHERS = {"long_teacher": ((2, 0),), "two_teachers": ((1, 0), (1, 1))}
LATE = ((32, 2), (64, 2), (96, 1), (128, 2))
IDEAS = {
    "base": "score margin (today's recipe)",
    **GATES,
    "on": "binary net trained on, same loss",
    "gatekeeper": "Gatekeeper's tuning, alpha 0.5",
    "gatekeeper_9": "Gatekeeper's tuning, alpha 0.9",
    "ranking": "correctness ranking",
    "no_distillation": "without distillation",
    "smoothing": "label smoothing 0.1",
    "self_adaptive": "self-adaptive targets",
    "two_stage": "two stages: signs of maps first, of weights then",
    "long": "binary net trained for twice as long",
    "concatenation": "concatenated maps",
    "long_concatenation": "concatenated maps, trained for twice as long",
    "shuffled": "two groups with their words shuffled, twice as many late maps for as many products",
    "late": "one convolution fewer early, wider ones late",
    "planes_8": "8 thermometer planes behind the stem in place of 4",
    "learned_levels": "thermometer levels learned",
    "long_teacher": "teacher: a float net trained for twice as long",
    "two_teachers": "teacher: the mean of two float nets",
}

_SETS = flags.DEFINE_list("sets", list(SETS), "Which sets.")
_IDEAS = flags.DEFINE_list(
    "ideas", [name for name in IDEAS if name not in GATES], "Which ideas; base brings its gates."
)
_DATA_DIR = flags.DEFINE_string("data_dir", "~/datasets", "Folder that holds the data sets.")
_RECORD = flags.DEFINE_string("record", "ideas", "Name of the file in experiments/results.")
_AGAIN = flags.DEFINE_bool("again", False, "Train nothing; judge the answers that `--folders` has anew.")
_FOLDERS = flags.DEFINE_string("folders", "runs/ideas", "Where weights and answers are kept.")


def main(_):
    from bcnet_keras.experiment.provenance import command_line, revision, versions
    from bcnet_keras.utils.atomic_files import write_atomic

    unknown = sorted({*_SETS.value} - {*SETS}) + sorted({*_IDEAS.value} - {*IDEAS} | {*_IDEAS.value} & {*GATES})
    if unknown:
        raise app.UsageError(
            f"there is no {', '.join(unknown)}; sets: {', '.join(SETS)}; "
            f"ideas: {', '.join(name for name in IDEAS if name not in GATES)}"
        )
    place = report.results_folder() / f"{_RECORD.value}.json"
    record = json.loads(place.read_text()) if place.exists() else {"cells": {}, "commands": []}
    if _AGAIN.value:
        for name in record["cells"]:
            for seed, cells in record["cells"][name].items():
                judge_again(name, int(seed), cells)
        write_atomic(place, json.dumps({**record, "titles": _titles(record)}, indent=1) + "\n")
        report.write_all()
        return
    benches = {}
    # Idea by idea, so that what is there when time runs out is whole.
    for idea in sorted(_IDEAS.value, key=[*IDEAS].index):
        for name in _SETS.value:
            for seed in SEEDS:
                cells = record["cells"].setdefault(name, {}).setdefault(str(seed), {})
                if idea in cells:
                    continue
                if (name, seed) not in benches:
                    benches[name, seed] = Bench(name, seed)
                for row, found in benches[name, seed].tried(idea, cells.get("base")).items():
                    cells[row] = {**found, "revision": revision()}
                    print(f"{name}, seed {seed}, {row}: {found}", flush=True)
                record |= {
                    "titles": _titles(record),
                    "tuned": [*TUNED],
                    "part": PART,
                    "number": len(SETS) * len(SEEDS),
                    "versions": versions(),
                    "commands": sorted({*record["commands"], command_line("python -m experiments.ideas")}),
                }
                write_atomic(place, json.dumps(record, indent=1) + "\n")
    report.write_all()


def _titles(record):
    rows = {row for seeds in record["cells"].values() for cells in seeds.values() for row in cells}
    return {idea: title for idea, title in IDEAS.items() if idea in rows}


def load(name, seed):
    """{"train", "fit", "pick", "test": (images float32 [n, h, w, c] in the input range, labels [n])} of a set."""
    from bcnet_keras import datasets
    from bcnet_keras.models.pair import rescale

    whole = datasets.load(SETS[name], _DATA_DIR.value, seed)
    order = np.random.default_rng(seed).permutation(len(whole.train.labels))
    ends = np.cumsum([IMAGES, VALIDATION_IMAGES // 2, VALIDATION_IMAGES // 2])
    parts = dict(zip(("train", "fit", "pick"), np.split(order[: ends[-1]], ends[:-1]), strict=True))
    splits = {part: (whole.train.images[rows], whole.train.labels[rows]) for part, rows in parts.items()}
    splits["test"] = whole.test.images[:TEST_IMAGES], whole.test.labels[:TEST_IMAGES]

    def halved(images):
        count, height, width, channels = images.shape
        blocks = images.reshape(count, height // 2, 2, width // 2, 2, channels)
        return rescale(blocks.astype(np.float32).mean((2, 4)), whole.raw_range).numpy()

    return {part: (halved(images), labels.astype(np.int64)) for part, (images, labels) in splits.items()}


class Bench:
    """Nets, data and compiled steps of a set and seed; steps are traced once for all ideas."""

    def __init__(self, name, seed):
        import tensorflow as tf

        from bcnet_keras.models.networks import NETWORKS
        from bcnet_keras.models.twins import int8_twin, share_stem

        self.name, self.seed = name, seed
        self.folder = pathlib.Path(_FOLDERS.value) / f"{name}_{seed}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = load(name, seed)
        images, labels = self.data["train"]
        self.targets, self.classes = tf.one_hot(labels, int(labels.max()) + 1).numpy(), int(labels.max()) + 1
        tf.keras.utils.set_random_seed(seed)
        shape = images.shape[1:]
        self.float_net, binary = NETWORKS["fashion_mnist"](shape, self.classes, shared_stem=True, binary_width=WIDTH)
        self._train_float(self.float_net)
        self.teachers = {None: self.float_net.predict(images, batch_size=500, verbose=0)}
        self.int8 = int8_twin(self.float_net)
        share_stem(binary, self.int8, [images[:1000]])
        self.start = {"int8": self.int8.get_weights()}
        self.nets = {"plain": self._made("plain", binary)}

    def _made(self, kind, binary):
        """Binary net, pair, optimizers and steps of a kind of binary net."""
        import tensorflow as tf

        from bcnet_keras.models.pair import BCNet
        from bcnet_keras.models.pair_cost import pair_cost

        pair = BCNet(binary, self.int8)
        features = tf.keras.Model(binary.inputs, [binary.layers[-2].input, binary.outputs[0]])
        self.start[kind] = binary.get_weights()
        return {
            "pair": pair,
            # Learned levels are converted as those of the base are, but for a class that conversion does not know.
            "cost": self.nets["plain"]["cost"] if kind == "learned_levels" else pair_cost(pair),
            "features": features,
            "step": BinaryStep(binary, self.classes),
        }

    def _train_float(self, net, times=1, more=0):
        """Trains a float net for `times` the epochs, `more` seeds after the bench's own, or takes the kept one."""
        import tensorflow as tf

        from bcnet_keras.training import train_float

        place = self.folder / f"float{f'_{times}_{more}' if (times, more) != (1, 0) else ''}.weights.h5"
        if place.exists():
            net.load_weights(place)
            return
        data = tf.data.Dataset.from_tensor_slices(self.data["train"]).shuffle(IMAGES, self.seed + more).batch(BATCH)
        settings = dict(learning_rate=RATES["float"], weight_decay=0.05, verbose=0)
        train_float(net, data, epochs=times * EPOCHS["float"], **settings)
        net.save_weights(place)

    def _teacher(self, name):
        """[n, classes]: logits of a teacher on the training images; those of several nets have their mean."""
        import tensorflow as tf

        from bcnet_keras.models.networks import NETWORKS

        if name not in self.teachers:
            images, found = self.data["train"][0], []
            for times, more in TEACHERS[name]:
                tf.keras.utils.set_random_seed(self.seed + 1000 * more)
                net, _ = NETWORKS["fashion_mnist"](images.shape[1:], self.classes)
                self._train_float(net, times, more)
                found.append(net.predict(images, batch_size=500, verbose=0))
            self.teachers[name] = np.mean(found, axis=0)
        return self.teachers[name]

    def tried(self, idea, base):
        """{row: its figures} of an idea: its own, and with the base those of the gates behind it."""
        began = time.process_time()
        change = {**TUNED, **TRAINED}.get(idea, {})
        kind = change.get("net", "plain")
        if kind not in self.nets:
            self.nets[kind] = self._made(kind, self._other_net(kind))
        net = self.nets[kind]
        self._train_binary(idea, net, change, kind)
        binary_seconds = time.process_time() - began
        self._train_int8(net)
        self._keep_answers(net, idea)
        seconds = {"seconds": round(time.process_time() - began), "binary_seconds": round(binary_seconds)}
        rows = rows_of(idea, self.data, self.folder, net["cost"], base)
        return {row: {**(seconds if row == idea else {}), **found} for row, found in rows.items()}

    def _other_net(self, kind):
        import tensorflow as tf

        from bcnet_keras.models.twins import share_stem

        tf.keras.utils.set_random_seed(self.seed)
        images = self.data["train"][0]
        net = other_net(kind, images.shape[1:], self.classes)
        share_stem(net, self.int8, [images[:1000]])
        return net

    def _train_binary(self, idea, net, change, kind):
        binary, step = net["pair"].binary, net["step"]
        place = self.folder / "base.weights.h5"
        if idea in TUNED and place.exists():
            binary.load_weights(place)
            epochs, rate = EPOCHS["tuned"], RATES["tuned"]
        else:
            binary.set_weights(self.start[kind])
            epochs, rate = EPOCHS["binary"] * change.get("epochs", 1), RATES["binary"]
        images, teacher = self.data["train"][0], self._teacher(change.get("teacher"))
        targets = self.targets.copy()
        if "smoothing" in change:
            targets = (1 - change["smoothing"]) * targets + change["smoothing"] / self.classes
        step.reset(change)
        order, steps = np.random.default_rng(self.seed), math.ceil(len(images) / BATCH)
        for epoch in range(epochs):
            step.whole.assign(epoch >= change.get("two_stage", 0) * epochs)
            if "self_adaptive" in change and epoch >= epochs // 4:
                # Huang et al., arXiv 2002.10319: targets follow the net's own answers once it has begun to learn.
                share = change["self_adaptive"]
                targets = share * targets + (1 - share) * softmax(binary.predict(images, batch_size=500, verbose=0))
            weights = targets.max(-1) if "self_adaptive" in change else np.ones(len(images), np.float32)
            for number, rows in enumerate(np.array_split(order.permutation(len(images)), steps)):
                done = (epoch + number / steps) / epochs
                batch = images[rows], targets[rows].astype(np.float32), teacher[rows], weights[rows]
                loss = step(*batch, np.float32(rate * (1 + np.cos(np.pi * done)) / 2))
        if not np.isfinite(loss):
            raise ValueError(f"{self.name}, seed {self.seed}: training of {idea} diverged.")
        for layer in binary.layers:
            if isinstance(layer, learned_levels()):
                layer.round()
        self._settle(binary)
        if idea == "base":
            binary.save_weights(place)

    def _settle(self, net):
        from bcnet_keras.training.batch_norm import recalibrate_batch_norm

        recalibrate_batch_norm(net, self.data["train"], 40)

    def _train_int8(self, net):
        """The boosted stage: cross-entropy of the sum and of the int8 net alone, half and half."""
        import tensorflow as tf

        from bcnet_keras.training.boost import fit_boost

        pair, images = net["pair"], self.data["train"][0]
        self.int8.set_weights(self.start["int8"])
        beside = pair.binary.predict(images, batch_size=500, verbose=0)
        if not hasattr(self, "int8_step"):
            self.int8_step = Int8Step(self.int8)
        self.int8_step.reset()
        order, steps, epochs = np.random.default_rng(self.seed), math.ceil(len(images) / BATCH), EPOCHS["boosted"]
        for epoch in range(epochs):
            for number, rows in enumerate(np.array_split(order.permutation(len(images)), steps)):
                rate = RATES["boosted"] * (1 + np.cos(np.pi * (epoch + number / steps) / epochs)) / 2
                self.int8_step(images[rows], self.targets[rows], beside[rows], tf.constant(rate, tf.float32))
        self._settle(self.int8)
        pair.boost.assign(0.3)
        fit_boost(pair, self.data["fit"])

    def _keep_answers(self, net, idea):
        """Writes the logits of both nets, and the pooled features of the binary one, for `kept_answers`."""
        kept = {"boost": net["pair"].boost.numpy()}
        for part in ("fit", "pick", "test"):
            images, _ = self.data[part]
            kept[f"{part}_pooled"], kept[f"{part}_binary"] = net["features"].predict(images, batch_size=500, verbose=0)
            kept[f"{part}_int8"] = self.int8.predict(images, batch_size=500, verbose=0)
        np.savez_compressed(self.folder / f"{idea}.npz", **kept)


class BinaryStep:
    """A compiled step of the binary net; the weights of the loss's parts are variables, so that it is traced once."""

    PARTS = {"distillation": 0.5, "gatekeeper": 0.0, "alpha": 0.5, "ranking": 0.0}
    HEAT = 2.0  # of the teacher, as in `BCNet.compile`
    SOFTNESS = 0.2  # of the ranking loss, in score margins

    def __init__(self, net, classes):
        import tensorflow as tf

        from bcnet_keras.layers import BinaryConv2D

        self.net, self.classes = net, classes
        self.optimizer = tf.keras.optimizers.Adam(1e-3, clipnorm=1.0)
        self.optimizer.build(net.trainable_variables)
        self.parts = {name: tf.Variable(value, trainable=False) for name, value in self.PARTS.items()}
        self.whole = tf.Variable(True, trainable=False)  # False while weights are still real numbers
        for layer in net.layers:
            if isinstance(layer, BinaryConv2D):
                layer.kernel_quantizer = _in_two_stages(layer.kernel_quantizer, self.whole)
        self.run = tf.function(self._run, reduce_retracing=True)

    def reset(self, change):
        for variable in self.optimizer.variables:
            variable.assign(tf_zeros(variable))
        for name, value in self.PARTS.items():
            self.parts[name].assign(change.get(name, value))
        self.whole.assign(True)

    def __call__(self, *batch):
        return self.run(*batch).numpy()

    def _run(self, images, targets, teacher, weights, rate):
        import tensorflow as tf

        self.optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            logits = self.net(images, training=True)
            loss = tf.reduce_mean(weights * self._losses(targets, logits, teacher)) + self._ranking(targets, logits)
        variables = self.net.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    def _losses(self, targets, logits, teacher):
        import tensorflow as tf

        entropy, heat, parts = tf.nn.softmax_cross_entropy_with_logits, self.HEAT, self.parts
        soft = tf.nn.softmax(teacher / heat)
        distilled = heat**2 * (entropy(soft, logits / heat) - entropy(soft, tf.math.log(soft + 1e-9)))
        plain = entropy(targets, logits)
        plain += parts["distillation"] * (distilled - plain)
        # Gatekeeper, arXiv 2502.19335: cross-entropy where the net is right, divergence from uniform where it is wrong.
        right = tf.cast(tf.argmax(logits, -1) == tf.argmax(targets, -1), tf.float32)
        divergence = math.log(self.classes) - entropy(tf.nn.softmax(logits), logits)
        told = parts["alpha"] * right * entropy(targets, logits) + (1 - parts["alpha"]) * (1 - right) * divergence
        return plain + parts["gatekeeper"] * (told - plain)

    def _ranking(self, targets, logits):
        """Smooth share of pairs (right, wrong) of the batch in which the wrong answer has the higher score margin."""
        import tensorflow as tf

        from bcnet_keras.layers.gate import score_margin

        margin = score_margin(tf.nn.softmax(logits))
        right = tf.cast(tf.argmax(logits, -1) == tf.argmax(targets, -1), tf.float32)
        pairs = right[:, tf.newaxis] * (1 - right)[tf.newaxis]
        lost = tf.nn.softplus((margin[tf.newaxis] - margin[:, tf.newaxis]) / self.SOFTNESS)
        return self.parts["ranking"] * tf.math.divide_no_nan(tf.reduce_sum(pairs * lost), tf.reduce_sum(pairs))


class Int8Step:
    """A compiled step of the boosted stage, with the loss of `BCNet.compile` at its default settings."""

    def __init__(self, net):
        import tensorflow as tf

        self.net, self.optimizer = net, tf.keras.optimizers.Adam(1e-3, clipnorm=1.0)
        self.optimizer.build(net.trainable_variables)
        self.run = tf.function(self._run, reduce_retracing=True)

    def reset(self):
        for variable in self.optimizer.variables:
            variable.assign(tf_zeros(variable))

    def __call__(self, *batch):
        return self.run(*batch)

    def _run(self, images, targets, beside, rate):
        import tensorflow as tf

        entropy = tf.nn.softmax_cross_entropy_with_logits
        self.optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            logits = self.net(images, training=True)
            loss = tf.reduce_mean(entropy(targets, 0.3 * beside + logits) + entropy(targets, logits)) / 2
        variables = self.net.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))


def _in_two_stages(quantizer, whole):
    """Signs of weights while `whole` holds, else the weights themselves."""
    import tensorflow as tf

    def quantized(kernel):
        return tf.where(whole, quantizer(kernel), kernel)

    return quantized


def tf_zeros(variable):
    return np.zeros(variable.shape, variable.dtype.as_numpy_dtype)


def other_net(kind, shape, classes):
    """A binary net that an idea has in place of the base's, behind a stem that is to be shared.

    "concatenation": each convolution of stride 1 adds 32 maps to those that it reads (BinaryDenseNet, Bethge et al.,
    arXiv 1906.08637). "shuffled": late convolutions have two groups, twice as many maps for as many products, and their
    words are shuffled (ShuffleNet, Zhang et al., arXiv 1707.01083). Groups are whole words, and a convolution that
    reads all words gains nothing by a shuffle: its kernels learn any order. "late": convolutions by `LATE`; the early
    ones of the base have one word already, and with 16 filters take as long. "planes_8", "learned_levels": the base's
    convolutions behind another thermometer.
    """
    import tensorflow as tf

    from bcnet_keras.layers import BinaryConv2D, FakeQuant, Int8Dense, batch_norm, global_average
    from bcnet_keras.models.networks import FIVE_CONVOLUTIONS, NETWORKS, binary_cnn, widened

    def convolution(tensor, filters, strides=1, **settings):
        return batch_norm()(BinaryConv2D(filters, 3, strides, **settings)(tensor))

    nets, blocks = NETWORKS["fashion_mnist"].nets(shared_stem=True), widened(FIVE_CONVOLUTIONS, WIDTH)
    stem = (nets.filters, *nets.stem)
    if kind in ("late", "planes_8"):
        return binary_cnn(shape, classes, LATE if kind == "late" else blocks, 8 if kind == "planes_8" else 4, stem)
    plain = binary_cnn(shape, classes, blocks, 4, stem)
    tensor = next(layer for layer in plain.layers if isinstance(layer, BinaryConv2D)).input
    if kind == "concatenation":
        for filters, strides in blocks:
            added = convolution(tensor, filters if strides > 1 else 32, strides)
            tensor = added if strides > 1 else tf.keras.layers.Concatenate()([tensor, added])
    elif kind == "shuffled":
        *early, middle, last = blocks[:3] + blocks[4:]
        for filters, strides in early:
            tensor = convolution(tensor, filters, strides)
        groups = [convolution(tensor, middle[0] // 2, middle[1]) for _ in range(2)]
        # A tensor for each word, joined in the order in which the next groups read them: no operator moves words.
        words = [[convolution(group, 32) for group in groups] for _ in range(2)]
        tensor = convolution(tf.keras.layers.Concatenate()(sum(words, [])), *last, groups=2)
    else:
        before = next(layer for layer in plain.layers if layer.output is tensor).input
        tensor = learned_levels()(4)(before)
        for filters, strides in blocks:
            tensor = convolution(tensor, filters, strides)
    logits = FakeQuant()(Int8Dense(classes)(global_average(tensor, FakeQuant())))
    return tf.keras.Model(plain.inputs, logits, name=kind)


@functools.cache
def learned_levels():
    """The class of a `CalibratedThermometer` that learns by how far its levels lie from where they were set."""
    import tensorflow as tf

    from bcnet_keras.layers import CalibratedThermometer

    class LearnedLevels(CalibratedThermometer):
        """Training moves `shift`, whose unit of `UNIT` codes makes a step of Adam a part of a code."""

        UNIT = 64.0

        def build(self, input_shape):
            super().build(input_shape)
            self.shift = self.add_weight(name="shift", shape=self.levels.shape, initializer="zeros")

        def round(self):
            """Puts the levels on codes; no whole number lies between a level and the next code, so signs stay."""
            self.levels.assign(tf.math.ceil(self.levels + self.UNIT * self.shift))
            self.shift.assign(tf.zeros_like(self.shift))

        def call(self, inputs, training=None):
            if not training:
                return super().call(inputs)
            return tf.repeat(inputs, self.planes, axis=-1) - (self.levels + self.UNIT * self.shift) * self.step

    return LearnedLevels


def softmax(logits):
    from scipy import special

    return special.softmax(logits, axis=-1).astype(np.float32)


def kept_answers(path, data):
    """({split: `Answers`}, {split: pooled features}, {split: logits of the sum}) of a file of `Bench`."""
    from bcnet_keras.calibration import Answers

    found, pooled, sums = {}, {}, {}
    with np.load(path) as kept:
        for part in ("fit", "pick", "test"):
            binary, int8, pooled[part] = (kept[f"{part}_{name}"] for name in ("binary", "int8", "pooled"))
            sums[part] = kept["boost"] * binary + int8
            classes = (each.argmax(-1) for each in (binary, int8, sums[part]))
            found[part] = Answers(data[part][1], *classes, _margin(softmax(binary)), binary)
    return found, pooled, sums


def rows_of(idea, data, folder, cost, base=None):
    """{row: its figures} of the kept answers of an idea; with the base come the gates behind it."""
    splits, *more = kept_answers(folder / f"{idea}.npz", data)
    accuracy = {part: float(np.mean(splits[part].binary == splits[part].labels)) for part in splits}
    if idea != "base":
        return {idea: {**judged(splits, cost, base), "binary": accuracy}}
    found = base_figures(splits, cost)
    rows = {"base": {**found, **judged(splits, cost, found), "binary": accuracy}}
    for gate in GATES:
        began = time.process_time()
        changed = behind(gate, splits, *more)
        took = {"seconds": round(time.process_time() - began, 1)}
        rows[gate] = {**judged(changed, cost, found), "binary": accuracy, **took}
    return rows


def judge_again(name, seed, cells):
    """Puts the figures of kept answers into the rows of a cell, in place."""
    from bcnet_keras.experiment.provenance import revision

    data, folder = load(name, seed), pathlib.Path(_FOLDERS.value) / f"{name}_{seed}"
    for idea in [*cells]:
        if idea not in GATES and (folder / f"{idea}.npz").exists():
            for row, found in rows_of(idea, data, folder, cells[idea]["pair_cost"], cells["base"]).items():
                cells[row] = {**cells.get(row, {"revision": revision()}), **found}


def behind(gate, splits, pooled, sums):
    """The same answers with the confidence by one of `GATES`, fitted on the split "fit".

    `pooled` [n, k] are the binary net's features and `sums` [n, classes] the logits of the sum, of each split.
    """
    import dataclasses

    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    fit = splits["fit"]
    if gate == "temperature":
        rows = np.arange(len(fit.labels))
        heat = minimize_scalar(
            lambda heat: -np.mean(log_softmax(fit.logits / heat, axis=-1)[rows, fit.labels]), (0.2, 5.0)
        ).x
        margins = {part: _margin(softmax(each.logits / heat)) for part, each in splits.items()}
        return {part: dataclasses.replace(each, confidence=margins[part]) for part, each in splits.items()}
    if gate == "per_class":
        # One threshold per class as an offset: each class escalates those whose gain by the sum is the greatest.
        offsets = _class_offsets(fit)
        return {
            part: dataclasses.replace(each, confidence=each.confidence - offsets[each.binary])
            for part, each in splits.items()
        }
    if gate == "disagreement":
        return {
            part: dataclasses.replace(each, confidence=each.confidence + 2 * (each.binary == each.combined))
            for part, each in splits.items()
        }
    if gate == "both_nets":
        return _choice(splits, sums)
    features = {part: _features(each, pooled[part] if gate != "gate_logits" else None) for part, each in splits.items()}
    right, sum_right = fit.binary == fit.labels, fit.combined == fit.labels
    benefit = _regression(features, ~right & sum_right)
    if gate == "gate_net_benefit":
        harm = _regression(features, right & ~sum_right)
        benefit = {part: benefit[part] - harm[part] for part in benefit}
    return {part: dataclasses.replace(each, confidence=-benefit[part]) for part, each in splits.items()}


def _choice(splits, sums):
    """Confidence that is least where the sum changes the answer for the better, and greatest where for the worse."""
    import dataclasses

    features, changed = {}, {part: each.binary != each.combined for part, each in splits.items()}
    for part, each in splits.items():
        rows, both = np.arange(len(each.labels)), (softmax(each.logits), softmax(sums[part]))
        features[part] = np.stack([one[rows, answer] for one in both for answer in (each.binary, each.combined)], -1)
    fit = splits["fit"]
    better, harm = (fit.combined == fit.labels)[changed["fit"]], (fit.binary == fit.labels)[changed["fit"]]
    matters = better | harm  # where both answers are wrong, either will do
    chance = _regression(features, better[matters], changed["fit"].nonzero()[0][matters])
    return {
        part: dataclasses.replace(
            each, confidence=each.confidence + 2 * ~changed[part] + 4 * (changed[part] & (chance[part] < 0.5))
        )
        for part, each in splits.items()
    }


def _margin(probabilities):
    top = np.sort(probabilities, axis=-1)
    return top[:, -1] - top[:, -2]


def _features(answers, pooled):
    """[n, k]: the logits from the largest on, the two margins, and where given the pooled features."""
    ordered = -np.sort(-answers.logits, axis=-1)
    parts = [ordered, ordered[:, :1] - ordered[:, 1:2], answers.confidence[:, np.newaxis]]
    return np.concatenate(parts if pooled is None else [*parts, pooled], axis=-1)


def _regression(features, targets, rows=slice(None)):
    """{split: probability [n]} of a logistic regression on `rows` of "fit", its penalty by cross-validation."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if targets.all() or not targets.any():
        return {part: np.zeros(len(each)) for part, each in features.items()}
    model = LogisticRegressionCV(Cs=[1e-3, 1e-2, 1e-1], cv=3, scoring="neg_log_loss", max_iter=200)
    model = make_pipeline(StandardScaler(), model).fit(features["fit"][rows], targets)
    return {part: model.predict_proba(each)[:, 1] for part, each in features.items()}


def _class_offsets(fit):
    """[classes]: differences of thresholds, so that the most unsure image that each accepts gains as much by the sum.

    The gain of a class by its margin is a logistic curve with one slope for all classes and an offset for each.
    """
    from sklearn.linear_model import LogisticRegression

    classes = fit.logits.shape[-1]
    gain = (fit.binary != fit.labels) & (fit.combined == fit.labels)
    if gain.all() or not gain.any():
        return np.zeros(classes)
    columns = np.concatenate([fit.confidence[:, np.newaxis], np.eye(classes)[fit.binary]], axis=-1)
    weights = LogisticRegression(C=1.0, max_iter=500).fit(columns, gain).coef_[0]
    return weights[1:] / max(-weights[0], 1e-6)


def base_figures(splits, cost):
    """What all rows are held against: the cost of the base's pick, its accuracy there, and the oracle's."""
    from bcnet_keras.calibration import curve

    picked = curve(splits["fit"], cost).pick(max_cost=BUDGET)
    spent = picked.cost
    found = {"spent": spent}
    for part in ("pick", "test"):
        answers = splits[part]
        right = answers.binary == answers.labels
        helped = ~right & (answers.combined == answers.labels)
        rate = (spent - cost[0]) / (cost[1] - cost[0])
        accuracy = _judged_at(splits, part, cost, spent)[0]
        found[part] = {"accuracy": accuracy, "oracle": float(np.mean(right) + min(np.mean(helped), rate))}
    return {"against": found}


def judged(splits, cost, base):
    """Accuracy, cost and share of the gap on both splits at the cost of the base, and how the confidence ranks."""
    against, found = base["against"], {}
    for part in ("pick", "test"):
        accuracy, spent = _judged_at(splits, part, cost, against["spent"])
        own = against[part]
        gap = own["oracle"] - own["accuracy"]
        found[part] = {
            "accuracy": accuracy,
            "cost": spent,
            "share": (accuracy - own["accuracy"]) / gap,
            "auroc": splits[part].auroc(),
            "aurc": splits[part].aurc(),
            "sum": float(np.mean(splits[part].combined == splits[part].labels)),
            "over_budgets": _over_budgets(splits[part], cost),
        }
    return {**found, "pair_cost": list(cost)}


def _judged_at(splits, part, cost, spent):
    """(accuracy, cost) on a split at the threshold where the split "pick" costs `spent`."""
    pick, answers = splits["pick"], splits[part]
    rate = min(max((spent - cost[0]) / (cost[1] - cost[0]), 0), 1)
    ordered = np.sort(pick.confidence)
    count = round(rate * len(ordered))
    threshold = ordered[count] if count < len(ordered) else np.inf
    escalated = answers.confidence < threshold
    predicted = np.where(escalated, answers.combined, answers.binary)
    rate = float(np.mean(escalated))
    return float(np.mean(predicted == answers.labels)), cost[0] + rate * (cost[1] - cost[0])


def _over_budgets(answers, cost):
    """Mean accuracy over `BUDGETS`, each at the threshold by which these images cost as much."""
    order = np.argsort(answers.confidence, kind="stable")
    gained = (answers.combined == answers.labels).astype(int) - (answers.binary == answers.labels)
    right = np.mean(answers.binary == answers.labels) + np.cumsum([0, *gained[order]]) / len(order)
    rates = np.clip((BUDGETS - cost[0]) / (cost[1] - cost[0]), 0, 1)
    return float(np.mean(right[np.round(rates * len(order)).astype(int)]))


if __name__ == "__main__":
    app.run(main)
