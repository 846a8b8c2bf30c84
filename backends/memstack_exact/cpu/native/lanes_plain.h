// Sixteen numbers in an array, for a processor of which nothing is known: loops that a compiler makes the best of.
#pragma once

namespace memstack {

constexpr int64_t kWord = 2;
constexpr int kShift = 0;
constexpr bool kPairs = false;

template <typename T>
struct Lanes {
  T v[kTile];
};
using Floats = Lanes<float>;
using Ints = Lanes<int32_t>;
using Doubles = Lanes<double>;

// What f makes of each lane's number.
template <typename T, typename F>
MEMSTACK_INLINE Lanes<T> each(const F& f) {
  Lanes<T> made;
  for (int i = 0; i < kTile; ++i) made.v[i] = f(i);
  return made;
}
// The lanes for which f holds.
template <typename F>
MEMSTACK_INLINE Mask where(const F& f) {
  unsigned which = 0;
  for (int i = 0; i < kTile; ++i) which |= static_cast<unsigned>(f(i)) << i;
  return static_cast<Mask>(which);
}
// What f makes of all lanes together, one after another.
template <typename T, typename F>
MEMSTACK_INLINE T folded(const Lanes<T>& x, const F& f) {
  T made = x.v[0];
  for (int i = 1; i < kTile; ++i) made = f(made, x.v[i]);
  return made;
}

MEMSTACK_INLINE Floats all(float x) {
  return each<float>([=](int) { return x; });
}
MEMSTACK_INLINE Ints all(int32_t x) {
  return each<int32_t>([=](int) { return x; });
}

MEMSTACK_INLINE float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
MEMSTACK_INLINE float widened(float x) { return x; }
MEMSTACK_INLINE float widened(int8_t x) { return x; }
MEMSTACK_INLINE float widened(BFloat16 x) { return float_of(static_cast<uint32_t>(x.bits) << 16); }
MEMSTACK_INLINE float widened(Half x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000) << 16, size = x.bits & 0x7FFF;
  // Brought to a float32's place, the exponent is too small by the difference of the two biases, also of what is denormal.
  const float value = float_of(size << 13) * 0x1p112f;
  return float_of(sign | (size >= 0x7C00 ? size << 13 | 0x7F800000 : bits_of(value)));
}

template <typename Stored>
MEMSTACK_INLINE Floats load(const Stored* at, int64_t left) {
  if (left >= kTile) return each<float>([=](int i) { return widened(at[i]); });
  return each<float>([=](int i) { return i < left ? widened(at[i]) : 0.0f; });
}
MEMSTACK_INLINE Floats load(const float* at) { return load(at, kTile); }
MEMSTACK_INLINE Ints load(const int32_t* at) {
  return each<int32_t>([=](int i) { return at[i]; });
}
template <typename T>
MEMSTACK_INLINE void store(T* at, const Lanes<T>& x) {
  for (int i = 0; i < kTile; ++i) at[i] = x.v[i];
}
MEMSTACK_INLINE void store_bytes(uint8_t* at, const Ints& x) {
  for (int i = 0; i < kTile; ++i) at[i] = static_cast<uint8_t>(x.v[i]);
}

template <typename T>
MEMSTACK_INLINE Lanes<T> operator+(const Lanes<T>& x, const Lanes<T>& y) {
  return each<T>([&](int i) { return x.v[i] + y.v[i]; });
}
MEMSTACK_INLINE Floats operator-(const Floats& x, const Floats& y) {
  return each<float>([&](int i) { return x.v[i] - y.v[i]; });
}
MEMSTACK_INLINE Floats operator*(const Floats& x, const Floats& y) {
  return each<float>([&](int i) { return x.v[i] * y.v[i]; });
}
MEMSTACK_INLINE Floats operator/(const Floats& x, const Floats& y) {
  return each<float>([&](int i) { return x.v[i] / y.v[i]; });
}
template <typename T>
MEMSTACK_INLINE Lanes<T> fused(const Lanes<T>& x, const Lanes<T>& y, const Lanes<T>& z) {
  return each<T>([&](int i) { return x.v[i] * y.v[i] + z.v[i]; });
}
// The second where either is NaN, as x86 has it.
template <typename T>
MEMSTACK_INLINE Lanes<T> max(const Lanes<T>& x, const Lanes<T>& y) {
  return each<T>([&](int i) { return x.v[i] > y.v[i] ? x.v[i] : y.v[i]; });
}
MEMSTACK_INLINE Ints min(const Ints& x, const Ints& y) {
  return each<int32_t>([&](int i) { return x.v[i] < y.v[i] ? x.v[i] : y.v[i]; });
}
MEMSTACK_INLINE Floats abs(const Floats& x) {
  return each<float>([&](int i) { return std::abs(x.v[i]); });
}
template <typename T>
MEMSTACK_INLINE Lanes<T> select(Mask which, const Lanes<T>& x, const Lanes<T>& y) {
  return each<T>([&](int i) { return which >> i & 1 ? x.v[i] : y.v[i]; });
}
template <typename T>
MEMSTACK_INLINE T highest(const Lanes<T>& x) {
  return folded(x, [](T a, T b) { return a > b ? a : b; });
}
MEMSTACK_INLINE int32_t lowest(const Ints& x) {
  return folded(x, [](int32_t a, int32_t b) { return std::min(a, b); });
}
template <typename T>
MEMSTACK_INLINE T total(const Lanes<T>& x) {
  return folded(x, [](T a, T b) { return a + b; });
}

MEMSTACK_INLINE Mask not_less(const Floats& x, const Floats& y) {
  return where([&](int i) { return !(x.v[i] < y.v[i]); });
}
MEMSTACK_INLINE Mask less(const Floats& x, const Floats& y) {
  return where([&](int i) { return x.v[i] < y.v[i]; });
}
MEMSTACK_INLINE bool any_not_less(const Floats& x, const Floats& y) {
  int found = 0;
  for (int i = 0; i < kTile; ++i) found |= !(x.v[i] < y.v[i]);
  return found;
}
MEMSTACK_INLINE Mask at_least(const Ints& x, const Ints& y) {
  return where([&](int i) { return x.v[i] >= y.v[i]; });
}
MEMSTACK_INLINE Mask equal(const Ints& x, const Ints& y) {
  return where([&](int i) { return x.v[i] == y.v[i]; });
}
// Add one to the counts where x is no less than y.
MEMSTACK_INLINE Ints counted(const Ints& counts, const Ints& x, const Ints& y) {
  return each<int32_t>([&](int i) { return counts.v[i] + (x.v[i] >= y.v[i]); });
}
MEMSTACK_INLINE Ints inverted(const Ints& x) {
  return each<int32_t>([&](int i) { return ~x.v[i]; });
}
MEMSTACK_INLINE Ints tiles_of(const Ints& slots) {
  return each<int32_t>([&](int i) { return static_cast<int32_t>(static_cast<uint32_t>(slots.v[i]) / kTile); });
}
MEMSTACK_INLINE Ints numbered() {
  return each<int32_t>([](int i) { return i; });
}

MEMSTACK_INLINE Floats floats(const Ints& x) {
  return each<float>([&](int i) { return static_cast<float>(x.v[i]); });
}
MEMSTACK_INLINE Ints rounded(const Floats& x) {
  constexpr float kWhole = 0x1.8p23f;  // what is added to it loses all that is no whole number, to the nearest even
  return each<int32_t>([&](int i) {
    const float most = x.v[i] < 0x1p21f ? x.v[i] : 0x1p21f, some = most > -0x1p21f ? most : -0x1p21f;
    return static_cast<int32_t>((some + kWhole) - kWhole);
  });
}
MEMSTACK_INLINE Ints ranks(const Floats& scores) {
  return each<int32_t>([&](int i) {
    const auto bits = static_cast<int32_t>(bits_of(scores.v[i] + 0.0f));
    const int32_t in_order = bits < 0 ? bits ^ kFirst : bits;
    return scores.v[i] == scores.v[i] ? in_order : kLast;
  });
}

MEMSTACK_INLINE Doubles zeros() { return {}; }
MEMSTACK_INLINE Doubles doubles(const Floats& x) {
  return each<double>([&](int i) { return static_cast<double>(x.v[i]); });
}

template <typename T>
MEMSTACK_INLINE void pack(T* at, Mask which, const Lanes<T>& x) {
  for (uint32_t left = which; left; left &= left - 1) *at++ = x.v[first_bit(left)];
}
// Pack pairs as numbers of 64 bits, and return how many.
MEMSTACK_INLINE size_t pack(int64_t* at, Mask which, const Ints& high, const Ints& low) {
  for (uint32_t left = which; left; left &= left - 1) *at++ = paired(high.v[first_bit(left)], low.v[first_bit(left)]);
  return count(which);
}
// The numbers that stand at these places, where picked, else zero.
MEMSTACK_INLINE Floats gather(Mask which, const float* from, const Ints& places) {
  return each<float>([&](int i) { return which >> i & 1 ? from[places.v[i]] : 0.0f; });
}
// How many of n numbers are greater.
MEMSTACK_INLINE size_t count_greater(const int64_t* numbers, size_t n, int64_t than) {
  size_t greater = 0;
  for (size_t i = 0; i < n; ++i) greater += numbers[i] > than;
  return greater;
}

// The products of a query and 16 keys.
template <typename Stored>
MEMSTACK_INLINE Floats dots(const float* query, const Stored* const (&key)[kTile], int64_t dim) {
  constexpr int kWide = 4;
  return each<float>([&](int i) {
    float sums[kWide] = {};
    int64_t d = 0;
    for (; d + kWide <= dim; d += kWide)
      for (int j = 0; j < kWide; ++j) sums[j] += query[d + j] * widened(key[i][d + j]);
    for (; d < dim; ++d) sums[0] += query[d] * widened(key[i][d]);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  });
}

}  // namespace memstack
