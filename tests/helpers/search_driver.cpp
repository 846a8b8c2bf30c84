// A search without Python, for a processor that is emulated: reads whole numbers (memories, capacity, written, dim, q, k, dtype),
// the keys as stored and the queries, and writes the slots and scores of the best.
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
    std::vector<char> keys(memories * capacity * dim * (dtype ? 2 : 4));
    std::vector<int64_t> slots(memories * q * k), places(capacity);
    read(keys.data(), keys.size());
    read(queries.data(), queries.size() * sizeof(float));
    for (int64_t i = 0; i < capacity; ++i) places[i] = i;
    const Store store{codes.data(), scale.data(), bounds.data(), centre.data(), tiles, groups, memories, capacity, dim, dtype};
    const int64_t row = 0, written = n[2];
    int64_t centred = 0;
    write_keys(&store, &row, places.data(), keys.data(), 1, capacity, 1);
    centre_keys(&store, keys.data(), &written, &centred, 1, 1);
    if (!search(&store, keys.data(), &written, queries.data(), 1, q, k, 1, 1, slots.data(), scores.data())) return 3;
    std::fwrite(slots.data(), sizeof(int64_t), slots.size(), stdout);
    std::fwrite(scores.data(), sizeof(float), scores.size(), stdout);
  }
  return 0;
}
