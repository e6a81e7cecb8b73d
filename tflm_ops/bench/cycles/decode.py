"""Thumb instructions as the cost models see them, read from the listing of `arm-none-eabi-objdump`."""

import re
import subprocess
from dataclasses import dataclass, field


def words(text):
    """The set of words of a text."""
    return frozenset(text.split())


_CONDITIONS = words("eq ne cs hs cc lo mi pl vs vc hi ls ge lt gt le al")
_REGISTER = re.compile(r"\b(r\d+|sp|lr|pc|ip|fp|sl|sb|q\d|s\d+|d\d+)\b")
_ALIASES = {"sb": "r9", "sl": "r10", "fp": "r11", "ip": "r12", "sp": "r13", "lr": "r14", "pc": "r15"}
# Mnemonic -> kind. Whatever is in no list is arithmetic of one cycle, "alu".
_KINDS = {
    "multiply": """mul mla mls smulbb smulbt smultb smultt smulwb smulwt smlabb smlabt smlatb smlatt smlawb smlawt smlad
        smladx smlsd smlsdx smuad smuadx smusd smusdx smmul smmulr smmla smmlar smmls smmlsr""",
    "long multiply": """smull umull smlal umlal umaal smlald smlaldx smlsld smlalbb smlalbt smlaltb smlaltt""",
    "divide": "udiv sdiv",
    "load": "ldr ldrb ldrh ldrsb ldrsh ldrt ldrex lda",
    "store": "str strb strh strt strex stl",
    "load pair": "ldrd",
    "store pair": "strd",
    "load multiple": "ldm ldmia ldmdb pop",
    "store multiple": "stm stmia stmdb push",
    "branch": "b bl bx blx cbz cbnz tbb tbh bxns",
    "loop end": "le letp",
    "loop start": "wls wlstp dls dlstp lctp",
    "barrier": "dmb dsb isb mrs msr",
    "nop": "nop",
    "alu": """add sub rsb adc sbc and eor orr orn bic mov mvn movw movt lsl lsr asr ror rrx cmp cmn tst teq adr neg uxtb
        uxth sxtb sxth uxtab uxtah sxtab sxtah uxtb16 sxtb16 uxtab16 sxtab16 ubfx sbfx bfi bfc clz rev rev16 revsh rbit
        pkhbt pkhtb ssat usat ssat16 usat16 qadd qsub qdadd qdsub uadd8 usub8 uadd16 usub16 sadd16 ssub16 sadd8 ssub8
        sel csel csinc csinv csneg cset csetm cinc bkpt svc cpsid cpsie lsll lsrl asrl sqrshr uqshl uqadd8 uqsub8
        uhadd8 shadd8 usad8 addw subw""",
}
KIND = {name: kind for kind, names in _KINDS.items() for name in names.split()}
_ACCUMULATE_LONG = words("smlal umlal umaal smlald smlaldx smlsld smlalbb smlalbt smlaltb smlaltt")
_TWO_OPERANDS = words("add sub and eor orr bic adc sbc lsl lsr asr ror")
_COMPARE = words("cmp cmn tst teq")
# Vector instructions that read what they write.
_VECTOR_ACCUMULATE = re.compile(
    r"v(ml[as]|fm[as]|fnm|qdmla|qrdmla|sli|sri|bsl|addva|mladava|mlava|mlaldava|rmlaldavha|movnb|movnt|qmovn|qrshrn"
    r"|shrn|rshrn|qshrn|qshrun|qrshrun|adc|shlc|qdmlah)"
)
_LONG_SUM = re.compile(r"v(r?mlal(da)?v|addlv)")  # into two general registers
_VECTOR_MULTIPLY = re.compile(
    r"v(mul|mla|mls|qdmul|qrdmul|qdml|qrdml|rmul|mulh|fma|fms|cvt|addv|addlv|mlaldav|mladav|mlav|rmlald|cmp|adda|cmla"
    r"|cmul)"
)


@dataclass
class Instruction:
    """One instruction.

    Attributes:
      address, bytes: where it lies, and its size: 2 or 4.
      text: as the listing has it.
      name: its mnemonic without suffixes: "adds.w" -> "add".
      kind: "alu", "multiply", "load", ...; see `_KINDS`. Of the floating-point unit "float load", "float store", "float
        load multiple", "float store multiple", "float multiply-accumulate", "float divide", "float move" and "float";
        of the vector unit "vector load", "vector store", "vector integer", "vector multiply", "vector move" and
        "vector predicate"; and "it".
      sets_flags: whether it has the suffix s.
      reads, writes: tuples of registers.
      address_registers: those of its address.
      count: registers that it loads or stores.
      shift: "lsl", "lsr", "asr" or "ror" of an operand that is shifted on the way; "" without one.
      lanes: elements of a gather or scatter, else 0.
      write_back: whether it changes its base register.
      writes_pc: whether it jumps by writing the program counter.
    """

    address: int
    bytes: int
    text: str
    name: str
    kind: str = "alu"
    sets_flags: bool = False
    reads: tuple = ()
    writes: tuple = ()
    address_registers: tuple = ()
    count: int = 1
    shift: str = ""
    lanes: int = 0
    write_back: bool = False
    writes_pc: bool = False
    operands: str = field(default="", repr=False)

    @property
    def narrow(self):
        return self.bytes == 2

    @property
    def jumps(self):
        """Whether it can leave the straight line."""
        return self.kind in ("branch", "loop end", "loop start") or self.writes_pc


def disassemble(elf):
    """{address: `Instruction`} of a program; what objdump does not decode is left out."""
    architecture = subprocess.run(
        ["arm-none-eabi-readelf", "-A", str(elf)], capture_output=True, text=True, check=True
    ).stdout
    command = ["arm-none-eabi-objdump", "-d", str(elf)]
    if "v8.1-M" in architecture:
        command += ["-m", "armv8.1-m.main"]  # which objdump does not take from the file
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    line = re.compile(r"^\s*([0-9a-f]+):\t([0-9a-f ]+?)\s*\t(\S+)(?:\t(.*))?$", re.M)
    found = {}
    for match in line.finditer(listing):
        address, code, mnemonic, operands = match.groups()
        found[int(address, 16)] = decode(int(address, 16), len(code.replace(" ", "")) // 2, mnemonic, operands or "")
    return found


def decode(address, size, mnemonic, operands):
    """The `Instruction` of a line of the listing: size in bytes, mnemonic with suffixes, operands as text."""
    operands = re.sub(r"\s*(;|@|<|//).*", "", operands)
    name, sets_flags, conditional = _name(mnemonic)
    result = Instruction(address, size, f"{mnemonic} {operands}".strip(), name, operands=operands)
    result.sets_flags = sets_flags
    registers = _registers(operands)
    memory = re.search(r"\[([^\]]*)\](!?)(.*)", operands)
    first = _registers(operands.split("[")[0]) if memory else registers
    result.address_registers = _registers(memory[1]) if memory else ()
    result.write_back = bool(memory and (memory[2] or "#" in memory[3]))
    if name.startswith("v"):
        _decode_vector(result, mnemonic, registers, first)
        return result
    if re.fullmatch(r"it[te]{0,3}", name):
        result.kind = "it"
        return result
    kind = result.kind = KIND.get(name, "alu")
    changed = result.address_registers[:1] if result.write_back else ()
    if kind in ("load", "load pair"):
        result.count = 2 if kind == "load pair" else 1
        result.writes, result.reads = (*first[: result.count], *changed), result.address_registers
        result.writes_pc = first[:1] == ("r15",)
    elif kind in ("store", "store pair"):
        result.count = 2 if kind == "store pair" else 1
        result.writes, result.reads = changed, (*first, *result.address_registers)
    elif kind in ("load multiple", "store multiple"):
        listed = _register_list(operands)
        base = ("r13",) if name in ("push", "pop") else registers[:1]
        changed = base if name in ("push", "pop") or "!" in operands else ()
        result.count, result.address_registers, result.write_back = len(listed), base, bool(changed)
        loads = kind == "load multiple"
        result.reads, result.writes = (base, (*listed, *changed)) if loads else ((*base, *listed), changed)
        result.writes_pc = loads and "r15" in listed
    elif kind in ("branch", "loop end", "loop start"):
        result.reads, result.writes = registers, ("r14",) if name in ("bl", "blx") else ()
    elif kind == "long multiply":
        accumulated = registers[:2] if name in _ACCUMULATE_LONG else ()
        result.writes, result.reads = registers[:2], (*registers[2:], *accumulated)
    elif name in _COMPARE:
        result.reads = registers
    elif kind not in ("nop", "barrier"):
        # `add r0, r1` reads both, and so does what changes a part of a register.
        partial = name in ("bfi", "bfc", "movt") or (kind == "alu" and len(registers) == 2 and _short(name, operands))
        reads_all = partial or len(registers) == 1 or (kind == "multiply" and len(registers) == 2)
        result.writes, result.reads = registers[:1], registers if reads_all and name != "mov" else registers[1:]
        result.writes_pc = registers[:1] == ("r15",)
        shift = re.search(r"\b(lsl|lsr|asr|ror) #", operands)
        result.shift = shift[1] if shift else ""
    if conditional and result.writes and kind != "branch":
        result.reads = (*result.reads, *result.writes)  # which stay where the condition fails
    return result


def _short(name, operands):
    """Whether an operation with two registers also reads the first."""
    return "#" not in operands and name in _TWO_OPERANDS


def _name(mnemonic):
    """(name without suffixes, whether it sets flags, whether it has a condition)."""
    text = re.sub(r"\.[nw]$", "", mnemonic)
    if text.startswith("v") or text in KIND or re.fullmatch(r"it[te]{0,3}", text):
        return text, False, False
    text = text.split(".")[0]  # wlstp.8
    if text in KIND:
        return text, False, False
    conditional = text[-2:] in _CONDITIONS and (text[:-2] in KIND or (text[-3:-2] == "s" and text[:-3] in KIND))
    if conditional:
        text = text[:-2]
    if text not in KIND and text.endswith("s") and text[:-1] in KIND:
        return text[:-1], True, conditional
    return text, False, conditional


def _registers(text):
    return tuple(_ALIASES.get(name, name) for name in _REGISTER.findall(text))


def _register_list(text):
    found = []
    for part in re.findall(r"\{([^}]*)\}", text)[0].split(","):
        first, _, final = (_ALIASES.get(name.strip(), name.strip()) for name in part.partition("-"))
        last = int(final[1:]) if final else int(first[1:])
        found += [f"{first[0]}{number}" for number in range(int(first[1:]), last + 1)]
    return tuple(found)


def _decode_vector(result, mnemonic, registers, first):
    """Fills in an instruction of the floating-point or the vector unit."""
    stem, _, suffix = mnemonic.partition(".")
    vector = any(name.startswith("q") for name in registers)
    if vector and stem[-1] in "te" and stem[:-1] in ("vldrw", "vldrb", "vldrh", "vstrw", "vstrb", "vstrh", "vmov"):
        stem = stem[:-1]  # predicated
    address = result.address_registers
    changed = address[:1] if result.write_back else ()
    if stem.startswith(("vps", "vpt", "vctp", "vpnot")):
        result.kind, result.reads = "vector predicate", registers
    elif vector and stem.startswith(("vldr", "vld2", "vld4", "vstr", "vst2", "vst4")):
        loads = stem.startswith("vld")
        result.kind = "vector load" if loads else "vector store"
        result.reads, result.writes = (address, (*first, *changed)) if loads else ((*first, *address), changed)
        if any(name.startswith("q") for name in address):
            width = 64 if stem.endswith("d") else int(re.sub(r"\D", "", suffix) or 32)
            result.lanes = 128 // width
    elif stem in ("vldr", "vstr"):
        result.count = 2 if first[:1] and first[0].startswith("d") else 1  # P0, by which clang spills a predicate: 1
        result.kind = "float load" if stem == "vldr" else "float store"
        result.reads, result.writes = (address, first) if stem == "vldr" else ((*first, *address), ())
    elif stem.startswith(("vldm", "vpop", "vstm", "vpush")):
        listed, loads = _register_list(result.operands), stem.startswith(("vldm", "vpop"))
        result.count = sum(2 if name.startswith("d") else 1 for name in listed)
        result.kind = "float load multiple" if loads else "float store multiple"
        result.reads, result.writes = ((), listed) if loads else (listed, ())
        result.writes_pc = False
    else:
        written = registers[:1]
        if _LONG_SUM.match(stem) and len(registers) > 2:
            written = registers[:2]
        if stem == "vmov" and len(registers) == 3 and registers[0].startswith("r"):
            written = registers[:2]
        if stem.startswith("vcmp"):
            written = ()
        reads_all = _VECTOR_ACCUMULATE.match(stem) or (stem == "vmov" and vector and "[" in result.operands)
        result.writes, result.reads = written, registers if reads_all else registers[len(written) :]
        result.address_registers = ()  # `vmov r0, q1[2]` names a lane
        if not vector:
            accumulates = re.match(r"v(n?ml[as]|f)", stem)
            divides, moves = stem.startswith(("vdiv", "vsqrt")), stem in ("vmov", "vmrs", "vmsr")
            suffix = " divide" if divides else " multiply-accumulate" if accumulates else " move" if moves else ""
            result.kind = f"float{suffix}"
        elif stem == "vmov" and any(name.startswith("r") for name in registers):
            result.kind = "vector multiply" if registers[0].startswith("r") else "vector move"
        elif (_VECTOR_MULTIPLY.match(stem) and not suffix.startswith("p")) or ".f" in mnemonic:
            result.kind = "vector multiply"
        else:
            result.kind = "vector integer"
    result.name = stem
