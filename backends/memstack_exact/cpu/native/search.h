// Exact nearest neighbours at the price of an 8-bit matrix product: the rounded score bounds the true one from both
// sides, and only keys that may still be among the best k are scored in full. Scores are never stored.
#pragma once

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "keys.h"

#define MEMSTACK_UNROLL _Pragma("GCC unroll 16")

namespace memstack {

constexpr int64_t kBlock = 256;  // tiles that stay in a core's cache while queries pass over them
constexpr int64_t kMaxima = 4;   // times k: from so many maxima a threshold is first looked for
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Candidate {
  float score;  // quantised, or true once slack is zero
  float slack;  // how far the true score may lie from it
  int32_t slot;
};

// One query: its codes, what bounds its scores, and what may be among its best k.
struct Query {
  const int32_t* codes;  // four dimensions a word
  const float* exact;    // (dim,)
  float scale, norm, residual;
  int32_t offset;                // what the keys' shift by 128 adds to every sum
  float threshold = -kInfinity;  // the k-th best true score is no less
  float slack = 0;               // in the block of keys at hand
  float bar = -kInfinity;        // what the threshold is for sums that are multiplied by the keys' scale only
  size_t limit = 0;
  std::vector<Candidate> found;

  float slack_for(const Bound& keys) const { return norm * keys.residual + residual * keys.norm; }
  void set_bar() { bar = (threshold - slack) / scale; }
};

template <typename Stored>
MEMSTACK_TARGET float true_score(const Query& query, const Keys& keys, int32_t slot) {
  const Stored* key = static_cast<const Stored*>(keys.exact) + slot * keys.dim;
  __m512 sum = _mm512_setzero_ps();
  for (int64_t d = 0; d < keys.dim; d += kTile) {
    const __mmask16 mask = lanes(keys.dim - d);
    sum = _mm512_fmadd_ps(load(query.exact + d, mask), load(key + d, mask), sum);
  }
  return _mm512_reduce_add_ps(sum);
}

// A NaN score comes last; of equal ones the lower slot comes first, so that ties fall alike however keys were passed.
inline bool better(const Candidate& one, const Candidate& other) {
  if (one.score > other.score || one.score < other.score) return one.score > other.score;
  const bool nan = std::isnan(one.score);
  return nan != std::isnan(other.score) ? !nan : one.slot < other.slot;
}

// Score the first n candidates truly, those a little further on already on their way from memory.
template <typename Stored>
MEMSTACK_TARGET void score_truly(Query& query, const Keys& keys, size_t n) {
  constexpr size_t kAhead = 8;
  const int64_t bytes = keys.dim * sizeof(Stored);
  const auto fetch = [&](const Candidate& candidate) {
    const char* key = static_cast<const char*>(keys.exact) + candidate.slot * bytes;
    if (candidate.slack != 0)
      for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(key + at);
  };
  auto& found = query.found;
  for (size_t i = 0; i < std::min(kAhead, n); ++i) fetch(found[i]);
  for (size_t i = 0; i < n; ++i) {
    if (i + kAhead < n) fetch(found[i + kAhead]);
    if (found[i].slack == 0) continue;
    found[i].score = true_score<Stored>(query, keys, found[i].slot);
    found[i].slack = 0;
  }
}

// Score the best k truly: the worst of them bounds what can still be among the best k.
template <typename Stored>
MEMSTACK_TARGET void tighten(Query& query, const Keys& keys, size_t k) {
  auto& found = query.found;
  if (found.size() > k) {
    std::nth_element(found.begin(), found.begin() + k, found.end(), better);
    score_truly<Stored>(query, keys, k);
    float worst = kInfinity;
    for (size_t i = 0; i < k; ++i) {
      worst = found[i].score == found[i].score ? std::min(worst, found[i].score) : -kInfinity;
    }
    const float threshold = query.threshold = std::max(query.threshold, worst);
    const auto hopeless = [threshold](const Candidate& c) { return c.score + c.slack < threshold; };
    found.erase(std::remove_if(found.begin() + k, found.end(), hopeless), found.end());
    query.set_bar();
  }
  query.limit = std::max(query.limit, 2 * found.size());
}

template <typename Stored>
MEMSTACK_TARGET void finish(Query& query, const Keys& keys, size_t k) {
  tighten<Stored>(query, keys, k);
  auto& found = query.found;
  score_truly<Stored>(query, keys, found.size());
  if (found.size() > k) {
    std::nth_element(found.begin(), found.begin() + k, found.end(), better);
    found.resize(k);
  }
  std::sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) { return a.slot < b.slot; });
}

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

// Note the keys of a tile that may be among a query's best.
template <typename Stored>
MEMSTACK_TARGET __attribute__((noinline)) void note(
    Query& query, const Keys& keys, int64_t tile, __m512 score, unsigned may, size_t k) {
  alignas(64) float scores[kTile];
  _mm512_store_ps(scores, score);
  const float bound = query.slack_for(keys.bounds[tile].either());
  for (; may; may &= may - 1) {
    const int lane = __builtin_ctz(may);
    const float own = scores[lane] * query.scale;
    // A rounded score that overflows says nothing of the true one.
    const float slack = std::isfinite(own) ? bound : kInfinity;
    const int64_t slot = tile * kTile + lane;
    if (!(own + slack < query.threshold)) query.found.push_back({own, slack, static_cast<int32_t>(slot)});
  }
  if (query.found.size() >= query.limit) tighten<Stored>(query, keys, k);
}

template <typename Stored>
MEMSTACK_TARGET inline __attribute__((always_inline)) void look(
    Query& query, const Keys& keys, int64_t tile, __m512 score, size_t k) {
  const __mmask16 live = lanes(keys.length - tile * kTile);
  // Not less: what overflows to NaN stays.
  const unsigned may = _mm512_mask_cmp_ps_mask(live, score, _mm512_set1_ps(query.bar), _CMP_NLT_UQ);
  if (may) note<Stored>(query, keys, tile, score, may, k);
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
MEMSTACK_TARGET inline void look_ahead(Query& query, const float* scores, int64_t tiles, size_t k) {
  const int64_t buckets = std::min<int64_t>(tiles, (kMaxima * k + kTile - 1) / kTile);
  if (static_cast<size_t>(buckets * kTile) < 2 * k) return;
  alignas(64) float best[kBlock * kTile];
  for (int64_t b = 0; b < buckets; ++b) {
    __m512 largest = _mm512_loadu_ps(scores + b * kTile);
    for (int64_t tile = b + buckets; tile < tiles; tile += buckets)
      largest = _mm512_max_ps(largest, _mm512_loadu_ps(scores + tile * kTile));
    _mm512_store_ps(best + b * kTile, largest);
  }
  std::nth_element(best, best + (k - 1), best + buckets * kTile, std::greater<float>());
  const float bound = std::min(best[k - 1], std::numeric_limits<float>::max()) * query.scale - query.slack;
  if (bound > query.threshold) query.threshold = bound;
  query.set_bar();
}

// Let Q queries pass over a block, the first of all with room to keep its scores: from them comes a threshold before
// any key is noted.
template <int Q, int T, typename Stored>
MEMSTACK_TARGET void over(Query* queries, const Keys& keys, int64_t begin, int64_t end, size_t k, float* kept) {
  if (!kept) {
    pass<Q, T>(queries, keys, begin, end, [&](int q, int64_t tile, __m512 score) MEMSTACK_TARGET {
      look<Stored>(queries[q], keys, tile, score, k);
    });
    return;
  }
  pass<Q, T>(queries, keys, begin, end, [&](int q, int64_t tile, __m512 score) MEMSTACK_TARGET {
    _mm512_storeu_ps(kept + (q * kBlock + tile - begin) * kTile, score);
  });
  for (int q = 0; q < Q; ++q) {
    const float* mine = kept + q * kBlock * kTile;
    look_ahead(queries[q], mine, std::min(end, keys.length / kTile) - begin, k);
    for (int64_t tile = begin; tile < end; ++tile)
      look<Stored>(queries[q], keys, tile, _mm512_loadu_ps(mine + (tile - begin) * kTile), k);
    tighten<Stored>(queries[q], keys, k);
  }
}

template <typename Stored>
MEMSTACK_TARGET void search_tiles(std::vector<Query>& queries, const Keys& keys, int64_t begin, int64_t end, size_t k) {
  // From the newest keys back: text asks most for what it has just read, and a high threshold spares the rest.
  const int64_t blocks = (end - begin + kBlock - 1) / kBlock;
  const int64_t newest = std::clamp((keys.newest / kTile - begin) / kBlock, int64_t{0}, std::max(blocks - 1, int64_t{0}));
  std::vector<float> scores(8 * kBlock * kTile);
  for (int64_t back = 0; back < blocks; ++back) {
    const int64_t block = begin + (newest - back + blocks) % blocks * kBlock;
    const int64_t stop = std::min(end, block + kBlock);
    float* const kept = back == 0 ? scores.data() : nullptr;
    Bound bound{0, 0};
    for (int64_t tile = block; tile < stop; ++tile) bound = bound.max(keys.bounds[tile].either());
    for (auto& query : queries) {
      query.slack = query.slack_for(bound);
      query.set_bar();
    }
    size_t q = 0;
    for (; q + 8 <= queries.size(); q += 8) over<8, 3, Stored>(&queries[q], keys, block, stop, k, kept);
    for (; q + 2 <= queries.size(); q += 2) over<2, 4, Stored>(&queries[q], keys, block, stop, k, kept);
    for (; q < queries.size(); ++q) over<1, 8, Stored>(&queries[q], keys, block, stop, k, kept);
  }
  for (auto& query : queries) finish<Stored>(query, keys, k);
}

}  // namespace memstack
