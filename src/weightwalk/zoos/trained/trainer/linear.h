// Convolutions and dense steps (convolutions with a kernel of 1, or as large as the grid). Part of trainer.cpp.

#pragma once

constexpr int TILE = 64;  // positions between two sums over lanes of the weights' gradients: what they read stays in the first-level cache

class Linear : public Step {
 public:
  Linear(Context& context, const Record& record, std::vector<Value>& values)
      : Step(context, record, values), x(*sources[0]), inputs(x.channels / record.groups), outputs(y.channels / record.groups),
        depth(inputs * record.kernel[0] * record.kernel[1]), blocks((outputs + ROWS - 1) / ROWS), columns((depth + ROWS - 1) / ROWS) {
    for (int i = 0; i < inputs; ++i)
      for (int ky = 0; ky < record.kernel[0]; ++ky)
        for (int kx = 0; kx < record.kernel[1]; ++kx) taps.push_back(int(i * x.channel + ky * x.row + kx * LANES));
    for (int v = 0; v < y.rows; ++v)
      for (int u = 0; u < y.columns; ++u)
        from.push_back(int((v * record.stride[0] - record.padding[0]) * x.row + (u * record.stride[1] - record.padding[1]) * LANES));
    if (!context.trains) return;
    if (context.tokens) {
      const int width = padded(depth);
      turned = std::make_unique<Buffer>(size_t(x.columns) * LANES * width);
      for (int t = 0; t < y.positions; ++t) turned_taps.push_back(t * width);
      weight_room = context.reserve(record.weight, y.channels * depth, size_t(y.channels) * width, 1,
                                    [&](int j) { return j / depth * width + j % depth; });
    } else {
      weight_room = context.reserve(record.weight, y.channels * depth, size_t(record.groups) * blocks * columns * LANES, 1, [&](int j) {
        const int o = j / depth, k = j % depth, group = o / outputs, r = o % outputs;
        return (((group * blocks + r / 4) * columns + k / 4) * 4 + r % 4) * 4 + k % 4;
      });
    }
    if (record.bias >= 0) bias_room = context.reserve_vectors(record.bias, y.channels);
    if (x.wanted) find_phases();
  }

  // The borders of x and y that the loops of a convolution reach into.
  static void widen(const Record& record, Value& x, Value& y) {
    int over[2], below[2];
    const int sizes[2] = {x.rows, x.columns}, results[2] = {y.rows, y.columns};
    int before[2] = {0, 0}, behind[2] = {0, 0};
    for (int axis = 0; axis < 2; ++axis) {
      const int stride = record.stride[axis], padding = record.padding[axis], kernel = record.kernel[axis];
      over[axis] = padding;
      below[axis] = std::max(0, (results[axis] - 1) * stride - padding + kernel - sizes[axis]);
      for (int at = 0; at < sizes[axis]; ++at)
        for (int k = (at + padding) % stride; k < kernel; k += stride) {
          const int result = (at + padding - k) / stride;  // exact; below zero in the border
          before[axis] = std::max(before[axis], -result);
          behind[axis] = std::max(behind[axis], result - results[axis] + 1);
        }
    }
    x.widen(over[0], over[1], below[0], below[1]);
    y.widen(before[0], before[1], behind[0], behind[1]);
  }

  void prepare() override {
    const float* w = context.parameters + record.weight;
    const int kernel = record.kernel[0] * record.kernel[1];
    for (Phase& phase : phases) {
      float* to = phase.packed->data;
      const int steps = int(phase.kernel.size());
      for (int g = 0; g < record.groups; ++g)
        for (int i = 0; i < inputs; i += ROWS)
          for (int o = 0; o < outputs; ++o)
            for (int k = 0; k < steps; ++k)
              for (int r = i; r < i + ROWS; ++r) *to++ = r < inputs ? w[(g * outputs + o) * depth + r * kernel + phase.kernel[k]] : 0.0f;
    }
  }

  void forward() override {
    const float *w = parameters(record.weight), *bias = parameters(record.bias);
    for (int p = 0; p < y.count(); p += COLUMNS) {
      const int count = std::min(COLUMNS, y.count() - p);
      for (int g = 0; g < record.groups; ++g) {
        const float* b[COLUMNS];
        float* c[COLUMNS];
        for (int v = 0; v < count; ++v) {
          b[v] = x.data + g * inputs * x.channel + from[p + v];
          c[v] = y.data + g * outputs * y.channel + y.at[p + v];
        }
        product<false>(outputs, count, depth, {w + size_t(g) * outputs * depth, depth, ROWS * depth}, taps.data(), b, c, y.channel,
                       bias ? bias + g * outputs : bias, false);
      }
      activate(p, count);
    }
  }

  void backward() override {
    const float* dy = y.incoming();
    if (context.tokens) token_weights(dy);
    else weights(dy);
    if (x.wanted) inputs_gradient(dy);
  }

 private:
  // Positions of x whose rows and columns are alike modulo the strides: the same part of the kernel leads to each of them.
  struct Phase {
    std::vector<int> from, to, taps, kernel;  // of dy, of dx; of dy within a group; the tap of the kernel for each of the last
    std::unique_ptr<Buffer> packed;           // weights as (block of inputs, output and tap, 4 inputs)
  };

  Value& x;
  const int inputs, outputs, depth, blocks, columns;
  std::vector<int> from, taps;
  std::vector<Phase> phases;
  std::unique_ptr<Buffer> turned;  // tokens: x as (token, channel)
  std::vector<int> turned_taps;
  size_t weight_room = 0, bias_room = 0;

  void find_phases() {
    const int *stride = record.stride, *padding = record.padding, *kernel = record.kernel;
    for (int py = 0; py < std::min(stride[0], x.rows); ++py)
      for (int px = 0; px < std::min(stride[1], x.columns); ++px) {
        Phase phase;
        const int ky = (py + padding[0]) % stride[0], kx = (px + padding[1]) % stride[1];
        for (int v = py; v < x.rows; v += stride[0])
          for (int u = px; u < x.columns; u += stride[1]) {
            phase.from.push_back(int((v + padding[0] - ky) / stride[0] * y.row + (u + padding[1] - kx) / stride[1] * LANES));
            phase.to.push_back(int(v * x.row + u * LANES));
          }
        for (int j = 0; ky + j * stride[0] < kernel[0]; ++j)
          for (int i = 0; kx + i * stride[1] < kernel[1]; ++i)
            phase.kernel.push_back((ky + j * stride[0]) * kernel[1] + kx + i * stride[1]);
        for (int o = 0; o < outputs; ++o)
          for (int j = 0; ky + j * stride[0] < kernel[0]; ++j)
            for (int i = 0; kx + i * stride[1] < kernel[1]; ++i) phase.taps.push_back(int(o * y.channel - j * y.row - i * LANES));
        phase.packed = std::make_unique<Buffer>(size_t(record.groups) * (inputs + ROWS - 1) / ROWS * ROWS * phase.taps.size() + LANES);
        phases.push_back(std::move(phase));
      }
  }

  void inputs_gradient(const float* dy) {
    const bool adds = x.adds(), ends = x.readers == 1 && !x.whole && !x.sliced;
    for (const Phase& phase : phases) {
      const int steps = int(phase.taps.size());
      const ptrdiff_t packed = ptrdiff_t(ROWS) * steps;
      for (size_t p = 0; p < phase.to.size(); p += COLUMNS) {
        const int count = int(std::min(size_t(COLUMNS), phase.to.size() - p));
        for (int g = 0; g < record.groups; ++g) {
          const float* b[COLUMNS];
          float* c[COLUMNS];
          for (int v = 0; v < count; ++v) {
            b[v] = dy + g * outputs * y.channel + phase.from[p + v];
            c[v] = x.gradient + g * inputs * x.channel + phase.to[p + v];
          }
          product<true>(inputs, count, steps, {phase.packed->data + g * ((inputs + ROWS - 1) / ROWS) * packed, ROWS, packed}, phase.taps.data(),
                        b, c, x.channel, nullptr, adds);
        }
        if (ends) x.descend({x.channel, x.channels, phase.to.data() + p, count});
      }
    }
    if (ends) x.finished = true;
  }

  // Lanes are images: sums over positions and lanes of dy(o) x(i, tap), 4 x 4 at a time.
  void weights(const float* dy) {
    for (int first = 0; first < y.count(); first += TILE) {
      const int count = std::min(TILE, y.count() - first);
      const int *g_at = y.at.data() + first, *x_at = from.data() + first;
      float* room = context.room.data() + weight_room;
      for (int g = 0; g < record.groups; ++g)
        for (int o = 0; o < outputs; o += 4) {
          const float *left[4], *right[4];
          for (int r = 0; r < 4; ++r) left[r] = dy + (g * outputs + std::min(o + r, outputs - 1)) * y.channel;
          for (int k = 0; k < depth; k += 4, room += LANES) {
            for (int c = 0; c < 4; ++c) right[c] = x.data + g * inputs * x.channel + taps[std::min(k + c, depth - 1)];
            increase(room, outer(count, left, g_at, right, x_at));
          }
        }
      add_biases(dy, g_at, count, bias_room);
    }
  }

  // Lanes are tokens: with x turned round, a product whose depth is the tokens.
  void token_weights(const float* dy) {
    const int width = padded(depth);
    for (int i = 0; i < depth; i += LANES)
      for (int t = 0; t < x.columns; ++t) {
        Vec v[LANES];
        for (int c = 0; c < LANES; ++c) v[c] = i + c < depth ? load(x.data + (i + c) * x.channel + t * LANES) : Vec{};
        transpose(v);
        for (int c = 0; c < LANES; ++c) store(turned->data + (t * LANES + c) * width + i, v[c]);
      }
    float* room = context.room.data() + weight_room;
    for (int i = 0; i < width; i += COLUMNS * LANES) {
      const int count = std::min(COLUMNS, (width - i) / LANES);
      const float* b[COLUMNS];
      float* c[COLUMNS];
      for (int v = 0; v < count; ++v) b[v] = turned->data + i + v * LANES, c[v] = room + i + v * LANES;
      product<false>(outputs, count, y.positions, {dy, y.channel, ROWS * y.channel}, turned_taps.data(), b, c, width, nullptr, true);
    }
    add_biases(dy, y.at.data(), y.count(), bias_room);
  }
};
