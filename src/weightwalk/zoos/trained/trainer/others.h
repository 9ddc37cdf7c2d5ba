// Every kind of step but convolutions and dense ones. Part of trainer.cpp.

#pragma once

class Activate : public Step {
 public:
  using Step::Step;

  void forward() override {
    const Value& x = *sources[0];
    copy(x, y);
    activate(0, y.count());
  }

  void backward() override {
    if (Value& x = *sources[0]; x.wanted) give(y, y.incoming(), 0, x);
  }

  static void copy(const Value& x, Value& y, int first = 0) {
    for (int c = 0; c < x.channels; ++c)
      for (int p = 0; p < x.count(); ++p) store(y.data + (first + c) * y.channel + y.at[p], load(x.data + c * x.channel + x.at[p]));
  }

  // Channels `first` and on of y's gradient are (a part of) x's.
  static void give(const Value& y, const float* dy, int first, Value& x) {
    const bool adds = x.adds();
    for (int c = 0; c < x.channels; ++c)
      for (int p = 0; p < x.count(); ++p) {
        float* to = x.gradient + c * x.channel + x.at[p];
        Vec g = load(dy + (first + c) * y.channel + y.at[p]);
        store(to, adds ? load(to) + g : g);
      }
  }
};

class Add : public Step {
 public:
  using Step::Step;

  void forward() override {
    Activate::copy(*sources[0], y);
    const Value& x = *sources[1];
    for (int c = 0; c < y.channels; ++c)
      for (int p = 0; p < y.count(); ++p) increase(y.data + c * y.channel + y.at[p], load(x.data + c * x.channel + x.at[p]));
  }

  void backward() override {
    const float* dy = y.incoming();
    for (Value* x : sources)
      if (x->wanted) Activate::give(y, dy, 0, *x);
  }
};

// Channels of several values, and zeros behind them, which nobody ever writes to.
class Concat : public Step {
 public:
  using Step::Step;

  void forward() override {
    int first = 0;
    for (Value* x : sources) Activate::copy(*x, y, first), first += x->channels;
  }

  void backward() override {
    const float* dy = y.incoming();
    int first = 0;
    for (Value* x : sources) {
      if (x->wanted) Activate::give(y, dy, first, *x);
      first += x->channels;
    }
  }
};

// Mean over positions. Of tokens it stands in lane 0, the other lanes are zero.
class MeanPool : public Step {
 public:
  using Step::Step;

  void forward() override {
    const Value& x = *sources[0];
    const float share = 1.0f / x.positions;
    for (int c = 0; c < x.channels; ++c) {
      const float* from = x.data + c * x.channel;
      Vec total = {};
      for (int p = 0; p < x.count(); ++p) {
        Vec v = load(from + x.at[p]);
        for (int i = context.tokens ? x.positions - p * LANES : LANES; i < LANES; ++i) v[i] = 0;
        total += v;
      }
      if (context.tokens) {
        const float of_all = sum(total);
        total = Vec{};
        total[0] = of_all;
      }
      store(y.data + c * y.channel, share * total);
    }
  }

  void backward() override {
    Value& x = *sources[0];
    if (!x.wanted) return;
    const float *dy = y.incoming(), share = 1.0f / x.positions;
    const bool adds = x.adds();
    for (int c = 0; c < x.channels; ++c) {
      const float* from = dy + c * y.channel;
      const Vec g = share * (context.tokens ? all(*from) : load(from));
      for (int p = 0; p < x.count(); ++p) {
        Vec part = g;
        for (int i = context.tokens ? x.positions - p * LANES : LANES; i < LANES; ++i) part[i] = 0;
        float* to = x.gradient + c * x.channel + x.at[p];
        store(to, adds ? load(to) + part : part);
      }
    }
  }
};

// Layer, RMS and (folded) batch norms: y = scale (x - mean) / deviation + shift, over the channels of a position.
class Norm : public Step {
 public:
  Norm(Context& context, const Record& record, std::vector<Value>& values)
      : Step(context, record, values), x(*sources[0]), means(size_t(y.count()) * LANES), factors(size_t(y.count()) * LANES) {
    if (!context.trains) return;
    scale_room = context.reserve_vectors(record.weight, y.channels);
    if (record.bias >= 0) shift_room = context.reserve_vectors(record.bias, y.channels);
  }

  void forward() override {
    const float *scale = parameters(record.weight), *shift = parameters(record.bias);
    for (int p = 0; p < y.count(); ++p) {
      const float* from = x.data + x.at[p];
      float* to = y.data + y.at[p];
      Vec mean = {}, factor = all(1.0f);
      if (record.norm == LAYER) {
        for (int c = 0; c < x.channels; ++c) mean += load(from + c * x.channel);
        mean *= 1.0f / x.channels;
      }
      if (record.norm != BATCH) {
        Vec square = {};
        for (int c = 0; c < x.channels; ++c) {
          const Vec v = load(from + c * x.channel) - mean;
          square += v * v;
        }
        square = square * (1.0f / x.channels) + record.eps;
        for (int i = 0; i < LANES; ++i) factor[i] = 1.0f / std::sqrt(square[i]);
      }
      for (int c = 0; c < x.channels; ++c)
        store(to + c * y.channel, (load(from + c * x.channel) - mean) * factor * scale[c] + (shift ? shift[c] : 0.0f));
      store(means.data + p * LANES, mean);
      store(factors.data + p * LANES, factor);
    }
    activate(0, y.count());
  }

  void backward() override {
    const float *dy = y.incoming(), *scale = parameters(record.weight);
    const bool adds = x.wanted && x.adds();
    float *scales = context.room.data() + scale_room, *shifts = context.room.data() + shift_room;
    for (int p = 0; p < y.count(); ++p) {
      const float *from = x.data + x.at[p], *given = dy + y.at[p];
      const Vec mean = load(means.data + p * LANES), factor = load(factors.data + p * LANES);
      Vec total = {}, along = {};
      for (int c = 0; c < x.channels; ++c) {
        const Vec standard = (load(from + c * x.channel) - mean) * factor, g = load(given + c * y.channel);
        increase(scales + c * LANES, g * standard);
        if (record.bias >= 0) increase(shifts + c * LANES, g);
        total += g * scale[c];
        along += g * scale[c] * standard;
      }
      if (!x.wanted) continue;
      total *= record.norm == LAYER ? 1.0f / x.channels : 0.0f;
      along *= record.norm == BATCH ? 0.0f : 1.0f / x.channels;
      for (int c = 0; c < x.channels; ++c) {
        const Vec standard = (load(from + c * x.channel) - mean) * factor;
        const Vec g = factor * (load(given + c * y.channel) * scale[c] - total - standard * along);
        float* to = x.gradient + x.at[p] + c * x.channel;
        store(to, adds ? load(to) + g : g);
      }
    }
  }

 private:
  Value& x;
  Buffer means, factors;
  size_t scale_room = 0, shift_room = 0;
};

// Learned values that depend on no image.
class Learned : public Step {
 public:
  Learned(Context& context, const Record& record, std::vector<Value>& values) : Step(context, record, values) {
    if (!context.trains) return;
    const int positions = y.positions, count = y.channels * positions;
    if (context.tokens)
      room = context.reserve(record.weight, count, size_t(y.channels) * y.channel, 1,
                             [&](int j) { return int(j / positions * y.channel + j % positions); });
    else
      room = context.reserve_vectors(record.weight, count);
  }

  void prepare() override {
    const float* w = parameters(record.weight);
    for (int c = 0; c < y.channels; ++c)
      for (int p = 0; p < y.positions; ++p, ++w) {
        if (context.tokens) y.data[c * y.channel + p] = *w;
        else store(y.data + c * y.channel + y.at[p], all(*w));
      }
    activate(0, y.count());
  }

  void forward() override {}

  void backward() override {
    const float* dy = y.incoming();
    float* to = context.room.data() + room;
    for (int c = 0; c < y.channels; ++c)
      for (int p = 0; p < y.count(); ++p, to += LANES) increase(to, load(dy + c * y.channel + y.at[p]));
  }

 private:
  size_t room = 0;
};

// Patches of an image as tokens.
class Patches : public Step {
 public:
  Patches(Context& context, const Record& record, std::vector<Value>& values, const std::vector<float>& picture, int rows, int columns)
      : Step(context, record, values), picture(picture) {
    const int height = record.kernel[0], width = record.kernel[1], channels = y.channels / (height * width), across = columns / width;
    for (int t = 0; t < y.positions; ++t) corners.push_back(t / across * height * columns + t % across * width);
    for (int v = 0; v < height; ++v)
      for (int u = 0; u < width; ++u)
        for (int c = 0; c < channels; ++c) within.push_back((c * rows + v) * columns + u);
  }

  void forward() override {
    for (int c = 0; c < y.channels; ++c)
      for (int t = 0; t < y.positions; ++t) y.data[c * y.channel + t] = picture[corners[t] + within[c]];
  }

 private:
  const std::vector<float>& picture;
  std::vector<int> corners, within;
};

// Softmax attention over tokens, a head at a time. Scores lie as (key u, query t), queries in lanes.
class Attention : public Step {
 public:
  Attention(Context& context, const Record& record, std::vector<Value>& values)
      : Step(context, record, values), q(*sources[0]), k(*sources[1]), v(*sources[2]), tokens(y.positions), vectors(y.columns),
        width(vectors * LANES), head(q.channels / record.heads), value_head(v.channels / record.heads),
        shares(size_t(record.heads) * width * width), slopes(size_t(width) * width), turned(size_t(width) * width) {
    for (int d = 0; d < std::max(head, value_head); ++d) by_channel.push_back(int(d * q.channel));
    for (int t = 0; t < tokens; ++t) by_token.push_back(t * width);
  }

  void forward() override {
    for (int h = 0; h < record.heads; ++h) {
      float* s = shares.data + size_t(h) * width * width;
      // s(u, t) = k(., u) q(., t)
      multiply<true>(tokens, head, {k.data + h * head * k.channel, k.channel, ROWS}, by_channel, q.data + h * head * q.channel, s, width, false);
      for (int p = 0; p < vectors; ++p) softmax(s + p * LANES, p * LANES);
      multiply<false>(value_head, tokens, {v.data + h * value_head * v.channel, v.channel, ROWS * v.channel}, by_token, s,
                      y.data + h * value_head * y.channel, y.channel, false);
    }
    activate(0, y.count());
  }

  void backward() override {
    const float* dy = y.incoming();
    const bool q_adds = q.wanted && q.adds(), k_adds = k.wanted && k.adds(), v_adds = v.wanted && v.adds();
    for (int h = 0; h < record.heads; ++h) {
      const float *s = shares.data + size_t(h) * width * width, *g = dy + h * value_head * y.channel;
      if (v.wanted) {
        turn(s);
        multiply<false>(value_head, tokens, {g, y.channel, ROWS * y.channel}, by_token, turned.data, v.gradient + h * value_head * v.channel,
                        v.channel, v_adds);
      }
      if (!q.wanted && !k.wanted) continue;
      multiply<true>(tokens, value_head, {v.data + h * value_head * v.channel, v.channel, ROWS}, by_channel, g, slopes.data, width, false);
      for (int p = 0; p < width; p += LANES) softmax_back(s + p, slopes.data + p);
      if (q.wanted)
        multiply<false>(head, tokens, {k.data + h * head * k.channel, k.channel, ROWS * k.channel}, by_token, slopes.data,
                        q.gradient + h * head * q.channel, q.channel, q_adds);
      if (k.wanted) {
        turn(slopes.data);
        multiply<false>(head, tokens, {q.data + h * head * q.channel, q.channel, ROWS * q.channel}, by_token, turned.data,
                        k.gradient + h * head * k.channel, k.channel, k_adds);
      }
    }
  }

 private:
  Value &q, &k, &v;
  const int tokens, vectors, width, head, value_head;
  Buffer shares, slopes, turned;  // of every head; of the one under way
  std::vector<int> by_channel, by_token;

  template <bool ADJACENT>
  void multiply(int rows, int depth, Left<ADJACENT> left, const std::vector<int>& taps, const float* right, float* to, ptrdiff_t ldc, bool adds) {
    for (int p = 0; p < vectors; p += COLUMNS) {
      const int count = std::min(COLUMNS, vectors - p);
      const float* b[COLUMNS];
      float* c[COLUMNS];
      for (int i = 0; i < count; ++i) b[i] = right + (p + i) * LANES, c[i] = to + (p + i) * LANES;
      product<ADJACENT>(rows, count, depth, left, taps.data(), b, c, ldc, nullptr, adds);
    }
  }

  // The scores of 16 queries, the first of which is `first`, become shares of 1.
  void softmax(float* s, int first) {
    Vec high = all(-INFINITY), total = {};
    const int last = record.causal ? std::min(tokens, first + LANES) : tokens;
    for (int u = 0; u < last; ++u) {
      Vec z = record.scale * load(s + u * width);
      for (int i = 0; record.causal && i < u - first; ++i) z[i] = -INFINITY;
      high = z > high ? z : high;
      store(s + u * width, z);
    }
    for (int u = 0; u < last; ++u) {
      Vec share = exponential(load(s + u * width) - high);
      for (int i = 0; record.causal && i < u - first; ++i) share[i] = 0;
      total += share;
      store(s + u * width, share);
    }
    const Vec factor = 1.0f / total;
    for (int u = 0; u < last; ++u) store(s + u * width, factor * load(s + u * width));
    for (int u = last; u < tokens; ++u) store(s + u * width, Vec{});
  }

  // The gradient by shares becomes that by the products of q and k.
  void softmax_back(const float* s, float* g) {
    Vec along = {};
    for (int u = 0; u < tokens; ++u) along += load(s + u * width) * load(g + u * width);
    for (int u = 0; u < tokens; ++u) store(g + u * width, record.scale * load(s + u * width) * (load(g + u * width) - along));
  }

  void turn(const float* from) {
    for (int u = 0; u < width; u += LANES)
      for (int t = 0; t < width; t += LANES) {
        Vec block[LANES];
        for (int i = 0; i < LANES; ++i) block[i] = u + i < tokens ? load(from + (u + i) * width + t) : Vec{};
        transpose(block);
        for (int i = 0; i < LANES; ++i) store(turned.data + (t + i) * width + u, block[i]);
      }
  }
};
