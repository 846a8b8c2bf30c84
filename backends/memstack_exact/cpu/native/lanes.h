// Sixteen numbers side by side, as this variant's processor has them: what all else is written in.
//
// Each lanes_*.h gives the same types and functions. `Floats`, `Ints` and `Doubles` are sixteen of those; a `Mask` has a
// bit for each, the first the lowest. `load(at, left)` reads `left` numbers of what is left, sixteen at most, and zeros
// behind them; `pack` stores the picked ones side by side and may write anything behind them, up to sixteen in all. A
// comparison with NaN is false, but for `not_less`.
//
// The constants say how codes lie: `kWord` dimensions of a key side by side, then those of the next; `kShift` is added
// to the keys' codes where an instruction takes one of its factors unsigned; with `kPairs`, two products are added in 16
// bits, in which they have to fit.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define MEMSTACK_UNROLL _Pragma("GCC unroll 16")
#define MEMSTACK_INLINE inline __attribute__((always_inline))

namespace memstack {

constexpr int64_t kTile = 16;  // keys whose sums stand side by side

using Mask = uint16_t;

struct BFloat16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};

// Those of sixteen that are among what is left.
MEMSTACK_INLINE Mask lanes(int64_t left) {
  return left >= kTile ? Mask{0xFFFF} : static_cast<Mask>((1u << left) - 1);
}

MEMSTACK_INLINE int count(Mask which) { return __builtin_popcount(which); }

MEMSTACK_INLINE int32_t first_bit(uint64_t word) {
#if defined(__BMI__)
  return static_cast<int32_t>(_tzcnt_u64(word));  // 64 where there is none
#else
  return word ? __builtin_ctzll(word) : 64;
#endif
}

MEMSTACK_INLINE uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// A number of 64 bits by which pairs are ordered.
MEMSTACK_INLINE int64_t paired(int32_t high, int32_t low) {
  return static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(high)) << 32 | static_cast<uint32_t>(low));
}

// Scores have a rank, a whole number, in the same order: NaN comes last, and a zero is a zero whatever its sign.
constexpr int32_t kLast = std::numeric_limits<int32_t>::min(), kFirst = std::numeric_limits<int32_t>::max();

}  // namespace memstack

#if defined(MEMSTACK_AVX512VNNI)
#include "lanes_avx512.h"
#elif defined(MEMSTACK_AVXVNNI) || defined(MEMSTACK_AVX2)
#include "lanes_avx2.h"
#elif defined(MEMSTACK_DOTPROD) || defined(MEMSTACK_I8MM)
#include "lanes_neon.h"
#else
#include "lanes_plain.h"
#endif
