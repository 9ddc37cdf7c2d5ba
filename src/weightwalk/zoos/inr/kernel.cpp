// One small MLP fitted to one signal: full-batch Adam on the mean squared error, all steps in one call.
//
// The pixels go through the network a tile at a time, forward and back, so that everything that a tile needs stays in the
// first-level cache; weights' gradients add up over tiles. Hidden activations lie as (pixel, neuron), neurons padded to
// whole vectors; the outputs, which are few, as (channel, pixel). A padded neuron has zero weights out and gets none in.
// Inside, omega belongs to the weights: with z = omega (W x + b), dL/dW = omega dL/dz x^T.
//
// Every network is fitted alone and in one fixed order of operations: the result depends on nothing else.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <vector>

#include "../vectors.h"

namespace {

constexpr size_t TILE_BYTES = 28 * 1024;  // of activations and slopes: with weights and gradients they fit 48 KiB

template <void F(Vec, Vec&, Vec&)>
void activate(float* value, float* slope, int count) {
  for (int i = 0; i < count; i += LANES) {
    Vec v, s;
    F(load(value + i), v, s);
    store(value + i, v);
    store(slope + i, s);
  }
}

typedef void (*Activation)(float*, float*, int);
constexpr Activation ACTIVATIONS[] = {activate<relu>, activate<tanh>, activate<sine>, activate<gaussian>};  // FITTED of weightwalk.steps

enum Mode { FROM_BIAS, TIMES_SLOPE, ADD };

// R rows and V vectors of C = A B: A(m, k) = a[m * am + k * ak], B(k, n) = b[k * ldb + n]. The sum starts from a bias row
// (FROM_BIAS), is multiplied into C (TIMES_SLOPE) or added to C (ADD).
template <Mode M, int R, int V>
inline __attribute__((always_inline)) void block(
    int depth, const float* a, ptrdiff_t am, ptrdiff_t ak, const float* b, ptrdiff_t ldb, float* c, ptrdiff_t ldc, const float* bias) {
  Vec sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v)
      sum[r][v] = M == FROM_BIAS ? load(bias + v * LANES) : M == ADD ? load(c + r * ldc + v * LANES) : Vec{};
  for (int k = 0; k < depth; ++k) {
    Vec row[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) row[v] = load(b + k * ldb + v * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      float x = a[r * am + k * ak];
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) sum[r][v] += x * row[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      float* p = c + r * ldc + v * LANES;
      store(p, M == TIMES_SLOPE ? sum[r][v] * load(p) : sum[r][v]);
    }
}

template <Mode M, int V>
void rows(int count, int depth, const float* a, ptrdiff_t am, ptrdiff_t ak, const float* b, ptrdiff_t ldb, float* c, ptrdiff_t ldc,
          const float* bias) {
  int m = 0;
  for (; m + 8 <= count; m += 8) block<M, 8, V>(depth, a + m * am, am, ak, b, ldb, c + m * ldc, ldc, bias);
  for (; m + 2 <= count; m += 2) block<M, 2, V>(depth, a + m * am, am, ak, b, ldb, c + m * ldc, ldc, bias);
  for (; m < count; ++m) block<M, 1, V>(depth, a + m * am, am, ak, b, ldb, c + m * ldc, ldc, bias);
}

// C (count, width) from A (count, depth) and B (depth, width); `width` is whole vectors.
template <Mode M>
void product(int count, int width, int depth, const float* a, ptrdiff_t am, ptrdiff_t ak, const float* b, ptrdiff_t ldb, float* c,
             ptrdiff_t ldc, const float* bias = nullptr) {
  int n = 0;
  for (; n + 2 * LANES <= width; n += 2 * LANES)
    rows<M, 2>(count, depth, a, am, ak, b + n, ldb, c + n, ldc, bias ? bias + n : bias);
  for (; n < width; n += LANES)
    rows<M, 1>(count, depth, a, am, ak, b + n, ldb, c + n, ldc, bias ? bias + n : bias);
}

// A layer's parameters and Adam's moments. Hidden layers are held as (in, out), out padded; the last one as (out, in), in padded.
struct Layer {
  int fan_in, fan_out;
  bool last;
  float omega;
  Activation activation;
  int rows, width;  // of the weights as they are held
  Buffer weight, bias, weight_mean, weight_square, bias_mean, bias_square, weight_gradient, bias_gradient;
  Buffer forward, back, scaled_bias;  // omega W as (in, out), omega W as (out, in), omega b

  Layer(int fan_in, int fan_out, bool last, float omega, Activation activation)
      : fan_in(fan_in), fan_out(fan_out), last(last), omega(omega), activation(activation),
        rows(last ? fan_out : fan_in), width(padded(last ? fan_in : fan_out)),
        weight(size_t(rows) * width), bias(padded(fan_out)), weight_mean(weight.size), weight_square(weight.size),
        bias_mean(bias.size), bias_square(bias.size), weight_gradient(weight.size), bias_gradient(bias.size),
        forward(last ? 0 : weight.size), back(last ? 0 : size_t(fan_out) * padded(fan_in)), scaled_bias(bias.size) {}

  float* at(Buffer& buffer, int o, int i) { return buffer.data + (last ? o * width + i : i * width + o); }

  const float* read(const float* flat) {
    for (Buffer* b : {&weight, &bias, &weight_mean, &weight_square, &bias_mean, &bias_square})
      std::fill(b->data, b->data + b->size, 0.0f);  // also the padding, where a network that diverged leaves NaN
    for (int o = 0; o < fan_out; ++o)
      for (int i = 0; i < fan_in; ++i) *at(weight, o, i) = *flat++;
    std::copy(flat, flat + fan_out, bias.data);
    return flat + fan_out;
  }

  float* write(float* flat) {
    for (int o = 0; o < fan_out; ++o)
      for (int i = 0; i < fan_in; ++i) *flat++ = *at(weight, o, i);
    std::copy(bias.data, bias.data + fan_out, flat);
    return flat + fan_out;
  }

  void prepare() {
    std::fill(weight_gradient.data, weight_gradient.data + weight_gradient.size, 0.0f);
    std::fill(bias_gradient.data, bias_gradient.data + bias_gradient.size, 0.0f);
    if (last) return;
    int in_width = padded(fan_in);
    for (size_t i = 0; i < weight.size; i += LANES) store(forward.data + i, omega * load(weight.data + i));
    for (size_t i = 0; i < bias.size; i += LANES) store(scaled_bias.data + i, omega * load(bias.data + i));
    for (int i = 0; i < fan_in; ++i)
      for (int o = 0; o < fan_out; ++o) back.data[o * in_width + i] = forward.data[i * width + o];
  }
};

constexpr float EPSILON = 1e-8f;

void adam(Buffer& value, Buffer& mean, Buffer& square, const Buffer& gradient, float omega, const float* rates, const float* betas) {
  const float rate = rates[0] / rates[1], correct2 = 1.0f / rates[2], beta1 = betas[0], beta2 = betas[1];
  for (size_t i = 0; i < value.size; i += LANES) {
    Vec g = omega * load(gradient.data + i);
    Vec m = beta1 * load(mean.data + i) + (1.0f - beta1) * g;
    Vec s = beta2 * load(square.data + i) + (1.0f - beta2) * g * g;
    Vec t = correct2 * s, root;
    for (int lane = 0; lane < LANES; ++lane) root[lane] = std::sqrt(t[lane]);
    store(mean.data + i, m);
    store(square.data + i, s);
    store(value.data + i, load(value.data + i) - rate * m / (root + EPSILON));
  }
}

class Fit {
 public:
  Fit(int num_layers, const int* widths, const int* activations, const float* omegas, int pixels, const float* inputs)
      : pixels_(pixels), inputs_(inputs), channels_(widths[num_layers]) {
    size_t per_pixel = 0;
    for (int l = 0; l < num_layers; ++l) {
      bool last = l == num_layers - 1;
      layers_.emplace_back(widths[l], widths[l + 1], last, last ? 1.0f : omegas[l], last ? nullptr : ACTIVATIONS[activations[l]]);
      per_pixel += last ? channels_ : 2 * padded(widths[l + 1]);
    }
    int fitting = int(TILE_BYTES / (4 * per_pixel)) / LANES * LANES;
    tile_ = fitting < LANES ? LANES : fitting < padded(pixels) ? fitting : padded(pixels);
    for (int l = 0; l + 1 < num_layers; ++l) {
      values_.emplace_back(size_t(tile_) * padded(widths[l + 1]));
      slopes_.emplace_back(size_t(tile_) * padded(widths[l + 1]));
    }
    delta_.reset(new Buffer(size_t(tile_) * channels_));
    edge_.reset(new Buffer(size_t(tile_) * widths[0]));
  }

  // Fits `flat` in place; returns the mean squared error at the end.
  float run(float* flat, const float* targets, int steps, const float* table, const float* betas, float stop_loss) {
    const float* at = flat;
    for (Layer& layer : layers_) at = layer.read(at);
    for (int step = 0; step < steps; ++step) {
      for (Layer& layer : layers_) layer.prepare();
      float loss = 0;
      for (int first = 0; first < pixels_; first += tile_) loss += forward(first, targets), backward(first);
      if (stop_loss > 0 && loss / (float(channels_) * pixels_) <= stop_loss) break;
      for (Layer& layer : layers_) {
        adam(layer.weight, layer.weight_mean, layer.weight_square, layer.weight_gradient, layer.omega, table + 3 * step, betas);
        adam(layer.bias, layer.bias_mean, layer.bias_square, layer.bias_gradient, layer.omega, table + 3 * step, betas);
      }
    }
    for (Layer& layer : layers_) layer.prepare();
    float loss = 0;
    for (int first = 0; first < pixels_; first += tile_) loss += forward(first, targets);
    for (Layer& layer : layers_) flat = layer.write(flat);
    return loss / (float(channels_) * pixels_);
  }

 private:
  std::vector<Layer> layers_;
  std::vector<Buffer> values_, slopes_;  // h and dh/dz of the tile; slopes become dL/dz on the way back
  std::unique_ptr<Buffer> delta_, edge_;
  int pixels_, tile_;
  const float* inputs_;
  int channels_;

  const float* inputs(int first) const { return first + tile_ <= pixels_ ? inputs_ + size_t(first) * layers_[0].fan_in : edge_->data; }
  int rounded(int first) const { return first + tile_ <= pixels_ ? tile_ : padded(pixels_ - first); }

  // The tile's sum of squared errors; leaves dL/doutput in delta_, zero beyond the last pixel.
  float forward(int first, const float* targets) {
    const int count = rounded(first), real = first + count <= pixels_ ? count : pixels_ - first;
    if (first + tile_ > pixels_) std::memcpy(edge_->data, inputs_ + size_t(first) * layers_[0].fan_in, sizeof(float) * real * layers_[0].fan_in);
    const float* below = inputs(first);
    int stride = layers_[0].fan_in;
    for (size_t l = 0; l + 1 < layers_.size(); ++l) {
      Layer& layer = layers_[l];
      product<FROM_BIAS>(count, layer.width, layer.fan_in, below, stride, 1, layer.forward.data, layer.width, values_[l].data, layer.width,
                         layer.scaled_bias.data);
      layer.activation(values_[l].data, slopes_[l].data, count * layer.width);
      below = values_[l].data;
      stride = layer.width;
    }
    const Layer& last = layers_.back();
    const float scale = 2.0f / (float(channels_) * pixels_);
    float total = 0;
    for (int c = 0; c < channels_; ++c) {
      const float* w = last.weight.data + c * last.width;
      for (int p = 0; p < count; p += LANES) {
        Vec dots[LANES] = {};
        for (int i = 0; i < last.width; i += LANES)
          for (int k = 0; k < LANES; ++k) dots[k] += load(w + i) * load(below + (p + k) * stride + i);
        Vec error = sums(dots) + last.bias.data[c];
        const float* target = targets + size_t(c) * pixels_ + first + p;
        if (p + LANES <= real) {
          error -= load(target);
        } else {
          for (int k = 0; k < LANES; ++k) error[k] = p + k < real ? error[k] - target[k] : 0.0f;
        }
        total += sum(error * error);
        store(delta_->data + c * tile_ + p, scale * error);
      }
    }
    return total;
  }

  void backward(int first) {
    const int count = rounded(first), top = int(layers_.size()) - 1;
    Layer& last = layers_[top];
    for (int c = 0; c < channels_; ++c) {
      Vec total = {};
      for (int p = 0; p < count; p += LANES) total += load(delta_->data + c * tile_ + p);
      last.bias_gradient.data[c] += sum(total);
    }
    product<ADD>(channels_, last.width, count, delta_->data, tile_, 1, values_[top - 1].data, last.width, last.weight_gradient.data, last.width);
    for (int o = 0; o < channels_; ++o) std::fill(last.at(last.weight_gradient, o, last.fan_in), last.at(last.weight_gradient, o + 1, 0), 0.0f);
    product<TIMES_SLOPE>(count, last.width, channels_, delta_->data, 1, tile_, last.weight.data, last.width, slopes_[top - 1].data, last.width);
    for (int l = top - 1; l >= 0; --l) {
      Layer& layer = layers_[l];
      const float *delta = slopes_[l].data, *below = l ? values_[l - 1].data : inputs(first);
      const int stride = l ? layers_[l - 1].width : layer.fan_in;
      for (int o = 0; o < layer.width; o += LANES) {
        Vec totals[4] = {};  // four sums at once: one alone would wait for every addition
        for (int p = 0; p < count; p += 4)
          for (int k = 0; k < 4; ++k) totals[k] += load(delta + (p + k) * layer.width + o);
        store(layer.bias_gradient.data + o, load(layer.bias_gradient.data + o) + ((totals[0] + totals[1]) + (totals[2] + totals[3])));
      }
      product<ADD>(layer.fan_in, layer.width, count, below, 1, stride, delta, layer.width, layer.weight_gradient.data, layer.width);
      if (l) product<TIMES_SLOPE>(count, stride, layer.fan_out, delta, layer.width, 1, layer.back.data, stride, slopes_[l - 1].data, stride);
    }
  }
};

}  // namespace

// `params` (count, N), a network's parameters as Weights.flat has them, are fitted in place to `targets` (count, channels,
// pixels) at `inputs` (pixels, widths[0]); `table` (steps, 3) holds rates and bias corrections of
// Adam with `betas` (2); `errors` (count).
extern "C" void weightwalk_fit(
    int num_layers, const int* widths, const int* activations, const float* omegas, int pixels, const float* inputs, int count,
    float* params, const float* targets, int steps, const float* table, const float* betas, float stop_loss,
    float* errors) {
  NoSubnormals guard;
  Fit fit(num_layers, widths, activations, omegas, pixels, inputs);
  size_t num_parameters = 0;
  for (int l = 0; l < num_layers; ++l) num_parameters += size_t(widths[l + 1]) * (widths[l] + 1);
  for (int b = 0; b < count; ++b)
    errors[b] = fit.run(params + b * num_parameters, targets + size_t(b) * widths[num_layers] * pixels, steps, table, betas, stop_loss);
}
