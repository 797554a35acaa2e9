#include "ps_kernels.h"
#include "ps_math.h"

#define CODE(acc, c)                                                                                    \
  (int8_t)ps_clamped((wide ? ps_scaled_wide(acc, each ? mult[c] : one_mult, each ? right[c] : one_right) \
                           : ps_scaled(acc, each ? mult[c] : one_mult, each ? right[c] : one_right)) +   \
                         zero,                                                                          \
                     low, high)

PS_INLINE void dense(int32_t rows, int32_t n_in, int32_t n_out, const int8_t *in, const int8_t *w, const int32_t *bias,
                     const int32_t *mult, const int8_t *right, int32_t zero, int32_t low, int32_t high, int8_t *out,
                     const int each, const int wide) {
  const int32_t one_mult = *mult, one_right = *right;
  for (int32_t row = 0; row < rows; row++, in += n_in) {
    const int8_t *wp = w;
    int32_t c = 0;
    for (; c + 2 <= n_out; c += 2, wp += 2 * n_in) {
      int32_t r[2] = {bias[c], bias[c + 1]};
      ps_dot_1x2(in, wp, wp + n_in, n_in, r);
      *out++ = CODE(r[0], c);
      *out++ = CODE(r[1], c + 1);
    }
    if (c < n_out) *out++ = CODE(ps_dot(in, wp, n_in, bias[c]), c);
  }
}

#define PS_DEFINE(name, each, wide)                                                                   \
  PS_DENSE(name) { dense(rows, n_in, n_out, in, w, bias, mult, right, out_zero, low, high, out, each, wide); }
PS_DEFINE(ps_dense_s8, 0, 0)
PS_DEFINE(ps_dense_s8_wide, 0, 1)
PS_DEFINE(ps_dense_s8_each, 1, 0)
PS_DEFINE(ps_dense_s8_each_wide, 1, 1)
