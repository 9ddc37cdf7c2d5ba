// Activations, value and slope together, and dropout.

#pragma once

#include "../../vectors.h"

namespace {

typedef uint32_t Words __attribute__((vector_size(4 * LANES)));

inline void identity(Vec z, Vec& value, Vec& slope) { value = z, slope = all(1.0f); }

inline void leaky_relu(Vec z, Vec& value, Vec& slope) {
  slope = z > 0.0f ? all(1.0f) : all(0.01f);
  value = z * slope;
}

inline void sigmoid(Vec z, Vec& value, Vec& slope) {
  value = 1.0f / (1.0f + exponential(-z));
  slope = value * (1.0f - value);
}

inline void silu(Vec z, Vec& value, Vec& slope) {
  Vec s, unused;
  sigmoid(z, s, unused);
  value = z * s;
  slope = s * (1.0f + z * (1.0f - s));
}

// z Phi(z); the error function by Abramowitz and Stegun 7.1.26, of absolute error 1.5e-7.
inline void gelu(Vec z, Vec& value, Vec& slope) {
  Vec size = (z < 0.0f ? -z : z) * 0.70710678f, bell = exponential(-0.5f * z * z);
  Vec t = 1.0f / (1.0f + 0.3275911f * size);
  Vec tail = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t * bell * 0.5f;
  Vec share = z < 0.0f ? tail : 1.0f - tail;
  value = z * share;
  slope = share + z * bell * 0.39894228f;
}

// Some channels of a value at some of its positions: the vector of channel c at position p is that at c * channel + at[p].
struct Block {
  ptrdiff_t channel;
  int channels;
  const int* at;
  int count;
  int first = 0;  // channel
};

template <class F>
inline void each(const Block& block, F function) {
  for (int c = block.first; c < block.first + block.channels; ++c)
    for (int p = 0; p < block.count; ++p) function(c * block.channel + block.at[p]);
}

// z in `value` becomes a(omega z); its slope goes to `slopes`, if that is there.
template <void F(Vec, Vec&, Vec&)>
void activate(const Block& block, float* value, float* slopes, float omega) {
  each(block, [&](ptrdiff_t i) {
    Vec v, s;
    F(omega * load(value + i), v, s);
    store(value + i, v);
    if (slopes) store(slopes + i, omega * s);
  });
}

inline Vec relu_slope(Vec value) { return value > 0.0f ? all(1.0f) : Vec{}; }
inline Vec leaky_relu_slope(Vec value) { return value > 0.0f ? all(1.0f) : all(0.01f); }
inline Vec tanh_slope(Vec value) { return 1.0f - value * value; }
inline Vec sigmoid_slope(Vec value) { return value * (1.0f - value); }

// `gradient` by a value becomes that by z, where the value tells the slope.
template <Vec F(Vec)>
void by_value(const Block& block, const float* value, float* gradient) {
  each(block, [&](ptrdiff_t i) { store(gradient + i, load(gradient + i) * F(load(value + i))); });
}

struct Activation {
  void (*forward)(const Block&, float* value, float* slopes, float omega);
  void (*backward)(const Block&, const float* value, float* gradient);  // null: slopes are kept
};

constexpr Activation ACTIVATIONS[] = {  // TRAINED of weightwalk.steps
    {activate<identity>, nullptr}, {activate<relu>, by_value<relu_slope>}, {activate<tanh>, by_value<tanh_slope>},
    {activate<sine>, nullptr}, {activate<sigmoid>, by_value<sigmoid_slope>}, {activate<gelu>, nullptr},
    {activate<silu>, nullptr}, {activate<leaky_relu>, by_value<leaky_relu_slope>}, {activate<gaussian>, nullptr},
};

// Well mixed bits of x; `batched.py` has the same.
template <class T>
inline T mixed(T x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

}  // namespace
