// A query, and how the best of its candidates are found: only keys that may still be among the best k are scored in full.
#pragma once

#include "candidates.h"

namespace memstack {

// One query: its codes, what bounds its scores, and what may be among its best k.
struct Query {
  const int32_t* codes;  // four dimensions a word
  const float* exact;    // (dim,)
  float scale, norm, residual;
  int32_t offset;                // what the keys' shift by 128 adds to every sum
  float shift = 0;               // its product with the keys' centre
  float haze = 0;                // how far that, and true scores beyond it, may have been rounded
  float threshold = -kInfinity;  // the k-th best true score is no less
  size_t limit = 0;
  Candidates rough, scored;  // by rounded scores, and by true ones
};

MEMSTACK_TARGET inline __m512d pairs(__m512 a, __m512 b) {
  return _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
}

MEMSTACK_TARGET inline __m512 quarters(__m512 a, __m512 b) {
  constexpr int kEven = 0x88, kOdd = 0xDD;
  return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, kEven), _mm512_shuffle_f32x4(a, b, kOdd));
}

// The sum of each of 16 registers.
MEMSTACK_TARGET inline __m512 sums_of(const __m512 (&parts)[kTile]) {
  __m512 fours[4];
  MEMSTACK_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m512d low = pairs(parts[4 * i], parts[4 * i + 1]), high = pairs(parts[4 * i + 2], parts[4 * i + 3]);
    fours[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(low, high)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(low, high)));
  }
  return quarters(quarters(fours[0], fours[1]), quarters(fours[2], fours[3]));
}

// Score candidates truly, from one on, the next sixteen already on their way from memory.
template <typename Stored>
MEMSTACK_TARGET void score_truly(const Query& query, const Keys& keys, Candidates& found, size_t from) {
  const auto* stored = static_cast<const Stored*>(keys.exact);
  const auto fetch = [&](size_t i) {
    const char* key = reinterpret_cast<const char*>(stored + found.slot[i] * keys.dim);
    for (int64_t at = 0; at < keys.dim * static_cast<int64_t>(sizeof(Stored)); at += 64) __builtin_prefetch(key + at);
  };
  for (size_t i = from; i < std::min<size_t>(from + kTile, found.size); ++i) fetch(i);
  for (size_t first = from; first < found.size; first += kTile) {
    const Stored* key[kTile];
    for (size_t i = 0; i < kTile; ++i) {
      key[i] = stored + found.slot[std::min(first + i, found.size - 1)] * keys.dim;
      if (first + kTile + i < found.size) fetch(first + kTile + i);
    }
    __m512 sums[kTile] = {};
    for (int64_t d = 0; d < keys.dim; d += kTile) {
      const __mmask16 mask = lanes(keys.dim - d);
      const __m512 factor = load(query.exact + d, mask);
      MEMSTACK_UNROLL
      for (int i = 0; i < kTile; ++i) sums[i] = _mm512_fmadd_ps(factor, load(key[i] + d, mask), sums[i]);
    }
    const __m512 scores = sums_of(sums);
    _mm512_mask_storeu_ps(&found.score[first], lanes(found.size - first), scores);
  }
}

// Score the best k truly: the worst of them bounds what can still be among the best k. Those that cannot are dropped.
template <typename Stored>
MEMSTACK_TARGET void tighten(Query& query, const Keys& keys, size_t k, Ranking& ranking) {
  Candidates &rough = query.rough, &scored = query.scored;
  const size_t before = scored.size, all = rough.size;
  if (before + all > k) {
    ranking.clear();
    ranking.add(scored.score.data(), before);
    ranking.add(rough.score.data(), all);
    const int32_t cut = ranking.of(k);
    scored.reserve(before + all);
    for (size_t i = 0; i < all; i += kTile)
      scored.push_slots(ranking.reaching(before + i, cut) & lanes(all - i), _mm512_loadu_si512(&rough.slot[i]));
    score_truly<Stored>(query, keys, scored, before);
    const int32_t worst = std::min(ranking.least_reaching(cut, before), least_of(scored, before));
    query.threshold = std::max(query.threshold, score_of(worst));
    const __m512 threshold = _mm512_set1_ps(query.threshold);  // not less: what is NaN may be anything
    rough.keep([&](size_t i) MEMSTACK_TARGET {
      const __mmask16 may = _mm512_cmp_ps_mask(_mm512_loadu_ps(&rough.upper[i]), threshold, _CMP_NLT_UQ);
      return static_cast<__mmask16>(may & ~ranking.reaching(before + i, cut));
    });
    scored.keep([&](size_t i) MEMSTACK_TARGET {
      return _mm512_cmp_ps_mask(_mm512_loadu_ps(&scored.score[i]), threshold, _CMP_NLT_UQ);
    });
  }
  query.limit = std::max(query.limit, 2 * rough.size);
}

// What 16 candidates are sorted by: the higher rank first, of equal ones the lower slot.
MEMSTACK_TARGET inline void push_keys(std::vector<int64_t>& keys, size_t& n, __mmask16 which, __m512i rank, __m512i slot) {
  const __m512i after = _mm512_xor_si512(slot, _mm512_set1_epi32(-1));
  const auto half = [&](__m256i high, __m256i low, __mmask8 some) MEMSTACK_TARGET {
    const __m512i key = _mm512_or_si512(_mm512_slli_epi64(_mm512_cvtepi32_epi64(high), 32), _mm512_cvtepu32_epi64(low));
    _mm512_storeu_si512(&keys[n], _mm512_maskz_compress_epi64(some, key));
    n += __builtin_popcount(some);
  };
  half(_mm512_castsi512_si256(rank), _mm512_castsi512_si256(after), static_cast<__mmask8>(which));
  half(_mm512_extracti64x4_epi64(rank, 1), _mm512_extracti64x4_epi64(after, 1), static_cast<__mmask8>(which >> 8));
}

// Give the slots and true scores of the best k, or of all that there are, best first, and return how many. Of equal
// scores the lower slot comes first, however keys were passed.
template <typename Stored>
MEMSTACK_TARGET size_t finish(
    Query& query, const Keys& keys, size_t k, Ranking& ranking, Ranking& ties, std::vector<int64_t>& sorted) {
  tighten<Stored>(query, keys, k, ranking);
  Candidates& found = query.scored;
  const size_t before = found.size;
  found.reserve(before + query.rough.size);
  std::copy_n(query.rough.slot.data(), query.rough.size, &found.slot[before]);
  found.size += query.rough.size;
  score_truly<Stored>(query, keys, found, before);

  ranking.clear();
  ranking.add(found.score.data(), found.size);
  const int32_t cut = found.size > k ? ranking.of(k) : kLast;
  ties.clear();
  size_t reaching = 0;
  for (size_t i = 0; i < found.size; i += kTile) {
    const __mmask16 tied = ranking.equal(i, cut) & lanes(found.size - i);
    ties.push(tied, _mm512_xor_si512(_mm512_loadu_si512(&found.slot[i]), _mm512_set1_epi32(-1)));
    reaching += __builtin_popcount(ranking.reaching(i, cut) & lanes(found.size - i));
  }
  const bool too_many = reaching > k;
  const int32_t first = too_many ? ties.of(k - (reaching - ties.size)) : kLast;
  size_t n = 0;
  sorted.resize(std::max(sorted.size(), std::min(found.size, k) + 2 * kTile));
  for (size_t i = 0; i < found.size; i += kTile) {
    const __m512i slot = _mm512_loadu_si512(&found.slot[i]);
    const __m512i after = _mm512_xor_si512(slot, _mm512_set1_epi32(-1));
    const __mmask16 late = ranking.equal(i, cut) & _mm512_cmplt_epi32_mask(after, _mm512_set1_epi32(first));
    const __mmask16 which = ranking.reaching(i, cut) & ~late & lanes(found.size - i);
    push_keys(sorted, n, which, _mm512_loadu_si512(&ranking.numbers[i]), slot);
  }
  sort_descending(sorted.data(), n);
  return n;
}

}  // namespace memstack
