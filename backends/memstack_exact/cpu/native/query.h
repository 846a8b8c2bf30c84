// A query, and how the best of its candidates are found: only keys that may still be among the best k are scored in full.
#pragma once

#include "candidates.h"

namespace memstack {

// One query: its codes, what bounds its scores, and what may be among its best k.
struct Query {
  const int8_t* codes;  // a word of dimensions after another
  const float* exact;   // (dim,)
  float scale, norm, residual;
  int32_t offset;                // what the keys' shift by 128 adds to every sum
  float shift = 0;               // its product with the keys' centre
  float haze = 0;                // how far that, and true scores beyond it, may have been rounded
  float threshold = -kInfinity;  // the k-th best true score is no less
  size_t limit = 0;
  Candidates rough, scored;  // by rounded scores, and by true ones
};

// Score candidates truly, from one on, the next sixteen already on their way from memory.
template <typename Stored>
void score_truly(const Query& query, const Keys& keys, Candidates& found, size_t from) {
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
    Floats scores = dots(query.exact, key, keys.dim);
    if constexpr (std::is_same_v<Stored, int8_t>) {
      float scale[kTile];
      for (size_t i = 0; i < kTile; ++i) scale[i] = stored_scale<Stored>(keys, found.slot[std::min(first + i, found.size - 1)]);
      scores = scores * load(scale);
    }
    store(&found.score[first], scores);
  }
}

// Score the best k truly: the worst of them bounds what can still be among the best k. Those that cannot are dropped.
template <typename Stored>
void tighten(Query& query, const Keys& keys, size_t k, Ranking& ranking) {
  Candidates &rough = query.rough, &scored = query.scored;
  const size_t before = scored.size, fresh = rough.size;
  if (before + fresh > k) {
    ranking.clear();
    ranking.add(scored.score.data(), before);
    ranking.add(rough.score.data(), fresh);
    const int32_t cut = ranking.of(k);
    scored.reserve(before + fresh);
    for (size_t i = 0; i < fresh; i += kTile)
      scored.push_slots(ranking.reaching(before + i, cut) & lanes(fresh - i), load(&rough.slot[i]));
    score_truly<Stored>(query, keys, scored, before);
    const int32_t worst = std::min(ranking.least_reaching(cut, before), least_of(scored, before));
    query.threshold = std::max(query.threshold, score_of(worst));
    const Floats threshold = all(query.threshold);  // not less: what is NaN may be anything
    rough.keep([&](size_t i) {
      const Mask may = not_less(load(&rough.upper[i]), threshold);
      return static_cast<Mask>(may & ~ranking.reaching(before + i, cut));
    });
    scored.keep([&](size_t i) {
      return not_less(load(&scored.score[i]), threshold);
    });
  }
  query.limit = std::max(query.limit, 2 * rough.size);
}

// Give the slots and true scores of the best k, or of all that there are, best first, and return how many. Of equal
// scores the lower slot comes first, however keys were passed.
template <typename Stored>
size_t finish(
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
    const Mask here = lanes(found.size - i);
    ties.push(ranking.equal_to(i, cut) & here, inverted(load(&found.slot[i])));
    reaching += count(ranking.reaching(i, cut) & here);
  }
  const bool too_many = reaching > k;
  const int32_t first = too_many ? ties.of(k - (reaching - ties.size)) : kLast;
  size_t n = 0;
  sorted.resize(std::max(sorted.size(), std::min(found.size, k) + 2 * kTile));
  for (size_t i = 0; i < found.size; i += kTile) {
    const Ints after = inverted(load(&found.slot[i]));
    const Mask late = ranking.equal_to(i, cut) & ~at_least(after, all(first));
    const Mask which = ranking.reaching(i, cut) & ~late & lanes(found.size - i);
    // The higher rank first, of equal ones the lower slot.
    n += pack(&sorted[n], which, load(&ranking.numbers[i]), after);
  }
  sort_descending(sorted.data(), n);
  return n;
}

}  // namespace memstack
