// By vectors as compilers know them, which become whatever the processor has: bytes widened to 16 bits, whose products
// are added in pairs.
#pragma once

namespace memstack {

constexpr int kTogether = 2, kTilesOfMany = 1, kTilesOfTwo = 1, kTilesOfOne = 1;

using Bytes = int8_t __attribute__((vector_size(8)));
using Shorts = int16_t __attribute__((vector_size(16)));
using Words = int32_t __attribute__((vector_size(16)));

constexpr int kParts = kTile / 4;

// Two codes each of four keys.
MEMSTACK_INLINE Shorts key_part(const uint8_t* codes) {
  Bytes bytes;
  std::memcpy(&bytes, codes, sizeof bytes);
  return __builtin_convertvector(bytes, Shorts);
}

// Two codes of a query, four times.
MEMSTACK_INLINE Shorts query_pair(const int8_t* codes) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  const int8_t high = codes[0], low = codes[1];
#else
  const int8_t high = codes[1], low = codes[0];
#endif
  const auto pair = static_cast<int32_t>(static_cast<uint32_t>(high) << 16 | static_cast<uint16_t>(low));
  return reinterpret_cast<Shorts>(Words{pair, pair, pair, pair});
}

MEMSTACK_INLINE Words products(Shorts keys, Shorts pair) {
#if defined(__SSE2__)
  return reinterpret_cast<Words>(_mm_madd_epi16(reinterpret_cast<__m128i>(keys), reinterpret_cast<__m128i>(pair)));
#else
  const Words both = reinterpret_cast<Words>(keys * pair);  // of 127 x 127 at most, which 16 bits hold
  return (both << 16 >> 16) + (both >> 16);
#endif
}

template <int Q, int T>
MEMSTACK_INLINE void multiply(const Query* queries, const Keys& keys, int64_t tile, int32_t (&sums)[Q][T][kTile]) {
  static_assert(kWord == 2 && kShift == 0);
  for (int t = 0; t < T; ++t) {
    const uint8_t* codes = keys.codes + (tile + t) * keys.groups * kTile * kWord;
    Words running[Q][kParts] = {};
    for (int64_t g = 0; g < keys.groups; ++g, codes += kTile * kWord) {
      Shorts key[kParts];
      MEMSTACK_UNROLL
      for (int part = 0; part < kParts; ++part) key[part] = key_part(codes + 8 * part);
      MEMSTACK_UNROLL
      for (int q = 0; q < Q; ++q) {
        const Shorts pair = query_pair(queries[q].codes + g * kWord);
        MEMSTACK_UNROLL
        for (int part = 0; part < kParts; ++part) running[q][part] += products(key[part], pair);
      }
    }
    for (int q = 0; q < Q; ++q) std::memcpy(sums[q][t], running[q], sizeof sums[q][t]);
  }
}

template <int T>
MEMSTACK_INLINE void multiply_one(const Query& query, const Keys& keys, int64_t tile, int32_t (&sums)[1][T][kTile]) {
  multiply<1, T>(&query, keys, tile, sums);
}

}  // namespace memstack
