// Which variants of the loop this processor runs, and this compiler compiles: the only code that runs before that is known,
// so that it is compiled for any processor of its kind.

#include <cstdint>

#if defined(__clang__)
#define MEMSTACK_COMPILES(gcc, clang) (__clang_major__ >= clang)
#else
#define MEMSTACK_COMPILES(gcc, clang) (__GNUC__ >= gcc)
#endif

#if defined(__x86_64__)

#include <cpuid.h>

namespace {

// Whether a bit is set of what the instruction `cpuid` says: by its leaf, the leaf's part, and the register, eax to edx.
bool cpuid_bit(unsigned leaf, unsigned part, int number, int bit) {
  unsigned said[4] = {};
  if (!__get_cpuid_count(leaf, part, &said[0], &said[1], &said[2], &said[3])) return false;
  return said[number] >> bit & 1;
}

// With fused products and half precision, as all that have AVX2 do, and a system that keeps such registers.
bool avx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("popcnt") && cpuid_bit(1, 0, 2, 29);
}

bool avxvnni() { return avx2() && cpuid_bit(7, 1, 0, 4); }

bool avx512vnni() {
  return avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && cpuid_bit(7, 0, 2, 11);
}

int found() {
  return (MEMSTACK_COMPILES(8, 7) && avx512vnni() ? 1 : 0) | (MEMSTACK_COMPILES(11, 12) && avxvnni() ? 2 : 0) |
         (avx2() ? 4 : 0);
}

constexpr const char* kNames[] = {"avx512vnni ", "avxvnni ", "avx2 "};

}  // namespace

#elif defined(__aarch64__)

#if defined(__APPLE__)
#include <sys/sysctl.h>

namespace {

bool has(const char* feature) {
  int32_t found = 0;
  size_t size = sizeof found;
  return sysctlbyname(feature, &found, &size, nullptr, 0) == 0 && found;
}

bool dotprod() { return has("hw.optional.arm.FEAT_DotProd"); }
bool i8mm() { return dotprod() && has("hw.optional.arm.FEAT_I8MM"); }

}  // namespace

#elif defined(__linux__)
#include <sys/auxv.h>

namespace {

// The bits by which Linux says so: HWCAP_ASIMDDP and, in the second word, HWCAP2_I8MM.
bool dotprod() { return getauxval(AT_HWCAP) >> 20 & 1; }
bool i8mm() { return dotprod() && getauxval(AT_HWCAP2) >> 13 & 1; }

}  // namespace

#else

namespace {

bool dotprod() { return false; }
bool i8mm() { return false; }

}  // namespace

#endif

namespace {

int found() {
  return (MEMSTACK_COMPILES(10, 11) && i8mm() ? 1 : 0) | (MEMSTACK_COMPILES(8, 7) && dotprod() ? 2 : 0);
}

constexpr const char* kNames[] = {"i8mm ", "dotprod "};

}  // namespace

#else

namespace {

int found() { return 0; }

constexpr const char* kNames[] = {""};

}  // namespace

#endif

// Write their names, the best first, each followed by a space or the end, into 64 bytes; the last is "plain".
extern "C" void variants(char* names) {
  const int which = found();
  const auto append = [&](const char* name) {
    while (*name) *names++ = *name++;
  };
  for (unsigned i = 0; i < sizeof kNames / sizeof *kNames; ++i)
    if (which >> i & 1) append(kNames[i]);
  append("plain");
  *names = 0;
}
