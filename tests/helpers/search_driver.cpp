// A search without Python, for a processor that is emulated: reads whole numbers (memories, capacity, written, dim, q, k, dtype),
// the keys as stored, those of a store in 8 bits with their scales, and the queries; and writes the slots and scores of the
// best.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "first_pass.cpp"

namespace {

void read(void* to, size_t bytes) {
  if (std::fread(to, 1, bytes, stdin) != bytes) std::exit(2);
}

}  // namespace

int main() {
  int64_t n[7];
  while (std::fread(n, sizeof n, 1, stdin) == 1) {
    const int64_t memories = n[0], capacity = n[1], dim = n[3], q = n[4], k = n[5], dtype = n[6];
    const int64_t tiles = (capacity + kTile - 1) / kTile, groups = (dim + kWord - 1) / kWord;
    std::vector<uint8_t> codes(memories * tiles * groups * kTile * kWord);
    std::vector<uint16_t> scale(memories * tiles * kTile);
    std::vector<TileBound> bounds(memories * tiles);
    std::vector<float> centre(memories * dim), queries(memories * q * dim), scores(memories * q * k);
    const int64_t bytes[] = {4, 2, 2, 1};
    std::vector<char> keys(memories * capacity * dim * bytes[dtype]);
    std::vector<int64_t> slots(memories * q * k), places(capacity);
    std::vector<uint16_t> stored_scale(dtype == 3 ? memories * capacity : 0);
    read(keys.data(), keys.size());
    read(stored_scale.data(), stored_scale.size() * sizeof(uint16_t));
    read(queries.data(), queries.size() * sizeof(float));
    for (int64_t i = 0; i < capacity; ++i) places[i] = i;
    Store store{codes.data(), scale.data(), bounds.data(), centre.data(), nullptr,
                tiles,        groups,       memories,      capacity,      dim, dtype};
    const int64_t row = 0, written = n[2];
    int64_t centred = 0;
    std::vector<float> given(dtype == 3 ? keys.size() : 0);  // what such a store was given to keep
    for (size_t i = 0; i < given.size(); ++i) given[i] = static_cast<int8_t>(keys[i]) * scale_of(stored_scale[i / dim]);
    if (dtype == 3) store.codes = nullptr, store.scale = nullptr, store.stored_scale = stored_scale.data(), store.dtype = 0;
    write_keys(&store, &row, places.data(), dtype == 3 ? static_cast<void*>(given.data()) : keys.data(), 1, capacity, 1);
    store.dtype = dtype;
    if (!search(&store, keys.data(), &written, &centred, queries.data(), 1, q, k, 1, slots.data(), scores.data())) return 3;
    std::fwrite(slots.data(), sizeof(int64_t), slots.size(), stdout);
    std::fwrite(scores.data(), sizeof(float), scores.size(), stdout);
  }
  return 0;
}
