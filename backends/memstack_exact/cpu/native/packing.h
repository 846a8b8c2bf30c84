// Keys of a store in 8 bits are codes, but lie one after another: a block of them is laid out as the products take them.
#pragma once

#include "query.h"

namespace memstack {

// Lay the words of 16 keys side by side, from one dimension on: `codes` are so many keys of `dim` bytes each.
inline void pack_words(const int8_t* codes, int64_t dim, int64_t n, int64_t from, uint8_t* packed) {
  for (int64_t d = from; d < dim; d += kWord) {
    for (int64_t lane = 0; lane < n; ++lane) {
      uint8_t word[kWord] = {};
      std::memcpy(word, codes + lane * dim + d, std::min(kWord, dim - d));
      for (uint8_t& byte : word) byte ^= kShift;  // adds it
      std::memcpy(packed + (d / kWord * kTile + lane) * kWord, word, kWord);
    }
  }
}

#if defined(__SSE2__)
// The same, four words of four keys at a time, of the dimensions that fill a register; return how many those are.
inline int64_t pack_whole(const int8_t* codes, int64_t dim, uint8_t* packed) {
  constexpr int64_t kBytes = 16;
  const __m128i shift = _mm_set1_epi8(static_cast<char>(kShift));
  int64_t d = 0;
  for (; d + kBytes <= dim; d += kBytes) {
    MEMSTACK_UNROLL
    for (int64_t lane = 0; lane < kTile; lane += 4) {
      const auto key = [&](int64_t i) {
        const auto* at = reinterpret_cast<const __m128i*>(codes + (lane + i) * dim + d);
        return _mm_xor_si128(_mm_loadu_si128(at), shift);
      };
      const __m128i a = key(0), b = key(1), c = key(2), e = key(3);
      const __m128i ab = _mm_unpacklo_epi32(a, b), ce = _mm_unpacklo_epi32(c, e);
      const __m128i high_ab = _mm_unpackhi_epi32(a, b), high_ce = _mm_unpackhi_epi32(c, e);
      const __m128i words[] = {_mm_unpacklo_epi64(ab, ce), _mm_unpackhi_epi64(ab, ce),
                               _mm_unpacklo_epi64(high_ab, high_ce), _mm_unpackhi_epi64(high_ab, high_ce)};
      for (int64_t w = 0; w < 4; ++w)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(packed + (d / 4 + w) * 4 * kTile + lane * 4), words[w]);
    }
  }
  return d;
}
#endif

// A block of keys so laid out.
struct Packed {
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scale;

  // How many tiles of such keys are laid out at once: half a megabyte of them, but enough to find a threshold in.
  static int64_t tiles(const Keys& keys) {
    constexpr int64_t kBytes = 1 << 19, kLeast = 64;
    return std::max(kLeast, kBytes / (keys.groups * kTile * kWord));
  }

  // The keys of these tiles, by the numbers that they have among all.
  Keys block(const Keys& keys, int64_t begin, int64_t end) {
    const int64_t tile_bytes = keys.groups * kTile * kWord;
    codes.resize(std::max<size_t>(codes.size(), (end - begin) * tile_bytes));
    scale.resize(std::max<size_t>(scale.size(), (end - begin) * kTile));
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t first = tile * kTile, n = std::min(kTile, keys.length - first);
      const auto* from = static_cast<const int8_t*>(keys.exact) + first * keys.dim;
      uint8_t* const to = codes.data() + (tile - begin) * tile_bytes;
      int64_t whole = 0;
#if defined(__SSE2__)
      if (kWord == 4 && n == kTile) whole = pack_whole(from, keys.dim, to);
#endif
      pack_words(from, keys.dim, n, whole, to);
      std::copy_n(keys.stored_scale + first, n, scale.data() + (tile - begin) * kTile);
    }
    Keys here = keys;
    here.codes = before(codes.data(), begin * tile_bytes);
    here.scale = before(scale.data(), begin * kTile);
    return here;
  }

 private:
  // Where a block's first number would lie if all before it lay there too.
  template <typename T>
  static T* before(T* at, int64_t n) {
    return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(at) - static_cast<uintptr_t>(n) * sizeof(T));
  }
};

}  // namespace memstack
