// Counters of 32 output channels at once. Digit d of the 32 counters is one word: bit c of it is
// the binary digit of weight 2^d of the counter of channel c. Adding is done by full adders on
// words, 32 channels per operation.
#ifndef TFLM_OPS_KERNELS_BCONV2D_BITSLICED_DIGITS_H_
#define TFLM_OPS_KERNELS_BCONV2D_BITSLICED_DIGITS_H_

#include <cstdint>

namespace bcnet {
namespace sliced {

// BCNET_SMALL is for functions whose size counts for more than their speed, BCNET_NAKED for those
// that are assembly alone: compilers put calls for profilers and canaries of the stack into these
// too, which find neither a frame nor a free register there.
#if defined(__clang__)
#define BCNET_INLINE inline __attribute__((always_inline))
#define BCNET_NOINLINE __attribute__((noinline))
#define BCNET_SMALL __attribute__((noinline))
#define BCNET_NAKED __attribute__((naked, noinline, no_instrument_function))
#elif defined(__GNUC__)
#define BCNET_INLINE inline __attribute__((always_inline))
#define BCNET_NOINLINE __attribute__((noinline, noclone, hot))
#define BCNET_SMALL __attribute__((noinline, noclone, cold))
#if __GNUC__ >= 11
#define BCNET_NO_CANARY no_stack_protector
#else
#define BCNET_NO_CANARY optimize("no-stack-protector")
#endif
#define BCNET_NAKED                                                                    \
  __attribute__((naked, noipa, no_instrument_function, no_profile_instrument_function, \
                 BCNET_NO_CANARY))
#else
#define BCNET_INLINE inline
#define BCNET_NOINLINE
#define BCNET_SMALL
#endif

// Whether the core has the instructions of a Cortex-M0+ only.
#if defined(__GNUC__) && defined(__thumb__) && !defined(__thumb2__)
#define BCNET_THUMB1 1
#else
#define BCNET_THUMB1 0
#endif

// Whether assembly may take any register. Where r9 is the base of data that moves
// (-msingle-pic-base, -frwpi), interrupt handlers need it at any time, so that saving it is not
// enough. Registers that -ffixed-r8 and its like reserve are unknown here: say -DBCNET_ASSEMBLY=0.
#if !defined(BCNET_ASSEMBLY)
#if defined(__GNUC__) && !defined(__PIC__) && !defined(__ARM_RWPI)
#define BCNET_ASSEMBLY 1
#else
#define BCNET_ASSEMBLY 0
#endif
#endif

// Hides from the compiler what it knows of a value, where it would make more of it than is good.
template <typename T>
BCNET_INLINE void OptimizationBarrier(T* value) {
#if defined(__GNUC__)
  __asm__("" : "+r"(*value));
#else
  (void)value;
#endif
}

// Two digits of equal weight, the words x and x ^ p. In this form a pair of full adders takes 8
// operations in place of 10: Demenkov, Kojevnikov, Kulikov, Yaroslavtsev, "New upper bounds on the
// Boolean circuit complexity of symmetric functions", 2010.
struct Pair {
  uint32_t x;
  uint32_t p;
};

// Whether two neighbouring words are accessed in assembly. GCC makes one instruction of two
// accesses only where they stand side by side, which these do not stay among others. Clang does so
// for loads anyway, while it computes the address of an operand of assembly by an instruction of
// its own.
#if defined(__thumb2__) && !defined(__clang__)
#define BCNET_DOUBLE_WORDS 1
#else
#define BCNET_DOUBLE_WORDS 0
#endif

// Whether the core has floating-point numbers of double precision, which tells a Cortex-M7 from an
// M4 and an M55 from an M33.
#if defined(__ARM_FP) && (__ARM_FP & 8)
#define BCNET_DOUBLE_PRECISION 1
#else
#define BCNET_DOUBLE_PRECISION 0
#endif

// Whether storing two words by one instruction takes longer than by two: three cycles for two on
// Cortex-M3 and M4.
#if (defined(__ARM_ARCH_7M__) || defined(__ARM_ARCH_7EM__)) && !BCNET_DOUBLE_PRECISION
#define BCNET_SINGLE_STORES 1
#else
#define BCNET_SINGLE_STORES 0
#endif

#if BCNET_DOUBLE_WORDS
using Word64 __attribute__((may_alias, aligned(4))) = uint64_t;
#endif

BCNET_INLINE Pair Load(const Pair* from) {
#if BCNET_DOUBLE_WORDS
  uint32_t x, p;
  __asm__("ldrd %0, %1, %2" : "=r"(x), "=r"(p) : "m"(*reinterpret_cast<const Word64*>(from)));
  return {x, p};
#else
  return {from->x, from->p};
#endif
}

BCNET_INLINE void Store(uint32_t x, uint32_t p, uint32_t* to) {
#if BCNET_DOUBLE_WORDS && BCNET_SINGLE_STORES
  __asm__ volatile("str %1, %0" : "=m"(to[0]) : "r"(x));
  __asm__ volatile("str %1, %0" : "=m"(to[1]) : "r"(p));
#elif BCNET_DOUBLE_WORDS
  __asm__ volatile("strd %1, %2, %0" : "=m"(*reinterpret_cast<Word64*>(to)) : "r"(x), "r"(p));
#else
  to[0] = x;
  to[1] = p;
#endif
}

// Stores a pointer by an instruction of its own where that is shorter.
BCNET_INLINE void StoreAlone(const uint32_t* value, const uint32_t** to) {
#if BCNET_DOUBLE_WORDS && BCNET_SINGLE_STORES
  __asm__ volatile("str %1, %0" : "=m"(*to) : "r"(value));
#else
  *to = value;
#endif
}

// Adds two pairs to the digit `sum`; returns the two carries, of twice the weight.
BCNET_INLINE Pair AddPairs(uint32_t* sum, Pair a, Pair b) {
  const uint32_t h = a.p | (a.x ^ *sum);
  const uint32_t s = *sum ^ a.p;
  *sum = s ^ b.p;
  return {h ^ s, h ^ ((b.x ^ s) & ~b.p)};
}

// Adds one pair to `sum`; returns the carry.
BCNET_INLINE uint32_t AddPair(uint32_t* sum, Pair a) {
  const uint32_t h = a.p | (a.x ^ *sum);
  *sum ^= a.p;
  return h ^ *sum;
}

// Adds one digit to `sum`; returns the carry.
BCNET_INLINE uint32_t AddDigit(uint32_t* sum, uint32_t digit) {
  const uint32_t carry = *sum & digit;
  *sum ^= digit;
  return carry;
}

// Adds `number` to all 32 counters of `count` digits.
BCNET_SMALL inline void AddConstant(int32_t number, int count, uint32_t* digits) {
  uint32_t carry = 0;
  for (int i = 0; i < count; ++i) {
    const uint32_t digit = digits[i];
    const uint32_t add = -static_cast<uint32_t>((number >> i) & 1);
    digits[i] = digit ^ add ^ carry;
    carry = (digit & add) | (carry & (digit ^ add));
  }
}

// Swaps the bits of `y` that `mask` selects with those of `x` that lie `shift` places higher.
BCNET_INLINE void SwapBits(uint32_t* x, uint32_t* y, int shift, uint32_t mask) {
  const uint32_t t = ((*x >> shift) ^ *y) & mask;
  *y ^= t;
  *x ^= t << shift;
}

// Transposes four 8x8 matrices of bits in each eight words, up to `end`: bit j of byte l of word i
// and bit i of byte l of word j change places.
void TransposeBytes(uint32_t* words, const uint32_t* end);

#if defined(__thumb2__) && BCNET_ASSEMBLY
#define BCNET_TRANSPOSE_ASSEMBLY 1
// TransposeBytes of r4 to r11, for assembly to call; it takes r3 besides. Link-time optimisation
// does not see such calls and would leave it out.
extern "C" __attribute__((used)) void bcnet_transpose_r4_to_r11();
#else
#define BCNET_TRANSPOSE_ASSEMBLY 0
#endif

// Swaps the high half of `x` with the low half of `y`.
BCNET_INLINE void SwapHalves(uint32_t* x, uint32_t* y) {
#if defined(__ARM_FEATURE_DSP)
  uint32_t low;
  __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(low) : "r"(*x), "r"(*y));
  __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(*y) : "r"(*y), "r"(*x));
  *x = low;
#else
  SwapBits(x, y, 16, 0xffffu);
#endif
}

// The rows of a 32x32 matrix of bits: row 8 * l + i is the word first[i * step + l * byte_step].
struct Rows {
  const uint32_t* first;
  int32_t step;
  int32_t byte_step;
};

// The first stages of the transposition: byte k of row 8 * l + i becomes byte l of word 8 * k + i.
// TransposeBytes gives the columns from there on.
void GatherBytes(const Rows& rows, uint32_t w[32]);

}  // namespace sliced
}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_BITSLICED_DIGITS_H_
