// Sixteen numbers in a register of 512 bits.
#pragma once

namespace memstack {

constexpr int64_t kWord = 4;
constexpr int kShift = 128;
constexpr bool kPairs = false;

struct Floats {
  __m512 v;
};
struct Ints {
  __m512i v;
};
struct Doubles {
  __m512d low, high;
};

MEMSTACK_INLINE Floats all(float x) { return {_mm512_set1_ps(x)}; }
MEMSTACK_INLINE Ints all(int32_t x) { return {_mm512_set1_epi32(x)}; }

MEMSTACK_INLINE Floats load(const float* at) { return {_mm512_loadu_ps(at)}; }
MEMSTACK_INLINE Ints load(const int32_t* at) { return {_mm512_loadu_si512(at)}; }
MEMSTACK_INLINE Floats load(const float* at, int64_t left) { return {_mm512_maskz_loadu_ps(lanes(left), at)}; }
MEMSTACK_INLINE Floats load(const Half* at, int64_t left) {
  return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes(left), at))};
}
MEMSTACK_INLINE Floats load(const BFloat16* at, int64_t left) {
  const __m512i upper = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes(left), at));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(upper, 16))};
}
MEMSTACK_INLINE Floats load(const int8_t* at, int64_t left) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes(left), at)))};
}
MEMSTACK_INLINE void store(float* at, Floats a) { _mm512_storeu_ps(at, a.v); }
MEMSTACK_INLINE void store(int32_t* at, Ints a) { _mm512_storeu_si512(at, a.v); }
MEMSTACK_INLINE void store(double* at, const Doubles& a) {
  _mm512_storeu_pd(at, a.low), _mm512_storeu_pd(at + 8, a.high);
}
MEMSTACK_INLINE void store_bytes(uint8_t* at, Ints a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(at), _mm512_cvtepi32_epi8(a.v));
}

MEMSTACK_INLINE Floats operator+(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
MEMSTACK_INLINE Floats operator-(Floats a, Floats b) { return {_mm512_sub_ps(a.v, b.v)}; }
MEMSTACK_INLINE Floats operator*(Floats a, Floats b) { return {_mm512_mul_ps(a.v, b.v)}; }
MEMSTACK_INLINE Floats operator/(Floats a, Floats b) { return {_mm512_div_ps(a.v, b.v)}; }
MEMSTACK_INLINE Floats fused(Floats a, Floats b, Floats c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
MEMSTACK_INLINE Floats max(Floats a, Floats b) { return {_mm512_max_ps(a.v, b.v)}; }
MEMSTACK_INLINE Floats abs(Floats a) { return {_mm512_abs_ps(a.v)}; }
MEMSTACK_INLINE Floats select(Mask which, Floats a, Floats b) { return {_mm512_mask_mov_ps(b.v, which, a.v)}; }
MEMSTACK_INLINE float highest(Floats a) { return _mm512_reduce_max_ps(a.v); }
MEMSTACK_INLINE Mask not_less(Floats a, Floats b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_NLT_UQ); }
MEMSTACK_INLINE Mask less(Floats a, Floats b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ); }
MEMSTACK_INLINE Mask numbers(Floats a) { return _mm512_cmp_ps_mask(a.v, a.v, _CMP_ORD_Q); }
MEMSTACK_INLINE bool any_not_less(Floats a, Floats b) { return not_less(a, b); }

MEMSTACK_INLINE Ints operator+(Ints a, Ints b) { return {_mm512_add_epi32(a.v, b.v)}; }
MEMSTACK_INLINE Ints max(Ints a, Ints b) { return {_mm512_max_epi32(a.v, b.v)}; }
MEMSTACK_INLINE Ints min(Ints a, Ints b) { return {_mm512_min_epi32(a.v, b.v)}; }
MEMSTACK_INLINE Ints inverted(Ints a) { return {_mm512_xor_si512(a.v, _mm512_set1_epi32(-1))}; }
MEMSTACK_INLINE Ints tiles_of(Ints slots) { return {_mm512_srli_epi32(slots.v, 4)}; }
MEMSTACK_INLINE Ints select(Mask which, Ints a, Ints b) { return {_mm512_mask_mov_epi32(b.v, which, a.v)}; }
MEMSTACK_INLINE int32_t total(Ints a) { return _mm512_reduce_add_epi32(a.v); }
MEMSTACK_INLINE int32_t highest(Ints a) { return _mm512_reduce_max_epi32(a.v); }
MEMSTACK_INLINE int32_t lowest(Ints a) { return _mm512_reduce_min_epi32(a.v); }
MEMSTACK_INLINE Mask at_least(Ints a, Ints b) { return _mm512_cmpge_epi32_mask(a.v, b.v); }
MEMSTACK_INLINE Mask equal(Ints a, Ints b) { return _mm512_cmpeq_epi32_mask(a.v, b.v); }
// Add one to the counts where a is no less than b.
MEMSTACK_INLINE Ints counted(Ints counts, Ints a, Ints b) {
  return {_mm512_mask_add_epi32(counts.v, at_least(a, b), counts.v, _mm512_set1_epi32(1))};
}
MEMSTACK_INLINE Ints numbered() { return {_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)}; }

MEMSTACK_INLINE Floats floats(Ints a) { return {_mm512_cvtepi32_ps(a.v)}; }
MEMSTACK_INLINE Ints rounded(Floats a) { return {_mm512_cvtps_epi32(a.v)}; }
MEMSTACK_INLINE Ints ranks(Floats scores) {
  const __m512i bits = _mm512_castps_si512(_mm512_add_ps(scores.v, _mm512_setzero_ps()));
  const __m512i in_order = _mm512_xor_si512(bits, _mm512_srli_epi32(_mm512_srai_epi32(bits, 31), 1));
  const __mmask16 number = _mm512_cmp_ps_mask(scores.v, scores.v, _CMP_ORD_Q);
  return {_mm512_mask_mov_epi32(_mm512_set1_epi32(kLast), number, in_order)};
}

MEMSTACK_INLINE Doubles zeros() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
MEMSTACK_INLINE Doubles doubles(Floats a) {
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a.v), 1));
  return {_mm512_cvtps_pd(_mm512_castps512_ps256(a.v)), _mm512_cvtps_pd(high)};
}
MEMSTACK_INLINE Doubles operator+(const Doubles& a, const Doubles& b) {
  return {_mm512_add_pd(a.low, b.low), _mm512_add_pd(a.high, b.high)};
}
MEMSTACK_INLINE Doubles fused(const Doubles& a, const Doubles& b, const Doubles& c) {
  return {_mm512_fmadd_pd(a.low, b.low, c.low), _mm512_fmadd_pd(a.high, b.high, c.high)};
}
MEMSTACK_INLINE double total(const Doubles& a) { return _mm512_reduce_add_pd(_mm512_add_pd(a.low, a.high)); }

MEMSTACK_INLINE void pack(float* at, Mask which, Floats a) {
  _mm512_storeu_ps(at, _mm512_maskz_compress_ps(which, a.v));
}
MEMSTACK_INLINE void pack(int32_t* at, Mask which, Ints a) {
  _mm512_storeu_si512(at, _mm512_maskz_compress_epi32(which, a.v));
}
// Pack pairs as numbers of 64 bits, and return how many.
MEMSTACK_INLINE size_t pack(int64_t* at, Mask which, Ints high, Ints low) {
  size_t n = 0;
  const auto half = [&](__m256i above, __m256i below, __mmask8 some) {
    const __m512i pair = _mm512_or_si512(_mm512_slli_epi64(_mm512_cvtepi32_epi64(above), 32), _mm512_cvtepu32_epi64(below));
    _mm512_storeu_si512(at + n, _mm512_maskz_compress_epi64(some, pair));
    n += __builtin_popcount(some);
  };
  half(_mm512_castsi512_si256(high.v), _mm512_castsi512_si256(low.v), static_cast<__mmask8>(which));
  half(_mm512_extracti64x4_epi64(high.v, 1), _mm512_extracti64x4_epi64(low.v, 1), static_cast<__mmask8>(which >> 8));
  return n;
}
// The numbers that stand at these places, where picked, else zero.
MEMSTACK_INLINE Floats gather(Mask which, const float* from, Ints places) {
  return {_mm512_mask_i32gather_ps(_mm512_setzero_ps(), which, places.v, from, sizeof(float))};
}
// How many of n numbers are greater; a register's room is behind the last.
MEMSTACK_INLINE size_t count_greater(const int64_t* numbers, size_t n, int64_t than) {
  size_t greater = 0;
  for (size_t i = 0; i < n; i += 8) {
    const __mmask8 here = static_cast<__mmask8>(lanes(n - i));
    const __m512i some = _mm512_loadu_si512(numbers + i);
    greater += __builtin_popcount(_mm512_mask_cmpgt_epi64_mask(here, some, _mm512_set1_epi64(than)));
  }
  return greater;
}

MEMSTACK_INLINE __m512d pairs(__m512 a, __m512 b) {
  return _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
}
MEMSTACK_INLINE __m512 quarters(__m512 a, __m512 b) {
  constexpr int kEven = 0x88, kOdd = 0xDD;
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, kEven), _mm512_shuffle_f32x4(a, b, kOdd));
}
// The sum of each of 16 registers.
MEMSTACK_INLINE Floats sums_of(const __m512 (&parts)[kTile]) {
  __m512 fours[4];
  MEMSTACK_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m512d low = pairs(parts[4 * i], parts[4 * i + 1]), high = pairs(parts[4 * i + 2], parts[4 * i + 3]);
    fours[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(low, high)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(low, high)));
  }
  return {quarters(quarters(fours[0], fours[1]), quarters(fours[2], fours[3]))};
}
// The products of a query and 16 keys.
template <typename Stored>
MEMSTACK_INLINE Floats dots(const float* query, const Stored* const (&key)[kTile], int64_t dim) {
  __m512 sums[kTile] = {};
  for (int64_t d = 0; d < dim; d += kTile) {
    const __m512 factor = load(query + d, dim - d).v;
    MEMSTACK_UNROLL
    for (int i = 0; i < kTile; ++i) sums[i] = _mm512_fmadd_ps(factor, load(key[i] + d, dim - d).v, sums[i]);
  }
  return sums_of(sums);
}

}  // namespace memstack
