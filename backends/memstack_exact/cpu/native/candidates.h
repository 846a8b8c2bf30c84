// What may be among a query's best k, and how the best of it are chosen: sixteen at a time, and without branches that a
// processor would have to guess.
#pragma once

#include <functional>
#include <limits>
#include <vector>

#include "keys.h"

namespace memstack {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Keys by slot, in the order in which they came; `upper` is what the true score of one is at most.
struct Candidates {
  std::vector<float> score, upper;
  std::vector<int32_t> slot;
  size_t size = 0;

  // Have room for so many, and for a whole register behind the last.
  void reserve(size_t room) {
    if (room + kTile <= slot.size()) return;
    const size_t larger = std::max(room, 2 * slot.size()) + kTile;
    score.resize(larger);
    upper.resize(larger);
    slot.resize(larger);
  }

  MEMSTACK_TARGET void push(__mmask16 which, __m512 scores, __m512 uppers, __m512i slots) {
    _mm512_storeu_ps(&score[size], _mm512_maskz_compress_ps(which, scores));
    _mm512_storeu_ps(&upper[size], _mm512_maskz_compress_ps(which, uppers));
    push_slots(which, slots);
  }

  // Keep those that kept(i) picks of the sixteen from i on; they close ranks, in order.
  template <typename Kept>
  MEMSTACK_TARGET void keep(const Kept& kept) {
    const size_t all = size;
    size = 0;
    for (size_t i = 0; i < all; i += kTile) {
      const __mmask16 which = kept(i) & lanes(all - i);
      push(which, _mm512_loadu_ps(&score[i]), _mm512_loadu_ps(&upper[i]), _mm512_loadu_si512(&slot[i]));
    }
  }

  // Scores are to follow.
  MEMSTACK_TARGET void push_slots(__mmask16 which, __m512i slots) {
    _mm512_storeu_si512(&slot[size], _mm512_maskz_compress_epi32(which, slots));
    size += __builtin_popcount(which);
  }
};

// Whole numbers in the order of scores: NaN comes last, and a zero is a zero whatever its sign.
constexpr int32_t kLast = std::numeric_limits<int32_t>::min(), kFirst = std::numeric_limits<int32_t>::max();

MEMSTACK_TARGET inline __m512i ranks(__m512 scores) {
  const __mmask16 number = _mm512_cmp_ps_mask(scores, scores, _CMP_ORD_Q);
  const __m512i bits = _mm512_castps_si512(_mm512_add_ps(scores, _mm512_setzero_ps()));
  const __m512i in_order = _mm512_xor_si512(bits, _mm512_srli_epi32(_mm512_srai_epi32(bits, 31), 1));
  return _mm512_mask_mov_epi32(_mm512_set1_epi32(kLast), number, in_order);
}

inline float score_of(int32_t rank) {
  if (rank == kLast) return -kInfinity;
  const int32_t bits = rank ^ static_cast<int32_t>(static_cast<uint32_t>(rank >> 31) >> 1);
  float score;
  std::memcpy(&score, &bits, sizeof score);
  return score;
}

// Numbers, the ranks of some scores say, among which a place is looked for.
struct Ranking {
  std::vector<int32_t> numbers;
  size_t size = 0;

  void clear() { size = 0; }

  MEMSTACK_TARGET void push(__mmask16 which, __m512i some) {
    numbers.resize(std::max(numbers.size(), size + 2 * kTile));
    _mm512_storeu_si512(&numbers[size], _mm512_maskz_compress_epi32(which, some));
    size += __builtin_popcount(which);
    _mm512_storeu_si512(&numbers[size], _mm512_set1_epi32(kLast));
  }

  MEMSTACK_TARGET void add(const float* scores, size_t n) {
    numbers.resize(std::max(numbers.size(), size + n + kTile));
    for (size_t i = 0; i < n; i += kTile)
      _mm512_storeu_si512(&numbers[size + i], ranks(_mm512_maskz_loadu_ps(lanes(n - i), scores + i)));
    size += n;
    _mm512_storeu_si512(&numbers[size], _mm512_set1_epi32(kLast));  // what fills the last register is no more than that
  }

  // Which of 16, from one on, have so high a rank.
  MEMSTACK_TARGET __mmask16 reaching(size_t at, int32_t rank) const {
    return _mm512_cmpge_epi32_mask(_mm512_loadu_si512(&numbers[at]), _mm512_set1_epi32(rank));
  }

  MEMSTACK_TARGET __mmask16 equal(size_t at, int32_t rank) const {
    return _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(&numbers[at]), _mm512_set1_epi32(rank));
  }

  MEMSTACK_TARGET size_t count_reaching(int32_t rank) const {
    __m512i counts = _mm512_setzero_si512();
    for (size_t i = 0; i < size; i += kTile)
      counts = _mm512_mask_add_epi32(counts, reaching(i, rank), counts, _mm512_set1_epi32(1));
    return _mm512_reduce_add_epi32(counts);
  }

  // A rank that just k reach or, where k and more have the same, the k-th highest; of at least k.
  MEMSTACK_TARGET int32_t of(size_t k) const {
    __m512i most = _mm512_set1_epi32(kLast);
    for (size_t i = 0; i < size; i += kTile) most = _mm512_max_epi32(most, _mm512_loadu_si512(&numbers[i]));
    int64_t low = kLast, high = static_cast<int64_t>(_mm512_reduce_max_epi32(most)) + 1;
    // A score is seldom less than half of the best one; where it is, one step more finds out.
    for (int64_t near = high - (1 << 23); high - low > 1; near = low + (high - low) / 2) {
      const int64_t middle = std::max(near, low + 1);
      const size_t found = count_reaching(static_cast<int32_t>(middle));
      (found >= k ? low : high) = middle;
      if (found == k) break;
    }
    return static_cast<int32_t>(low);
  }

  // The least of the first n that reach a rank; the highest that there is if none does.
  MEMSTACK_TARGET int32_t least_reaching(int32_t rank, size_t n) const {
    __m512i least = _mm512_set1_epi32(kFirst);
    for (size_t i = 0; i < n; i += kTile)
      least = _mm512_mask_min_epi32(least, reaching(i, rank) & lanes(n - i), least, _mm512_loadu_si512(&numbers[i]));
    return _mm512_reduce_min_epi32(least);
  }
};

// The least rank of candidates from one on.
MEMSTACK_TARGET inline int32_t least_of(const Candidates& found, size_t from) {
  __m512i least = _mm512_set1_epi32(kFirst);
  for (size_t i = from; i < found.size; i += kTile)
    least = _mm512_mask_min_epi32(least, lanes(found.size - i), least, ranks(_mm512_loadu_ps(&found.score[i])));
  return _mm512_reduce_min_epi32(least);
}

// Put different numbers in descending order; a register's room is behind the last.
MEMSTACK_TARGET inline void sort_descending(int64_t* numbers, size_t n) {
  constexpr size_t kFew = 64, kWide = 8;  // few are each placed where as many are greater
  if (n > kFew) return std::sort(numbers, numbers + n, std::greater<int64_t>());
  int64_t sorted[kFew];
  for (size_t i = 0; i < n; ++i) {
    size_t greater = 0;
    for (size_t j = 0; j < n; j += kWide) {
      const __mmask8 here = static_cast<__mmask8>(lanes(n - j));
      const __m512i others = _mm512_loadu_si512(numbers + j);
      greater += __builtin_popcount(_mm512_mask_cmpgt_epi64_mask(here, others, _mm512_set1_epi64(numbers[i])));
    }
    sorted[greater] = numbers[i];
  }
  std::copy_n(sorted, n, numbers);
}

}  // namespace memstack
