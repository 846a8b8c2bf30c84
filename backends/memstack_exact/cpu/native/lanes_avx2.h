// Sixteen numbers in two registers of 256 bits.
#pragma once

namespace memstack {

constexpr int64_t kWord = 4;
constexpr int kShift = 128;
#if defined(MEMSTACK_AVXVNNI)
constexpr bool kPairs = false;
#else
constexpr bool kPairs = true;  // vpmaddubsw
#endif

struct Floats {
  __m256 a, b;
};
struct Ints {
  __m256i a, b;
};
struct Doubles {
  __m256d v[4];
};

MEMSTACK_INLINE Floats all(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
MEMSTACK_INLINE Ints all(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }

MEMSTACK_INLINE __m256 load_half(const float* at) { return _mm256_loadu_ps(at); }
MEMSTACK_INLINE __m256 load_half(const Half* at) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}
MEMSTACK_INLINE __m256 load_half(const BFloat16* at) {
  const __m256i upper = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(upper, 16));
}
MEMSTACK_INLINE __m256 load_half(const int8_t* at) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at))));
}
MEMSTACK_INLINE __m256i load_half(const int32_t* at) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)); }
template <typename Stored>
MEMSTACK_INLINE Floats load(const Stored* at, int64_t left) {
  if (left >= kTile) return {load_half(at), load_half(at + 8)};
  Stored some[kTile] = {};
  std::memcpy(some, at, left * sizeof(Stored));
  return {load_half(some), load_half(some + 8)};
}
MEMSTACK_INLINE Floats load(const float* at) { return {load_half(at), load_half(at + 8)}; }
MEMSTACK_INLINE Ints load(const int32_t* at) { return {load_half(at), load_half(at + 8)}; }
MEMSTACK_INLINE void store(float* at, Floats x) { _mm256_storeu_ps(at, x.a), _mm256_storeu_ps(at + 8, x.b); }
MEMSTACK_INLINE void store_half(int32_t* at, __m256i x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), x); }
MEMSTACK_INLINE void store(int32_t* at, Ints x) { store_half(at, x.a), store_half(at + 8, x.b); }
MEMSTACK_INLINE void store(double* at, const Doubles& x) {
  for (int i = 0; i < 4; ++i) _mm256_storeu_pd(at + 4 * i, x.v[i]);
}
MEMSTACK_INLINE void store_bytes(uint8_t* at, Ints x) {
  const __m256i low = _mm256_set1_epi32(255);
  const __m256i words = _mm256_packs_epi32(_mm256_and_si256(x.a, low), _mm256_and_si256(x.b, low));
  const __m256i in_order = _mm256_permute4x64_epi64(words, 0xD8);
  const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(in_order), _mm256_extracti128_si256(in_order, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(at), bytes);
}

// All bits of the lanes that are picked.
MEMSTACK_INLINE __m256i spread(int which) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(which), bit), bit);
}
MEMSTACK_INLINE Mask mask_of(__m256 a, __m256 b) {
  return static_cast<Mask>(_mm256_movemask_ps(a) | _mm256_movemask_ps(b) << 8);
}
MEMSTACK_INLINE Mask mask_of(__m256i a, __m256i b) { return mask_of(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)); }

MEMSTACK_INLINE Floats operator+(Floats x, Floats y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
MEMSTACK_INLINE Floats operator-(Floats x, Floats y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
MEMSTACK_INLINE Floats operator*(Floats x, Floats y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
MEMSTACK_INLINE Floats operator/(Floats x, Floats y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
MEMSTACK_INLINE Floats fused(Floats x, Floats y, Floats z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
MEMSTACK_INLINE Floats max(Floats x, Floats y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
MEMSTACK_INLINE Floats abs(Floats x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
MEMSTACK_INLINE Floats select(Mask which, Floats x, Floats y) {
  return {_mm256_blendv_ps(y.a, x.a, _mm256_castsi256_ps(spread(which & 255))),
          _mm256_blendv_ps(y.b, x.b, _mm256_castsi256_ps(spread(which >> 8)))};
}
MEMSTACK_INLINE float highest(Floats x) {
  const __m256 eight = _mm256_max_ps(x.a, x.b);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
MEMSTACK_INLINE Mask not_less(Floats x, Floats y) {
  return mask_of(_mm256_cmp_ps(x.a, y.a, _CMP_NLT_UQ), _mm256_cmp_ps(x.b, y.b, _CMP_NLT_UQ));
}
MEMSTACK_INLINE Mask less(Floats x, Floats y) {
  return mask_of(_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ));
}
MEMSTACK_INLINE bool any_not_less(Floats x, Floats y) {
  return _mm256_movemask_ps(
      _mm256_or_ps(_mm256_cmp_ps(x.a, y.a, _CMP_NLT_UQ), _mm256_cmp_ps(x.b, y.b, _CMP_NLT_UQ)));
}

MEMSTACK_INLINE Ints operator+(Ints x, Ints y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
MEMSTACK_INLINE Ints max(Ints x, Ints y) { return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)}; }
MEMSTACK_INLINE Ints min(Ints x, Ints y) { return {_mm256_min_epi32(x.a, y.a), _mm256_min_epi32(x.b, y.b)}; }
MEMSTACK_INLINE Ints inverted(Ints x) {
  const __m256i ones = _mm256_set1_epi32(-1);
  return {_mm256_xor_si256(x.a, ones), _mm256_xor_si256(x.b, ones)};
}
MEMSTACK_INLINE Ints tiles_of(Ints slots) { return {_mm256_srli_epi32(slots.a, 4), _mm256_srli_epi32(slots.b, 4)}; }
MEMSTACK_INLINE Ints select(Mask which, Ints x, Ints y) {
  return {_mm256_blendv_epi8(y.a, x.a, spread(which & 255)), _mm256_blendv_epi8(y.b, x.b, spread(which >> 8))};
}
// What f makes of all eight together, two at a time.
template <typename F>
MEMSTACK_INLINE int32_t folded(__m256i eight, const F& f) {
  const __m128i four = f(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = f(four, _mm_shuffle_epi32(four, 0x4E));
  return _mm_cvtsi128_si32(f(two, _mm_shuffle_epi32(two, 0xB1)));
}
MEMSTACK_INLINE int32_t total(Ints x) {
  return folded(_mm256_add_epi32(x.a, x.b), [](__m128i p, __m128i q) { return _mm_add_epi32(p, q); });
}
MEMSTACK_INLINE int32_t highest(Ints x) {
  return folded(_mm256_max_epi32(x.a, x.b), [](__m128i p, __m128i q) { return _mm_max_epi32(p, q); });
}
MEMSTACK_INLINE int32_t lowest(Ints x) {
  return folded(_mm256_min_epi32(x.a, x.b), [](__m128i p, __m128i q) { return _mm_min_epi32(p, q); });
}
MEMSTACK_INLINE Mask at_least(Ints x, Ints y) {
  return static_cast<Mask>(~mask_of(_mm256_cmpgt_epi32(y.a, x.a), _mm256_cmpgt_epi32(y.b, x.b)));
}
MEMSTACK_INLINE Mask equal(Ints x, Ints y) {
  return mask_of(_mm256_cmpeq_epi32(x.a, y.a), _mm256_cmpeq_epi32(x.b, y.b));
}
// Add one to the counts where x is no less than y.
MEMSTACK_INLINE Ints counted(Ints counts, Ints x, Ints y) {
  const Ints less = {_mm256_cmpgt_epi32(y.a, x.a), _mm256_cmpgt_epi32(y.b, x.b)};
  return counts + all(1) + less;
}
MEMSTACK_INLINE Ints numbered() {
  return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}

MEMSTACK_INLINE Floats floats(Ints x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
MEMSTACK_INLINE Ints rounded(Floats x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
MEMSTACK_INLINE __m256i ranks(__m256 scores) {
  const __m256i bits = _mm256_castps_si256(_mm256_add_ps(scores, _mm256_setzero_ps()));
  const __m256i in_order = _mm256_xor_si256(bits, _mm256_srli_epi32(_mm256_srai_epi32(bits, 31), 1));
  const __m256i number = _mm256_castps_si256(_mm256_cmp_ps(scores, scores, _CMP_ORD_Q));
  return _mm256_blendv_epi8(_mm256_set1_epi32(kLast), in_order, number);
}
MEMSTACK_INLINE Ints ranks(Floats scores) { return {ranks(scores.a), ranks(scores.b)}; }

MEMSTACK_INLINE Doubles zeros() { return {}; }
MEMSTACK_INLINE Doubles doubles(Floats x) {
  return {{_mm256_cvtps_pd(_mm256_castps256_ps128(x.a)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1)),
           _mm256_cvtps_pd(_mm256_castps256_ps128(x.b)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1))}};
}
MEMSTACK_INLINE Doubles operator+(const Doubles& x, const Doubles& y) {
  Doubles sum;
  for (int i = 0; i < 4; ++i) sum.v[i] = _mm256_add_pd(x.v[i], y.v[i]);
  return sum;
}
MEMSTACK_INLINE Doubles fused(const Doubles& x, const Doubles& y, const Doubles& z) {
  Doubles sum;
  for (int i = 0; i < 4; ++i) sum.v[i] = _mm256_fmadd_pd(x.v[i], y.v[i], z.v[i]);
  return sum;
}
MEMSTACK_INLINE double total(const Doubles& x) {
  const __m256d four = _mm256_add_pd(_mm256_add_pd(x.v[0], x.v[1]), _mm256_add_pd(x.v[2], x.v[3]));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

// For each choice of eight lanes, those that are picked, in order.
struct Picks {
  uint8_t lane[256][8] = {};

  constexpr Picks() {
    for (int which = 0; which < 256; ++which)
      for (int i = 0, n = 0; i < 8; ++i)
        if (which >> i & 1) lane[which][n++] = static_cast<uint8_t>(i);
  }
};
constexpr Picks kPicks;

MEMSTACK_INLINE __m256i packed(int which, __m256i x) {
  const __m128i lane = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kPicks.lane[which]));
  return _mm256_permutevar8x32_epi32(x, _mm256_cvtepu8_epi32(lane));
}
MEMSTACK_INLINE void pack(int32_t* at, Mask which, Ints x) {
  store_half(at, packed(which & 255, x.a));
  store_half(at + count(which & 255), packed(which >> 8, x.b));
}
MEMSTACK_INLINE void pack(float* at, Mask which, Floats x) {
  _mm256_storeu_ps(at, _mm256_castsi256_ps(packed(which & 255, _mm256_castps_si256(x.a))));
  _mm256_storeu_ps(at + count(which & 255), _mm256_castsi256_ps(packed(which >> 8, _mm256_castps_si256(x.b))));
}
// Pack pairs as numbers of 64 bits, and return how many.
MEMSTACK_INLINE size_t pack(int64_t* at, Mask which, Ints high, Ints low) {
  int32_t above[kTile], below[kTile];
  store(above, high), store(below, low);
  for (uint32_t left = which; left; left &= left - 1) *at++ = paired(above[first_bit(left)], below[first_bit(left)]);
  return count(which);
}
// The numbers that stand at these places, where picked, else zero.
MEMSTACK_INLINE Floats gather(Mask which, const float* from, Ints places) {
  const auto half = [&](int some, __m256i at) {
    return _mm256_mask_i32gather_ps(_mm256_setzero_ps(), from, at, _mm256_castsi256_ps(spread(some)), sizeof(float));
  };
  return {half(which & 255, places.a), half(which >> 8, places.b)};
}
// How many of n numbers are greater; a register's room is behind the last.
MEMSTACK_INLINE size_t count_greater(const int64_t* numbers, size_t n, int64_t than) {
  const __m256i bound = _mm256_set1_epi64x(than);
  size_t greater = 0;
  for (size_t i = 0; i < n; i += 4) {
    const __m256i some = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(numbers + i));
    const int found = _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(some, bound)));
    greater += __builtin_popcount(found & lanes(n - i));
  }
  return greater;
}

// The products of a query and eight keys.
template <typename Stored>
MEMSTACK_INLINE __m256 eight_dots(const float* query, const Stored* const* key, int64_t dim) {
  __m256 sums[8] = {};
  int64_t d = 0;
  for (; d + 8 <= dim; d += 8) {
    const __m256 factor = load_half(query + d);
    MEMSTACK_UNROLL
    for (int i = 0; i < 8; ++i) sums[i] = _mm256_fmadd_ps(factor, load_half(key[i] + d), sums[i]);
  }
  if (d < dim) {
    const __m256 factor = load(query + d, dim - d).a;
    for (int i = 0; i < 8; ++i) sums[i] = _mm256_fmadd_ps(factor, load(key[i] + d, dim - d).a, sums[i]);
  }
  const auto fours = [&](int i) {
    return _mm256_hadd_ps(_mm256_hadd_ps(sums[i], sums[i + 1]), _mm256_hadd_ps(sums[i + 2], sums[i + 3]));
  };
  const __m256 first = fours(0), second = fours(4);
  return _mm256_add_ps(_mm256_permute2f128_ps(first, second, 0x20), _mm256_permute2f128_ps(first, second, 0x31));
}
// The products of a query and 16 keys.
template <typename Stored>
MEMSTACK_INLINE Floats dots(const float* query, const Stored* const (&key)[kTile], int64_t dim) {
  return {eight_dots(query, key, dim), eight_dots(query, key + 8, dim)};
}

}  // namespace memstack
