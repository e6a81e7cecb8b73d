// A plug-in of QEMU that counts the instructions which the emulated core executes between two
// addresses: after the instruction at `start` and before the next one at `stop`. The counts go to
// a file, one per line.
//
//   qemu-system-arm -plugin LIBRARY,start=0x8d1,stop=0x8d5,out=COUNTS ...
//
// QEMU's packages bring no header, so what is used of its interface is declared here, as
// https://www.qemu.org/docs/master/devel/tcg-plugins.html describes it. Only functions that all
// versions of the interface share are used; BCNET_PLUGIN_API is the version to claim.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define EXPORTED __attribute__((visibility("default")))

extern "C" {

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;
typedef void (*TranslationCallback)(uint64_t plugin, qemu_plugin_tb* block);
typedef void (*ExecutionCallback)(unsigned cpu, void* data);

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t plugin, TranslationCallback callback);
void qemu_plugin_register_vcpu_tb_exec_cb(qemu_plugin_tb* block, ExecutionCallback callback,
                                          int registers, void* data);
void qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_insn* instruction,
                                            ExecutionCallback callback, int registers, void* data);
size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb* block);
qemu_plugin_insn* qemu_plugin_tb_get_insn(const qemu_plugin_tb* block, size_t index);
uint64_t qemu_plugin_insn_vaddr(const qemu_plugin_insn* instruction);

EXPORTED int qemu_plugin_version = BCNET_PLUGIN_API;
EXPORTED int qemu_plugin_install(uint64_t plugin, const qemu_info_t* info, int argc, char** argv);

}  // extern "C"

namespace {

uint64_t start_address, stop_address;
FILE* out;

// Instructions of all blocks that were entered. A block runs to its end: these programs take no
// interrupts, and a call to the debugger ends its block.
uint64_t entered;
uint64_t started;

void* Pointer(size_t number) { return reinterpret_cast<void*>(static_cast<uintptr_t>(number)); }
uint64_t Number(void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

void OnBlock(unsigned, void* size) { entered += Number(size); }

// `rest` are the instructions of the block from the marker on.
void OnStart(unsigned, void* rest) { started = entered - Number(rest) + 1; }

void OnStop(unsigned, void* rest) {
  std::fprintf(out, "%llu\n", static_cast<unsigned long long>(entered - Number(rest) - started));
  std::fflush(out);
}

void OnTranslation(uint64_t, qemu_plugin_tb* block) {
  const size_t size = qemu_plugin_tb_n_insns(block);
  qemu_plugin_register_vcpu_tb_exec_cb(block, OnBlock, 0, Pointer(size));
  for (size_t i = 0; i < size; ++i) {
    qemu_plugin_insn* instruction = qemu_plugin_tb_get_insn(block, i);
    const uint64_t address = qemu_plugin_insn_vaddr(instruction);
    if (address != start_address && address != stop_address) continue;
    qemu_plugin_register_vcpu_insn_exec_cb(instruction, address == start_address ? OnStart : OnStop,
                                           0, Pointer(size - i));
  }
}

}  // namespace

int qemu_plugin_install(uint64_t plugin, const qemu_info_t*, int argc, char** argv) {
  for (int i = 0; i < argc; ++i) {
    const char* value = std::strchr(argv[i], '=');
    if (value == nullptr) continue;
    ++value;
    // Bit 0 of the address of a function only says that it is Thumb code.
    if (std::strncmp(argv[i], "start=", 6) == 0) {
      start_address = std::strtoull(value, nullptr, 0) & ~uint64_t{1};
    } else if (std::strncmp(argv[i], "stop=", 5) == 0) {
      stop_address = std::strtoull(value, nullptr, 0) & ~uint64_t{1};
    } else if (std::strncmp(argv[i], "out=", 4) == 0) {
      out = std::fopen(value, "w");
    }
  }
  if (out == nullptr || start_address == stop_address) {
    std::fprintf(stderr, "instruction_count needs start=ADDRESS,stop=ADDRESS,out=FILE\n");
    return 1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(plugin, OnTranslation);
  return 0;
}
