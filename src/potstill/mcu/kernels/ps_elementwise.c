#include "ps_kernels.h"
#include "ps_math.h"

PS_INLINE void binary(const ps_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out, const int product) {
  const int32_t a_zero = p->a_zero, b_zero = p->b_zero, zero = p->out_zero, low = p->low, high = p->high;
  const int32_t a_mult = p->a_mult, b_mult = p->b_mult, out_mult = p->out_mult, sign = p->negate_b ? -1 : 1;
  const int32_t a_right = p->a_right, b_right = p->b_right, out_right = p->out_right;
  const int32_t n = p->dim[3], a_step = p->a_step[3], b_step = p->b_step[3];
  for (int32_t i = 0; i < p->dim[0]; i++)
    for (int32_t j = 0; j < p->dim[1]; j++)
      for (int32_t k = 0; k < p->dim[2]; k++) {
        const int8_t *x = a + i * p->a_step[0] + j * p->a_step[1] + k * p->a_step[2];
        const int8_t *y = b + i * p->b_step[0] + j * p->b_step[1] + k * p->b_step[2];
        for (int32_t m = 0; m < n; m++, x += a_step, y += b_step) {
          int32_t r;
          if (product) {
            r = (*x - a_zero) * (*y - b_zero);
          } else {
            r = ps_scaled((*x - a_zero) * (1 << 20), a_mult, a_right);
            r += sign * ps_scaled((*y - b_zero) * (1 << 20), b_mult, b_right);
          }
          *out++ = (int8_t)ps_clamped(ps_scaled(r, out_mult, out_right) + zero, low, high);
        }
      }
}

void ps_add_s8(const ps_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out) { binary(p, a, b, out, 0); }

void ps_mul_s8(const ps_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out) { binary(p, a, b, out, 1); }

void ps_table_s8(int32_t n, const int8_t *table, const int8_t *in, int8_t *out) {
  for (int32_t i = 0; i < n; i++) out[i] = table[in[i] + 128];
}
