/* Rounding and dot products that the kernels share. */
#ifndef PS_MATH_H
#define PS_MATH_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_SIMD32) && !defined(PS_PORTABLE)
#include <arm_acle.h>
#define PS_DSP 1
#endif

#define PS_INLINE static inline __attribute__((always_inline))

/* round(a * b / 2^31) for b > 0, halves up. */
PS_INLINE int32_t ps_high(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b + (INT64_C(1) << 30)) >> 31);
}

/* x / 2^n rounded to nearest, halves away from 0; 0 <= n <= 31. */
PS_INLINE int32_t ps_shift(int32_t x, int32_t n) {
  const int32_t mask = (int32_t)((UINT32_C(1) << n) - 1), rest = x & mask;
  return (x >> n) + (rest > (mask >> 1) + (x < 0));
}

/* Any accumulator, any shift; a left shift must not overflow. */
PS_INLINE int32_t ps_scaled_wide(int32_t x, int32_t mult, int32_t right) {
  return right < 0 ? ps_high((int32_t)((uint32_t)x << -right), mult) : ps_shift(ps_high(x, mult), right);
}

/* |x| < 2^30 and right >= 0: the same value in six instructions. */
PS_INLINE int32_t ps_scaled(int32_t x, int32_t mult, int32_t right) {
#ifdef PS_DSP
  int32_t h;
  __asm__("smmulr %0, %1, %2" : "=r"(h) : "r"(x * 2), "r"(mult));
  return (h + ((1 << right) >> 1) + ((h >> 31) & -(right != 0))) >> right;
#else
  return ps_scaled_wide(x, mult, right);
#endif
}

PS_INLINE int32_t ps_clamped(int32_t x, int32_t low, int32_t high) {
  return x < low ? low : x > high ? high : x;
}

#ifdef PS_DSP
PS_INLINE uint32_t ps_load4(const int8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}
/* Bytes 0 and 2, and bytes 1 and 3, as two signed halves. */
PS_INLINE int16x2_t ps_even(uint32_t v) { return __sxtb16((int8x4_t)v); }
PS_INLINE int16x2_t ps_odd(uint32_t v) {
  int32_t r;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(v));
  return r;
}
#endif

/* acc += a . w */
PS_INLINE int32_t ps_dot(const int8_t *a, const int8_t *w, int32_t n, int32_t acc) {
  int32_t i = 0;
#ifdef PS_DSP
  for (; i + 4 <= n; i += 4) {
    const uint32_t x = ps_load4(a + i), y = ps_load4(w + i);
    acc = __smlad(ps_even(x), ps_even(y), acc);
    acc = __smlad(ps_odd(x), ps_odd(y), acc);
  }
#endif
  for (; i < n; i++) acc += a[i] * w[i];
  return acc;
}

/* r[0] += a . w0, r[1] += a . w1 */
PS_INLINE void ps_dot_1x2(const int8_t *a, const int8_t *w0, const int8_t *w1, int32_t n, int32_t *r) {
  int32_t r0 = r[0], r1 = r[1], i = 0;
#ifdef PS_DSP
  for (; i + 4 <= n; i += 4) {
    const uint32_t x = ps_load4(a + i), y0 = ps_load4(w0 + i), y1 = ps_load4(w1 + i);
    const int16x2_t even = ps_even(x), odd = ps_odd(x);
    r0 = __smlad(even, ps_even(y0), r0);
    r0 = __smlad(odd, ps_odd(y0), r0);
    r1 = __smlad(even, ps_even(y1), r1);
    r1 = __smlad(odd, ps_odd(y1), r1);
  }
#endif
  for (; i < n; i++) {
    r0 += a[i] * w0[i];
    r1 += a[i] * w1[i];
  }
  r[0] = r0;
  r[1] = r1;
}

/* Two pixels by two channels: r[0] += a0 . w0, r[1] += a0 . w1, r[2] += a1 . w0, r[3] += a1 . w1 */
PS_INLINE void ps_dot_2x2(const int8_t *a0, const int8_t *a1, const int8_t *w0, const int8_t *w1, int32_t n,
                          int32_t *r) {
  int32_t r00 = r[0], r01 = r[1], r10 = r[2], r11 = r[3], i = 0;
#ifdef PS_DSP
  for (; i + 4 <= n; i += 4) {
    const uint32_t x0 = ps_load4(a0 + i), x1 = ps_load4(a1 + i), y0 = ps_load4(w0 + i), y1 = ps_load4(w1 + i);
    int16x2_t p0 = ps_even(x0), p1 = ps_even(x1), q0 = ps_even(y0), q1 = ps_even(y1);
    r00 = __smlad(p0, q0, r00);
    r01 = __smlad(p0, q1, r01);
    r10 = __smlad(p1, q0, r10);
    r11 = __smlad(p1, q1, r11);
    p0 = ps_odd(x0), p1 = ps_odd(x1), q0 = ps_odd(y0), q1 = ps_odd(y1);
    r00 = __smlad(p0, q0, r00);
    r01 = __smlad(p0, q1, r01);
    r10 = __smlad(p1, q0, r10);
    r11 = __smlad(p1, q1, r11);
  }
#endif
  for (; i < n; i++) {
    const int32_t x0 = a0[i], x1 = a1[i], y0 = w0[i], y1 = w1[i];
    r00 += x0 * y0;
    r01 += x0 * y1;
    r10 += x1 * y0;
    r11 += x1 * y1;
  }
  r[0] = r00;
  r[1] = r01;
  r[2] = r10;
  r[3] = r11;
}

#endif
