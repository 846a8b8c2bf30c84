// How keys are kept: rounded to 8 bits, 16 side by side, with a bound on what rounding took away.
//
// It is a key's distance from its memory's centre that is rounded. The keys of a trained model have a mean nine tenths
// as long as they are, which tells one from another by nothing, and would take most of the 8 bits.
//
// A store in 8 bits has keys that are codes already, of which rounding took nothing; no others are kept of them, and
// what bounds their scores is the query's rounding alone.
//
// Keys are packed in tiles of 16, a word of dimensions at a time, as registers take them: (tiles, dim / word, 16, word)
// bytes, with words of four so that one instruction (vpdpbusd, of 512 bits) adds four products to each of 16 sums.
#pragma once

#include <type_traits>

#include "lanes.h"

namespace memstack {

// Rounding of a float32 sum, for each of its terms, relative to the vectors' lengths.
constexpr double kFloatError = 1.0 / (1 << 23);

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
  uint8_t* codes;     // null for those of a store in 8 bits
  uint16_t* scale;    // by slot, the upper half of a float32
  TileBound* bounds;  // by tile
  float* centre;      // (dim,), what was subtracted from each before it was rounded
  const void* exact;  // (capacity, dim)
  const uint16_t* stored_scale;  // by slot, of a store in 8 bits
  int64_t dim, groups, length, newest;

  uint8_t* code(int64_t slot) const { return codes + (slot / kTile * groups * kTile + slot % kTile) * kWord; }
};

inline float scale_of(uint16_t upper) {
  const uint32_t bits = static_cast<uint32_t>(upper) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// What the numbers of a stored key are multiplied by.
template <typename Stored>
float stored_scale(const Keys& keys, int64_t slot) {
  return std::is_same_v<Stored, int8_t> ? scale_of(keys.stored_scale[slot]) : 1.0f;
}

// The least number of a float32's upper half that is no smaller than a positive value.
inline uint16_t upper_half_above(float value) { return static_cast<uint16_t>((bits_of(value) + 0xFFFF) >> 16); }

struct Rounded {
  float scale;
  int32_t sum;  // of the codes
  Bound bound;
};

// Round what a vector is beyond a centre, if there is one, to whole numbers from -127 to 127 times a scale; its codes go
// out a word at a time, `stride` bytes apart. `room` is the least that its largest number is taken for.
template <typename Stored>
Rounded round_vector(const Stored* vector, const float* centre, int64_t dim, uint8_t* codes, int64_t stride, int shift,
                     float room = 0) {
  const auto beyond = [&](int64_t d) {
    const Floats value = load(vector + d, dim - d);
    return centre ? value - load(centre + d, dim - d) : value;
  };
  Floats largest = all(room);
  for (int64_t d = 0; d < dim; d += kTile) largest = max(largest, abs(beyond(d)));
  uint16_t upper = upper_half_above(highest(largest) / 127);
  if (upper == 0) upper = upper_half_above(1.0f);
  const float scale = scale_of(upper);
  const Floats scales = all(scale);
  Doubles left = zeros(), kept = zeros();
  Ints sum = all(0);
  for (int64_t d = 0; d < dim; d += kTile) {
    const Floats value = beyond(d);
    const Ints code = max(min(rounded(value / scales), all(127)), all(-127));
    const Floats back = floats(code) * scales;
    const Doubles b = doubles(back), r = doubles(value - back);
    sum = sum + code;
    left = fused(r, r, left);
    kept = fused(b, b, kept);
    alignas(16) uint8_t bytes[kTile];
    store_bytes(bytes, code + all(shift));
    for (int64_t word = 0; word < kTile / kWord && d + word * kWord < dim; ++word)
      std::memcpy(codes + (d / kWord + word) * stride, bytes + word * kWord, kWord);
  }
  const double residual = std::sqrt(total(left)), norm = std::sqrt(total(kept));
  // Sums are rounded as well; the bound holds for what is computed, not for what should be.
  const double safe = residual + kFloatError * (dim + 8) * (norm + residual);
  return {scale, total(sum), {static_cast<float>(safe), static_cast<float>(norm * (1 + kFloatError))}};
}

// What bounds the scores of a vector that is not rounded, times a factor.
template <typename Stored>
Bound bound_beyond(const Stored* vector, float factor, const float* centre, int64_t dim) {
  Doubles sum = zeros();
  for (int64_t d = 0; d < dim; d += kTile) {
    const Doubles beyond = doubles(load(vector + d, dim - d) * all(factor) - load(centre + d, dim - d));
    sum = fused(beyond, beyond, sum);
  }
  const double norm = std::sqrt(total(sum));
  return {static_cast<float>(kFloatError * (dim + 8) * norm), static_cast<float>(norm * (1 + kFloatError))};
}

// Keep a vector at a slot.
template <typename Stored>
void write_key(const Keys& keys, int64_t slot, const Stored* vector) {
  if (!keys.codes) {
    const Bound bound = bound_beyond(vector, stored_scale<Stored>(keys, slot), keys.centre, keys.dim);
    return keys.bounds[slot / kTile].write(slot % kTile, bound);
  }
  const Rounded rounded = round_vector(vector, keys.centre, keys.dim, keys.code(slot), kTile * kWord, kShift);
  keys.scale[slot] = upper_half_above(rounded.scale);
  keys.bounds[slot / kTile].write(slot % kTile, rounded.bound);
}

// Move a memory's centre to the mean of its keys, or of some thousands spread over them, and round them all anew.
template <typename Stored>
void move_centre(const Keys& keys) {
  constexpr int64_t kSample = 4096;
  constexpr double kFar = 1e30;  // nearer than that, no difference to a key overflows
  const auto* stored = static_cast<const Stored*>(keys.exact);
  const int64_t stride = std::max<int64_t>(1, (keys.length + kSample - 1) / kSample);
  for (int64_t d = 0; d < keys.dim; d += kTile) {
    Doubles sums = zeros();
    int64_t sampled = 0;
    for (int64_t slot = 0; slot < keys.length; slot += stride, ++sampled)
      sums = sums + doubles(load(stored + slot * keys.dim + d, keys.dim - d) * all(stored_scale<Stored>(keys, slot)));
    double sum[kTile];
    store(sum, sums);
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
