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
constexpr int64_t kBucket = 8;   // tiles that share 16 maxima when a threshold is first looked for
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
    const __mmask16 some = lanes(keys.dim - d);
    sum = _mm512_fmadd_ps(load(query.exact + d, some), load(key + d, some), sum);
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

// The scales of a tile's keys.
MEMSTACK_TARGET inline __m512 scales(const Keys& keys, int64_t tile) {
  return load(reinterpret_cast<const BFloat16*>(keys.scale) + tile * kTile, 0xFFFF);
}

MEMSTACK_TARGET inline __m512 scaled(const int32_t* sums, __m512 scale) {
  return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums)), scale);
}

// Let Q queries pass over T tiles, and note which keys may be among their best.
template <int Q, int T, typename Stored>
MEMSTACK_TARGET void pass(Query* queries, const Keys& keys, int64_t tile, size_t k) {
  alignas(64) int32_t sums[Q][T][16];
  if constexpr (Q == 1) {
    multiply_one<T>(*queries, keys, tile, sums);
  } else {
    multiply<Q, T>(queries, keys, tile, sums);
  }
  for (int t = 0; t < T; ++t) {
    const int64_t first = (tile + t) * kTile, left = keys.length - first;
    const __mmask16 live = lanes(left);
    const __m512 scale = scales(keys, tile + t);
    for (int q = 0; q < Q; ++q) {
      Query& query = queries[q];
      const __m512 score = scaled(sums[q][t], scale);
      // Not less: what overflows to NaN stays.
      unsigned may = _mm512_mask_cmp_ps_mask(live, score, _mm512_set1_ps(query.bar), _CMP_NLT_UQ);
      if (!may) continue;
      alignas(64) float scores[16];
      _mm512_store_ps(scores, score);
      const float slack = query.slack_for(keys.bounds[tile + t].either());
      for (; may; may &= may - 1) {
        const int lane = __builtin_ctz(may);
        const float own = scores[lane] * query.scale;
        if (!(own + slack < query.threshold)) query.found.push_back({own, slack, static_cast<int32_t>(first + lane)});
      }
      if (query.found.size() >= query.limit) tighten<Stored>(query, keys, k);
    }
  }
}

// A first threshold from whole tiles only: k of the buckets' maxima are k different keys.
template <int Q>
MEMSTACK_TARGET void look_ahead(Query* queries, const Keys& keys, int64_t begin, int64_t end, size_t k) {
  const int64_t buckets = (end - begin) / kBucket;
  if (static_cast<size_t>(buckets * kTile) < 2 * k || end * kTile > keys.length) return;
  std::vector<float> best(Q * buckets * kTile);
  for (int64_t b = 0; b < buckets; ++b) {
    __m512 largest[Q];
    for (int q = 0; q < Q; ++q) largest[q] = _mm512_set1_ps(-kInfinity);
    for (int64_t tile = begin + b * kBucket; tile < begin + (b + 1) * kBucket; tile += 2) {
      alignas(64) int32_t sums[Q][2][16];
      multiply<Q, 2>(queries, keys, tile, sums);
      for (int t = 0; t < 2; ++t) {
        const __m512 scale = scales(keys, tile + t);
        for (int q = 0; q < Q; ++q) largest[q] = _mm512_max_ps(largest[q], scaled(sums[q][t], scale));
      }
    }
    for (int q = 0; q < Q; ++q) _mm512_storeu_ps(&best[(q * buckets + b) * kTile], largest[q]);
  }
  for (int q = 0; q < Q; ++q) {
    const auto mine = best.begin() + q * buckets * kTile;
    std::nth_element(mine, mine + (k - 1), mine + buckets * kTile, std::greater<float>());
    const float bound = mine[k - 1] * queries[q].scale - queries[q].slack;
    if (bound > queries[q].threshold) queries[q].threshold = bound;
    queries[q].set_bar();
  }
}

template <int Q, int T, typename Stored>
MEMSTACK_TARGET void pass_block(Query* queries, const Keys& keys, int64_t begin, int64_t end, size_t k, bool first) {
  if (first) look_ahead<Q>(queries, keys, begin, end, k);
  int64_t tile = begin;
  for (; tile + T <= end; tile += T) pass<Q, T, Stored>(queries, keys, tile, k);
  for (; tile < end; ++tile) pass<Q, 1, Stored>(queries, keys, tile, k);
  if (first)
    for (int q = 0; q < Q; ++q) tighten<Stored>(queries[q], keys, k);
}

template <typename Stored>
MEMSTACK_TARGET void search_some(std::vector<Query>& queries, const Keys& keys, int64_t begin, int64_t end, size_t k) {
  // From the newest keys back: text asks most for what it has just read, and a high threshold spares the rest.
  const int64_t blocks = (end - begin + kBlock - 1) / kBlock;
  const int64_t newest = std::clamp((keys.newest / kTile - begin) / kBlock, int64_t{0}, std::max(blocks - 1, int64_t{0}));
  for (int64_t back = 0; back < blocks; ++back) {
    const int64_t block = begin + (newest - back + blocks) % blocks * kBlock;
    const int64_t stop = std::min(end, block + kBlock);
    const bool first = back == 0;
    Bound bound{0, 0};
    for (int64_t tile = block; tile < stop; ++tile) bound = bound.max(keys.bounds[tile].either());
    for (auto& query : queries) {
      query.slack = query.slack_for(bound);
      query.set_bar();
    }
    size_t q = 0;
    for (; q + 8 <= queries.size(); q += 8) pass_block<8, 3, Stored>(&queries[q], keys, block, stop, k, first);
    for (; q + 2 <= queries.size(); q += 2) pass_block<2, 4, Stored>(&queries[q], keys, block, stop, k, first);
    for (; q < queries.size(); ++q) pass_block<1, 8, Stored>(&queries[q], keys, block, stop, k, first);
  }
  for (auto& query : queries) finish<Stored>(query, keys, k);
}

}  // namespace memstack
