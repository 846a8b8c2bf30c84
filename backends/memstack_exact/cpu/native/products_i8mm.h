// By smmla: eight products each of two keys and two queries, all signed bytes, added to four sums.
#pragma once

namespace memstack {

constexpr int kTogether = 4, kTilesOfMany = 1, kTilesOfTwo = 2, kTilesOfOne = 4;

constexpr int kCouples = kTile / 2;  // of keys

MEMSTACK_INLINE int8x16_t couple(const uint8_t* codes) { return vreinterpretq_s8_u8(vld1q_u8(codes)); }

MEMSTACK_INLINE int8x16_t couple(const Query& one, const Query& other, int64_t g) {
  return vcombine_s8(vld1_s8(one.codes + g * kWord), vld1_s8(other.codes + g * kWord));
}

// Store the sums of two queries with four keys, of which each register has those with two.
MEMSTACK_INLINE void store_apart(int32x4_t first, int32x4_t second, int32_t* one, int32_t* other) {
  const int64x2_t a = vreinterpretq_s64_s32(first), b = vreinterpretq_s64_s32(second);
  vst1q_s32(one, vreinterpretq_s32_s64(vzip1q_s64(a, b)));
  vst1q_s32(other, vreinterpretq_s32_s64(vzip2q_s64(a, b)));
}

template <int Q, int T>
MEMSTACK_INLINE void multiply(const Query* queries, const Keys& keys, int64_t tile, int32_t (&sums)[Q][T][kTile]) {
  static_assert(kWord == 8 && kShift == 0 && Q % 2 == 0);
  const int64_t stride = keys.groups * kTile * kWord;
  for (int t = 0; t < T; ++t) {
    int32x4_t running[Q / 2][kCouples] = {};
    const uint8_t* codes = keys.codes + (tile + t) * stride;
    for (int64_t g = 0; g < keys.groups; ++g, codes += kTile * kWord) {
      int8x16_t asked[Q / 2];
      MEMSTACK_UNROLL
      for (int p = 0; p < Q / 2; ++p) asked[p] = couple(queries[2 * p], queries[2 * p + 1], g);
      MEMSTACK_UNROLL
      for (int i = 0; i < kCouples; ++i) {
        const int8x16_t key = couple(codes + 16 * i);
        MEMSTACK_UNROLL
        for (int p = 0; p < Q / 2; ++p) running[p][i] = vmmlaq_s32(running[p][i], asked[p], key);
      }
    }
    for (int p = 0; p < Q / 2; ++p) {
      MEMSTACK_UNROLL
      for (int i = 0; i < kCouples; i += 2)
        store_apart(running[p][i], running[p][i + 1], &sums[2 * p][t][2 * i], &sums[2 * p + 1][t][2 * i]);
    }
  }
}

template <int T>
MEMSTACK_INLINE void multiply_one(const Query& query, const Keys& keys, int64_t tile, int32_t (&sums)[1][T][kTile]) {
  const int64_t stride = keys.groups * kTile * kWord;
  for (int t = 0; t < T; ++t) {
    int32x4_t running[kCouples] = {};
    const uint8_t* codes = keys.codes + (tile + t) * stride;
    for (int64_t g = 0; g < keys.groups; ++g, codes += kTile * kWord) {
      const int8x16_t twice = couple(query, query, g);
      MEMSTACK_UNROLL
      for (int i = 0; i < kCouples; ++i) running[i] = vmmlaq_s32(running[i], twice, couple(codes + 16 * i));
    }
    int32_t same[kTile];
    for (int i = 0; i < kCouples; i += 2) store_apart(running[i], running[i + 1], &sums[0][t][2 * i], &same[2 * i]);
  }
}

}  // namespace memstack
