// Sixteen numbers in four registers of 128 bits.
#pragma once

#include <arm_neon.h>

namespace memstack {

#if defined(MEMSTACK_I8MM)
constexpr int64_t kWord = 8;
#else
constexpr int64_t kWord = 4;
#endif
constexpr int kShift = 0;
constexpr bool kPairs = false;

struct Floats {
  float32x4_t v[4];
};
struct Ints {
  int32x4_t v[4];
};
struct Doubles {
  float64x2_t v[8];
};

// What f makes of each register.
template <typename Made, typename F>
MEMSTACK_INLINE Made each(const F& f) {
  Made made;
  MEMSTACK_UNROLL
  for (size_t i = 0; i < sizeof made.v / sizeof made.v[0]; ++i) made.v[i] = f(i);
  return made;
}
// What f makes of four registers of numbers, two at a time.
template <typename Some, typename F>
MEMSTACK_INLINE auto folded(const Some& x, const F& f) {
  return f(f(x.v[0], x.v[1]), f(x.v[2], x.v[3]));
}

MEMSTACK_INLINE Floats all(float x) {
  return each<Floats>([=](int) { return vdupq_n_f32(x); });
}
MEMSTACK_INLINE Ints all(int32_t x) {
  return each<Ints>([=](int) { return vdupq_n_s32(x); });
}

MEMSTACK_INLINE float32x4_t load_part(const float* at) { return vld1q_f32(at); }
MEMSTACK_INLINE float32x4_t load_part(const Half* at) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(at))));
}
MEMSTACK_INLINE float32x4_t load_part(const BFloat16* at) {
  return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(reinterpret_cast<const uint16_t*>(at)), 16));
}
MEMSTACK_INLINE float32x4_t load_part(const int8_t* at) {
  uint32_t four;
  std::memcpy(&four, at, sizeof four);
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(four)))));
}
template <typename Stored>
MEMSTACK_INLINE Floats load(const Stored* at, int64_t left) {
  if (left >= kTile) return each<Floats>([=](int i) { return load_part(at + 4 * i); });
  Stored some[kTile] = {};
  std::memcpy(some, at, left * sizeof(Stored));
  return each<Floats>([&](int i) { return load_part(some + 4 * i); });
}
MEMSTACK_INLINE Floats load(const float* at) { return load(at, kTile); }
MEMSTACK_INLINE Ints load(const int32_t* at) {
  return each<Ints>([=](int i) { return vld1q_s32(at + 4 * i); });
}
MEMSTACK_INLINE void store(float* at, const Floats& x) {
  for (int i = 0; i < 4; ++i) vst1q_f32(at + 4 * i, x.v[i]);
}
MEMSTACK_INLINE void store(int32_t* at, const Ints& x) {
  for (int i = 0; i < 4; ++i) vst1q_s32(at + 4 * i, x.v[i]);
}
MEMSTACK_INLINE void store(double* at, const Doubles& x) {
  for (int i = 0; i < 8; ++i) vst1q_f64(at + 2 * i, x.v[i]);
}
MEMSTACK_INLINE void store_bytes(uint8_t* at, const Ints& x) {
  const int16x8_t low = vcombine_s16(vmovn_s32(x.v[0]), vmovn_s32(x.v[1]));
  const int16x8_t high = vcombine_s16(vmovn_s32(x.v[2]), vmovn_s32(x.v[3]));
  vst1q_u8(at, vreinterpretq_u8_s8(vcombine_s8(vmovn_s16(low), vmovn_s16(high))));
}

// All bits of the lanes of a register that are picked.
MEMSTACK_INLINE uint32x4_t spread(Mask which, int i) {
  const uint32x4_t bit = {1, 2, 4, 8};
  return vtstq_u32(vdupq_n_u32(which >> 4 * i), bit);
}
// The lanes for which f gives all bits of four registers.
template <typename F>
MEMSTACK_INLINE Mask where(const F& f) {
  const uint8x16_t bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint16x8_t low = vcombine_u16(vmovn_u32(f(0)), vmovn_u32(f(1)));
  const uint16x8_t high = vcombine_u16(vmovn_u32(f(2)), vmovn_u32(f(3)));
  const uint8x16_t found = vandq_u8(vcombine_u8(vmovn_u16(low), vmovn_u16(high)), bit);
  return static_cast<Mask>(vaddv_u8(vget_low_u8(found)) | vaddv_u8(vget_high_u8(found)) << 8);
}

MEMSTACK_INLINE Floats operator+(const Floats& x, const Floats& y) {
  return each<Floats>([&](int i) { return vaddq_f32(x.v[i], y.v[i]); });
}
MEMSTACK_INLINE Floats operator-(const Floats& x, const Floats& y) {
  return each<Floats>([&](int i) { return vsubq_f32(x.v[i], y.v[i]); });
}
MEMSTACK_INLINE Floats operator*(const Floats& x, const Floats& y) {
  return each<Floats>([&](int i) { return vmulq_f32(x.v[i], y.v[i]); });
}
MEMSTACK_INLINE Floats operator/(const Floats& x, const Floats& y) {
  return each<Floats>([&](int i) { return vdivq_f32(x.v[i], y.v[i]); });
}
MEMSTACK_INLINE Floats fused(const Floats& x, const Floats& y, const Floats& z) {
  return each<Floats>([&](int i) { return vfmaq_f32(z.v[i], x.v[i], y.v[i]); });
}
// The second where either is NaN, as x86 has it.
MEMSTACK_INLINE Floats max(const Floats& x, const Floats& y) {
  return each<Floats>([&](int i) { return vbslq_f32(vcgtq_f32(x.v[i], y.v[i]), x.v[i], y.v[i]); });
}
MEMSTACK_INLINE Floats abs(const Floats& x) {
  return each<Floats>([&](int i) { return vabsq_f32(x.v[i]); });
}
MEMSTACK_INLINE Floats select(Mask which, const Floats& x, const Floats& y) {
  return each<Floats>([&](int i) { return vbslq_f32(spread(which, i), x.v[i], y.v[i]); });
}
MEMSTACK_INLINE float highest(const Floats& x) {
  return vmaxvq_f32(folded(x, [](float32x4_t a, float32x4_t b) { return vmaxq_f32(a, b); }));
}
MEMSTACK_INLINE Mask not_less(const Floats& x, const Floats& y) {
  return where([&](int i) { return vmvnq_u32(vcltq_f32(x.v[i], y.v[i])); });
}
MEMSTACK_INLINE Mask less(const Floats& x, const Floats& y) {
  return where([&](int i) { return vcltq_f32(x.v[i], y.v[i]); });
}
MEMSTACK_INLINE bool any_not_less(const Floats& x, const Floats& y) {
  const auto less = [&](int i) { return vcltq_f32(x.v[i], y.v[i]); };
  return vminvq_u32(vandq_u32(vandq_u32(less(0), less(1)), vandq_u32(less(2), less(3)))) == 0;
}

MEMSTACK_INLINE Ints operator+(const Ints& x, const Ints& y) {
  return each<Ints>([&](int i) { return vaddq_s32(x.v[i], y.v[i]); });
}
MEMSTACK_INLINE Ints max(const Ints& x, const Ints& y) {
  return each<Ints>([&](int i) { return vmaxq_s32(x.v[i], y.v[i]); });
}
MEMSTACK_INLINE Ints min(const Ints& x, const Ints& y) {
  return each<Ints>([&](int i) { return vminq_s32(x.v[i], y.v[i]); });
}
MEMSTACK_INLINE Ints inverted(const Ints& x) {
  return each<Ints>([&](int i) { return vmvnq_s32(x.v[i]); });
}
MEMSTACK_INLINE Ints tiles_of(const Ints& slots) {
  return each<Ints>([&](int i) { return vshrq_n_s32(slots.v[i], 4); });
}
MEMSTACK_INLINE Ints select(Mask which, const Ints& x, const Ints& y) {
  return each<Ints>([&](int i) { return vbslq_s32(spread(which, i), x.v[i], y.v[i]); });
}
MEMSTACK_INLINE int32_t total(const Ints& x) {
  return vaddvq_s32(folded(x, [](int32x4_t a, int32x4_t b) { return vaddq_s32(a, b); }));
}
MEMSTACK_INLINE int32_t highest(const Ints& x) {
  return vmaxvq_s32(folded(x, [](int32x4_t a, int32x4_t b) { return vmaxq_s32(a, b); }));
}
MEMSTACK_INLINE int32_t lowest(const Ints& x) {
  return vminvq_s32(folded(x, [](int32x4_t a, int32x4_t b) { return vminq_s32(a, b); }));
}
MEMSTACK_INLINE Mask at_least(const Ints& x, const Ints& y) {
  return where([&](int i) { return vcgeq_s32(x.v[i], y.v[i]); });
}
MEMSTACK_INLINE Mask equal(const Ints& x, const Ints& y) {
  return where([&](int i) { return vceqq_s32(x.v[i], y.v[i]); });
}
// Add one to the counts where x is no less than y.
MEMSTACK_INLINE Ints counted(const Ints& counts, const Ints& x, const Ints& y) {
  return each<Ints>([&](int i) {
    return vsubq_s32(counts.v[i], vreinterpretq_s32_u32(vcgeq_s32(x.v[i], y.v[i])));
  });
}
MEMSTACK_INLINE Ints numbered() {
  const int32x4_t first = {0, 1, 2, 3};
  return each<Ints>([=](int i) { return vaddq_s32(first, vdupq_n_s32(4 * i)); });
}

MEMSTACK_INLINE Floats floats(const Ints& x) {
  return each<Floats>([&](int i) { return vcvtq_f32_s32(x.v[i]); });
}
MEMSTACK_INLINE Ints rounded(const Floats& x) {
  return each<Ints>([&](int i) { return vcvtnq_s32_f32(x.v[i]); });
}
MEMSTACK_INLINE Ints ranks(const Floats& scores) {
  return each<Ints>([&](int i) {
    const int32x4_t bits = vreinterpretq_s32_f32(vaddq_f32(scores.v[i], vdupq_n_f32(0)));
    const uint32x4_t size = vshrq_n_u32(vreinterpretq_u32_s32(vshrq_n_s32(bits, 31)), 1);
    const int32x4_t in_order = veorq_s32(bits, vreinterpretq_s32_u32(size));
    return vbslq_s32(vceqq_f32(scores.v[i], scores.v[i]), in_order, vdupq_n_s32(kLast));
  });
}

MEMSTACK_INLINE Doubles zeros() {
  return each<Doubles>([](int) { return vdupq_n_f64(0); });
}
MEMSTACK_INLINE Doubles doubles(const Floats& x) {
  return each<Doubles>([&](int i) {
    return i % 2 ? vcvt_high_f64_f32(x.v[i / 2]) : vcvt_f64_f32(vget_low_f32(x.v[i / 2]));
  });
}
MEMSTACK_INLINE Doubles operator+(const Doubles& x, const Doubles& y) {
  return each<Doubles>([&](int i) { return vaddq_f64(x.v[i], y.v[i]); });
}
MEMSTACK_INLINE Doubles fused(const Doubles& x, const Doubles& y, const Doubles& z) {
  return each<Doubles>([&](int i) { return vfmaq_f64(z.v[i], x.v[i], y.v[i]); });
}
MEMSTACK_INLINE double total(const Doubles& x) {
  float64x2_t sum = x.v[0];
  for (int i = 1; i < 8; ++i) sum = vaddq_f64(sum, x.v[i]);
  return vaddvq_f64(sum);
}

// For each choice of four lanes, the bytes of those that are picked, in order.
struct Picks {
  uint8_t byte[16][16] = {};

  constexpr Picks() {
    for (int which = 0; which < 16; ++which)
      for (int i = 0, n = 0; i < 16; ++i)
        if (which >> i / 4 & 1) byte[which][n++] = static_cast<uint8_t>(i);
  }
};
constexpr Picks kPicks;

MEMSTACK_INLINE uint8x16_t packed(int which, uint8x16_t x) { return vqtbl1q_u8(x, vld1q_u8(kPicks.byte[which])); }
MEMSTACK_INLINE void pack(int32_t* at, Mask which, const Ints& x) {
  for (int i = 0; i < 4; ++i) {
    const int some = which >> 4 * i & 15;
    vst1q_s32(at, vreinterpretq_s32_u8(packed(some, vreinterpretq_u8_s32(x.v[i]))));
    at += __builtin_popcount(some);
  }
}
MEMSTACK_INLINE void pack(float* at, Mask which, const Floats& x) {
  for (int i = 0; i < 4; ++i) {
    const int some = which >> 4 * i & 15;
    vst1q_f32(at, vreinterpretq_f32_u8(packed(some, vreinterpretq_u8_f32(x.v[i]))));
    at += __builtin_popcount(some);
  }
}
// Pack pairs as numbers of 64 bits, and return how many.
MEMSTACK_INLINE size_t pack(int64_t* at, Mask which, const Ints& high, const Ints& low) {
  int32_t above[kTile], below[kTile];
  store(above, high), store(below, low);
  for (uint32_t left = which; left; left &= left - 1) *at++ = paired(above[first_bit(left)], below[first_bit(left)]);
  return count(which);
}
// The numbers that stand at these places, where picked, else zero.
MEMSTACK_INLINE Floats gather(Mask which, const float* from, const Ints& places) {
  int32_t place[kTile];
  float found[kTile];
  store(place, places);
  for (int i = 0; i < kTile; ++i) found[i] = which >> i & 1 ? from[place[i]] : 0.0f;
  return load(found);
}
// How many of n numbers are greater.
MEMSTACK_INLINE size_t count_greater(const int64_t* numbers, size_t n, int64_t than) {
  size_t greater = 0;
  for (size_t i = 0; i < n; ++i) greater += numbers[i] > than;
  return greater;
}

// The products of a query and 16 keys.
template <typename Stored>
MEMSTACK_INLINE Floats dots(const float* query, const Stored* const (&key)[kTile], int64_t dim) {
  float32x4_t sums[kTile] = {};
  int64_t d = 0;
  for (; d + 4 <= dim; d += 4) {
    const float32x4_t factor = load_part(query + d);
    MEMSTACK_UNROLL
    for (int i = 0; i < kTile; ++i) sums[i] = vfmaq_f32(sums[i], factor, load_part(key[i] + d));
  }
  if (d < dim) {
    const float32x4_t factor = load(query + d, dim - d).v[0];
    for (int i = 0; i < kTile; ++i) sums[i] = vfmaq_f32(sums[i], factor, load(key[i] + d, dim - d).v[0]);
  }
  return each<Floats>([&](int i) {
    const float32x4_t* four = sums + 4 * i;
    return vpaddq_f32(vpaddq_f32(four[0], four[1]), vpaddq_f32(four[2], four[3]));
  });
}

}  // namespace memstack
