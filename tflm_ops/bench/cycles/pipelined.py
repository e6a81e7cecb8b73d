"""Cortex-M33, M7 and M55: cores that start instructions while earlier ones are under way.

A scoreboard follows a run of instructions: each starts when it may issue, its operands are there and its unit is free.
Arm publishes no table for these cores, so that rules come from measurements and from the schedulers of compilers:
  [m33]     github.com/jnk0le/random, "pipeline cycle test/doc/cortex_m33.md": measured on RP2350
  [slothy33] github.com/slothy-optimizer/slothy, targets/arm_v7m/cortex_m33.py: measured on RP2350, 150 MHz
  [m7]      github.com/jnk0le/random, "pipeline cycle test/doc/cortex_m7.md": measured on STM32H743
  [slothy7] github.com/slothy-optimizer/slothy, targets/arm_v7m/cortex_m7.py
  [slothy55] github.com/slothy-optimizer/slothy, targets/arm_v81m/cortex_m55r1.py
  [llvm55]  LLVM, lib/Target/ARM/ARMScheduleM55.td
Where they differ or say nothing, the low bound takes the fewest cycles and the high bound the most.
"""

import collections
import re

from .decode import words

_SEVERAL = ("load multiple", "store multiple", "float load multiple", "float store multiple")
_BYTES_OR_HALVES = ("ldrb", "ldrh", "ldrsb", "ldrsh")


class _Scoreboard:
    """Issue, operands and units of a core; the rules are the methods that a core replaces."""

    def __init__(self, bound):
        self.bound = bound
        self.low = bound == "low"
        self._known = {}

    def cycles(self, block):
        """Cycles of a run of instructions in a loop of its own, whose end is not taken."""
        key = tuple(instruction.address for instruction in block)
        if key not in self._known:
            ends = self._ends([block] * 3)
            self._known[key] = ends[2] - ends[1]
        return self._known[key]

    def _ends(self, blocks):
        now = issued = 0  # the cycle, and the instructions that were issued in it
        ready, free, before, ends, stored = {}, collections.defaultdict(int), None, [], None
        for block in blocks:
            for instruction in block:
                together = issued == 1 and before is not None and self.pairs(before, instruction)
                start = now if issued == 0 or together else now + 1
                for register in instruction.reads:
                    if register in ready:
                        since, writer = ready[register]
                        start = max(start, since + self.latency(writer, instruction, register))
                units = self.units(instruction)
                start = max([start, *(free[unit] for unit, _ in units)])
                if stored is not None:
                    start += self.store_hazard(instruction, start - stored)
                issued = issued + 1 if start == now else 1
                now = start
                for unit, occupied in units:
                    free[unit] = now + occupied
                for register in instruction.writes:
                    ready[register] = now, instruction
                blocked = self.blocks(instruction)
                if blocked > 1:
                    now, issued = now + blocked - 1, 2  # nothing more issues in its last cycle
                    if self.pairs_behind_several and instruction.narrow:
                        issued = 1
                if instruction.kind == "vector store":
                    stored = now
                before = instruction
            ends.append(now + 1)
        return ends

    pairs_behind_several = False

    def pairs(self, older, younger):
        """Whether two neighbours can issue in one cycle."""
        return False

    def units(self, instruction):
        """[(unit that it needs, cycles for which it is taken)]"""
        return []

    def blocks(self, instruction):
        """Cycles for which nothing behind it issues."""
        return 1

    def latency(self, writer, reader, register):
        """Cycles from the start of the writer to the first start of a reader."""
        return 1

    def store_hazard(self, instruction, distance):
        """Further cycles of an instruction that starts so many cycles behind the last vector store."""
        return 0


_MULTIPLIES = ("multiply", "long multiply")


def _accumulates(reader, register):
    """Whether a register enters a multiply-accumulate as what is added to."""
    if reader.kind == "long multiply":
        return register in reader.writes
    return reader.kind == "multiply" and len(reader.reads) == 3 and register == reader.reads[-1]


class M33(_Scoreboard):
    """Cortex-M33. Open: whether pairs of 16-bit instructions issue together, branches, and LSL of an operand."""

    pairs_behind_several = True  # [m33] a branch issues with the load multiple before it
    _TWO_STAGES = words(
        """pkhbt pkhtb uadd8 usub8 uadd16 usub16 sadd16 ssub16 sadd8 ssub8 qadd qsub ssat usat sxtab16 sxtb16 uxtb16
        uxtab16 sel sxtah sxtab uxtab uxtah usad8"""
    )

    def pairs(self, older, younger):
        # [m33] two 16-bit instructions, the second a NOP, IT or branch; [slothy33] takes none
        fits = older.narrow and younger.narrow and older.kind not in ("nop", "it", "branch")
        return self.low and fits and younger.kind in ("nop", "it", "branch")

    def blocks(self, instruction):
        kind = instruction.kind
        if kind in _SEVERAL or kind in ("load pair", "store pair"):
            return instruction.count  # [m33] load and store multiple of n registers n, LDRD and STRD 2
        if kind == "multiply" and instruction.sets_flags:
            return 2  # [m33] MULS
        if kind == "float move" and len(instruction.writes) == 2 and instruction.writes[0].startswith("r"):
            return 2  # [m33] VMOV of two to general registers
        if kind == "divide":
            return 2 if self.low else 11  # Arm 100230, Cortex-M33 Technical Reference Manual: divisions end early
        return {"float divide": 14, "float multiply-accumulate": 3}.get(kind, 1)  # [m33] VFMA

    def latency(self, writer, reader, register):
        cycles = self._result(writer, register)
        if register in reader.address_registers:
            return cycles
        # [m33] what a store writes, and what a multiplication adds to, may come a cycle later
        late = reader.kind in ("store", "store pair", "store multiple") or _accumulates(reader, register)
        return max(1, cycles - 1) if late and writer.kind in (*_MULTIPLIES, "load") else cycles

    def _result(self, writer, register):
        kind = writer.kind
        if kind in ("load", "load pair"):
            return 1 if writer.write_back and register in writer.address_registers else 2  # [m33], [slothy33]
        if kind == "load multiple":
            return writer.count
        if kind == "float load":
            return 1 if self.low else 2  # [m33] 1, [slothy33] 2
        if kind in _MULTIPLIES or kind == "float":
            return 2  # [m33], [slothy33]
        if kind == "float multiply-accumulate":
            return 3
        if kind == "alu" and (writer.shift or writer.name in self._TWO_STAGES):
            return 1 if self.low and writer.shift == "lsl" else 2  # [slothy33] LSL 1; [m33] any shift 2
        return 1

    def taken(self, block, entries, taken):
        """Further cycles of a run that was left by a taken branch so often."""
        last = block[-1]
        if last.writes_pc:
            return (2 if self.low else 4) * taken  # [m33] POP {PC} 1 to 2 cycles slower than POP {LR}, BX LR
        if not self.low:
            return 2 * taken  # [slothy33] 3 cycles
        before = block[-2] if len(block) > 1 else None
        if before is None or not self.pairs(before, last):
            return taken
        return (2 if before.sets_flags or not before.writes else 1) * taken  # [m33] 2 behind flags, else 1


class M7(_Scoreboard):
    """Cortex-M7. Open: which banks two loads use, what the branch predictor finds, and half a cycle of alignment."""

    _BITS = words(
        """ubfx sbfx uxtb uxth sxtb sxth uxtab uxtah sxtab sxtah uxtb16 sxtb16 bfi bfc pkhbt pkhtb rev rev16 clz rbit
        uadd8 usub8 uadd16 usub16 sadd16 ssub16 qadd qsub ssat usat sel sxtab16 uxtab16"""
    )
    _EARLY = words("""sbfx ubfx rbit rev rev16 revsh bfi bfc pkhbt pkhtb uxtab uxtah sxtab sxtah uxtab16 sxtab16""")

    def pairs(self, older, younger):
        alone = (*_SEVERAL, "load pair", "store pair", "divide", "long multiply", "barrier")
        if older.kind in alone or younger.kind in alone:
            return False  # [m7] pairs and multiples issue alone
        kinds = {older.kind, younger.kind}
        if kinds <= {"store", "float store"} or kinds == {"multiply"} or kinds == {"multiply", "store"}:
            return False  # [m7] one store, one multiplication, and not one of each
        bits = older.name in self._BITS, younger.name in self._BITS
        if all(bits) or (older.shift and younger.shift):
            return False  # [m7]
        if (older.shift and bits[1]) or (younger.shift and bits[0]):
            return False  # [m7]
        if bits[1] and not self.low:
            return False  # [m7] the older of the two, or half a cycle slips
        if kinds == {"load"}:
            return self._different_banks(older, younger)
        if older.kind.startswith("float") and younger.kind.startswith("float"):
            return "float load" in kinds and "float multiply-accumulate" not in kinds  # [m7]
        return True

    def _different_banks(self, older, younger):
        """[m7] two loads go together where one is of an even and one of an odd word."""
        words = []
        for load in (older, younger):
            match = re.search(r"\[(\w+)(?:, #(-?\d+))?\]$", load.operands)
            words.append((match[1], int(match[2] or 0) >> 2 & 1) if match else None)
        if None in words or words[0][0] != words[1][0]:
            return self.low  # nobody knows
        return words[0][1] != words[1][1]

    def blocks(self, instruction):
        kind = instruction.kind
        if kind in _SEVERAL:
            return (instruction.count + 1) // 2  # [m7]
        if kind == "divide":
            return 3 if self.low else 12
        return {"float divide": 16}.get(kind, 1)  # [m7] VDIV 16, VSQRT 14

    def latency(self, writer, reader, register):
        cycles = self._result(writer, register)
        loads = writer.kind in ("load", "load pair", "load multiple")
        if register in reader.address_registers:
            simple = writer.kind == "alu" and writer.name in ("add", "sub", "mov") and not writer.shift
            return cycles + (0 if simple else 1)  # [m7] addresses are made a stage early
        if reader.kind in ("store", "store pair", "store multiple", "float store"):
            return 0  # [m7] any result can be stored in its own cycle
        if reader.shift or reader.name in self._EARLY or reader.name in ("lsl", "lsr", "asr", "ror"):
            return cycles + (1 if loads or reader.name in self._EARLY or writer.kind in _MULTIPLIES else 0)
        if reader.kind in _MULTIPLIES:
            if _accumulates(reader, register):
                return 1 if writer.kind in _MULTIPLIES else cycles  # [m7] added to in each cycle
            return cycles + (1 if loads else 0)  # [m7] no multiplication of what was just loaded
        return cycles

    def _result(self, writer, register):
        kind = writer.kind
        if kind in ("load", "load pair", "load multiple"):
            if writer.write_back and register in writer.address_registers:
                return 1
            return 2 if writer.name in _BYTES_OR_HALVES else 1  # [m7]
        if kind in _MULTIPLIES:
            return 2  # [m7]
        return {"float": 3, "float multiply-accumulate": 3 if self.low else 5, "float move": 1}.get(kind, 1)

    def taken(self, block, entries, taken):
        """Further cycles of a run that was left by a taken branch so often, mispredictions among them."""
        last = block[-1]
        # What goes the rarer way is mispredicted at most; a pattern that repeats is not.
        conditional = last.kind == "branch" and last.name in ("b", "cbz", "cbnz")
        rarer = min(taken, entries - taken) if conditional else 0
        cycles = rarer * (3 if self.low else 8)  # [m7] a misprediction takes 6 to 8
        if last.writes_pc or last.name in ("bx", "blx"):
            cycles += taken * (0 if self.low else 2)
        return cycles


class M55(_Scoreboard):
    """Cortex-M55, whose vector unit takes two beats per cycle. Open: how long gathers take, and their index."""

    _SLOW_INTEGER = re.compile(r"v(r?shrn|q|rshr|rshl|movn|max[a]?v|min[a]?v|shll|sli|movl)")

    def pairs(self, older, younger):
        if younger.kind == "loop end":
            return self.low  # Armv8.1-M lets a core remember where a loop ends, and take it for nothing
        if not (older.narrow and younger.narrow):
            return False  # [m33] citing Arm's optimization guide of M55: two 16-bit instructions
        adds = younger.name in ("add", "sub") and "#" in younger.operands and older.kind != "branch"
        moves = younger.name in ("mov", "uxtb", "uxth", "sxtb", "sxth")
        return younger.kind in ("it", "nop", "branch") or adds or moves

    def units(self, instruction):
        kind = instruction.kind
        if kind in ("vector load", "vector store"):
            return [("memory", self._memory_cycles(instruction))]
        if kind in ("load", "store", "load pair", "store pair", "float load", "float store", *_SEVERAL):
            return [("memory", 1)]
        if kind in ("vector integer", "vector move"):
            return [("integer", 2)]  # [slothy55] two beats per cycle; products of polynomials as on Cortex-M85
        if kind == "vector multiply":
            return [("multiply", 2)]  # [slothy55]
        return [("multiply", 1)] if kind.startswith("float") else []

    def _memory_cycles(self, instruction):
        """[slothy55] 2 of any vector; [llvm55] two elements per cycle of a gather, or one, as Arm's M85 reads."""
        return 2 if self.low or not instruction.lanes else max(2, instruction.lanes)

    def blocks(self, instruction):
        kind = instruction.kind
        if instruction.lanes and not self.low:
            return self._memory_cycles(instruction)
        if kind in _SEVERAL:
            return (instruction.count + 1) // 2  # 64 bits per cycle
        if kind == "divide":
            return 2 if self.low else 11
        return {"float divide": 14}.get(kind, 1)

    def latency(self, writer, reader, register):
        cycles = self._result(writer, register)
        if reader.lanes and register.startswith("q") and register in reader.address_registers:
            return cycles + (0 if self.low else 4)  # [llvm55] the index of a gather
        if reader.kind == "vector store" and writer.kind == "vector multiply" and register.startswith("q"):
            return max(1, cycles - 1)  # [slothy55] a product is stored a cycle early
        return cycles

    def _result(self, writer, register):
        kind = writer.kind
        if kind in ("load", "load pair", "load multiple", "float load"):
            return 1 if writer.write_back and register in writer.address_registers else 2  # [slothy55] LDRD 2
        if kind == "vector load":
            if register.startswith("r") or not writer.lanes:
                return 1  # [slothy55]
            return 2 if self.low else self._memory_cycles(writer)
        if kind in _MULTIPLIES or kind == "vector multiply" or kind == "float":
            return 3 if re.match(r"vmlal(da)?v", writer.name) else 2  # [slothy55] VMLALDAVA 3
        if kind == "alu" and writer.shift:
            return 2
        if kind == "vector integer" and self._SLOW_INTEGER.match(writer.name):
            return 2  # [slothy55] narrowing, saturating and rounding
        return 4 if kind == "float multiply-accumulate" else 1

    def store_hazard(self, instruction, distance):
        # [slothy55] a vector load two cycles behind a vector store can meet it
        return 1 if instruction.kind == "vector load" and distance == 2 and not self.low else 0

    def taken(self, block, entries, taken):
        """Further cycles of a run that was left by a taken branch so often."""
        last = block[-1]
        if last.kind == "loop end":
            return 0  # the loop's start is held: a loop of low overhead
        return (1 if self.low else 3) * taken
