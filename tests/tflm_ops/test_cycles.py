"""The cost models of the cores against what manuals state and what others measured on silicon.

Each case is a piece of assembly that a loop runs under QEMU, repeated sixteen times; what it takes on top of the
empty loop must be the cycles that its source states. A pair is a range, which the source or the difference of two
leaves open.
"""

import shutil
import subprocess
from typing import NamedTuple

import bench
import cycles
import pytest
from cycles.decode import disassemble
from test_cores import SOURCES

from bcnet_keras.device.boards import Flash

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("arm-none-eabi-gcc", "qemu-system-arm"))),
    reason="needs arm-none-eabi-gcc and qemu-system-arm",
)

ROUNDS, COPIES = 100, 16
MANUAL_0 = "Arm DDI 0484C, table 3-1"
MANUAL_3 = "Arm DDI 0337H, table 3-1"
MANUAL_4 = "Arm DDI 0439D, table 3-1"
LOADS_3, LOADS_4 = "Arm DDI 0337H, 3.3.2", "Arm DDI 0439D, 3.3.2"
FLOAT_4 = "Arm DDI 0439D, table 7-1"
STM32_34 = "jnk0le cortex_m3m4.md, on STM32F103 and STM32F407"
RP2350 = "jnk0le cortex_m33.md, on RP2350"
RP2350_SLOTHY = "SLOTHY cortex_m33.py, on RP2350"
STM32_7 = "jnk0le cortex_m7.md, on STM32H743"
SLOTHY_55 = "SLOTHY cortex_m55r1.py"
SLOTHY_85 = "SLOTHY cortex_m85r1.py, pull request 407: no source has it for Cortex-M55"
LLVM_55 = "SLOTHY cortex_m55r1.py (low), LLVM ARMScheduleM55.td (high)"


class Case(NamedTuple):
    """`code` takes `cycles`, a number or (low, high), as `source` states.

    r0 and r6 point to memory, r4 to a word that holds its own address; r8, q6 and q7 hold 0.
    """

    core: str
    code: str
    cycles: float | tuple
    source: str


def _cases(core, rows):
    return [Case(core, *row) for row in rows]


_BOTH_34 = [
    ("ldr r1, [r0]; ldr r2, [r0, #4]; ldr r3, [r0, #8]; adds r5, r6", 5, "LDR 2, pipelined 1"),
    ("ldr r4, [r4]", 2, "an address that was loaded is not pipelined"),
    ("ldr r1, [r0]; str r1, [r0, #4]; adds r5, r6", 4, "STR is pipelined behind LDR"),
    ("str r1, [r0]; adds r5, r6", 2, "STR with an immediate 1"),
    ("str.w r1, [r0, r8]; adds r5, r6", 3, "STR with a register 2"),
    ("add.w r1, r8, r8; ldr r3, [r0, r1]; adds r5, r6", 5, "an address from a data operation stalls 1"),
]
CASES = [
    *_cases(
        "cortex-m0plus",
        [
            ("adds r1, r2", 1, MANUAL_0),
            ("muls r1, r2, r1", 1, f"{MANUAL_0}, single-cycle multiplier"),
            ("ldr r1, [r0]", 2, MANUAL_0),
            ("ldrb r1, [r0, #1]", 2, MANUAL_0),
            ("str r1, [r0]", 2, MANUAL_0),
            ("mov r1, r0; ldm r1!, {r2, r3, r5}", 5, f"{MANUAL_0}, LDM 1 + N"),
            ("mov r1, r0; stm r1!, {r2, r3, r5}", 5, f"{MANUAL_0}, STM 1 + N"),
            ("push {r1, r2}; pop {r1, r2}", 6, f"{MANUAL_0}, PUSH and POP 1 + N"),
            ("bl return_lr", 5, f"{MANUAL_0}, BL 3 and BX 2"),
            ("push {lr}; bl return_pop; pop {r1}; mov lr, r1", 14, f"{MANUAL_0}, POP with PC 3 + N"),
            ("b 1f; nop; 1:", 2, f"{MANUAL_0}, B taken 2"),
            ("movs r1, #1; beq 1f; 1:", 2, f"{MANUAL_0}, B not taken 1"),
            ("mrs r1, primask", 3, MANUAL_0),
        ],
    ),
    *_cases("cortex-m3", [(code, expected, f"{LOADS_3}: {why}") for code, expected, why in _BOTH_34]),
    *_cases(
        "cortex-m3",
        [
            ("mla r1, r2, r3, r5", 2, MANUAL_3),
            ("mul r1, r2, r3", 1, MANUAL_3),
            ("umull r1, r2, r3, r5", (3, 5), MANUAL_3),
            ("smlal r1, r2, r3, r5", (4, 7), MANUAL_3),
            ("udiv r1, r2, r3", (2, 12), MANUAL_3),
            ("ldrd r1, r2, [r0]; adds r5, r6", 4, f"{MANUAL_3}, LDRD 1 + 2"),
            ("ldm r0, {r1, r2, r3, r5}; adds r5, r6", 6, f"{MANUAL_3}, LDM 1 + N"),
            ("ldr r1, [r0], #0; ldr r2, [r6], #0", 4, f"{STM32_34}: no chain of post-indexed loads"),
            ("ldr r1, [r0]; nop; adds r5, r6", 3, f"{STM32_34}: a load eats the NOP behind it"),
            ("b 1f; nop; 1:", (2, 4), f"{MANUAL_3}, 1 + P"),
        ],
    ),
    *_cases("cortex-m4", [(code, expected, f"{LOADS_4}: {why}") for code, expected, why in _BOTH_34]),
    *_cases(
        "cortex-m4",
        [
            ("adds r1, r2", 1, MANUAL_4),
            ("mla r1, r2, r3, r5", 1, MANUAL_4),
            ("smlad r1, r2, r3, r5", 1, MANUAL_4),
            ("umull r1, r2, r3, r5", 1, MANUAL_4),
            ("smlal r1, r2, r3, r5", 1, MANUAL_4),
            ("sdiv r1, r2, r3", (2, 12), MANUAL_4),
            ("ldrd r1, r2, [r0]; adds r5, r6", 4, f"{MANUAL_4}, LDRD 1 + 2"),
            ("strd r1, r2, [r0]; adds r5, r6", 4, f"{MANUAL_4}, STRD 1 + 2"),
            ("ldm r0, {r1, r2, r3, r5}; adds r5, r6", 6, f"{MANUAL_4}, LDM 1 + N"),
            ("push {r1-r3}; pop {r1-r3}", 8, f"{MANUAL_4}, PUSH and POP 1 + N"),
            ("cmp r1, r1; it eq; addeq r2, r3", (2, 3), f"{MANUAL_4}, IT can be folded"),
            ("cbz r0, 1f; 1:", 1, f"{MANUAL_4}, CBZ not taken 1"),
            ("b 1f; nop; 1:", (2, 4), f"{MANUAL_4}, 1 + P, P of 1 to 3"),
            ("bl return_lr", (4, 8), f"{MANUAL_4}, BL and BX 1 + P"),
            ("ldr r1, [r0]; nop; adds r5, r6", 3, f"{STM32_34}: a load eats the NOP behind it"),
            ("ldr r1, [r0], #0; ldr r2, [r6], #0", 2, f"{STM32_34}: post-indexed loads of two bases chain"),
            ("str r1, [r0]; ldr r2, [r6]; adds r5, r5", (4, 5), f"{LOADS_4} (low), {STM32_34} (high)"),
            ("vadd.f32 s0, s1, s2", 1, FLOAT_4),
            ("vadd.f32 s0, s0, s2", 2, f"{FLOAT_4}: 1 more where the next reads the result"),
            ("vfma.f32 s0, s1, s2; vfma.f32 s3, s1, s2", 6, FLOAT_4),
            ("vdiv.f32 s0, s1, s2; adds r5, r6", 15, FLOAT_4),
            ("vldr s0, [r0]; adds r5, r6", 3, f"{FLOAT_4}, VLDR.32 2"),
            ("vldr d0, [r0]; adds r5, r6", 4, f"{FLOAT_4}, VLDR.64 3"),
        ],
    ),
    *_cases(
        "cortex-m33",
        [
            ("add.w r1, r1, r2", 1, RP2350_SLOTHY),
            ("eor.w r1, r1, r2, ror #5", 2, f"{RP2350} and {RP2350_SLOTHY}"),
            ("add.w r1, r1, r2, lsl #5", (1, 2), f"{RP2350_SLOTHY} (low), {RP2350} (high)"),
            ("uadd16 r1, r1, r2", 2, f"{RP2350} and {RP2350_SLOTHY}"),
            ("pkhbt r1, r1, r2", 2, f"{RP2350} and {RP2350_SLOTHY}"),
            ("mul r1, r1, r2", 2, RP2350_SLOTHY),
            ("muls r2, r3, r2", 2, f"{RP2350}: MULS takes 2"),
            ("mla r1, r2, r3, r1", 1, f"{RP2350_SLOTHY}: added to in each cycle"),
            ("mla r1, r1, r2, r3", 2, f"{RP2350_SLOTHY}: 2 through a factor"),
            ("smlal r1, r2, r3, r5", 1, f"{RP2350_SLOTHY}: 1 through what is added to"),
            ("ldr r4, [r4]", 2, RP2350_SLOTHY),
            ("ldr r1, [r0]", 1, RP2350_SLOTHY),
            ("ldr r1, [r0]; add.w r2, r1, r3", 3, f"{RP2350_SLOTHY}: 1.49 per instruction at a distance of 1"),
            ("ldr r1, [r0]; add.w r5, r3, r3; add.w r2, r1, r3", 3, f"{RP2350_SLOTHY}: no bubble at a distance of 2"),
            ("ldr r1, [r0]; str r1, [r0, #4]", 2, f"{RP2350}: load to store 1"),
            ("ldrd r1, r2, [r0]", 2, RP2350),
            ("ldm r0, {r1, r2, r3, r5}", 4, f"{RP2350}: n registers in n cycles"),
            ("adds r1, r2; nop", (1, 2), f"{RP2350}: a NOP issues with it (low); {RP2350_SLOTHY}: single issue (high)"),
            ("vadd.f32 s0, s0, s1", 2, RP2350),
            ("vfma.f32 s0, s1, s2", 3, RP2350),
        ],
    ),
    *_cases(
        "cortex-m7",
        [
            ("add.w r1, r1, r8; add.w r2, r2, r8", 1, f"{STM32_7}: two instructions per cycle"),
            ("uxtb.w r1, r2; uxtb.w r3, r5", 2, f"{STM32_7}: not two of these"),
            ("mul r1, r2, r3; mul r5, r2, r3", 2, f"{STM32_7}: one multiplication"),
            ("mul r1, r2, r3; str.w r5, [r0]", 2, f"{STM32_7}: no store beside a multiplication"),
            ("str.w r1, [r0]; str.w r2, [r0, #4]", 2, f"{STM32_7}: one store"),
            ("str.w r1, [r0]; ldr.w r2, [r0, #16]", 1, f"{STM32_7}: a load beside a store"),
            ("ldr.w r1, [r0]; ldr.w r2, [r0, #4]", 1, f"{STM32_7}: an even and an odd word"),
            ("ldr.w r1, [r0]; ldr.w r2, [r0, #8]", 2, f"{STM32_7}: two words of one bank"),
            ("ldr.w r4, [r4]", 2, f"{STM32_7}: addresses are made early"),
            ("mul r1, r1, r2", 2, f"{STM32_7}: 1 more until a product is there"),
            ("mla r1, r2, r3, r1", 1, f"{STM32_7}: added to in each cycle"),
            ("add.w r1, r2, r3, ror #4; add.w r5, r2, r3, ror #4", 2, f"{STM32_7}: one shifter"),
            ("ldm.w r0, {r1, r2, r3, r5}", 2, f"{STM32_7}: n registers in n / 2 cycles"),
            ("vadd.f32 s0, s0, s1", 3, STM32_7),
            ("vadd.f32 s0, s1, s2; vadd.f32 s3, s1, s2", 2, f"{STM32_7}: one of these"),
            ("vdiv.f32 s0, s1, s2", 16, STM32_7),
        ],
    ),
    *_cases(
        "cortex-m55",
        [
            ("vadd.i32 q0, q1, q2; vadd.i32 q3, q1, q2", 4, f"{SLOTHY_55}: two beats per cycle"),
            ("vadd.i32 q0, q1, q2; vmul.i32 q3, q1, q2", 2, f"{SLOTHY_55}: units of their own overlap"),
            ("vldrw.32 q0, [r0]; vadd.i32 q3, q1, q2", 2, f"{SLOTHY_55}: a load beside arithmetic"),
            ("vldrw.32 q0, [r0]; vldrw.32 q1, [r0, #16]", 4, SLOTHY_55),
            ("vmul.i32 q0, q0, q1", 2, SLOTHY_55),
            ("vmullb.p16 q0, q1, q2; vadd.i32 q3, q1, q2", 4, f"{SLOTHY_85}: polynomials in the unit of integers"),
            ("vmullb.u8 q0, q1, q2; vadd.i32 q3, q1, q2", 2, SLOTHY_55),
            ("vmlaldava.s32 r2, r3, q0, q1", 3, SLOTHY_55),
            ("ldr r1, [r0]", 1, SLOTHY_55),
            ("ldrd r1, r2, [r0]; add.w r5, r1, r8", 3, f"{SLOTHY_55}: LDRD to use 2"),
            ("vldrw.u32 q0, [r0, q7]", (2, 4), f"{LLVM_55}"),
            ("vldrw.u32 q0, [r0, q7]; vadd.i32 q3, q1, q2", (2, 5), f"{LLVM_55}"),
            ("vand q6, q7, q7; vldrw.u32 q0, [r0, q6]", (2, 9), f"{LLVM_55}: the index of a gather"),
        ],
    ),
]
EMPTY_LOOPS = {  # SUBS and BNE
    "cortex-m0plus": (3, MANUAL_0),
    "cortex-m3": ((3, 5), MANUAL_3),
    "cortex-m4": ((3, 5), MANUAL_4),
    "cortex-m33": ((3, 4), f"{RP2350} (low), {RP2350_SLOTHY} (high)"),
}


def _bounds(expected):
    return expected if isinstance(expected, tuple) else (expected, expected)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """{core: [`cycles.Range` of the empty loop and of each of its cases, of one round]}"""
    return {core: _measure(core, tmp_path_factory.mktemp(core)) for core in bench.BOARDS}


def _measure(core, folder):
    bodies = ["", *(case.code for case in CASES if case.core == core)]
    functions = "".join(
        f".align 2\n.thumb_func\ncase_{number}:\n {body}\n subs r7, #1\n beq 3f\n b case_{number}\n 3: bx r9\n"
        if number
        else f".align 2\n.thumb_func\ncase_{number}:\n subs r7, #1\n bne case_{number}\n bx r9\n"
        for number, body in enumerate("\n".join(code.split("; ") * COPIES) for code in bodies)
    )
    calls = "".join(f"ldr r2, =case_{number}\n bl measure\n" for number in range(len(bodies)))
    vectors = core == "cortex-m55"
    unit = core not in ("cortex-m0plus", "cortex-m3")
    source = f"""
      .syntax unified
      .thumb
      .section .vectors, "a"
      .word stack_top, Reset
      .text
      .global Reset, first, last
      .thumb_func
      Reset:
      {"ldr r0, =0xe000ed88; ldr r1, =0xf00000; str r1, [r0]; dsb; isb" if unit else ""}
      {calls}
      movs r0, #0x20
      ldr r1, =ended
      bkpt 0xab
      .ltorg
      ended: .word 0x20026, 0
      .thumb_func
      measure: mov r10, lr
      movs r0, #0
      mov r8, r0
      {"vmov.i32 q7, #0; vmov.i32 q6, #0" if vectors else ""}
      ldr r0, =memory
      mov r6, r0
      mov r4, r0
      adds r4, #64
      str r4, [r4]
      movs r7, #{ROUNDS}
      ldr r1, =first_return
      mov r9, r1
      movs r1, #1
      movs r3, #1
      movs r5, #1
      .global first
      first: nop
      bx r2
      .thumb_func
      first_return:
      last: nop
      bx r10
      .ltorg
      .align 2
      .thumb_func
      return_lr: bx lr
      .align 2
      .thumb_func
      return_pop: push {{lr}}
      pop {{pc}}
      .align 2
      {functions}
      .bss
      .align 4
      memory: .space 256
    """
    (folder / "cases.S").write_text(source)
    memory = {"cortex-m33": (0x10000000, 0x38000000), "cortex-m55": (0, 0x21000000)}.get(core, (0, 0x20000000))
    float_unit = {
        "cortex-m4": "fpv4-sp-d16",
        "cortex-m33": "fpv5-sp-d16",
        "cortex-m7": "fpv5-d16",
        "cortex-m55": "auto",
    }
    flags = [f"-mcpu={core}", "-mthumb"]
    flags += ["-mfloat-abi=hard", f"-mfpu={float_unit[core]}"] if unit else []
    flags += ["-nostdlib", f"-T{SOURCES}/emulator/link.ld", "-Wl,--no-warn-rwx-segments"]
    flags += [f"-Wl,--defsym={name}_START={at:#x}" for name, at in zip(("ROM", "RAM"), memory, strict=True)]
    elf = folder / "cases"
    run = subprocess.run(
        ["arm-none-eabi-gcc", *flags, str(folder / "cases.S"), "-o", str(elf)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    _, traces = bench.count(elf, bench.BOARDS[core], markers=("first", "last"))
    assert len(traces) == len(bodies)
    program = cycles.Program(elf)
    return [cycles.Range(*(bound / ROUNDS for bound in program.cycles(trace, core))) for trace in traces]


def test_there_are_enough_cases_of_each_core():
    assert len(CASES) >= 40 and {case.core for case in CASES} == set(bench.BOARDS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.core}: {case.code}")
def test_documented_cycles(case, measured):
    mine = [each for each in CASES if each.core == case.core]
    empty, found = measured[case.core][0], measured[case.core][1 + mine.index(case)]
    per_copy = [(bound - nothing) / COPIES for bound, nothing in zip(found, empty, strict=True)]
    assert per_copy == pytest.approx(_bounds(case.cycles), abs=0.3), case.source


@pytest.mark.parametrize("core", EMPTY_LOOPS)
def test_empty_loop(core, measured):
    expected, source = EMPTY_LOOPS[core]
    assert measured[core][0] == pytest.approx(_bounds(expected), abs=0.15), source


CODE, CONSTANTS = 4096, 1024  # bytes of straight code and of a table that the program of the caches goes through


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """(`cycles.Trace` of two rounds over straight code and a table, with caches too small and large enough; program)"""
    folder = tmp_path_factory.mktemp("cached")
    source = f"""
      .syntax unified
      .thumb
      .section .vectors, "a"
      .word stack_top, Reset
      .text
      .global Reset, first, last
      .thumb_func
      Reset: movs r7, #2
      .thumb_func
      first: nop
      .align 4
      again: movw r0, #:lower16:table
      movt r0, #:upper16:table
      add.w r2, r0, #{CONSTANTS}
      1: ldr r1, [r0], #4
      cmp r0, r2
      bne 1b
      .rept {CODE // 4}
      add.w r3, r3, r3
      .endr
      subs r7, #1
      beq last
      b.w again
      .align 4
      last: nop
      movs r0, #0x20
      ldr r1, =ended
      bkpt 0xab
      .ltorg
      ended: .word 0x20026, 0
      .bss
      .align 4
      table: .space {CONSTANTS}
    """
    (folder / "cached.S").write_text(source)
    flags = ["-mcpu=cortex-m4", "-mthumb", "-nostdlib", f"-T{SOURCES}/emulator/link.ld", "-Wl,--no-warn-rwx-segments"]
    flags += ["-Wl,--defsym=ROM_START=0", "-Wl,--defsym=RAM_START=0x20000000"]
    elf = folder / "cached"
    subprocess.run(["arm-none-eabi-gcc", *flags, str(folder / "cached.S"), "-o", str(elf)], check=True)
    caches = ["code=64:16", "code=512:16", "data=8:16:0x20000000:0x20000400", "data=64:16:0x20000000:0x20000400"]
    _, (trace,) = bench.count(elf, "mps2-an386", markers=("first", "last"), caches=caches)
    return trace, cycles.Program(elf)


def test_a_cache_too_small_for_a_loop_misses_every_line(cached):
    trace, _ = cached
    lines = CODE / 16
    small, large = trace.code
    assert small.misses == pytest.approx(2 * lines, abs=10) and large.misses == pytest.approx(lines, abs=10)
    assert small.sequential == pytest.approx(small.misses, abs=6)  # the code is straight
    small, large = trace.data
    assert small.misses == 2 * CONSTANTS // 16 and large.misses == CONSTANTS // 16


def test_a_flash_waits_for_each_miss(cached):
    trace, program = cached
    caches = {"width": 16, "line": 16, "code_cache": 1024, "data_cache": 128, "source": "this test"}
    answered = program.cycles(trace, "cortex-m4")
    waited = program.cycles(trace, "cortex-m4", Flash(5, prefetch=False, **caches))
    misses = trace.code[0].misses + trace.data[0].misses
    assert waited.low - answered.low == waited.high - answered.high == 5 * misses
    # Four instructions of a line take four cycles: a read of six, begun before, leaves one to wait for.
    ahead = program.cycles(trace, "cortex-m4", Flash(5, prefetch=True, **caches))
    assert answered.low < ahead.low < waited.low and ahead.high < waited.high
    # A line of two reads waits for both where code goes on in a row.
    narrow = program.cycles(trace, "cortex-m4", Flash(5, **(caches | {"width": 8}), prefetch=False))
    assert narrow.low > waited.low


def test_a_trace_of_another_program_is_refused(cached):
    trace = cycles.Trace((cycles.Run(0x00F00000, 1, 1, 0),))
    with pytest.raises(ValueError, match="there is no instruction at 0xf00000"):
        cached[1].cycles(trace, "cortex-m4")


def test_a_spilled_predicate_is_one_word(tmp_path):
    """As clang keeps P0 on the stack: the listing has no register of the vector unit."""
    source, elf = tmp_path / "spill.s", tmp_path / "spill.elf"
    spill, fill = 0xEDCDAFA5, 0xEDDDAFA5  # vstr and vldr P0, [sp, #148], which GNU's assembler does not take as text
    source.write_text(f".syntax unified\n.thumb\n.inst.w {spill}\n.inst.w {fill}\nvstr d1, [sp, #8]\n")
    subprocess.run(
        ["arm-none-eabi-gcc", "-mcpu=cortex-m55", "-mfloat-abi=hard", "-nostdlib", source, "-o", elf],
        check=True,
        capture_output=True,
    )
    found = list(disassemble(elf).values())
    assert [(each.kind, each.count, each.address_registers) for each in found] == [
        ("float store", 1, ("r13",)),
        ("float load", 1, ("r13",)),
        ("float store", 2, ("r13",)),
    ]
    trace = cycles.Trace((cycles.Run(found[0].address, 3, 1, 0),))
    assert 3 <= cycles.Program(elf).cycles(trace, "cortex-m55").low < 20
