// By vpdpbusd of 256 bits, or else by vpmaddubsw, which adds two products in 16 bits, where queries are rounded so that they
// fit, and vpmaddwd, which adds two of those in 32.
#pragma once

namespace memstack {

MEMSTACK_INLINE __m256i add_products(__m256i sum, __m256i key, __m256i word) {
#if defined(__AVXVNNI__)
  return _mm256_dpbusd_avx_epi32(sum, key, word);
#elif defined(MEMSTACK_AVXVNNI)
  return _mm256_dpbusd_epi32(sum, key, word);  // the same instruction as AVX-512 writes it
#else
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(key, word), _mm256_set1_epi16(1)));
#endif
}

constexpr int kTogether = 4, kTilesOfMany = 1, kTilesOfTwo = 1, kTilesOfOne = 4;

MEMSTACK_INLINE __m256i key_half(const uint8_t* codes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
}

template <int Q, int T>
MEMSTACK_INLINE void multiply(const Query* queries, const Keys& keys, int64_t tile, int32_t (&sums)[Q][T][kTile]) {
  __m256i running[Q][2 * T];
  const int32_t* words[Q];
  MEMSTACK_UNROLL
  for (int q = 0; q < Q; ++q) {
    words[q] = reinterpret_cast<const int32_t*>(queries[q].codes);
    MEMSTACK_UNROLL
    for (int t = 0; t < 2 * T; ++t) running[q][t] = _mm256_set1_epi32(-queries[q].offset);
  }
  const uint8_t* codes = keys.codes + tile * keys.groups * 64;
  const int64_t stride = keys.groups * 64;
  for (int64_t g = 0; g < keys.groups; ++g) {
    __m256i key[2 * T];
    MEMSTACK_UNROLL
    for (int t = 0; t < 2 * T; ++t) key[t] = key_half(codes + t / 2 * stride + g * 64 + t % 2 * 32);
    MEMSTACK_UNROLL
    for (int q = 0; q < Q; ++q) {
      const __m256i word = _mm256_set1_epi32(words[q][g]);
      MEMSTACK_UNROLL
      for (int t = 0; t < 2 * T; ++t) {
        __m256i sum = add_products(running[q][t], key[t], word);
        asm("" : "+x"(sum));  // stays in a register, which GCC else would copy or leave in memory
        running[q][t] = sum;
      }
    }
  }
  MEMSTACK_UNROLL
  for (int q = 0; q < Q; ++q) {
    MEMSTACK_UNROLL
    for (int t = 0; t < 2 * T; ++t) store_half(&sums[q][t / 2][t % 2 * 8], running[q][t]);
  }
}

template <int T>
MEMSTACK_INLINE void multiply_one(const Query& query, const Keys& keys, int64_t tile, int32_t (&sums)[1][T][kTile]) {
  constexpr int kChains = 4;  // an addition waits for the one before it in its chain only
  const auto* words = reinterpret_cast<const int32_t*>(query.codes);
  const uint8_t* codes = keys.codes + tile * keys.groups * 64;
  for (int t = 0; t < T; ++t, codes += keys.groups * 64) {
    Ints chain[kChains] = {all(-query.offset), all(0), all(0), all(0)};
    const auto add = [&](Ints& sum, int64_t g) {
      const __m256i word = _mm256_set1_epi32(words[g]);
      sum = {add_products(sum.a, key_half(codes + g * 64), word), add_products(sum.b, key_half(codes + g * 64 + 32), word)};
    };
    int64_t g = 0;
    for (; g + kChains <= keys.groups; g += kChains) {
      MEMSTACK_UNROLL
      for (int c = 0; c < kChains; ++c) add(chain[c], g + c);
    }
    for (; g < keys.groups; ++g) add(chain[0], g);
    store(sums[0][t], (chain[0] + chain[1]) + (chain[2] + chain[3]));
  }
}

}  // namespace memstack
