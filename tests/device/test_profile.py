"""`bcnet profile`: its sums, what fits a board, and what it refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from flatbuffers_of import binary_convolution, branching_net, convolution
from single_operators import net

from bcnet_keras.convert import Gate, merge, set_threshold
from bcnet_keras.device import boards
from bcnet_keras.device.arena import arena
from bcnet_keras.device.boards import BOARDS
from bcnet_keras.device.cost import CORES, cost
from bcnet_keras.device.cycles import Cycles, short
from bcnet_keras.device.page import profile_page
from bcnet_keras.device.profile import STACK_BYTES, Profile
from bcnet_keras.models.networks import NETWORKS
from bcnet_keras.models.pair_profile import PairProfile
from bcnet_keras.models.twins import int8_twin
from bcnet_keras.tflite import flatbuffer

schema = flatbuffer.schema


@pytest.fixture(scope="module")
def pair(make_part, tmp_path_factory):
    parts = make_part(0, shape=(8, 8, 3)), make_part(1, shape=(8, 8, 3))
    path = tmp_path_factory.mktemp("profile") / "pair.tflite"
    path.write_bytes(merge(*parts, Gate.create(4, "score_margin", 0.5)))
    return path


@pytest.mark.parametrize("core", CORES)
def test_record_adds_up(pair, core):
    record, costs = Profile.of(pair, core, escalation_rate=0.3).record(), cost(pair)
    counts = record["instructions"]
    assert counts["accepted"] == pytest.approx(costs.accepted[core], abs=1)
    assert counts["escalated"] == pytest.approx(costs.escalated[core], abs=1)
    assert counts["expected"] == pytest.approx(costs.expected(0.3)[core], abs=1)
    assert sum(op["share"] for op in record["ops"]) == pytest.approx(1, abs=1e-3)
    assert {op["runs"] for op in record["ops"]} == {"always", "accepted", "escalated"}
    for path, total in (("accepted", counts["accepted"]), ("escalated", counts["escalated"])):
        ops = [op["instructions"] for op in record["ops"] if op["runs"] in ("always", path)]
        assert sum(ops) == pytest.approx(total, abs=len(ops))
    for path in ("accepted", "escalated"):
        ranges = [op["cycles"] for op in record["ops"] if op["runs"] in ("always", path)]
        for bound in (0, 1):
            total = sum(cycles[bound] for cycles in ranges)
            assert total == pytest.approx(record["cycles"][path][bound], abs=len(ranges))
    assert record["milliseconds"] is None
    assert record["flatbuffer_bytes"] == pair.stat().st_size
    assert record["flash_bytes"] == record["flatbuffer_bytes"] + record["code_bytes"]
    assert record["arena_bytes"] == arena(pair, core).bytes == record["ram_bytes"] - STACK_BYTES
    # The weights of both nets: 4 x 192, and the shapes of two RESHAPEs.
    assert sum(op["weights_bytes"] for op in record["ops"] if op["op"] == "FULLY_CONNECTED") == 2 * 4 * 192


def test_a_net_alone_has_one_path(make_part):
    record = Profile.of(make_part(0)).record()
    assert (
        len(set(record["instructions"].values())) == 1
        and not record["incomplete"]
        and record["escalation_rate"] is None
    )
    assert record["core"] == "cortex-m4" and record["board"] is None and record["fits"] is None
    with pytest.raises(ValueError, match="this flatbuffer is a net alone"):
        Profile.of(make_part(0), escalation_rate=0.5)


def test_without_a_rate_all_escalate(pair):
    profile = Profile.of(pair)
    assert profile.escalation_rate == 1 and profile.expected == profile.escalated
    assert "100 % escalated" in profile.text() and "the file does not tell how much escalates" in profile.text()
    assert profile.record()["escalation_rate_from"] == "worst case"


def test_the_rate_in_the_file_is_taken_and_told(make_part):
    parts = make_part(0, shape=(8, 8, 3)), make_part(1, shape=(8, 8, 3))
    data = merge(*parts, Gate.create(4, "score_margin", 0.5), record={"escalation_rate": 0.1725})
    profile, given = Profile.of(data), Profile.of(data, escalation_rate=0.1725)
    assert profile.escalation_rate == 0.1725 and profile.expected_cycles == given.expected_cycles
    mean = 0.8275 * given.accepted_cycles.middle + 0.1725 * given.escalated_cycles.middle
    assert profile.expected_cycles.middle == pytest.approx(mean)
    assert "17.25 %: of the data on which the threshold was picked" in profile.text()
    assert "17.25 % escalated" in profile.text() and "17.25 %: of the data" in profile_page(profile)
    assert (profile.record()["escalation_rate_from"], given.record()["escalation_rate_from"]) == (
        "calibration",
        "given",
    )
    assert "escalation rate  " not in given.text()
    assert Profile.of(data, escalation_rate=0).expected_cycles == given.accepted_cycles
    assert json.loads(Profile.of(data, escalation_rate=np.float32(0.25)).json())["escalation_rate"] == 0.25
    for wrong in ("0.3", float("nan"), np.float32(1.5)):
        with pytest.raises(ValueError, match="escalation.rate"):
            Profile.of(data, escalation_rate=wrong)
    assert Profile.of(set_threshold(data, 0.25)).escalation_rate == 1


def test_a_scratch_budget_trades_memory_for_instructions():
    layer = binary_convolution({"shape": "16x16x64-64-k3-s1", "output": "bitpacked"})
    fast, small = Profile.of(layer), Profile.of(layer, scratch_budget=1024)
    assert fast.expected < small.expected and fast.arena.bytes > small.arena.bytes


def test_boards_are_on_known_cores():
    for board in BOARDS.values():
        assert board.core in CORES and board.flash_bytes > board.ram_bytes > 0 and 8 < board.mhz < 1000


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_tells_milliseconds(pair, name):
    profile, core = Profile.of(pair, board_name=name, escalation_rate=0.3), Profile.of(pair, BOARDS[name].core)
    record = profile.record()
    assert profile.accepted_cycles.low <= profile.expected_cycles.low <= profile.escalated_cycles.low
    for path in ("accepted", "escalated"):
        (low, high), (fast, slow) = record["cycles"][path], record["milliseconds"][path]
        answered = core.record()["cycles"][path]
        assert answered[0] <= low and answered[1] <= high and low <= high  # a flash makes nothing faster
        assert (fast, slow) == pytest.approx(
            (low / BOARDS[name].mhz / 1e3, high / BOARDS[name].mhz / 1e3), rel=1e-3, abs=1e-4
        )
    mean = [
        0.7 * accepted + 0.3 * escalated
        for accepted, escalated in zip(*(record["cycles"][path] for path in ("accepted", "escalated")), strict=True)
    ]
    assert record["cycles"]["expected"] == pytest.approx(mean, abs=2)
    text = profile.text()
    assert "frames per second" in text and f"at {BOARDS[name].mhz} MHz" in text and "escalated, the worst case" in text


def test_a_small_cache_costs_the_binary_convolution_most():
    layer = binary_convolution({"shape": "32x32x32-32-k3-s1", "output": "bitpacked"})
    small, large = (Profile.of(layer, board_name=name) for name in ("nucleo-l4r5zi", "nucleo-f401re"))
    assert small.expected_cycles.low > 1.5 * large.expected_cycles.high
    net = convolution("CONV_2D", 16, 32, 32, 3)
    small, large = (Profile.of(net, board_name=name) for name in ("nucleo-l4r5zi", "nucleo-f401re"))
    assert small.expected_cycles.low < 1.25 * large.expected_cycles.low


def test_code_in_ram_takes_the_waits_away(pair):
    layer = binary_convolution({"shape": "32x32x32-32-k3-s1", "output": "bitpacked"})
    profile, core = Profile.of(layer, board_name="nucleo-l4r5zi"), Profile.of(layer, core="cortex-m4")
    fast = profile.with_fast_code()["expected"]
    assert fast.middle < 1.1 * core.expected_cycles.middle and fast.low >= core.expected_cycles.low
    line = next(line for line in profile.text().splitlines() if "BCNET_FAST_CODE" in line)
    gain = round(100 * (1 - fast.middle / profile.expected_cycles.middle))
    assert f"{gain} % less, for 4.0 KiB of RAM" in line and "ms" in line
    assert profile.record()["milliseconds_with_fast_code"]["expected"] == pytest.approx(
        [fast.low / 120e3, fast.high / 120e3], abs=1e-4
    )
    # Both paths of a pair have the binary net, and gain the same by it.
    float_net, binary = NETWORKS["digits"]((8, 8, 1), 10)
    both = PairProfile.of_nets(binary, int8_twin(float_net), board_name="nucleo-l4r5zi").pair
    fast, flash = both.with_fast_code(), {"accepted": both.accepted_cycles, "escalated": both.escalated_cycles}
    saved = {path: flash[path].middle - fast[path].middle for path in flash}
    assert saved["accepted"] == pytest.approx(saved["escalated"]) and saved["accepted"] > 0
    assert "100 % escalated" in next(line for line in both.text().splitlines() if "BCNET_FAST_CODE" in line)
    # None where the cache is large, without a binary convolution, and without a board.
    large, int8 = Profile.of(layer, board_name="nucleo-f767zi"), Profile.of(pair, board_name="nucleo-l4r5zi")
    assert int8.with_fast_code()["expected"] == int8.expected_cycles and core.with_fast_code() == {}
    assert "BCNET_FAST_CODE" not in core.text() + large.text() + int8.text()


@pytest.mark.parametrize("name", BOARDS)
def test_a_range_stays_one_on_every_board(name):
    """Also of an operator whose cycles are known exactly: the factors of its two ends differ."""
    for operator in json.loads(Path(boards.__file__).with_suffix(".json").read_text())["factors"][name]:
        found = boards.in_flash(Cycles(1000, 1000), operator, name)
        assert 1000 <= found.low <= found.high
        fast = boards.with_fast_code(found, name)
        assert fast.low <= fast.high <= found.high


def test_a_page_shows_a_narrow_range():
    layer = binary_convolution({"shape": "96x96x32-32-k3-s1", "output": "bitpacked"})
    for name in (name for name, board in BOARDS.items() if board.core == "cortex-m7"):
        profile = Profile.of(layer, board_name=name)
        assert profile.expected_cycles.low <= profile.expected_cycles.high
        assert "<svg" in profile_page(profile) or "<img" in profile_page(profile)


@pytest.mark.parametrize(
    "number, text",
    [
        (0, "0"),
        (0.00123, "0.00123"),
        (61.23, "61.2"),
        (999.4, "999"),
        (999.7, "1,000"),
        (7642.1, "7,640"),
        (2e6, "2,000,000"),
    ],
)
def test_numbers_are_for_readers(number, text):
    assert short(number) == text
    assert Cycles(number, number).short_text() == text


def test_boards_factors_are_of_all_boards():
    factors = json.loads(Path(boards.__file__).with_suffix(".json").read_text())["factors"]
    assert list(factors) == list(BOARDS)
    for name, known in factors.items():
        assert {"LceBconv2d", boards.FAST_CODE, "CONV_2D", "other"} <= set(known), name
        assert known[boards.FAST_CODE][0] <= known["LceBconv2d"][0] + 0.01, name
        for operator, (low, high) in known.items():
            assert 1 <= low < 4 and 1 <= high < 4, (name, operator)
    assert all(board.flash.source and board.flash.wait_states > 0 for board in BOARDS.values()) and len(BOARDS) >= 12


def test_the_command_writes_all_three(bcnet, pair, tmp_path):
    files = tmp_path / "p.json", tmp_path / "new" / "p.html"
    arguments = [pair, "--board=nucleo-f767zi", "--escalation_rate=0.25", f"--json={files[0]}", f"--html={files[1]}"]
    status, out, err = bcnet("profile", *arguments)
    assert (status, err) == (0, "")
    record = json.loads(files[0].read_text())
    assert record == Profile.of(str(pair), board_name="nucleo-f767zi", escalation_rate=0.25).record()
    assert record["fits"] and record["core"] == "cortex-m7"
    rows = [
        line for line in out.splitlines() if re.match(r"\| [A-Z][\w ]+ \| [^|]+ \| (always|accepted|escalated) ", line)
    ]
    assert len(rows) == len(record["ops"]) and f"{record['instructions']['expected']:,}" in out
    page = files[1].read_text()
    assert page.count('<img class="chart" src="data:image/png;base64,') == 2 and 'alt=""' not in page
    assert "It fits nucleo-f767zi." in page and "/<wbr>pair.tflite on cortex-m7</h1>" in page
    assert "img.chart { filter: invert" in page.partition("prefers-color-scheme: dark")[2]
    assert "http" not in page.replace("http-equiv", "")  # nothing is loaded from elsewhere


@pytest.mark.parametrize("arguments", [("{}", "--json"), ("--json", "{}"), ("--json", "--core=cortex-m4", "{}")])
def test_json_without_a_file_is_all_that_standard_output_has(bcnet, pair, arguments):
    status, out, err = bcnet("profile", *(str(argument).format(pair) for argument in arguments))
    assert (status, err) == (0, "") and json.loads(out) == Profile.of(str(pair)).record()


def test_json_behind_a_blank_is_a_file(bcnet, pair, tmp_path):
    status, out, _ = bcnet("profile", pair, "--json", tmp_path / "p.json")
    assert status == 0 and out.endswith("p.json: written\n") and "| CONV" not in out.splitlines()[0]
    assert json.loads((tmp_path / "p.json").read_text())["core"] == "cortex-m4"


def test_what_does_not_fit_says_by_how_much(bcnet, tmp_path, make_part):
    path, record = tmp_path / "net.tflite", tmp_path / "p.json"
    path.write_bytes(make_part(0, classes=10, shape=(64, 64, 3)))
    status, out, err = bcnet("profile", path, "--board=bluepill-f103c8", f"--json={record}")
    assert status == 1 and err.count("\n") == 1 and "too much" in out
    found = re.search(r"exceeds its flash by ([\d.]+) KiB .* and its RAM by ([\d.]+) KiB \(", err)
    made = json.loads(record.read_text())
    assert made["fits"] is False
    over = [made["flash_bytes"] - (64 << 10), made["ram_bytes"] - (20 << 10)]
    assert [float(number) for number in found.groups()] == [round(excess / 1024, 1) for excess in over]


def test_operators_that_nobody_has_are_named(make_part):
    model = flatbuffer.read(merge(make_part(0), make_part(1), Gate.create(4, "score_margin", 0.5)))
    for code in model.operatorCodes:
        if code.customCode == b"BcnetGate":
            code.customCode = b"Sorcery"
    with pytest.raises(ValueError, match="TensorFlow Lite Micro lacks the operator Sorcery"):
        Profile.of(flatbuffer.write(model))
    with pytest.raises(ValueError, match="TensorFlow Lite Micro lacks the operator GELU"):
        Profile.of(make_part(0, end="GELU"))


def test_operators_without_a_figure_make_the_sum_a_lower_bound(bcnet, make_part, tmp_path):
    (tmp_path / "net.tflite").write_bytes(net("SOFTMAX", "int16"))
    status, out, _ = bcnet("profile", tmp_path / "net.tflite", f"--json={tmp_path / 'p.json'}")
    assert status == 0 and "no figure" in out and "at least" in out and "SOFTMAX on int16" in out
    record = json.loads((tmp_path / "p.json").read_text())
    assert record["ops"][-1]["instructions"] is None and "SOFTMAX" in record["incomplete"][0]
    assert all(op["share"] is None for op in record["ops"])


def test_layers_are_named(make_part):
    profile = Profile.of(make_part(0))
    assert [op["layer"] for op in profile.record()["ops"]] == ["flat", "logits"]
    assert [row[:2] for row in profile.table()[1:]] == [["RESHAPE", "flat"], ["FULLY_CONNECTED", "logits"]]
    model = flatbuffer.read(make_part(0))
    model.subgraphs[0].tensors[-1].name = b"net/block_1|a/" + b"deep/" * 20 + b"last"
    shown = Profile.of(flatbuffer.write(model)).table()[-1][1]
    assert len(shown) == 32 and shown.startswith("...") and shown.endswith("deep/last")


def test_pages_suit_small_and_dark_screens_and_paper(bcnet, pair, tmp_path):
    assert bcnet("profile", pair, f"--html={tmp_path / 'p.html'}")[0] == 0
    page = (tmp_path / "p.html").read_text()
    assert 'name="viewport"' in page and "prefers-color-scheme: dark" in page and "@media print" in page


def test_estimates_are_marked(make_part):
    for name, estimate in (("TRANSPOSE", True), ("SOFTMAX", False)):
        profile = Profile.of(net(name, "int8"))
        assert [op["estimate"] for op in profile.record()["ops"]] == [estimate]
        assert ("| about " in profile.text()) == estimate
        assert bool(re.search(rf"estimates, not counts +{name}", profile.text())) == estimate


def test_two_decisions_in_a_row_show_both_sums():
    profile = Profile.of(branching_net([1, ("IF", [1] * 4, [1]), ("IF", [1], [1] * 3)]))
    dearest = re.search(r"instructions, dearest branches +([\d,]+)", profile.text())[1]
    cheapest = re.search(r"instructions, cheapest branches +([\d,]+)", profile.text())[1]
    assert int(dearest.replace(",", "")) == profile.expected > int(cheapest.replace(",", ""))
    assert {op["runs"] for op in profile.record()["ops"]} == {"always", "sometimes"}


@pytest.mark.parametrize("damage", ["inputs", "outputs", "options", "shape"])
def test_operators_that_lack_something_are_named(damage):
    model = flatbuffer.read(convolution("CONV_2D", 8, 3, 8, 3))
    (operator,) = model.subgraphs[0].operators
    if damage == "options":
        operator.builtinOptions = None
    elif damage == "shape":
        model.subgraphs[0].tensors[operator.inputs[1]].shape = np.array([8], np.int32)
    else:
        setattr(operator, damage, np.array([], np.int32))
    with pytest.raises(
        ValueError, match="the operator CONV_2D \\(number 0 of subgraph 0\\) lacks inputs, dimensions or options"
    ):
        Profile.of(flatbuffer.write(model))


@pytest.mark.parametrize("name", ["pretrainedResnet_quant", "kws_ref_model"])
def test_reference_models_have_a_profile(bcnet, name):
    path = Path.home() / "datasets" / "mlperf-tiny" / f"{name}.tflite"
    if not path.exists():
        pytest.skip(f"needs MLPerf Tiny's reference model {path}")
    status, out, _ = bcnet("profile", path, "--core=cortex-m55")
    assert status == 0 and "CONV_2D" in out and "SOFTMAX" in out
