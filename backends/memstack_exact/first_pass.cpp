// Exact nearest neighbours at the price of an 8-bit matrix product: the quantised score bounds the true one from both
// sides, and only keys that may still be among the best k are scored in full. Scores are never stored.
//
// Keys are packed in tiles of 16, four dimensions at a time, as a 512-bit register takes them: (tiles, dim / 4, 16, 4)
// unsigned bytes, so that one VNNI instruction (vpdpbusd) adds four products to each of 16 sums.

#include <torch/extension.h>

#include <algorithm>
#include <limits>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define MEMSTACK_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni,fma,f16c")))
#define MEMSTACK_UNROLL _Pragma("GCC unroll 16")

namespace {

constexpr int64_t kTile = 16;                   // keys whose sums fill a register
constexpr int64_t kBlock = 256;                 // tiles that stay in a core's cache while queries pass over them
constexpr int64_t kBucket = 8;                  // tiles that share 16 maxima when a threshold is first looked for
constexpr int64_t kQueryTile = 64;
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

  void set_bar() { bar = (threshold - slack) / scale; }
};

struct Keys {
  const uint8_t* codes;
  const float *scale, *residual, *norm;  // by slot
  const void* exact;                     // (capacity, dim)
  int64_t dim, groups, length, newest;
};

template <typename Stored>
MEMSTACK_TARGET float true_score(const Query& query, const Keys& keys, int32_t slot) {
  const Stored* key = static_cast<const Stored*>(keys.exact) + slot * keys.dim;
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t d = 0; d < keys.dim; ++d) sum += query.exact[d] * static_cast<float>(key[d]);
  return sum;
}

// A NaN score comes last.
inline bool better(const Candidate& one, const Candidate& other) {
  return one.score > other.score || (other.score != other.score && one.score == one.score);
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

MEMSTACK_TARGET inline __m512 scaled(const int32_t* sums, __m512 scale) {
  return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums)), scale);
}

// Let Q queries pass over T tiles, and note which keys may be among their best.
template <int Q, int T, typename Stored>
MEMSTACK_TARGET void pass(Query* queries, const Keys& keys, int64_t tile, size_t k) {
  alignas(64) int32_t sums[Q][T][16];
  multiply<Q, T>(queries, keys, tile, sums);
  for (int t = 0; t < T; ++t) {
    const int64_t first = (tile + t) * kTile, left = keys.length - first;
    const __mmask16 live = left >= kTile ? 0xFFFF : static_cast<__mmask16>((1u << left) - 1);
    const __m512 scale = _mm512_loadu_ps(keys.scale + first);
    for (int q = 0; q < Q; ++q) {
      Query& query = queries[q];
      const __m512 score = scaled(sums[q][t], scale);
      // Not less: what overflows to NaN stays.
      unsigned may = _mm512_mask_cmp_ps_mask(live, score, _mm512_set1_ps(query.bar), _CMP_NLT_UQ);
      if (!may) continue;
      alignas(64) float scores[16];
      _mm512_store_ps(scores, score);
      for (; may; may &= may - 1) {
        const int lane = __builtin_ctz(may);
        const int64_t slot = first + lane;
        const float own = scores[lane] * query.scale;
        const float slack = query.norm * keys.residual[slot] + query.residual * keys.norm[slot];
        if (!(own + slack < query.threshold)) query.found.push_back({own, slack, static_cast<int32_t>(slot)});
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
        const __m512 scale = _mm512_loadu_ps(keys.scale + (tile + t) * kTile);
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
    float residual = 0, norm = 0;
    for (int64_t slot = block * kTile; slot < stop * kTile; ++slot) {
      residual = std::max(residual, keys.residual[slot]);
      norm = std::max(norm, keys.norm[slot]);
    }
    for (auto& query : queries) {
      query.slack = query.norm * residual + query.residual * norm;
      query.set_bar();
    }
    size_t q = 0;
    for (; q + 8 <= queries.size(); q += 8) pass_block<8, 3, Stored>(&queries[q], keys, block, stop, k, first);
    for (; q + 2 <= queries.size(); q += 2) pass_block<2, 4, Stored>(&queries[q], keys, block, stop, k, first);
    for (; q < queries.size(); ++q) pass_block<1, 8, Stored>(&queries[q], keys, block, stop, k, first);
  }
  for (auto& query : queries) finish<Stored>(query, keys, k);
}

bool available() {
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl");
}

// (memories, ...) tensors as written by first_pass.py; returns slots (memories, q, parts * k), -1 for none.
torch::Tensor search(const torch::Tensor& codes, const torch::Tensor& scale, const torch::Tensor& residual,
                     const torch::Tensor& norm, const torch::Tensor& exact, const torch::Tensor& lengths,
                     const torch::Tensor& newest,
                     const torch::Tensor& queries, const torch::Tensor& query_codes, const torch::Tensor& query_scale,
                     const torch::Tensor& query_residual, const torch::Tensor& query_norm,
                     const torch::Tensor& query_offset, int64_t k) {
  TORCH_CHECK(available(), "this processor has no AVX-512 VNNI");
  const int64_t memories = queries.size(0), asked = queries.size(1), dim = queries.size(2);
  const int64_t threads = at::get_num_threads(), capacity = exact.size(1), groups = codes.size(2);
  // As many queries at once as leave work for every thread; few queries of few memories share out the keys.
  const int64_t even = (memories * asked + threads - 1) / threads;
  const int64_t together = std::clamp<int64_t>(even / 8 * 8, std::min<int64_t>(8, asked), kQueryTile);
  const int64_t query_tiles = (asked + together - 1) / together;
  const int64_t parts = std::max<int64_t>(1, threads / (memories * query_tiles));
  auto slots = torch::full({memories, asked, parts * k}, -1, torch::kInt64);
  int64_t* const out = slots.data_ptr<int64_t>();
  const auto work = [&](int64_t first, int64_t last) {
    for (int64_t item = first; item < last; ++item) {
      const int64_t part = item % parts, tile = item / parts % query_tiles, memory = item / parts / query_tiles;
      const int64_t length = lengths.data_ptr<int64_t>()[memory];
      const int64_t padded = scale.size(1), tiles = (length + kTile - 1) / kTile;
      const Keys keys{codes.data_ptr<uint8_t>() + memory * codes.stride(0),
                      scale.data_ptr<float>() + memory * padded,
                      residual.data_ptr<float>() + memory * padded,
                      norm.data_ptr<float>() + memory * padded,
                      static_cast<const char*>(exact.data_ptr()) + memory * capacity * dim * exact.element_size(),
                      dim,
                      groups,
                      length,
                      newest.data_ptr<int64_t>()[memory]};
      const int64_t from = tile * together, to = std::min(asked, from + together);
      std::vector<Query> some(to - from);
      for (int64_t q = from; q < to; ++q) {
        const int64_t at = memory * asked + q;
        Query& query = some[q - from];
        query.codes = reinterpret_cast<const int32_t*>(query_codes.data_ptr<int8_t>()) + at * groups;
        query.exact = queries.data_ptr<float>() + at * dim;
        query.scale = query_scale.data_ptr<float>()[at];
        query.residual = query_residual.data_ptr<float>()[at];
        query.norm = query_norm.data_ptr<float>()[at];
        query.offset = query_offset.data_ptr<int32_t>()[at];
        query.limit = 4 * k + 64;
        query.found.reserve(query.limit + kTile);
      }
      const int64_t begin = tiles * part / parts, end = tiles * (part + 1) / parts;
      switch (exact.scalar_type()) {
        case torch::kFloat: search_some<float>(some, keys, begin, end, k); break;
        case torch::kBFloat16: search_some<at::BFloat16>(some, keys, begin, end, k); break;
        case torch::kHalf: search_some<at::Half>(some, keys, begin, end, k); break;
        default: TORCH_CHECK(false, "keys of this dtype cannot be searched");
      }
      for (int64_t q = from; q < to; ++q) {
        int64_t* row = out + ((memory * asked + q) * parts + part) * k;
        for (const auto& candidate : some[q - from].found) *row++ = candidate.slot;
      }
    }
  };
  at::parallel_for(0, memories * query_tiles * parts, 1, work);
  return slots;
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.def("available", &available);
  module.def("search", &search, pybind11::call_guard<pybind11::gil_scoped_release>());
}

#else

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.def("available", [] { return false; });
}

#endif
