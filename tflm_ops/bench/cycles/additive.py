"""Cortex-M0+, M3 and M4: cores that finish one instruction after the other, so that cycles add up.

Sources of the rules, named at each:
  [M0+]   Arm DDI 0484C, Cortex-M0+ Technical Reference Manual, table 3-1
  [M3]    Arm DDI 0337H, Cortex-M3 Technical Reference Manual, table 3-1 and section 3.3.2 (load/store timings)
  [M4]    Arm DDI 0439D, Cortex-M4 Technical Reference Manual, table 3-1, section 3.3.2 and table 7-1 (floating point)
  [m3m4]  github.com/jnk0le/random, "pipeline cycle test/doc/cortex_m3m4.md": measured on STM32F103 and STM32F407
"""


class M0plus:
    """Cortex-M0+ with the single-cycle multiplier. Its manual leaves nothing open, so that both bounds are the same."""

    def __init__(self, bound):
        self.bound = bound

    def cycles(self, block):
        """Cycles of a run of instructions whose end is not taken."""
        return sum(map(self._one, block))

    def taken(self, block, entries, taken):
        """Further cycles of a run that was entered and left by a taken branch so often."""
        return 0 if block[-1].kind == "load multiple" else taken  # [M0+] B taken 2, BX 2, BL 3

    def _one(self, instruction):
        kind = instruction.kind
        if kind in ("load", "store"):
            return 2  # [M0+] LDR, STR 2
        if kind in ("load multiple", "store multiple"):
            return 1 + instruction.count + (2 if instruction.writes_pc else 0)  # [M0+] LDM 1 + N, POP with PC 3 + N
        if kind == "barrier":
            return 3  # [M0+] MRS, MSR, DMB, DSB, ISB 3
        if instruction.name == "bl":
            return 2  # [M0+] BL 3, one of them as of any taken branch
        return 1


class M3:
    """Cortex-M3.

    Open, and therefore a range: a taken branch refills the pipeline in 1 to 3 cycles ([M3] P), IT can be folded, and
    long multiplications and divisions end early.
    """

    long_multiply = {False: (3, 5), True: (4, 7)}  # [M3] SMULL, UMULL 3 to 5; SMLAL, UMLAL 4 to 7
    multiply_accumulate = 2  # [M3] MLA, MLS 2
    chains_write_back = False  # [m3m4] only the first load of a chain can be pre- or post-indexed

    def __init__(self, bound):
        self.bound = bound
        self.low = bound == "low"
        self.refill = 1 if self.low else 3

    def cycles(self, block):
        """Cycles of a run of instructions whose end is not taken."""
        total, before = 0, None
        for position, instruction in enumerate(block):
            behind = block[position + 1] if position + 1 < len(block) else None
            total += self._one(before, instruction, behind) + self._address_stall(before, instruction)
            before = instruction
        return total

    def taken(self, block, entries, taken):
        """Further cycles of a run that was entered and left by a taken branch so often."""
        return self.refill * taken  # [M3], [M4] B, BL, BX, CBZ 1 + P; POP with PC 1 + N + P

    def _address_stall(self, before, instruction):
        # [M3], [M4] 3.3.2: an address from a data operation stalls a cycle; [m3m4] so measured on both.
        computed = before is not None and before.kind in ("alu", "multiply", "long multiply")
        return int(computed and bool(set(before.writes) & set(instruction.address_registers)))

    def _chained(self, before, instruction):
        """Whether a load shares a cycle with the load before it."""
        if before is None or before.kind != "load" or before.writes_pc:
            return False
        if set(before.writes) & set(instruction.address_registers):
            return False  # [M3], [M4] 3.3.2: an address that was just loaded is not pipelined
        if instruction.write_back and not self.chains_write_back:
            return False
        # [m3m4] 32-bit loads may fail to pipeline where they are not aligned to words.
        return self.low or instruction.narrow or instruction.address % 4 == 0

    def _one(self, before, instruction, behind):
        kind = instruction.kind
        if kind == "load":
            return 1 if self._chained(before, instruction) else 2  # [M3], [M4] LDR 2, pipelined 1
        if kind == "store":
            return self._store(before, instruction, behind)
        if kind in ("load pair", "store pair", "load multiple", "store multiple"):
            return 1 + instruction.count  # [M3], [M4] LDRD, STRD, LDM, STM, PUSH, POP 1 + N
        if kind == "multiply":
            return self.multiply_accumulate if instruction.name in ("mla", "mls") else 1
        if kind == "long multiply":
            low, high = self.long_multiply[instruction.name.endswith("al")]
            return low if self.low else high
        if kind == "divide":
            return 2 if self.low else 12  # [M3], [M4] SDIV, UDIV 2 to 12
        if instruction.name in ("tbb", "tbh"):
            return 2  # [M3], [M4] TBB 2 + P
        if kind == "it":
            return 0 if self.low and instruction.narrow else 1  # [M3], [M4] IT can be folded
        if kind == "nop":
            # [m3m4] a load, or a store with a register's offset, eats the NOP behind it
            return 0 if before is not None and before.kind == "load" else 1
        if kind == "barrier":
            return 1 if self.low else 4
        if kind.startswith("float"):
            return self._float(before, instruction)
        return 1

    def _store(self, before, instruction, behind):
        if before is not None and before.kind == "load" and len(instruction.address_registers) == 1:
            return 1  # [M3], [M4] 3.3.2: STR is pipelined behind LDR
        cycles = 1 if len(instruction.address_registers) < 2 else 2  # [M3], [M4] 3.3.2; [m3m4] with a register 2
        if cycles == 2 and before is not None and before.kind == "load" and self.low:
            return 1
        loads = behind is not None and behind.kind in ("load", "load multiple", "load pair")
        # [m3m4] a load behind a store adds a cycle, which the manuals do not say.
        return cycles + (1 if loads and cycles == 1 and not self.low else 0)

    def _float(self, before, instruction):
        raise ValueError(f"Cortex-M3 has no instruction {instruction.text}")


class M4(M3):
    """Cortex-M4 with its floating-point unit. Open: the same as of M3, but multiplications take one cycle."""

    long_multiply = {False: (1, 1), True: (1, 1)}  # [M4] SMULL, UMULL, SMLAL, UMAAL 1
    multiply_accumulate = 1  # [M4] MLA, SMLAD 1
    chains_write_back = True  # [m3m4] on alternating bases

    def _float(self, before, instruction):
        kind = instruction.kind
        if kind in ("float load", "float store", "float load multiple", "float store multiple"):
            return 1 + instruction.count  # [M4] table 7-1: VLDR.32 2, .64 3, VLDM 1 + N
        cycles = {"float multiply-accumulate": 3, "float divide": 14}.get(kind, 1)  # [M4] VMLA, VFMA 3; VDIV, VSQRT 14
        if kind == "float move" and len(instruction.writes) == 2:
            cycles = 2  # [M4] VMOV of two registers 2
        computed = before is not None and before.kind in ("float", "float multiply-accumulate", "float divide")
        # [M4] table 7-1: a cycle more where the next instruction reads the result
        return cycles + int(computed and bool(set(before.writes) & set(instruction.reads)))
