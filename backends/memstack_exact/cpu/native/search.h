// Exact nearest neighbours at the price of an 8-bit matrix product: the rounded score bounds the true one from both
// sides, and only keys that may still be among the best k are scored in full. No score is kept, but for a block at a time.
#pragma once

#include "query.h"

namespace memstack {

constexpr int64_t kBlock = 512;  // tiles that stay in a core's cache while queries pass over them
constexpr int64_t kMaxima = 4;   // times k: from so many maxima a threshold is first looked for

constexpr int kTogether = 8;     // queries that pass over a block at once, at most

// What a thread works with, of the block at hand.
struct Scratch {
  std::vector<float> scores = std::vector<float>(kTogether * kBlock * kTile);  // by query, but for its own scale
  alignas(64) float residual[kBlock], norm[kBlock];  // by tile, of its keys
  alignas(64) float slack[kBlock];                   // by tile: how far a query's rounded and true scores may lie apart
  alignas(64) float bars[kTogether][kBlock];  // by query and tile: the threshold of sums multiplied by the keys' scale only
  std::vector<int32_t> slots = std::vector<int32_t>(kBlock * kTile + kTile);  // of what may be among a query's best
  Ranking ranking, ties;
  std::vector<int64_t> sorted;

  void set_bounds(const TileBound* bounds, int64_t tiles) {
    for (int64_t t = 0; t < tiles; ++t) {
      const Bound bound = bounds[t].either();
      residual[t] = bound.residual, norm[t] = bound.norm;
    }
  }

  // Set a query's slack, and return the widest.
  MEMSTACK_TARGET float set_slack(const Query& query, int64_t tiles) {
    __m512 widest = _mm512_setzero_ps();
    for (int64_t t = 0; t < tiles; t += kTile) {
      const __m512 rounding = _mm512_fmadd_ps(_mm512_set1_ps(query.norm), _mm512_load_ps(residual + t),
                                              _mm512_set1_ps(query.haze));
      const __m512 far = _mm512_fmadd_ps(_mm512_set1_ps(query.residual), _mm512_load_ps(norm + t), rounding);
      _mm512_store_ps(slack + t, far);
      widest = _mm512_mask_max_ps(widest, lanes(tiles - t), widest, far);
    }
    return _mm512_reduce_max_ps(widest);
  }

  // Set the bars of a query whose slack is set.
  MEMSTACK_TARGET void set_bars(const Query& query, int64_t tiles, float* bar) const {
    for (int64_t t = 0; t < tiles; t += kTile) {
      const __m512 lowest = _mm512_sub_ps(_mm512_set1_ps(query.threshold - query.shift), _mm512_load_ps(slack + t));
      _mm512_store_ps(bar + t, _mm512_div_ps(lowest, _mm512_set1_ps(query.scale)));
    }
  }
};

MEMSTACK_TARGET inline __m512i add(__m512i sum, const uint8_t* tile, const Query& query, int64_t group) {
  return _mm512_dpbusd_epi32(sum, _mm512_loadu_si512(tile + group * 64), _mm512_set1_epi32(query.codes[group]));
}

// The sums of Q queries with the keys of T tiles.
template <int Q, int T>
MEMSTACK_TARGET inline __attribute__((always_inline)) void multiply(
    const Query* queries, const Keys& keys, int64_t tile, int32_t (&sums)[Q][T][16]) {
  __m512i running[Q][T];
  const int32_t* words[Q];
  MEMSTACK_UNROLL
  for (int q = 0; q < Q; ++q) {
    words[q] = queries[q].codes;
    const __m512i start = _mm512_set1_epi32(-queries[q].offset);
    MEMSTACK_UNROLL
    for (int t = 0; t < T; ++t) running[q][t] = start;
  }
  const uint8_t* codes = keys.codes + tile * keys.groups * 64;
  const int64_t stride = keys.groups * 64;
  for (int64_t g = 0; g < keys.groups; ++g) {
    __m512i key[T];
    MEMSTACK_UNROLL
    for (int t = 0; t < T; ++t) key[t] = _mm512_loadu_si512(codes + t * stride + g * 64);
    MEMSTACK_UNROLL
    for (int q = 0; q < Q; ++q) {
      const __m512i word = _mm512_set1_epi32(words[q][g]);
      MEMSTACK_UNROLL
      for (int t = 0; t < T; ++t) running[q][t] = _mm512_dpbusd_epi32(running[q][t], key[t], word);
    }
  }
  MEMSTACK_UNROLL
  for (int q = 0; q < Q; ++q) {
    MEMSTACK_UNROLL
    for (int t = 0; t < T; ++t) _mm512_store_si512(sums[q][t], running[q][t]);
  }
}

// The sums of one query, which waits for memory: front to back, as the processor fetches ahead.
template <int T>
MEMSTACK_TARGET inline __attribute__((always_inline)) void multiply_one(
    const Query& query, const Keys& keys, int64_t tile, int32_t (&sums)[1][T][16]) {
  constexpr int kChains = 4;  // an addition waits for the one before it in its chain only
  const uint8_t* codes = keys.codes + tile * keys.groups * 64;
  for (int t = 0; t < T; ++t, codes += keys.groups * 64) {
    __m512i chain[kChains] = {_mm512_set1_epi32(-query.offset)};
    int64_t g = 0;
    for (; g + kChains <= keys.groups; g += kChains) {
      MEMSTACK_UNROLL
      for (int c = 0; c < kChains; ++c) chain[c] = add(chain[c], codes, query, g + c);
    }
    for (; g < keys.groups; ++g) chain[0] = add(chain[0], codes, query, g);
    const __m512i halves[] = {_mm512_add_epi32(chain[0], chain[1]), _mm512_add_epi32(chain[2], chain[3])};
    _mm512_store_si512(sums[0][t], _mm512_add_epi32(halves[0], halves[1]));
  }
}

// Call seen(query, tile, scores) with the rounded scores of Q queries and T tiles, but for the queries' own scale.
template <int Q, int T, typename Seen>
MEMSTACK_TARGET inline __attribute__((always_inline)) void score(
    const Query* queries, const Keys& keys, int64_t tile, const Seen& seen) {
  alignas(64) int32_t sums[Q][T][kTile];
  if constexpr (Q == 1) {
    multiply_one<T>(*queries, keys, tile, sums);
  } else {
    multiply<Q, T>(queries, keys, tile, sums);
  }
  for (int t = 0; t < T; ++t) {
    const __m512 scale = load(reinterpret_cast<const BFloat16*>(keys.scale) + (tile + t) * kTile, 0xFFFF);
    for (int q = 0; q < Q; ++q)
      seen(q, tile + t, _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums[q][t])), scale));
  }
}

// Let Q queries pass over the keys of a block.
template <int Q, int T, typename Seen>
MEMSTACK_TARGET inline __attribute__((always_inline)) void pass(
    const Query* queries, const Keys& keys, int64_t begin, int64_t end, const Seen& seen) {
  int64_t tile = begin;
  for (; tile + T <= end; tile += T) score<Q, T>(queries, keys, tile, seen);
  for (; tile < end; ++tile) score<Q, 1>(queries, keys, tile, seen);
}

// A first threshold from the scores of some whole tiles: k of the buckets' maxima are k different keys. Keys that are
// alike stand side by side, so that a bucket's do not.
MEMSTACK_TARGET inline void look_ahead(
    Query& query, const float* scores, int64_t tiles, size_t k, float widest, Ranking& ranking) {
  const int64_t buckets = std::min<int64_t>(tiles, (kMaxima * k + kTile - 1) / kTile);
  if (static_cast<size_t>(buckets * kTile) < 2 * k) return;
  ranking.clear();
  for (int64_t b = 0; b < buckets; ++b) {
    __m512 largest = _mm512_loadu_ps(scores + b * kTile);
    for (int64_t tile = b + buckets; tile < tiles; tile += buckets)
      largest = _mm512_max_ps(largest, _mm512_loadu_ps(scores + tile * kTile));
    alignas(64) float best[kTile];
    _mm512_store_ps(best, largest);
    ranking.add(best, kTile);
  }
  const float worst = std::min(score_of(ranking.of(k)), std::numeric_limits<float>::max());
  const float bound = worst * query.scale + query.shift - widest;
  if (bound > query.threshold) query.threshold = bound;
}

// Name the keys of a block, of its first n, that may score a query's threshold, and return how many those are.
MEMSTACK_TARGET inline size_t name(const float* scores, const float* bars, int64_t n, int32_t first, int32_t* named) {
  constexpr int64_t kWide = 4;  // tiles, whose keys are the bits of a word
  constexpr int kMostly = 2;    // bits of a word at most, mostly: it costs less to take so many than to ask how many
  int32_t* slots = named;
  for (int64_t tile = 0; tile * kTile < n; tile += kWide) {
    uint64_t word = 0;
    MEMSTACK_UNROLL
    for (int64_t t = 0; t < kWide; ++t) {
      // Not less: what overflows to NaN stays.
      const __m512 score = _mm512_loadu_ps(scores + (tile + t) * kTile);
      const uint64_t may = _mm512_cmp_ps_mask(score, _mm512_set1_ps(bars[tile + t]), _CMP_NLT_UQ);
      word |= may << t * kTile;
    }
    const int64_t left = n - tile * kTile;
    if (left < 64) word &= (uint64_t{1} << left) - 1;
    int32_t* const end = slots + __builtin_popcountll(word);
    const auto take = [&]() MEMSTACK_TARGET {
      *slots++ = first + static_cast<int32_t>(tile * kTile) + static_cast<int32_t>(_tzcnt_u64(word));
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
MEMSTACK_TARGET inline void note(Query& query, __mmask16 may, __m512 score, __m512 slack, __m512i slots) {
  const __m512 own = _mm512_fmadd_ps(score, _mm512_set1_ps(query.scale), _mm512_set1_ps(query.shift));
  // A rounded score that overflows says nothing of the true one.
  const __mmask16 known = _mm512_cmp_ps_mask(_mm512_abs_ps(own), _mm512_set1_ps(kInfinity), _CMP_LT_OQ);
  query.rough.push(may, own, _mm512_mask_add_ps(_mm512_set1_ps(kInfinity), known, own, slack), slots);
}

// Let Q queries pass over the first block that they see: all scores are kept, and from them comes a threshold before
// any key is noted.
template <int Q, int T, typename Stored>
MEMSTACK_TARGET void over_first(
    Query* queries, const Keys& keys, int64_t begin, int64_t end, size_t k, Scratch& scratch) {
  float* const scores = scratch.scores.data();
  pass<Q, T>(queries, keys, begin, end, [=](int q, int64_t tile, __m512 score) MEMSTACK_TARGET {
    _mm512_storeu_ps(scores + (q * kBlock + tile - begin) * kTile, score);
  });
  const int64_t first = begin * kTile, n = std::min(end * kTile, keys.length) - first;
  for (int q = 0; q < Q; ++q) {
    Query& query = queries[q];
    const float* mine = scores + q * kBlock * kTile;
    const float widest = scratch.set_slack(query, end - begin);
    look_ahead(query, mine, n / kTile, k, widest, scratch.ranking);
    scratch.set_bars(query, end - begin, scratch.bars[q]);
    const size_t named = name(mine, scratch.bars[q], n, static_cast<int32_t>(first), scratch.slots.data());
    query.rough.reserve(named);
    for (size_t i = 0; i < named; i += kTile) {
      const __m512i slots = _mm512_loadu_si512(&scratch.slots[i]);
      const __m512i at = _mm512_sub_epi32(slots, _mm512_set1_epi32(static_cast<int32_t>(first)));
      const __mmask16 here = lanes(named - i);
      const __m512 zero = _mm512_setzero_ps();
      const __m512 slack = _mm512_mask_i32gather_ps(zero, here, _mm512_srli_epi32(at, 4), scratch.slack, sizeof(float));
      note(query, here, _mm512_mask_i32gather_ps(zero, here, at, mine, sizeof(float)), slack, slots);
    }
    if (query.rough.size >= query.limit) tighten<Stored>(query, keys, k, scratch.ranking);
  }
}

// Note the keys of a tile of a later block.
template <typename Stored>
MEMSTACK_TARGET __attribute__((noinline)) void note_tile(
    Query& query, const Keys& keys, int64_t tile, float residual, float norm, __m512 score, __mmask16 may, size_t k,
    Ranking& ranking) {
  const __m512 slack = _mm512_set1_ps(query.norm * residual + query.residual * norm + query.haze);
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i slots = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int32_t>(tile * kTile)), lane);
  query.rough.reserve(query.rough.size + kTile);
  note(query, may & lanes(keys.length - tile * kTile), score, slack, slots);
  if (query.rough.size >= query.limit) tighten<Stored>(query, keys, k, ranking);
}

// Let Q queries pass over a later block, of which few keys are among their best: no score is kept.
template <int Q, int T, typename Stored>
MEMSTACK_TARGET void over(Query* queries, const Keys& keys, int64_t begin, int64_t end, size_t k, Scratch& scratch) {
  for (int q = 0; q < Q; ++q) {
    scratch.set_slack(queries[q], end - begin);
    scratch.set_bars(queries[q], end - begin, scratch.bars[q]);
  }
  pass<Q, T>(queries, keys, begin, end, [&](int q, int64_t tile, __m512 score) MEMSTACK_TARGET {
    const int64_t t = tile - begin;
    const __mmask16 may = _mm512_cmp_ps_mask(score, _mm512_set1_ps(scratch.bars[q][t]), _CMP_NLT_UQ);
    if (__builtin_expect(may, 0))
      note_tile<Stored>(queries[q], keys, tile, scratch.residual[t], scratch.norm[t], score, may, k, scratch.ranking);
  });
}

// Let some queries, up to eight at once, pass over a block.
template <int Q, int T, typename Stored>
MEMSTACK_TARGET void over_any(
    Query* queries, const Keys& keys, int64_t begin, int64_t end, size_t k, bool first, Scratch& scratch) {
  if (first) {
    over_first<Q, T, Stored>(queries, keys, begin, end, k, scratch);
  } else {
    over<Q, T, Stored>(queries, keys, begin, end, k, scratch);
  }
}

template <typename Stored>
MEMSTACK_TARGET void search_tiles(
    std::vector<Query>& queries, const Keys& keys, int64_t begin, int64_t end, size_t k, Scratch& scratch) {
  // From the newest keys back: text asks most for what it has just read, and a high threshold spares the rest.
  const int64_t blocks = (end - begin + kBlock - 1) / kBlock;
  const int64_t newest = std::clamp((keys.newest / kTile - begin) / kBlock, int64_t{0}, std::max(blocks - 1, int64_t{0}));
  for (int64_t back = 0; back < blocks; ++back) {
    const int64_t block = begin + (newest - back + blocks) % blocks * kBlock;
    const int64_t stop = std::min(end, block + kBlock);
    const bool first = back == 0;
    scratch.set_bounds(keys.bounds + block, stop - block);
    size_t q = 0;
    for (; q + kTogether <= queries.size(); q += kTogether) over_any<kTogether, 3, Stored>(&queries[q], keys, block, stop, k, first, scratch);
    for (; q + 2 <= queries.size(); q += 2) over_any<2, 4, Stored>(&queries[q], keys, block, stop, k, first, scratch);
    for (; q < queries.size(); ++q) over_any<1, 8, Stored>(&queries[q], keys, block, stop, k, first, scratch);
  }
}

}  // namespace memstack
