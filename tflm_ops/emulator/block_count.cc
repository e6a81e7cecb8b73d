// A plug-in of QEMU that counts what a program executes between two marker functions.
//
//   -plugin
//   block_count.so,start=ADDRESS,stop=ADDRESS,out=FILE[,code=LINES:BYTES][,data=LINES:BYTES:FIRST:END]
//
// For each way from behind the first instruction at `start` to the next one at `stop` it writes
//
//   block ADDRESS INSTRUCTIONS ENTRIES TAKEN   a run of instructions, how often it was entered, and
//                                              how often something else than what lies behind it
//                                              followed
//   code VISITS MISSES SEQUENTIAL              for each `code`: a cache of the instructions
//   data READS MISSES SEQUENTIAL               for each `data`: a cache of what is read from
//   [FIRST, END) end
//
// with addresses in hexadecimal digits. The sum of instructions times entries is the number of
// instructions executed, exactly; where a marker lies within a run, the part on this side of it is
// written as a run of its own. Caches are fully associative and give up the line that was used
// longest ago; they are empty at the start. A miss is sequential when its line lies behind the one
// that was visited before, so that a prefetch has it.
//
// The part of the plug-in interface that is used is declared here, because QEMU's header is not
// part of an installation; https://www.qemu.org/docs/master/devel/tcg-plugins.html describes it.
// Only functions that all versions of the interface share are used; BCNET_PLUGIN_API is the version
// to claim.
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <list>
#include <unordered_map>

#define EXPORTED __attribute__((visibility("default")))

extern "C" {

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;
typedef void (*TranslationCallback)(uint64_t plugin, qemu_plugin_tb* block);
typedef void (*ExecutionCallback)(unsigned cpu, void* data);
typedef void (*MemoryCallback)(unsigned cpu, uint32_t info, uint64_t address, void* data);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t plugin, TranslationCallback callback);
void qemu_plugin_register_vcpu_tb_exec_cb(qemu_plugin_tb* block, ExecutionCallback callback,
                                          int registers, void* data);
void qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_insn* instruction,
                                            ExecutionCallback callback, int registers, void* data);
void qemu_plugin_register_vcpu_mem_cb(qemu_plugin_insn* instruction, MemoryCallback callback,
                                      int registers, int reads_or_writes, void* data);
size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb* block);
qemu_plugin_insn* qemu_plugin_tb_get_insn(const qemu_plugin_tb* block, size_t index);
uint64_t qemu_plugin_insn_vaddr(const qemu_plugin_insn* instruction);
unsigned qemu_plugin_mem_size_shift(uint32_t info);
bool qemu_plugin_mem_is_store(uint32_t info);
size_t qemu_plugin_insn_size(const qemu_plugin_insn* instruction);

EXPORTED int qemu_plugin_version = BCNET_PLUGIN_API;
EXPORTED int qemu_plugin_install(uint64_t plugin, const qemu_info_t* info, int argc, char** argv);

}  // extern "C"

namespace {

// Where reads alone are asked for, 1, QEMU 7.2 calls back for stores alone.
constexpr int kReadsAndWrites = 3;

struct Block {
  uint32_t start, end, size;
  uint64_t entries = 0, taken = 0;
};

// A way into a block: the instruction at a marker, and what lies on either side of it.
struct Marker {
  Block* block;
  uint32_t address, next;   // of the marker's instruction, and of the one behind it
  uint32_t before, behind;  // instructions of the block
};

class Cache {
 public:
  Cache(bool of_code, uint32_t lines, uint32_t bytes, uint32_t first, uint32_t end)
      : of_code(of_code), lines_(lines), bytes_(bytes), first_(first), end_(end) {}

  void Read(uint32_t begin, uint32_t end) {
    if (begin < first_ || begin >= end_) return;
    for (uint32_t line = begin / bytes_; line <= (end - 1) / bytes_; ++line) {
      if (line != last_) Visit(line);
    }
  }
  void Clear() {
    held_.clear();
    places_.clear();
    visits_ = misses_ = sequential_ = 0;
    last_ = ~0u;
  }
  void Write(FILE* out) const {
    std::fprintf(out, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", of_code ? "code" : "data",
                 visits_, misses_, sequential_);
  }
  const bool of_code;

 private:
  void Visit(uint32_t line) {
    const bool sequential = line == last_ + 1;
    last_ = line;
    ++visits_;
    const auto found = places_.find(line);
    if (found != places_.end()) {
      held_.splice(held_.begin(), held_, found->second);
      return;
    }
    ++misses_;
    sequential_ += sequential;
    if (held_.size() == lines_) {
      places_.erase(held_.back());
      held_.pop_back();
    }
    held_.push_front(line);
    places_[line] = held_.begin();
  }

  const uint32_t lines_, bytes_, first_, end_;
  std::list<uint32_t> held_;  // the line that was used last, first
  std::unordered_map<uint32_t, std::list<uint32_t>::iterator> places_;
  uint64_t visits_ = 0, misses_ = 0, sequential_ = 0;
  uint32_t last_ = ~0u;
};

uint64_t start_address, stop_address;
FILE* out;
std::deque<Block> blocks;  // whose addresses stay
std::deque<Marker> markers;
std::deque<Cache> caches;
bool caches_data;
Block* last;
bool counting;

void WriteBlock(uint32_t start, uint32_t size, uint64_t entries, uint64_t taken) {
  std::fprintf(out, "block %" PRIx32 " %" PRIu32 " %" PRIu64 " %" PRIu64 "\n", start, size, entries,
               taken);
}

void OnBlock(unsigned, void* data) {
  Block* block = static_cast<Block*>(data);
  if (counting) {
    ++block->entries;
    if (last->end != block->start) ++last->taken;
    for (Cache& cache : caches) {
      if (cache.of_code) cache.Read(block->start, block->end);
    }
  }
  last = block;
}

void OnAccess(unsigned, uint32_t info, uint64_t address, void*) {
  if (!counting || qemu_plugin_mem_is_store(info)) return;
  const uint32_t begin = static_cast<uint32_t>(address);
  const uint32_t size = 1u << qemu_plugin_mem_size_shift(info);
  for (Cache& cache : caches) {
    if (!cache.of_code) cache.Read(begin, begin + size);
  }
}

void OnStart(unsigned, void* data) {
  const Marker& marker = *static_cast<const Marker*>(data);
  for (Block& block : blocks) block.entries = block.taken = 0;
  for (Cache& cache : caches) cache.Clear();
  counting = true;
  if (marker.behind != 0) WriteBlock(marker.next, marker.behind, 1, 0);
}

void OnStop(unsigned, void* data) {
  if (!counting) return;
  counting = false;
  const Marker& marker = *static_cast<const Marker*>(data);
  --marker.block->entries;  // it was entered, but is not run to its end
  if (marker.before != 0) WriteBlock(marker.block->start, marker.before, 1, 0);
  for (const Block& block : blocks) {
    if (block.entries != 0) WriteBlock(block.start, block.size, block.entries, block.taken);
  }
  for (const Cache& cache : caches) cache.Write(out);
  std::fprintf(out, "end\n");
  std::fflush(out);
}

void OnTranslation(uint64_t, qemu_plugin_tb* tb) {
  const size_t size = qemu_plugin_tb_n_insns(tb);
  const auto address_of = [&](size_t i) {
    return static_cast<uint32_t>(qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, i)));
  };
  const auto end_of = [&](size_t i) {
    return address_of(i) +
           static_cast<uint32_t>(qemu_plugin_insn_size(qemu_plugin_tb_get_insn(tb, i)));
  };
  blocks.push_back({address_of(0), end_of(size - 1), static_cast<uint32_t>(size)});
  qemu_plugin_register_vcpu_tb_exec_cb(tb, OnBlock, 0, &blocks.back());
  for (size_t i = 0; i < size; ++i) {
    qemu_plugin_insn* instruction = qemu_plugin_tb_get_insn(tb, i);
    const uint32_t address = address_of(i);
    if (address == start_address || address == stop_address) {
      const uint32_t before = static_cast<uint32_t>(i);
      markers.push_back(
          {&blocks.back(), address, end_of(i), before, static_cast<uint32_t>(size) - before - 1});
      qemu_plugin_register_vcpu_insn_exec_cb(
          instruction, address == start_address ? OnStart : OnStop, 0, &markers.back());
    }
    if (caches_data)
      qemu_plugin_register_vcpu_mem_cb(instruction, OnAccess, 0, kReadsAndWrites, nullptr);
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
    } else if (std::strncmp(argv[i], "code=", 5) == 0 || std::strncmp(argv[i], "data=", 5) == 0) {
      const bool of_code = argv[i][0] == 'c';
      uint32_t fields[4] = {0, 0, 0, ~0u};
      for (uint32_t& field : fields) {
        char* end;
        field = static_cast<uint32_t>(std::strtoul(value, &end, 0));
        if (*end != ':') break;
        value = end + 1;
      }
      const auto [lines, bytes, first, end] = fields;
      if (lines == 0 || bytes == 0) return 1;
      caches.emplace_back(of_code, lines, bytes, first, end);
      caches_data |= !of_code;
    } else if (std::strncmp(argv[i], "out=", 4) == 0) {
      out = std::fopen(value, "w");
    }
  }
  if (out == nullptr || start_address == stop_address) {
    std::fprintf(stderr, "block_count needs start=ADDRESS,stop=ADDRESS,out=FILE\n");
    return 1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(plugin, OnTranslation);
  return 0;
}
