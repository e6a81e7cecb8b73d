"""Nets for a user's own images: are they drawn as they convert, within board and budget, and said before training?"""

import dataclasses
import json

import hypothesis.strategies as st
import numpy as np
import PIL.Image
import pytest
from hypothesis import example, given, settings

import bcnet_keras as bc
from bcnet_keras import datasets
from bcnet_keras.device.boards import BOARDS
from bcnet_keras.device.cost import CORES
from bcnet_keras.device.profile import Profile
from bcnet_keras.experiment import training_run as experiment
from bcnet_keras.experiment.saved_settings import read_settings, write_settings
from bcnet_keras.models.networks import NETWORKS, Nets
from bcnet_keras.models.pair_profile import LIGHT
from bcnet_keras.models.twins import int8_twin, share_stem
from bcnet_keras.planning import choice
from bcnet_keras.planning.sketch import sketch

sides = st.integers(choice.SMALLEST, 128)
# Some boards of each core, with little memory and with much.
boards = st.sampled_from(["nucleo-l476rg", "nucleo-f446re", "nucleo-f767zi", "raspberry-pi-pico", "nucleo-l552ze"])


def converted(nets, shape, classes):
    """The flatbuffer of the untrained pair, by way of Keras and the converters."""
    float_net, binary = nets.build(shape, classes)
    int8 = int8_twin(float_net)
    if nets.shared_stem:
        share_stem(binary, int8, [np.random.default_rng(0).uniform(-1, 1, (4, *shape)).astype(np.float32)])
    return bc.convert(bc.BCNet(binary, int8), threshold=0.5)


IMAGES = NETWORKS["images"]


@pytest.mark.parametrize(
    ("nets", "shape", "core"),
    [
        pytest.param(None, (13, 9, 1), "cortex-m55", id="chosen, small and oblong"),
        pytest.param(None, (96, 96, 3), "cortex-m4", id="chosen, strided stem"),
        pytest.param(NETWORKS["fashion_mnist"].nets(), (28, 28, 1), "cortex-m4", id="int8 first layer"),
        pytest.param(NETWORKS["speech_commands"].nets(True), (49, 10, 1), "cortex-m7", id="ds_cnn"),
        pytest.param(IMAGES.nets(False, binary_blocks="7 planes, 64/pool, 32/1, 64/pool"), (30, 22, 3), "cortex-m0plus",
                     id="pooling of bits and of int8"),
        pytest.param(IMAGES.nets(False, binary_blocks="64/pool, 32/1, 64/2"), (16, 16, 3), "cortex-m33",
                     id="pooling behind an int8 layer"),
        pytest.param(IMAGES.nets(False, binary_blocks="10 planes, 32/concat, 64/pool, 32/concat, 64/2"), (16, 16, 3),
                     "cortex-m4", id="joined maps"),
    ],
)  # fmt: skip
def test_a_sketch_costs_and_takes_what_the_converted_pair_does(nets, shape, core):
    nets = nets or choice.choose(shape, 5, core=core)
    real, drawn = (Profile.of(data, core) for data in (converted(nets, shape, 5), sketch(nets, shape, 5)))
    assert [(op.name, op.path) for op in drawn.cost.ops] == [(op.name, op.path) for op in real.cost.ops]
    assert (drawn.accepted, drawn.escalated) == (real.accepted, real.escalated)
    # A trained net has a bias more than this untrained one: that of the float net's classifier.
    assert 0 <= drawn.arena.bytes - real.arena.bytes <= 64
    assert drawn.flash_bytes == pytest.approx(real.flash_bytes, rel=0.02)


@settings(max_examples=15)
@given(sides, sides, st.sampled_from([1, 3]), st.integers(2, 120), st.sampled_from([0.3, 0.5, 0.9]), boards)
@example(96, 96, 3, 10, 0.5, "nucleo-f446re")
@example(64, 64, 3, 10, 0.5, "nucleo-f446re")
@example(48, 48, 1, 7, 0.5, "nucleo-f446re")
@example(4, 4, 1, 2, 0.5, "nucleo-f446re")
@example(19, 85, 1, 2, 0.3, "nucleo-l476rg")
def test_what_is_chosen_fits_its_board_and_budget(height, width, channels, classes, max_cost, name):
    shape, board = (height, width, channels), BOARDS[name]
    nets = choice.choose(shape, classes, max_cost, board.core, name)
    plan = choice.Plan.of(nets, shape, classes, board.core, name)
    assert plan.pair.shortage() is None and plan.pair.ram_bytes <= board.ram_bytes
    assert plan.problem() is None
    assert min(side for form in nets.maps(shape) for side in form) >= 2
    assert max(nets.maps(shape)[0]) * 4 >= min(height, width) / 8  # and not shrunk to nothing either
    # Of small images, and from a slow flash, no binary net may be so light; then it is the lightest of all.
    cycles = [net.expected_cycles.middle for net in (plan.binary, plan.int8)]  # those of the board
    if cycles[0] <= choice.share_of(max_cost) * cycles[1]:
        assert plan.cost[0] <= 1.02 * choice.share_of(max_cost) or min(height, width) < 16
    else:
        assert nets == choice.choose(shape, classes, 0.01, board.core, name)
        assert max_cost < 0.5 or min(height, width) < 16
    assert min(height, width) < 16 or not plan.warnings()
    assert Nets.from_record(json.loads(json.dumps(nets.record()))) == nets


def test_nets_follow_the_images():
    small, middle, large = (choice.choose((side, side, 3), 10) for side in (32, 64, 96))
    assert [nets.stem[1] for nets in (small, middle, large)] == [1, 2, 3]
    costs = [choice.profile_of(nets, (side, side, 3), 10).escalated for nets, side in ((small, 32), (large, 96))]
    assert costs[1] < 1.2 * costs[0]  # nine times the pixels
    many = choice.choose((32, 32, 3), 100)
    assert many.filters > small.filters
    tight = choice.choose((32, 32, 3), 10, max_cost=0.2)
    ratio = [choice.Plan.of(nets, (32, 32, 3), 10).cost[0] for nets in (small, tight)]
    assert ratio[1] <= 0.1 < ratio[0] <= 0.25


def test_the_price_is_that_of_the_board():
    """A flash behind a cache of 1 KB makes the loops of the binary convolution dear, and the binary net lighter."""
    shape = (32, 32, 3)
    plans = [choice.Plan.of(IMAGES.nets(), shape, 10, "cortex-m4", name) for name in (None, "nucleo-l4r5zi")]
    assert plans[1].cost[0] > 1.4 * plans[0].cost[0]
    for plan in plans:
        cycles = [plan.pair.accepted_cycles, plan.pair.escalated_cycles]
        assert plan.cost == tuple(each.middle / plan.int8.expected_cycles.middle for each in cycles)
    nets = choice.choose(shape, 10, 0.3, "cortex-m4"), choice.choose(shape, 10, 0.3, "cortex-m4", "nucleo-l4r5zi")
    costs = [choice.Plan.of(each, shape, 10, "cortex-m4").cost[0] for each in nets]
    assert costs[1] < costs[0]


def test_nets_follow_the_board():
    shape = (160, 160, 3)
    roomy, tight = (choice.choose(shape, 10, core="cortex-m4", board=name) for name in ("frdm-k64f", "nucleo-l476rg"))
    sizes = [choice.profile_of(nets, shape, 10, "cortex-m4").ram_bytes for nets in (roomy, tight)]
    assert sizes[1] <= BOARDS["nucleo-l476rg"].ram_bytes
    assert roomy == choice.choose(shape, 10) or sizes[0] > sizes[1]


def test_what_the_user_asks_of_the_binary_net_is_kept():
    shape = (32, 32, 3)
    separate = choice.choose(shape, 10, shared_stem=False)
    assert not separate.shared_stem and choice.choose(shape, 10, shared_stem=True).shared_stem
    assert choice.choose(shape, 10, binary_blocks="9 planes, 32/2, 64/2", shared_stem=False).blocks == (
        (32, 2),
        (64, 2),
    )


@pytest.mark.parametrize("cost", [-1, 0, "a"])
def test_a_budget_that_no_pair_keeps_to_is_refused(cost):
    with pytest.raises(ValueError, match=r"max_cost must be (greater than 0|a number), got "):
        choice.choose((32, 32, 3), 10, max_cost=cost)


@pytest.mark.parametrize("shape", [(3, 32, 1), (32, 300, 3)])
def test_images_without_nets_are_named(shape):
    with pytest.raises(ValueError, match=r"there are no nets for images of \d+x\d+ pixels.*--resize"):
        choice.choose(shape, 10)


def test_a_board_that_is_too_small_is_named_with_what_helps():
    with pytest.raises(ValueError) as refused:
        choice.choose((224, 224, 3), 10, core="cortex-m4", board="nucleo-f446re")
    output = str(refused.value)
    assert "does not fit nucleo-f446re: it exceeds its RAM by " in output and "--resize=" in output
    assert "another board (" in output and "nucleo-h743zi" in output and "\n" not in output
    form = map(int, output.partition("--resize=")[2].partition(" ")[0].split("x"))
    choice.choose((*form, 3), 10, core="cortex-m4", board="nucleo-f446re")  # as it said
    with pytest.raises(ValueError, match="exceeds its flash by .* and its RAM by .* what helps: another board"):
        choice.choose((32, 32, 3), 10, core="cortex-m3", board="bluepill-f103c8")


def test_nets_that_cannot_pay_are_refused_or_warned_of():
    nets = IMAGES.nets(True, binary_width=3.0)
    plan = choice.Plan.of(nets, (32, 32, 3), 10)
    assert plan.cost[0] > LIGHT
    (line,) = plan.warnings()
    assert f"{plan.cost[0]:.3f}" in line and "--binary_width" in line and "--noshared_stem" in line
    assert plan.problem(2.0) is None and "even where no image escalates" in plan.problem(0.4)
    light = choice.Plan.of(IMAGES.nets(), (32, 32, 3), 10)
    assert light.warnings() == [] and light.problem(0.4) is None and "--noshared_stem" not in light.problem(0.1)


def test_the_plan_is_one_table():
    plan = choice.Plan.of(IMAGES.nets(), (32, 32, 3), 10, "cortex-m4", "nucleo-f446re")
    cells = plan.table()
    assert [row[0] for row in cells[1:]] == [
        *("int8 net alone", "binary net alone"),
        *("pair, accepted sample", "pair, escalated sample"),
    ]
    heads = ["cortex-m4 cycles", "milliseconds", "of int8", "instructions", "arena", "flash with code"]
    assert cells[0] == ["", *heads, "fits nucleo-f446re"]
    assert cells[1][3] == "1.000" and cells[3][3] == f"{plan.cost[0]:.3f}" and {row[-1] for row in cells[1:]} == {"yes"}
    pair = Profile.of(sketch(IMAGES.nets(), (32, 32, 3), 10), board_name="nucleo-f446re")
    assert cells[3][1] == pair.accepted_cycles.range_text() and cells[4][1] == pair.escalated_cycles.range_text()
    assert cells[3][5:7] == [f"{pair.arena.bytes / 1024:.1f} KiB", f"{pair.flash_bytes / 1024:.1f} KiB"]
    without = choice.Plan.of(IMAGES.nets(), (32, 32, 3), 10)
    fitting = [
        name for name in BOARDS if Profile.of(sketch(IMAGES.nets(), (32, 32, 3), 10), None, name).shortage() is None
    ]
    assert without.table()[3][-1] == f"{len(fitting)} of {len(BOARDS)} boards" and list(without.fitting) == fitting


def test_nets_of_another_version_are_refused():
    record = IMAGES.nets().record()
    for wrong in (
        {**record, "depth": 3},
        {**record, "family": "vgg"},
        {"family": "resnet8"},
        [],
        {**record, "blocks": 3},
    ):
        with pytest.raises(ValueError, match="another version"):
            Nets.from_record(wrong)


# --- settings ---


def test_the_core_follows_the_board():
    run = experiment.Settings(board="nucleo-f767zi")
    assert run.core == "cortex-m7" and experiment.Settings().core == "cortex-m4"
    assert experiment.Settings(core="cortex-m55").core == "cortex-m55" in CORES
    with pytest.raises(ValueError, match="has a cortex-m7, not a cortex-m4"):
        experiment.Settings(board="nucleo-f767zi", core="cortex-m4")
    with pytest.raises(ValueError, match="unknown board 'uno': expected one of arduino-nano-33-ble"):
        experiment.Settings(board="uno")


def test_named_data_sets_keep_their_nets():
    for name, shape in (("digits", (8, 8, 1)), ("cifar10", (32, 32, 3)), ("speech_commands", (49, 10, 1))):
        run = experiment.Settings(dataset=name)
        assert run.shared_stem is False
        assert experiment.chosen_nets(run, shape, 10) == NETWORKS.get(name, IMAGES).nets()
    assert experiment.Settings(dataset="folder:photos").shared_stem is None


def folder_of(path, side, each=4):
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (path / name).mkdir(parents=True)
        for number in range(each):
            pixels = random.integers(0, 256, (side, side)).astype(np.uint8)
            PIL.Image.fromarray(pixels).save(path / name / f"{number}.png")
    return f"--dataset=folder:{path}"


def test_a_pair_that_does_not_fit_is_refused_before_training(bcnet, tmp_path):
    photos, runs = folder_of(tmp_path / "photos", 16), tmp_path / "runs"
    status, _, output = bcnet("train", photos, "--board=bluepill-f103c8", f"--runs_dir={runs}")
    assert status == 1 and "does not fit bluepill-f103c8" in output and not runs.exists()
    status, _, output = bcnet("train", photos, "--max_cost=0.01", f"--runs_dir={runs}")
    assert status == 1 and "even where no image escalates" in output and not runs.exists()
    status, _, output = bcnet("train", photos, "--board=uno", f"--runs_dir={runs}")
    assert status == 1 and "unknown board 'uno': expected one of arduino-nano-33-ble, " in output and not runs.exists()
    status, _, output = bcnet("train", photos, "--search_minutes=1", "--binary_width=2", f"--runs_dir={runs}")
    assert status == 1 and "leave out binary_blocks and binary_width" in output and not runs.exists()
    status, _, output = bcnet("demo", "--board=bluepill-f103c8", f"--runs_dir={runs}")  # its nets are given
    assert status == 1 and "does not fit bluepill-f103c8" in output and not runs.exists()


def test_a_run_has_the_same_nets_when_it_goes_on(tmp_path):
    shape, labels = (32, 32, 3), np.arange(20) % 10
    split = datasets.Split(np.zeros((20, *shape), np.uint8), labels)
    data = datasets.Dataset("folder:photos", split, split, split, tuple("abcdefghij"), (0, 255), "")
    asked = experiment.Settings(dataset="folder:photos", board="nucleo-f446re")
    first, _ = experiment._claimed(tmp_path / "run", asked, data)
    assert first.nets == choice.choose(shape, 10, board="nucleo-f446re") and first.shared_stem is None
    assert read_settings(tmp_path / "run") == first
    other = dataclasses.replace(first.nets, planes=2)  # as another version or a search may have chosen
    write_settings(tmp_path / "run", dataclasses.replace(first, nets=other))
    assert experiment._claimed(tmp_path / "run", asked, data)[0].nets == other
    with pytest.raises(ValueError, match=r"other settings \(binary_width was 1.0, is 2.0\)"):
        experiment._claimed(tmp_path / "run", dataclasses.replace(asked, binary_width=2.0), data)
