// The decoder's compiled part, for float and double, called through ctypes.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

constexpr int POINTS = 5, PAIRS = POINTS * POINTS;
constexpr int ROWS = 48;  // of a matrix product, where there are so many pictures
// Bytes of a vector, and how many of them a tile's sums are and its rows have at most: so many stay in registers.
#if defined(__AVX512F__)
constexpr int BYTES = 64, SUMS = 24, WIDE = 4;
#elif defined(__AVX__)
constexpr int BYTES = 32, SUMS = 12, WIDE = 2;
#else
constexpr int BYTES = 16, SUMS = 24, WIDE = 4;
#endif

namespace float32 {
typedef float T;
#include "doubling.h"
}  // namespace float32

namespace float64 {
typedef double T;
#include "doubling.h"
}  // namespace float64

}  // namespace

// sizes: H, W, N, I, O
#define FUNCTIONS(TYPE)                                                                                                                \
  using TYPE##_t = TYPE::T;                                                                                                            \
  extern "C" void weightwalk_doubled_##TYPE(const int* sizes, const int* const* ends, const TYPE##_t* const* evaluate,                 \
                                            const TYPE##_t* const* interpolate, const TYPE##_t* points, const TYPE##_t* x,             \
                                            const TYPE##_t* taps, const TYPE##_t* bias, TYPE##_t* answer) {                            \
    TYPE::layer(sizes, ends, evaluate, interpolate, points, [&](const TYPE::Layer& it) { it.forward(x, taps, bias, answer); });        \
  }                                                                                                                                    \
  extern "C" void weightwalk_doubled_back_##TYPE(const int* sizes, const int* const* ends, const TYPE##_t* const* evaluate,            \
                                                 const TYPE##_t* const* interpolate, const TYPE##_t* points, const TYPE##_t* x,        \
                                                 const TYPE##_t* turned, const TYPE##_t* answer, const TYPE##_t* of_answer,            \
                                                 TYPE##_t* of_x, TYPE##_t* of_taps, TYPE##_t* of_bias) {                               \
    TYPE::layer(sizes, ends, evaluate, interpolate, points,                                                                            \
                [&](const TYPE::Layer& it) { it.backward(x, turned, answer, of_answer, of_x, of_taps, of_bias); });                    \
  }                                                                                                                                    \
  extern "C" void weightwalk_last_##TYPE(const int* sizes, const TYPE##_t* x, const TYPE##_t* weight, const TYPE##_t* bias,            \
                                         TYPE##_t* answer) {                                                                           \
    TYPE::Last{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]}.forward(x, weight, bias, answer);                                     \
  }                                                                                                                                    \
  extern "C" void weightwalk_last_back_##TYPE(const int* sizes, const TYPE##_t* x, const TYPE##_t* turned, const TYPE##_t* of_answer,  \
                                              TYPE##_t* of_x, TYPE##_t* of_weight) {                                                   \
    TYPE::Last{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]}.backward(x, turned, of_answer, of_x, of_weight);                      \
  }
FUNCTIONS(float32)
FUNCTIONS(float64)
