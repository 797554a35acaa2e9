#include "ps_kernels.h"
#include "ps_math.h"

/* As ps_high, of factors of any sign, saturated. */
static int32_t high(int32_t a, int32_t b) {
  if (a == INT32_MIN && b == INT32_MIN) return INT32_MAX;
  const int64_t ab = (int64_t)a * b;
  return (int32_t)((ab + (ab >= 0 ? INT64_C(1) << 30 : 1 - (INT64_C(1) << 30))) / (INT64_C(1) << 31));
}

static int32_t left(int32_t x, int32_t n) {
  const int64_t v = (int64_t)x * (INT64_C(1) << n);
  return v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (int32_t)v;
}

/* exp(a) of a <= 0, Q5.26 to Q0.31: four terms of its series around -1/8, then one factor for each bit of the rest. */
static int32_t exp_q5(int32_t a) {
  static const int32_t factors[7] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
  if (a == 0) return INT32_MAX;
  const int32_t quarter = 1 << 24, part = (a & (quarter - 1)) - quarter, rest = part - a;
  const int32_t x = part * 32 + (1 << 28);
  const int32_t x2 = high(x, x), x3 = high(x2, x), x4 = high(x2, x2);
  const int32_t t = ps_shift(high(ps_shift(x4, 2) + x3, 715827883) + x2, 1);
  int32_t r = 1895147668 + high(1895147668, x + t);
  for (int32_t k = 0; k < 7; k++)
    if (rest & (INT32_C(1) << (24 + k))) r = high(r, factors[k]);
  return r;
}

/* 1 / (1 + a) of a in [0, 1), Q0.31: three steps of Newton's method. */
static int32_t reciprocal(int32_t a) {
  const int64_t sum = (int64_t)a + INT32_MAX;
  const int32_t half = (int32_t)((sum + 1) / 2);
  int32_t x = 1515870810 + high(half, -1010580540);
  for (int32_t i = 0; i < 3; i++) x += left(high(x, (1 << 29) - high(half, x)), 2);
  return left(x, 1);
}

void ps_softmax_s8(int32_t rows, int32_t depth, int32_t mult, int32_t shift, int32_t lowest, const int8_t *in,
                   int8_t *out) {
  for (int32_t row = 0; row < rows; row++, in += depth, out += depth) {
    int32_t most = -128, sum = 0;
    for (int32_t i = 0; i < depth; i++)
      if (in[i] > most) most = in[i];
    for (int32_t i = 0; i < depth; i++) {
      const int32_t d = in[i] - most;
      if (d >= lowest) sum += ps_shift(exp_q5(high(d * (INT32_C(1) << shift), mult)), 12);
    }
    const int32_t room = __builtin_clz((uint32_t)sum);
    const int32_t scale = reciprocal((int32_t)(((uint32_t)sum << room) - (UINT32_C(1) << 31)));
    for (int32_t i = 0; i < depth; i++) {
      const int32_t d = in[i] - most;
      int32_t code = -128;
      if (d >= lowest)
        code = ps_shift(high(scale, exp_q5(high(d * (INT32_C(1) << shift), mult))), 12 - room + 31 - 8) - 128;
      out[i] = (int8_t)ps_clamped(code, -128, 127);
    }
  }
}
