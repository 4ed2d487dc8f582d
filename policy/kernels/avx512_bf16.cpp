#if defined(__x86_64__)
#include "policy/kernels/avx512.h"

namespace ponder::policy::kernels {
namespace {

// Pairs of bfloat16 multiplied and added to float32 by VDPBF16PS.
struct DotBf16 {
  using Element = Bf16;
  using Vector = __m512i;
  static constexpr int kStep = 32;
  static inline Vector load(const Bf16* p) { return _mm512_loadu_si512(p); }
  static inline Vector load(const Bf16* p, int64_t count) {
    return _mm512_maskz_loadu_epi16(static_cast<__mmask32>((1ULL << count) - 1), p);
  }
  static inline __m512 multiply_add(Vector a, Vector b, __m512 sum) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }
};

}  // namespace

const Table kAvx512Bf16Table = make_avx512_table<DotBf16>("avx512_bf16");

}  // namespace ponder::policy::kernels
#endif
