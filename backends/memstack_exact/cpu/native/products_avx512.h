// By vpdpbusd of 512 bits: four products of an unsigned and a signed byte added to each of 16 sums.
#pragma once

namespace memstack {

constexpr int kTogether = 8, kTilesOfMany = 2, kTilesOfTwo = 4, kTilesOfOne = 8;

template <int Q, int T>
MEMSTACK_INLINE void multiply(const Query* queries, const Keys& keys, int64_t tile, int32_t (&sums)[Q][T][kTile]) {
  __m512i running[Q][T];
  const int32_t* words[Q];
  MEMSTACK_UNROLL
  for (int q = 0; q < Q; ++q) {
    words[q] = reinterpret_cast<const int32_t*>(queries[q].codes);
    const __m512i start = _mm512_set1_epi32(-queries[q].offset);
    MEMSTACK_UNROLL
    for (int t = 0; t < T; ++t) running[q][t] = start;
  }
  const uint8_t* codes = keys.codes + tile * keys.groups * 64;
  const int64_t stride = keys.groups * 64;
  for (int64_t g = 0; g < keys.groups; ++g) {
    __m512i key[T];
    MEMSTACK_UNROLL
    for (int t = 0; t < T; ++t) key[t] = _mm512_loadu_si512(codes + t * stride + g * 64);
    MEMSTACK_UNROLL
    for (int q = 0; q < Q; ++q) {
      const __m512i word = _mm512_set1_epi32(words[q][g]);
      MEMSTACK_UNROLL
      for (int t = 0; t < T; ++t) {
        __m512i sum = _mm512_dpbusd_epi32(running[q][t], key[t], word);
        asm("" : "+v"(sum));  // stays in a register, which GCC else would copy or leave in memory
        running[q][t] = sum;
      }
    }
  }
  MEMSTACK_UNROLL
  for (int q = 0; q < Q; ++q) {
    MEMSTACK_UNROLL
    for (int t = 0; t < T; ++t) _mm512_store_si512(sums[q][t], running[q][t]);
  }
}

template <int T>
MEMSTACK_INLINE void multiply_one(const Query& query, const Keys& keys, int64_t tile, int32_t (&sums)[1][T][kTile]) {
  constexpr int kChains = 4;  // an addition waits for the one before it in its chain only
  const auto* words = reinterpret_cast<const int32_t*>(query.codes);
  const uint8_t* codes = keys.codes + tile * keys.groups * 64;
  const auto add = [&](__m512i sum, int64_t g) {
    return _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(codes + g * 64), _mm512_set1_epi32(words[g]));
  };
  for (int t = 0; t < T; ++t, codes += keys.groups * 64) {
    __m512i chain[kChains] = {_mm512_set1_epi32(-query.offset)};
    int64_t g = 0;
    for (; g + kChains <= keys.groups; g += kChains) {
      MEMSTACK_UNROLL
      for (int c = 0; c < kChains; ++c) chain[c] = add(chain[c], g + c);
    }
    for (; g < keys.groups; ++g) chain[0] = add(chain[0], g);
    const __m512i halves[] = {_mm512_add_epi32(chain[0], chain[1]), _mm512_add_epi32(chain[2], chain[3])};
    _mm512_store_si512(sums[0][t], _mm512_add_epi32(halves[0], halves[1]));
  }
}

}  // namespace memstack
