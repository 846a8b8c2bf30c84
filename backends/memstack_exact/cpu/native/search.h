// Exact nearest neighbours at the price of an 8-bit matrix product: the rounded score bounds the true one from both
// sides, and only keys that may still be among the best k are scored in full. No score is kept, but for a block at a time.
#pragma once

#include "packing.h"
#include "products.h"

namespace memstack {

constexpr int64_t kBlock = 512;  // tiles that stay in a core's cache while queries pass over them
constexpr int64_t kMaxima = 4;   // times k: from so many maxima a threshold is first looked for
constexpr int64_t kFiner = 8;    // times as many, where that left so many keys that few of them can be among the best

// What a thread works with, of the block at hand.
struct Scratch {
  std::vector<float> scores = std::vector<float>(kTogether * kBlock * kTile);  // by query, but for its own scale
  alignas(64) float residual[kBlock], norm[kBlock];  // by tile, of its keys
  alignas(64) float slack[kBlock];                   // by tile: how far a query's rounded and true scores may lie apart
  alignas(64) float bars[kTogether][kBlock];  // by query and tile: the threshold of sums multiplied by the keys' scale only
  std::vector<int32_t> slots = std::vector<int32_t>(kBlock * kTile + kTile);  // of what may be among a query's best
  Ranking ranking, ties;
  std::vector<int64_t> sorted;
  Packed packed;
  std::vector<Query> queries;

  void set_bounds(const TileBound* bounds, int64_t tiles) {
    for (int64_t t = 0; t < tiles; ++t) {
      const Bound bound = bounds[t].either();
      residual[t] = bound.residual, norm[t] = bound.norm;
    }
  }

  // Set a query's slack, and return the widest.
  float set_slack(const Query& query, int64_t tiles) {
    Floats widest = all(0.0f);
    for (int64_t t = 0; t < tiles; t += kTile) {
      const Floats rounding = fused(all(query.norm), load(residual + t), all(query.haze));
      const Floats far = fused(all(query.residual), load(norm + t), rounding);
      store(slack + t, far);
      widest = max(widest, select(lanes(tiles - t), far, all(0.0f)));
    }
    return highest(widest);
  }

  // Set the bars of a query whose slack is set.
  void set_bars(const Query& query, int64_t tiles, float* bar) const {
    for (int64_t t = 0; t < tiles; t += kTile)
      store(bar + t, (all(query.threshold - query.shift) - load(slack + t)) / all(query.scale));
  }
};

// Call seen(query, tile, scores) with the rounded scores of Q queries and T tiles, but for the queries' own scale.
template <int Q, int T, typename Seen>
MEMSTACK_INLINE void score(
    const Query* queries, const Keys& keys, int64_t tile, const Seen& seen) {
  alignas(64) int32_t sums[Q][T][kTile];
  if constexpr (Q == 1) {
    multiply_one<T>(*queries, keys, tile, sums);
  } else {
    multiply<Q, T>(queries, keys, tile, sums);
  }
  MEMSTACK_UNROLL
  for (int t = 0; t < T; ++t) {
    const Floats scale = load(reinterpret_cast<const BFloat16*>(keys.scale) + (tile + t) * kTile, kTile);
    MEMSTACK_UNROLL
    for (int q = 0; q < Q; ++q) seen(q, tile + t, floats(load(sums[q][t])) * scale);
  }
}

// Let Q queries pass over the keys of a block.
template <int Q, int T, typename Seen>
MEMSTACK_INLINE void pass(
    const Query* queries, const Keys& keys, int64_t begin, int64_t end, const Seen& seen) {
  int64_t tile = begin;
  for (; tile + T <= end; tile += T) score<Q, T>(queries, keys, tile, seen);
  for (; tile < end; ++tile) score<Q, 1>(queries, keys, tile, seen);
}

// A first threshold from the scores of some whole tiles: k of the buckets' maxima are k different keys. Keys that are
// alike stand side by side, so that a bucket's do not.
inline void look_ahead(
    Query& query, const float* scores, int64_t tiles, size_t k, int64_t maxima, float widest, Ranking& ranking) {
  const int64_t buckets = std::min<int64_t>(tiles, (maxima * k + kTile - 1) / kTile);
  if (static_cast<size_t>(buckets * kTile) < 2 * k) return;
  ranking.clear();
  for (int64_t b = 0; b < buckets; ++b) {
    Floats largest = load(scores + b * kTile);
    for (int64_t tile = b + buckets; tile < tiles; tile += buckets) largest = max(largest, load(scores + tile * kTile));
    alignas(64) float best[kTile];
    store(best, largest);
    ranking.add(best, kTile);
  }
  const float worst = std::min(score_of(ranking.of(k)), std::numeric_limits<float>::max());
  const float bound = worst * query.scale + query.shift - widest;
  if (bound > query.threshold) query.threshold = bound;
}

// Name the keys of a block, of its first n, that may score a query's threshold, and return how many those are.
inline size_t name(const float* scores, const float* bars, int64_t n, int32_t first, int32_t* named) {
  constexpr int64_t kWide = 4;  // tiles, whose keys are the bits of a word
  constexpr int kMostly = 2;    // bits of a word at most, mostly: it costs less to take so many than to ask how many
  int32_t* slots = named;
  for (int64_t tile = 0; tile * kTile < n; tile += kWide) {
    uint64_t word = 0;
    MEMSTACK_UNROLL
    for (int64_t t = 0; t < kWide; ++t) {
      // Not less: what overflows to NaN stays.
      const uint64_t may = not_less(load(scores + (tile + t) * kTile), all(bars[tile + t]));
      word |= may << t * kTile;
    }
    const int64_t left = n - tile * kTile;
    if (left < 64) word &= (uint64_t{1} << left) - 1;
    int32_t* const end = slots + __builtin_popcountll(word);
    const auto take = [&]() {
      *slots++ = first + static_cast<int32_t>(tile * kTile) + first_bit(word);
      word &= word - 1;
    };
    MEMSTACK_UNROLL
    for (int i = 0; i < kMostly; ++i) take();
    while (slots < end) take();
    slots = end;
  }
  return slots - named;
}

// Note 16 keys, or those of them that may be among a query's best, by their sums.
inline void note(Query& query, Mask may, Floats score, Floats slack, Ints slots) {
  const Floats own = fused(score, all(query.scale), all(query.shift));
  // A rounded score that overflows says nothing of the true one.
  const Mask known = less(abs(own), all(kInfinity));
  query.rough.push(may, own, select(known, own + slack, all(kInfinity)), slots);
}

// Let Q queries pass over the first block that they see: all scores are kept, and from them comes a threshold before
// any key is noted.
template <int Q, int T, typename Stored>
void over_first(
    Query* queries, const Keys& keys, int64_t begin, int64_t end, size_t k, Scratch& scratch) {
  float* const scores = scratch.scores.data();
  pass<Q, T>(queries, keys, begin, end, [=](int q, int64_t tile, Floats score) {
    store(scores + (q * kBlock + tile - begin) * kTile, score);
  });
  const int64_t first = begin * kTile, n = std::min(end * kTile, keys.length) - first;
  for (int q = 0; q < Q; ++q) {
    Query& query = queries[q];
    const float* mine = scores + q * kBlock * kTile;
    const float widest = scratch.set_slack(query, end - begin);
    const auto named_by = [&](int64_t maxima) {
      look_ahead(query, mine, n / kTile, k, maxima, widest, scratch.ranking);
      scratch.set_bars(query, end - begin, scratch.bars[q]);
      return name(mine, scratch.bars[q], n, static_cast<int32_t>(first), scratch.slots.data());
    };
    size_t named = named_by(kMaxima);
    if (named > kFiner * kMaxima * k) named = named_by(kFiner * kMaxima);  // as where keys repeat
    query.rough.reserve(named);
    for (size_t i = 0; i < named; i += kTile) {
      const Ints slots = load(&scratch.slots[i]), at = slots + all(static_cast<int32_t>(-first));
      const Mask here = lanes(named - i);
      note(query, here, gather(here, mine, at), gather(here, scratch.slack, tiles_of(at)), slots);
    }
    if (query.rough.size >= query.limit) tighten<Stored>(query, keys, k, scratch.ranking);
  }
}

// Note the keys of a tile of a later block.
template <typename Stored>
__attribute__((noinline)) void note_tile(
    Query& query, const Keys& keys, int64_t tile, float residual, float norm, Floats score, Mask may, size_t k,
    Ranking& ranking) {
  const Floats slack = all(query.norm * residual + query.residual * norm + query.haze);
  const Ints slots = all(static_cast<int32_t>(tile * kTile)) + numbered();
  query.rough.reserve(query.rough.size + kTile);
  note(query, may & lanes(keys.length - tile * kTile), score, slack, slots);
  if (query.rough.size >= query.limit) tighten<Stored>(query, keys, k, ranking);
}

// Let Q queries pass over a later block, of which few keys are among their best: no score is kept.
template <int Q, int T, typename Stored>
void over(Query* queries, const Keys& keys, int64_t begin, int64_t end, size_t k, Scratch& scratch) {
  for (int q = 0; q < Q; ++q) {
    scratch.set_slack(queries[q], end - begin);
    scratch.set_bars(queries[q], end - begin, scratch.bars[q]);
  }
  pass<Q, T>(queries, keys, begin, end, [&](int q, int64_t tile, Floats score) {
    const int64_t t = tile - begin;
    const Floats bar = all(scratch.bars[q][t]);
    if (__builtin_expect(any_not_less(score, bar), 0))
      note_tile<Stored>(queries[q], keys, tile, scratch.residual[t], scratch.norm[t], score, not_less(score, bar), k, scratch.ranking);
  });
}

// Let some queries, up to eight at once, pass over a block.
template <int Q, int T, typename Stored>
void over_any(
    Query* queries, const Keys& keys, int64_t begin, int64_t end, size_t k, bool first, Scratch& scratch) {
  if (first) {
    over_first<Q, T, Stored>(queries, keys, begin, end, k, scratch);
  } else {
    over<Q, T, Stored>(queries, keys, begin, end, k, scratch);
  }
}

template <typename Stored>
void search_tiles(
    Query* queries, int64_t n, const Keys& keys, int64_t begin, int64_t end, size_t k, Scratch& scratch) {
  // From the newest keys back: text asks most for what it has just read, and a high threshold spares the rest.
  const int64_t size = keys.codes ? kBlock : std::min(kBlock, Packed::tiles(keys));
  const int64_t blocks = (end - begin + size - 1) / size;
  const int64_t newest = std::clamp((keys.newest / kTile - begin) / size, int64_t{0}, std::max(blocks - 1, int64_t{0}));
  for (int64_t back = 0; back < blocks; ++back) {
    const int64_t block = begin + (newest - back + blocks) % blocks * size;
    const int64_t stop = std::min(end, block + size);
    const bool first = back == 0;
    scratch.set_bounds(keys.bounds + block, stop - block);
    const Keys here = keys.codes ? keys : scratch.packed.block(keys, block, stop);
    int64_t q = 0;
    for (; q + kTogether <= n; q += kTogether) over_any<kTogether, kTilesOfMany, Stored>(&queries[q], here, block, stop, k, first, scratch);
    for (; q + 2 <= n; q += 2) over_any<2, kTilesOfTwo, Stored>(&queries[q], here, block, stop, k, first, scratch);
    for (; q < n; ++q) over_any<1, kTilesOfOne, Stored>(&queries[q], here, block, stop, k, first, scratch);
  }
}

}  // namespace memstack
