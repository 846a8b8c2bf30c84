// What first_pass.py calls, in C: no Python, no torch, so that it compiles in seconds anywhere.

#include <cstdint>

#include <dlfcn.h>

#include <atomic>
#include <system_error>
#include <thread>

#include "search.h"

namespace memstack {
namespace {

constexpr int64_t kQueryTile = 64;            // queries that pass over a block of keys while it is in the cache
constexpr int64_t kPackedQueryTile = 256;     // the same, where a block has first to be laid out
constexpr int64_t kWorthAThread = 1ll << 23;  // products of codes

// All memories' keys; the fields and their order are those of first_pass.py's Store.
struct Store {
  uint8_t* codes;
  uint16_t* scale;
  TileBound* bounds;
  float* centre;
  const uint16_t* stored_scale;  // of a store in 8 bits, whose codes are null
  int64_t tiles, groups, heads, capacity, dim, dtype;

  Keys memory(int64_t at) const {
    const int64_t first = at * tiles * kTile;
    return {codes ? codes + first * groups * kWord : nullptr, codes ? scale + first : nullptr, bounds + at * tiles, centre + at * dim,
            nullptr, nullptr, dim, groups, 0, 0};
  }

  // With all keys as stored, (memories, capacity, dim), and how many were written of them.
  Keys filled(int64_t at, const void* exact, int64_t written) const {
    constexpr int64_t kBytes[] = {sizeof(float), sizeof(BFloat16), sizeof(Half), sizeof(int8_t)};
    Keys keys = memory(at);
    keys.exact = static_cast<const char*>(exact) + at * capacity * dim * kBytes[dtype];
    if (stored_scale) keys.stored_scale = stored_scale + at * capacity;
    keys.length = std::min(written, capacity);
    keys.newest = std::max<int64_t>(written - 1, 0) % capacity;
    return keys;
  }
};

// Call work(item) for every item, from as many threads.
//
// Those of OpenMP, if the process has them: torch's wait for their next work by keeping a core busy, and threads of our
// own would have to share it with them.
template <typename Work>
void share(int64_t items, int64_t threads, const Work& work) {
  std::atomic<int64_t> next{0};
  const auto worker = [&] {
    for (int64_t item; (item = next++) < items;) work(item);
  };
  threads = std::min(items, threads);
  using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
  static const auto parallel = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  if (threads <= 1) return worker();
  if (parallel) {
    const auto call = [](void* called) { (*static_cast<decltype(worker)*>(called))(); };
    return parallel(call, const_cast<void*>(static_cast<const void*>(&worker)), static_cast<unsigned>(threads), 0);
  }
  std::vector<std::thread> others;
  try {
    for (int64_t i = 1; i < threads; ++i) others.emplace_back(worker);
  } catch (const std::system_error&) {
    // No more threads are to be had: those that there are do the work.
  }
  worker();
  for (auto& other : others) other.join();
}

// Call with a null pointer of the type in which keys are stored.
template <typename Call>
void with_type(int64_t dtype, const Call& call) {
  switch (dtype) {
    case 0: return call(static_cast<const float*>(nullptr));
    case 1: return call(static_cast<const BFloat16*>(nullptr));
    case 2: return call(static_cast<const Half*>(nullptr));
    case 3: return call(static_cast<const int8_t*>(nullptr));
  }
}

// The largest sum of two neighbours' sizes: where no two codes of a query add up to more than 128, as rounding to 127 at
// most leaves them, two products with codes of keys up to 255 fit into 16 bits.
float largest_pair(const float* vector, int64_t dim) {
  float largest = 0;
  for (int64_t d = 0; d < dim; d += 2) {
    const float pair = std::abs(vector[d]) + (d + 1 < dim ? std::abs(vector[d + 1]) : 0.0f);
    largest = std::max(largest, pair);
  }
  return largest;
}

// Begin with a query, in the room of one before.
void round_query(Query& query, const float* exact, const Keys& keys, int8_t* codes, size_t k) {
  const int64_t dim = keys.dim;
  const float room = kPairs ? largest_pair(exact, dim) : 0;
  const Rounded rounded = round_vector(exact, nullptr, dim, reinterpret_cast<uint8_t*>(codes), kWord, 0, room);
  query.codes = codes;
  query.exact = exact;
  query.scale = rounded.scale;
  query.residual = rounded.bound.residual;
  query.norm = rounded.bound.norm + rounded.bound.residual;
  query.offset = kShift * rounded.sum;
  double shift = 0, length = 0;
  for (int64_t d = 0; d < dim; ++d) {
    // Of keys that were not centred, the centre is in the products; what rounding took from the query, is not.
    const float missing = keys.codes ? exact[d] : exact[d] - codes[d] * rounded.scale;
    shift += static_cast<double>(missing) * keys.centre[d];
    length += static_cast<double>(keys.centre[d]) * keys.centre[d];
  }
  query.shift = static_cast<float>(shift);
  query.haze = static_cast<float>(kFloatError * (dim + 8) * query.norm * std::sqrt(length));
  query.threshold = -kInfinity;
  query.limit = 4 * k + 64;
  query.rough.clear();
  query.scored.clear();
  query.rough.reserve(query.limit);
}

// Whether no number is NaN or infinite: those have all bits of their exponent set.
bool finite(const float* numbers, int64_t n) {
  constexpr uint32_t kExponent = 0x7F800000;
  uint32_t found = 0;
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, numbers + i, sizeof bits);
    found |= (bits & kExponent) == kExponent;
  }
  return !found;
}

// Slots, -1 for none, and their scores.
struct Answers {
  int64_t* slots;
  float* scores;
};

// Of each query's answers, `parts` times the k best of a part, keep the k best; the slots of a part are below the next one's.
void merge_parts(const Answers& of_parts, int64_t queries, int64_t k, int64_t parts, const Answers& merged) {
  std::vector<int64_t> next(parts);
  for (int64_t query = 0; query < queries; ++query) {
    const int64_t first = query * parts * k;
    std::fill(next.begin(), next.end(), 0);
    for (int64_t j = 0; j < k; ++j) {
      int64_t best = -1;
      for (int64_t part = 0; part < parts; ++part) {
        if (next[part] == k) continue;
        const auto score = [&](int64_t of) { return of_parts.scores[first + of * k + next[of]]; };
        if (best < 0 || score(part) > score(best)) best = part;
      }
      const int64_t at = first + best * k + next[best]++;
      merged.slots[query * k + j] = of_parts.slots[at];
      merged.scores[query * k + j] = of_parts.scores[at];
    }
  }
}

// Move the centres of memories to where their keys are: in rows of which `centred` says that no more than half as many
// keys were written when that was done, or that it was done before they began anew. `exact`, `written`
// and `centred` are a search's.
void centre_keys(
    const Store* store, const void* exact, const int64_t* written, int64_t* centred, int64_t rows, int64_t threads) {
  std::vector<int64_t> moving;
  for (int64_t row = 0; row < rows; ++row)
    if (written[row] && (written[row] >= 2 * centred[row] || written[row] < centred[row])) moving.push_back(row);
  share(static_cast<int64_t>(moving.size()) * store->heads, threads, [&](int64_t item) {
    const int64_t row = moving[item / store->heads];
    with_type(store->dtype, [&](auto type) {
      using Stored = std::remove_cv_t<std::remove_pointer_t<decltype(type)>>;
      move_centre<Stored>(store->filled(row * store->heads + item % store->heads, exact, written[row]));
    });
  });
  for (const int64_t row : moving) centred[row] = written[row];
}

// Return how many of these threads a search of q queries is worth, the longest memory holding so many keys.
int64_t threads_worth(int64_t memories, int64_t q, int64_t keys, int64_t dim, int64_t threads) {
  // In floating point, for the product of all four may exceed 64 bits.
  const double work = static_cast<double>(memories) * q * keys * dim / kWorthAThread;
  return work < threads ? std::min(threads, 1 + static_cast<int64_t>(work)) : threads;
}

// Return how many parts the keys are shared out in, each with k answers of its own: for few queries leave threads idle.
int64_t parts_worth(int64_t memories, int64_t q, int64_t threads) {
  return std::max<int64_t>(1, threads / (memories * ((q + kQueryTile - 1) / kQueryTile)));
}

}  // namespace
}  // namespace memstack

using namespace memstack;

extern "C" {

// Return how many dimensions of a key lie side by side, for which Store's codes leave room.
int64_t word() { return kWord; }

// Keep keys (row_count, heads, n, dim) at slots (row_count, n) of these rows.
void write_keys(const Store* store, const int64_t* rows, const int64_t* slots, const void* keys, int64_t row_count,
                int64_t n, int64_t threads) {
  const double products = 64.0 * row_count * store->heads * n * store->dim;  // about what rounding costs
  const double worth = std::min<double>(threads, 1 + products / kWorthAThread);
  share(row_count * store->heads, static_cast<int64_t>(worth), [&](int64_t item) {
    const int64_t row = item / store->heads;
    const Keys memory = store->memory(rows[row] * store->heads + item % store->heads);
    with_type(store->dtype, [&](auto type) {
      const auto* key = static_cast<decltype(type)>(keys) + item * n * store->dim;
      for (int64_t i = 0; i < n; ++i) write_key(memory, slots[row * n + i], key + i * store->dim);
    });
  });
}

// Of queries (rows x heads, q, dim), give slots and scores (rows x heads, q, k), best first, -1 for none. `exact` are all
// keys as stored, (rows x heads, capacity, dim); `written` counts each row's, and `centred` those when its centres were last
// moved, which may be now. Returns 0, and gives nothing, if a query is not finite.
int search(const Store* store, const void* exact, const int64_t* written, int64_t* centred, const float* queries,
           int64_t rows, int64_t q, int64_t k, int64_t threads, int64_t* slots, float* scores) {
  const int64_t memories = rows * store->heads;
  if (!finite(queries, memories * q * store->dim)) return 0;
  centre_keys(store, exact, written, centred, rows, threads);
  const int64_t longest = std::min(*std::max_element(written, written + rows), store->capacity);
  threads = threads_worth(memories, q, longest, store->dim, threads);
  const int64_t parts = parts_worth(memories, q, threads);
  std::vector<int64_t> part_slots(parts > 1 ? memories * q * parts * k : 0);
  std::vector<float> part_scores(part_slots.size());
  const Answers merged{slots, scores}, found = parts > 1 ? Answers{part_slots.data(), part_scores.data()} : merged;
  std::fill_n(found.slots, memories * q * parts * k, int64_t{-1});
  std::fill_n(found.scores, memories * q * parts * k, -kInfinity);
  // As many queries at once as leave work for every thread.
  const int64_t even = (memories * q + threads - 1) / threads;
  const int64_t most = store->codes ? kQueryTile : kPackedQueryTile;
  const int64_t together = std::clamp<int64_t>(even / 8 * 8, std::min<int64_t>(8, q), most);
  const int64_t query_tiles = (q + together - 1) / together;
  share(memories * query_tiles * parts, threads, [&](int64_t item) {
    const int64_t part = item % parts, from = item / parts % query_tiles * together;
    const int64_t at = item / parts / query_tiles, to = std::min(q, from + together);
    const Keys keys = store->filled(at, exact, written[at / store->heads]);
    const int64_t tiles = (keys.length + kTile - 1) / kTile;
    std::vector<int8_t> codes((to - from) * store->groups * kWord, 0);
    thread_local Scratch scratch;  // a quarter of a megabyte, which to have anew costs more than one query
    scratch.queries.resize(std::max<size_t>(scratch.queries.size(), to - from));
    Query* const rounded = scratch.queries.data();
    for (int64_t i = from; i < to; ++i)
      round_query(rounded[i - from], queries + (at * q + i) * store->dim, keys, &codes[(i - from) * store->groups * kWord], k);
    with_type(store->dtype, [&](auto type) {
      using Stored = std::remove_cv_t<std::remove_pointer_t<decltype(type)>>;
      search_tiles<Stored>(rounded, to - from, keys, tiles * part / parts, tiles * (part + 1) / parts, k, scratch);
      for (int64_t i = from; i < to; ++i) {
        const size_t n = finish<Stored>(rounded[i - from], keys, k, scratch.ranking, scratch.ties, scratch.sorted);
        const int64_t first = ((at * q + i) * parts + part) * k;
        for (size_t j = 0; j < n; ++j) {
          found.slots[first + j] = static_cast<uint32_t>(~scratch.sorted[j]);
          found.scores[first + j] = score_of(static_cast<int32_t>(scratch.sorted[j] >> 32));
        }
      }
    });
  });
  if (parts > 1) merge_parts(found, memories * q, k, parts, merged);
  return 1;
}

}  // extern "C"
