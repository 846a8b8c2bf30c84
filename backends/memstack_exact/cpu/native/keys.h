// How keys are kept: rounded to 8 bits, 16 side by side, with a bound on what rounding took away.
//
// It is a key's distance from its memory's centre that is rounded. The keys of a trained model have a mean nine tenths
// as long as they are, which tells one from another by nothing, and would take most of the 8 bits.
//
// Keys are packed in tiles of 16, four dimensions at a time, as a 512-bit register takes them: (tiles, dim / 4, 16, 4)
// unsigned bytes, so that one VNNI instruction (vpdpbusd) adds four products to each of 16 sums.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define MEMSTACK_UNROLL _Pragma("GCC unroll 16")
// Nothing else of this runs before the processor has been asked whether it can.
#define MEMSTACK_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,bmi,fma,f16c,popcnt")))

namespace memstack {

constexpr int64_t kTile = 16;  // keys whose sums fill a register
constexpr int64_t kWord = 4;   // dimensions that one instruction multiplies and adds
constexpr int kShift = 128;    // added to the keys' codes: the instruction takes one of its factors unsigned
// Rounding of a float32 sum, for each of its terms, relative to the vectors' lengths.
constexpr double kFloatError = 1.0 / (1 << 23);

struct BFloat16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};

// What is known of a tile's 16 keys at most: the length of what rounding took away, and of what is left.
struct Bound {
  float residual, norm;

  Bound max(const Bound& other) const { return {std::max(residual, other.residual), std::max(norm, other.norm)}; }
};

// A ring is written in order, so that a tile's keys leave from its first to its last. Those of the round before count
// until the last one is written.
struct TileBound {
  Bound now, before;

  Bound either() const { return now.max(before); }

  void write(int64_t lane, const Bound& bound) {
    if (lane == 0) before = now, now = {0, 0};
    now = now.max(bound);
    if (lane == kTile - 1) before = {0, 0};
  }
};

// One memory's keys; the pointers are to the memory's own first.
struct Keys {
  uint8_t* codes;
  uint16_t* scale;    // by slot, the upper half of a float32
  TileBound* bounds;  // by tile
  float* centre;      // (dim,), what was subtracted from each before it was rounded
  const void* exact;  // (capacity, dim)
  int64_t dim, groups, length, newest;

  uint8_t* code(int64_t slot) const { return codes + (slot / kTile * groups * kTile + slot % kTile) * kWord; }
};

inline float widened(uint16_t upper) {
  const uint32_t bits = static_cast<uint32_t>(upper) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// The least number of a float32's upper half that is no smaller than a positive value.
inline uint16_t upper_half_above(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>((bits + 0xFFFF) >> 16);
}

// 16 numbers of a stored vector, or fewer with zeros behind.
MEMSTACK_TARGET inline __m512 load(const float* at, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, at); }
MEMSTACK_TARGET inline __m512 load(const Half* at, __mmask16 mask) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, at));
}
MEMSTACK_TARGET inline __m512 load(const BFloat16* at, __mmask16 mask) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, at)), 16));
}
inline __mmask16 lanes(int64_t left) { return left >= kTile ? 0xFFFF : static_cast<__mmask16>((1u << left) - 1); }

MEMSTACK_TARGET inline __m512d lower_half(__m512 v) { return _mm512_cvtps_pd(_mm512_castps512_ps256(v)); }
MEMSTACK_TARGET inline __m512d upper_half(__m512 v) {
  return _mm512_cvtps_pd(_mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1)));
}

struct Rounded {
  float scale;
  int32_t sum;  // of the codes
  Bound bound;
};

// Round what a vector is beyond a centre, if there is one, to whole numbers from -127 to 127 times a scale; its codes go
// out four at a time, `stride` bytes apart.
template <typename Stored>
MEMSTACK_TARGET Rounded round_vector(
    const Stored* vector, const float* centre, int64_t dim, uint8_t* codes, int64_t stride, int shift) {
  const auto beyond = [&](int64_t d) MEMSTACK_TARGET {
    const __m512 value = load(vector + d, lanes(dim - d));
    return centre ? _mm512_sub_ps(value, load(centre + d, lanes(dim - d))) : value;
  };
  __m512 largest = _mm512_setzero_ps();
  for (int64_t d = 0; d < dim; d += kTile) largest = _mm512_max_ps(largest, _mm512_abs_ps(beyond(d)));
  uint16_t upper = upper_half_above(_mm512_reduce_max_ps(largest) / 127);
  if (upper == 0) upper = upper_half_above(1.0f);
  const float scale = widened(upper);
  const __m512 scales = _mm512_set1_ps(scale);
  __m512d left[2] = {}, kept[2] = {};
  __m512i sum = _mm512_setzero_si512();
  for (int64_t d = 0; d < dim; d += kTile) {
    const __m512 value = beyond(d);
    const __m512i code = _mm512_max_epi32(
        _mm512_min_epi32(_mm512_cvtps_epi32(_mm512_div_ps(value, scales)), _mm512_set1_epi32(127)),
        _mm512_set1_epi32(-127));
    const __m512 back = _mm512_mul_ps(_mm512_cvtepi32_ps(code), scales), away = _mm512_sub_ps(value, back);
    sum = _mm512_add_epi32(sum, code);
    for (int half = 0; half < 2; ++half) {
      const __m512d r = half ? upper_half(away) : lower_half(away), b = half ? upper_half(back) : lower_half(back);
      left[half] = _mm512_fmadd_pd(r, r, left[half]);
      kept[half] = _mm512_fmadd_pd(b, b, kept[half]);
    }
    alignas(16) uint8_t bytes[kTile];
    _mm_store_si128(reinterpret_cast<__m128i*>(bytes),
                    _mm512_cvtepi32_epi8(_mm512_add_epi32(code, _mm512_set1_epi32(shift))));
    for (int64_t word = 0; word < kTile / kWord && d + word * kWord < dim; ++word)
      std::memcpy(codes + (d / kWord + word) * stride, bytes + word * kWord, kWord);
  }
  const double residual = std::sqrt(_mm512_reduce_add_pd(_mm512_add_pd(left[0], left[1])));
  const double norm = std::sqrt(_mm512_reduce_add_pd(_mm512_add_pd(kept[0], kept[1])));
  // Sums are rounded as well; the bound holds for what is computed, not for what should be.
  const double safe = residual + kFloatError * (dim + 8) * (norm + residual);
  return {scale, _mm512_reduce_add_epi32(sum), {static_cast<float>(safe), static_cast<float>(norm * (1 + kFloatError))}};
}

// Keep a vector at a slot.
template <typename Stored>
MEMSTACK_TARGET void write_key(const Keys& keys, int64_t slot, const Stored* vector) {
  const Rounded rounded = round_vector(vector, keys.centre, keys.dim, keys.code(slot), kTile * kWord, kShift);
  keys.scale[slot] = upper_half_above(rounded.scale);
  keys.bounds[slot / kTile].write(slot % kTile, rounded.bound);
}

// Move a memory's centre to the mean of its keys, or of some thousands spread over them, and round them all anew.
template <typename Stored>
MEMSTACK_TARGET void move_centre(const Keys& keys) {
  constexpr int64_t kSample = 4096;
  constexpr double kFar = 1e30;  // nearer than that, no difference to a key overflows
  const auto* stored = static_cast<const Stored*>(keys.exact);
  const int64_t stride = std::max<int64_t>(1, (keys.length + kSample - 1) / kSample);
  for (int64_t d = 0; d < keys.dim; d += kTile) {
    __m512d sums[2] = {};
    int64_t sampled = 0;
    for (int64_t slot = 0; slot < keys.length; slot += stride, ++sampled) {
      const __m512 key = load(stored + slot * keys.dim + d, lanes(keys.dim - d));
      sums[0] = _mm512_add_pd(sums[0], lower_half(key));
      sums[1] = _mm512_add_pd(sums[1], upper_half(key));
    }
    alignas(64) double sum[kTile];
    for (int half = 0; half < 2; ++half) _mm512_store_pd(sum + half * 8, sums[half]);
    for (int64_t i = 0; i < std::min(kTile, keys.dim - d); ++i) {
      const double mean = sum[i] / static_cast<double>(sampled);
      keys.centre[d + i] = std::abs(mean) < kFar ? static_cast<float>(mean) : 0.0f;
    }
  }
  for (int64_t slot = 0; slot < keys.length; ++slot) write_key(keys, slot, stored + slot * keys.dim);
  // Nothing is left of the round before.
  for (int64_t tile = 0; tile * kTile < keys.length; ++tile) keys.bounds[tile].before = {0, 0};
}

}  // namespace memstack
