// Sixteen numbers at a time: what the engines that are compiled at first use have in common.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace {

constexpr int LANES = 16;
typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

inline Vec load(const float* p) { Vec v; std::memcpy(&v, p, sizeof v); return v; }
inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }
inline Vec all(float x) { return Vec{} + x; }
inline Ints bits(Vec v) { Ints i; std::memcpy(&i, &v, sizeof i); return i; }
inline Vec floats(Ints i) { Vec v; std::memcpy(&v, &i, sizeof v); return v; }
inline int padded(int n) { return (n + LANES - 1) / LANES * LANES; }

constexpr float ROUNDS = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, held in the lowest bits

// Sine and cosine together: z = n pi + r, |r| <= pi / 2; minimax polynomials of relative error 5e-9 and absolute error 5e-8.
inline void sine(Vec z, Vec& value, Vec& slope) {
  Vec shifted = z * 0.318309886f + ROUNDS;
  Vec n = shifted - ROUNDS;
  Vec r = z - n * 3.14159274f;
  r = r + n * 8.74227766e-8f;
  Vec r2 = r * r;
  Vec s = ((r2 * 2.6089326e-6f - 1.9811113e-4f) * r2 + 8.333088e-3f) * r2 - 0.16666661f;
  Vec c = ((r2 * 2.3194385e-5f - 1.3855927e-3f) * r2 + 4.166399e-2f) * r2 - 0.4999993f;
  Ints sign = bits(shifted) << 31;
  value = floats(bits(r + r * r2 * s) ^ sign);
  slope = floats(bits(1.0f + r2 * c) ^ sign);
}

inline Vec exponential(Vec x) {
  Vec y = x * 1.44269504f;
  y = y < -126.0f ? all(-126.0f) : y;
  y = y > 126.0f ? all(126.0f) : y;
  Vec shifted = y + ROUNDS;
  Vec f = y - (shifted - ROUNDS);
  Vec p = ((((f * 1.5345812e-4f + 1.3399931e-3f) * f + 9.618489e-3f) * f + 5.5503286e-2f) * f + 0.24022646f) * f + 0.6931472f;
  return floats(bits(1.0f + f * p) + (bits(shifted) << 23));
}

inline void relu(Vec z, Vec& value, Vec& slope) {
  value = z > 0.0f ? z : Vec{};
  slope = z > 0.0f ? all(1.0f) : Vec{};
}

inline void tanh(Vec z, Vec& value, Vec& slope) {
  value = 1.0f - 2.0f / (exponential(2.0f * z) + 1.0f);
  slope = 1.0f - value * value;
}

inline void gaussian(Vec z, Vec& value, Vec& slope) {
  value = exponential(-0.5f * z * z);
  slope = -z * value;
}

// Lanes of `a` (0 to 15) and of `b` (16 to 31) in the order given. GCC has what clang calls so since version 12 only.
#if defined(__clang__)
#define LANES_OF(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define LANES_OF(a, b, ...) __builtin_shuffle(a, b, Ints{__VA_ARGS__})
#endif

// The sums of 16 vectors, as one vector: in each round a pair of vectors becomes one of half-sums. Overwrites them.
inline Vec sums(Vec* v) {
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    Vec a = v[2 * i], b = v[2 * i + 1];
    v[i] = LANES_OF(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
           LANES_OF(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    Vec a = v[2 * i], b = v[2 * i + 1];
    v[i] = LANES_OF(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
           LANES_OF(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    Vec a = v[2 * i], b = v[2 * i + 1];
    v[i] = LANES_OF(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
           LANES_OF(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
  }
  Vec a = v[0], b = v[1];
  return LANES_OF(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
         LANES_OF(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
}

// Row i of the result is lane i of the rows, in place.
inline void transpose(Vec* v) {
  Vec t[LANES];
#pragma GCC unroll 8
  for (int i = 0; i < LANES; i += 2) {
    t[i] = LANES_OF(v[i], v[i + 1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
    t[i + 1] = LANES_OF(v[i], v[i + 1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
  }
#pragma GCC unroll 4
  for (int i = 0; i < LANES; i += 4)
#pragma GCC unroll 2
    for (int j = i; j < i + 2; ++j) {
      v[j] = LANES_OF(t[j], t[j + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
      v[j + 2] = LANES_OF(t[j], t[j + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    }
#pragma GCC unroll 2
  for (int i = 0; i < LANES; i += 8)
#pragma GCC unroll 4
    for (int j = i; j < i + 4; ++j) {
      t[j] = LANES_OF(v[j], v[j + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
      t[j + 4] = LANES_OF(v[j], v[j + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    }
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) {
    v[j] = LANES_OF(t[j], t[j + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    v[j + 8] = LANES_OF(t[j], t[j + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
}

#undef LANES_OF

inline float sum(Vec v) {
  float total = 0;
  for (int i = 0; i < LANES; ++i) total += v[i];
  return total;
}

struct Buffer {  // zeros, aligned to a cache line
  std::unique_ptr<float[]> memory;
  float* data;
  size_t size;
  explicit Buffer(size_t n) : memory(new float[n + LANES]()), size(n) {
    data = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory.get()) + 63) / 64 * 64);
  }
};

// Numbers too small to matter become zero while this lives: computing with them takes a hundred times as long.
struct NoSubnormals {
#if defined(__SSE2__)
  unsigned before = _mm_getcsr();
  NoSubnormals() { _mm_setcsr(before | 0x8040); }
  ~NoSubnormals() { _mm_setcsr(before); }
#elif defined(__aarch64__)
  uint64_t before;
  NoSubnormals() {
    asm volatile("mrs %0, fpcr" : "=r"(before));
    set(before | (1ull << 24));
  }
  ~NoSubnormals() { set(before); }
  static void set(uint64_t bits) { asm volatile("msr fpcr, %0" : : "r"(bits)); }
#endif
};

}  // namespace
