// By sdot: four products of signed bytes added to each of four sums.
#pragma once

namespace memstack {

constexpr int kTogether = 4, kTilesOfMany = 1, kTilesOfTwo = 2, kTilesOfOne = 4;

MEMSTACK_INLINE int8x16_t key_part(const uint8_t* codes) { return vreinterpretq_s8_u8(vld1q_u8(codes)); }

template <int Q, int T>
MEMSTACK_INLINE void multiply(const Query* queries, const Keys& keys, int64_t tile, int32_t (&sums)[Q][T][kTile]) {
  static_assert(kWord == 4 && kShift == 0);
  int32x4_t running[Q][4 * T] = {};
  const uint8_t* codes = keys.codes + tile * keys.groups * 64;
  const int64_t stride = keys.groups * 64;
  for (int64_t g = 0; g < keys.groups; ++g) {
    int8x16_t key[4 * T];
    MEMSTACK_UNROLL
    for (int i = 0; i < 4 * T; ++i) key[i] = key_part(codes + i / 4 * stride + g * 64 + i % 4 * 16);
    MEMSTACK_UNROLL
    for (int q = 0; q < Q; ++q) {
      const auto* words = reinterpret_cast<const int32_t*>(queries[q].codes);
      const int8x16_t word = vreinterpretq_s8_s32(vdupq_n_s32(words[g]));
      MEMSTACK_UNROLL
      for (int i = 0; i < 4 * T; ++i) running[q][i] = vdotq_s32(running[q][i], key[i], word);
    }
  }
  for (int q = 0; q < Q; ++q) {
    MEMSTACK_UNROLL
    for (int i = 0; i < 4 * T; ++i) vst1q_s32(&sums[q][i / 4][i % 4 * 4], running[q][i]);
  }
}

template <int T>
MEMSTACK_INLINE void multiply_one(const Query& query, const Keys& keys, int64_t tile, int32_t (&sums)[1][T][kTile]) {
  for (int t = 0; t < T; ++t) {
    int32_t one[1][1][kTile];
    multiply<1, 1>(&query, keys, tile + t, one);
    std::copy_n(one[0][0], kTile, sums[0][t]);
  }
}

}  // namespace memstack
