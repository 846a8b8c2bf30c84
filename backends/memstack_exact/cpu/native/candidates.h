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

  // Begin anew, with the room that there is unless it was for unusually many.
  void clear() {
    constexpr size_t kUsual = 4096;
    size = 0;
    if (slot.size() > kUsual + kTile) *this = Candidates{};
  }

  // Have room for so many, and for a whole register behind the last.
  void reserve(size_t room) {
    if (room + kTile <= slot.size()) return;
    const size_t larger = std::max(room, 2 * slot.size()) + kTile;
    score.resize(larger);
    upper.resize(larger);
    slot.resize(larger);
  }

  void push(Mask which, Floats scores, Floats uppers, Ints slots) {
    pack(&score[size], which, scores);
    pack(&upper[size], which, uppers);
    push_slots(which, slots);
  }

  // Keep those that kept(i) picks of the sixteen from i on; they close ranks, in order.
  template <typename Kept>
  void keep(const Kept& kept) {
    const size_t before = size;
    size = 0;
    for (size_t i = 0; i < before; i += kTile) {
      const Mask which = kept(i) & lanes(before - i);
      push(which, load(&score[i]), load(&upper[i]), load(&slot[i]));
    }
  }

  // Scores are to follow.
  void push_slots(Mask which, Ints slots) {
    pack(&slot[size], which, slots);
    size += count(which);
  }
};

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

  void push(Mask which, Ints some) {
    numbers.resize(std::max(numbers.size(), size + 2 * kTile));
    pack(&numbers[size], which, some);
    size += count(which);
    store(&numbers[size], all(kLast));
  }

  void add(const float* scores, size_t n) {
    numbers.resize(std::max(numbers.size(), size + n + kTile));
    for (size_t i = 0; i < n; i += kTile) store(&numbers[size + i], ranks(load(scores + i, n - i)));
    size += n;
    store(&numbers[size], all(kLast));  // what fills the last register is no more than that
  }

  // Which of 16, from one on, have so high a rank.
  Mask reaching(size_t at, int32_t rank) const { return at_least(load(&numbers[at]), all(rank)); }

  Mask equal_to(size_t at, int32_t rank) const { return equal(load(&numbers[at]), all(rank)); }

  size_t count_reaching(int32_t rank) const {
    Ints counts = all(0);
    for (size_t i = 0; i < size; i += kTile) counts = counted(counts, load(&numbers[i]), all(rank));
    return total(counts);
  }

  // A rank that just k reach or, where k and more have the same, the k-th highest; of at least k.
  int32_t of(size_t k) const {
    Ints most = all(kLast);
    for (size_t i = 0; i < size; i += kTile) most = max(most, load(&numbers[i]));
    int64_t low = kLast, high = static_cast<int64_t>(highest(most)) + 1;
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
  int32_t least_reaching(int32_t rank, size_t n) const {
    Ints least = all(kFirst);
    for (size_t i = 0; i < n; i += kTile)
      least = min(least, select(reaching(i, rank) & lanes(n - i), load(&numbers[i]), all(kFirst)));
    return lowest(least);
  }
};

// The least rank of candidates from one on.
inline int32_t least_of(const Candidates& found, size_t from) {
  Ints least = all(kFirst);
  for (size_t i = from; i < found.size; i += kTile)
    least = min(least, select(lanes(found.size - i), ranks(load(&found.score[i])), all(kFirst)));
  return lowest(least);
}

// Put different numbers in descending order; a register's room is behind the last.
inline void sort_descending(int64_t* numbers, size_t n) {
  constexpr size_t kFew = 64;  // few are each placed where as many are greater
  if (n > kFew) return std::sort(numbers, numbers + n, std::greater<int64_t>());
  int64_t sorted[kFew];
  for (size_t i = 0; i < n; ++i) sorted[count_greater(numbers, n, numbers[i])] = numbers[i];
  std::copy_n(sorted, n, numbers);
}

}  // namespace memstack
