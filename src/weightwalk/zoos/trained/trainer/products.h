// Matrix products whose columns are vectors that lie anywhere, given by offsets: dense steps, convolutions and attention alike.

#pragma once

#include "../../vectors.h"

namespace {

// With 32 registers of 16 numbers a block of 4 rows and 4 columns of vectors, its operands beside it, stays in registers.
constexpr int ROWS = 4;
#if defined(__AVX512F__)
constexpr int COLUMNS = 4;
#else
constexpr int COLUMNS = 1;
#endif

// A (rows, depth) of a product: A(r, k) is a[k * step + r] (ADJACENT rows) or a[r * step + k]; `advance` leads to the next ROWS rows.
template <bool ADJACENT>
struct Left {
  const float* a;
  ptrdiff_t step, advance;
};

// R rows and V columns of C = A B + bias, or C += A B: B(k, v) is the vector at b[v] + taps[k], C(r, v) the one at c[v] + r * ldc.
// Rows from `rows` on are computed and not written.
template <bool ADJACENT, int R, int V>
inline __attribute__((always_inline)) void block(int depth, Left<ADJACENT> left, const int* taps, const float* const* b, float* const* c, ptrdiff_t ldc,
                                                 int rows, const float* bias, bool adds) {
  const float *a[R], *columns[V];
  for (int r = 0; r < R; ++r) a[r] = left.a + (ADJACENT ? 0 : (r < rows ? r : rows - 1) * left.step);
  for (int v = 0; v < V; ++v) columns[v] = b[v];
    Vec sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = Vec{};
  for (int k = 0; k < depth; ++k) {
    const ptrdiff_t tap = taps[k];
    Vec row[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) row[v] = load(columns[v] + tap);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      float x = ADJACENT ? a[0][k * left.step + r] : a[r][k];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] += x * row[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    if (r >= rows) break;
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      float* p = c[v] + r * ldc;
      store(p, sum[r][v] + (adds ? load(p) : bias ? all(bias[r]) : Vec{}));
    }
  }
}

template <bool ADJACENT, int R, int V>
void rows_of(int rows, int depth, Left<ADJACENT> left, const int* taps, const float* const* b, float* const* c, ptrdiff_t ldc, const float* bias,
             bool adds) {
  float* at[V];
  for (int r = 0; r < rows; r += R) {
    for (int v = 0; v < V; ++v) at[v] = c[v] + r * ldc;
    block<ADJACENT, R, V>(depth, left, taps, b, at, ldc, rows - r, bias ? bias + r : bias, adds);
    left.a += left.advance;
  }
}

// All rows of up to COLUMNS columns.
template <bool ADJACENT>
void product(int rows, int columns, int depth, Left<ADJACENT> left, const int* taps, const float* const* b, float* const* c, ptrdiff_t ldc,
             const float* bias, bool adds) {
  switch (columns) {
    case 1: return rows_of<ADJACENT, ROWS, 1>(rows, depth, left, taps, b, c, ldc, bias, adds);
#if defined(__AVX512F__)
    case 2: return rows_of<ADJACENT, ROWS, 2>(rows, depth, left, taps, b, c, ldc, bias, adds);
    case 3: return rows_of<ADJACENT, ROWS, 3>(rows, depth, left, taps, b, c, ldc, bias, adds);
    case 4: return rows_of<ADJACENT, ROWS, 4>(rows, depth, left, taps, b, c, ldc, bias, adds);
#endif
  }
}

// The 4 x 4 sums over vectors and their lanes of g(r) x(c), r major: both are read at `count` positions, each from its own offsets.
inline Vec outer(int count, const float* const* g, const int* g_at, const float* const* x, const int* x_at) {
  Vec sum[4][4];
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r)
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) sum[r][c] = Vec{};
  const float *g0 = g[0], *g1 = g[1], *g2 = g[2], *g3 = g[3], *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
  for (int p = 0; p < count; ++p) {
    const ptrdiff_t i = g_at[p], j = x_at[p];
    const Vec left[4] = {load(g0 + i), load(g1 + i), load(g2 + i), load(g3 + i)};
    const Vec right[4] = {load(x0 + j), load(x1 + j), load(x2 + j), load(x3 + j)};
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) sum[r][c] += left[r] * right[c];
  }
  Vec totals[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) totals[i] = sum[i / 4][i % 4];
  return sums(totals);
}

}  // namespace
