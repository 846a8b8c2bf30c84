// The sums of products of codes, of some queries and some tiles of keys: the loop in which a search spends its time.
//
// Each products_*.h gives how many queries (kTogether) and tiles its registers take at once, and two functions:
// multiply, which has as many sums on their way as hide that each addition waits for the one before it, and
// multiply_one, for a single query, which waits for memory: front to back, as the processor fetches ahead.
#pragma once

#include "query.h"

#if defined(MEMSTACK_AVX512VNNI)
#include "products_avx512.h"
#elif defined(MEMSTACK_AVXVNNI) || defined(MEMSTACK_AVX2)
#include "products_avx2.h"
#elif defined(MEMSTACK_I8MM)
#include "products_i8mm.h"
#elif defined(MEMSTACK_DOTPROD)
#include "products_dotprod.h"
#else
#include "products_plain.h"
#endif
