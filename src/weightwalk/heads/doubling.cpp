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
#if defined(__AVX512F__)  // the sums of a tile, in vectors of 64 bytes, stay in registers
constexpr int SUMS = 24, WIDE = 4;
#else
constexpr int SUMS = 6, WIDE = 1;
#endif

namespace float32 {
typedef float T;
#include "doubling.h"
}  // namespace float32

namespace float64 {
typedef double T;
#include "doubling.h"
}  // namespace float64

// sizes: H, W, N, I, O
template <class Axis, class Grid, class Layer, class T, class Work>
void run(const int* sizes, const int* const* ends, const T* const* evaluate, const T* const* interpolate, const T* points, Work work) {
  const Axis rows(sizes[0], ends[0], evaluate[0], interpolate[0]), columns(sizes[1], ends[1], evaluate[1], interpolate[1]);
  work(Layer{Grid(rows, columns, sizes[2]), sizes[3], sizes[4], points});
}

}  // namespace

#define FUNCTIONS(T, TYPE)                                                                                                                   \
  extern "C" void weightwalk_doubled_##TYPE(const int* sizes, const int* const* ends, const T* const* evaluate, const T* const* interpolate, \
                                            const T* points, const T* x, const T* taps, const T* bias, T* answer) {                          \
    run<TYPE::Axis, TYPE::Grid, TYPE::Layer>(sizes, ends, evaluate, interpolate, points,                                                     \
                                             [&](const TYPE::Layer& layer) { layer.forward(x, taps, bias, answer); });                       \
  }                                                                                                                                          \
  extern "C" void weightwalk_doubled_back_##TYPE(const int* sizes, const int* const* ends, const T* const* evaluate,                         \
                                                 const T* const* interpolate, const T* points, const T* x, const T* turned, const T* answer, \
                                                 const T* of_answer, T* of_x, T* of_taps, T* of_bias) {                                      \
    run<TYPE::Axis, TYPE::Grid, TYPE::Layer>(sizes, ends, evaluate, interpolate, points, [&](const TYPE::Layer& layer) {                     \
      layer.backward(x, turned, answer, of_answer, of_x, of_taps, of_bias);                                                                  \
    });                                                                                                                                      \
  }
FUNCTIONS(float, float32)
FUNCTIONS(double, float64)
