// Convolutions of stride 1 as products of Fourier transforms, whatever the size of the kernel. Part of trainer.cpp.
//
// Pictures are padded with zeros to R x S numbers, so many that what wraps around meets zeros. Two channels go through one complex
// transform, as its real and imaginary parts. With U the conjugate transform of the kernel (times 1 / (R S)), X that of x and Y that of y:
//   Y(o) = sum over i of U(o, i) X(i),   dX(i) = sum over o of conj U(o, i) dY(o),   dU(o, i) = sum over images of conj dY(o) X(i).

#pragma once

// Complex transforms of a fixed length, which has no prime factors but 2, 3 and 5; each number is a vector. After Stockham.
class Transform {
 public:
  static constexpr int LONGEST = 128;

  // The shortest transform of at least `length`, and of more than one number.
  static int fitting(int length) {
    for (int n = std::max(length, 2);; ++n) {
      int rest = n;
      for (int r : {2, 3, 5})
        while (rest % r == 0) rest /= r;
      if (rest == 1) return n;
    }
  }

  explicit Transform(int length) : length(length) {
    int rest = length;
    for (int r : {6, 5, 4, 3, 2})
      while (rest % r == 0) radices_.push_back(r), rest /= r;
    int n = length;
    for (int r : radices_) {
      for (int p = 0; p < n / r; ++p)
        for (int j = 1; j < r; ++j) {
          twiddles_.push_back(float(std::cos(2 * M_PI * p * j / n)));
          twiddles_.push_back(float(-std::sin(2 * M_PI * p * j / n)));
        }
      n /= r;
    }
  }

  const int length;

  // Reads number k, for k < count (the others are zero), from re + k * step and im + k * step, and calls put(k, real, imaginary) for every
  // k of the result. The inverse transform (times the length) is that with real and imaginary parts exchanged, before and after.
  template <class Put>
  void run(const float* re, const float* im, ptrdiff_t step, int count, Put put) const {
    alignas(64) float scratch[2][2][LONGEST * LANES];
    const float* twiddle = twiddles_.data();
    int n = length, s = 1;
    const size_t last = radices_.size() - 1;
    for (size_t pass = 0; pass <= last; ++pass) {
      const int r = radices_[pass];
      float(&to)[2][LONGEST * LANES] = scratch[pass % 2];
      auto keep = [&](int k, Vec a, Vec b) { store(to[0] + k * LANES, a), store(to[1] + k * LANES, b); };
      const bool first = pass == 0 && count < length;
      if (pass == last) first ? of_radix<true>(r, n, s, re, im, step, count, twiddle, put) : of_radix<false>(r, n, s, re, im, step, count, twiddle, put);
      else first ? of_radix<true>(r, n, s, re, im, step, count, twiddle, keep) : of_radix<false>(r, n, s, re, im, step, count, twiddle, keep);
      twiddle += 2 * (n / r) * (r - 1);
      n /= r, s *= r;
      re = to[0], im = to[1], step = LANES;
    }
  }

 private:
  std::vector<int> radices_;
  std::vector<float> twiddles_;

  template <bool SHORT, class Put>
  static inline __attribute__((always_inline)) void of_radix(int r, int n, int s, const float* re, const float* im, ptrdiff_t step, int count,
                                                             const float* twiddle, Put put) {
    switch (r) {
      case 2: return pass<2, SHORT>(n, s, re, im, step, count, twiddle, put);
      case 3: return pass<3, SHORT>(n, s, re, im, step, count, twiddle, put);
      case 4: return pass<4, SHORT>(n, s, re, im, step, count, twiddle, put);
      case 5: return pass<5, SHORT>(n, s, re, im, step, count, twiddle, put);
      default: return pass<6, SHORT>(n, s, re, im, step, count, twiddle, put);
    }
  }

  template <int R, bool SHORT, class Put>
  static void pass(int n, int s, const float* re, const float* im, ptrdiff_t step, int count, const float* twiddle, Put put) {
    const int m = n / R;
    for (int p = 0; p < m; ++p, twiddle += 2 * (R - 1))
      for (int q = 0; q < s; ++q) {
        Vec a[R], b[R];
#pragma GCC unroll 6
        for (int j = 0; j < R; ++j) {
          const int k = q + s * (p + m * j);
          a[j] = !SHORT || k < count ? load(re + k * step) : Vec{};
          b[j] = !SHORT || k < count ? load(im + k * step) : Vec{};
        }
        butterfly(a, b);
        put(q + s * R * p, a[0], b[0]);
#pragma GCC unroll 6
        for (int j = 1; j < R; ++j) {
          const float c = twiddle[2 * j - 2], d = twiddle[2 * j - 1];
          if (p) put(q + s * (R * p + j), c * a[j] - d * b[j], c * b[j] + d * a[j]);
          else put(q + s * j, a[j], b[j]);
        }
      }
  }

  static inline __attribute__((always_inline)) void butterfly(Vec (&a)[2], Vec (&b)[2]) {
    const Vec x = a[1], y = b[1];
    a[1] = a[0] - x, b[1] = b[0] - y;
    a[0] += x, b[0] += y;
  }

  static inline __attribute__((always_inline)) void butterfly(Vec (&a)[3], Vec (&b)[3]) {
    constexpr float H = 0.866025404f;
    const Vec ar = a[1] + a[2], br = b[1] + b[2], ai = H * (b[1] - b[2]), bi = H * (a[2] - a[1]);
    const Vec am = a[0] - 0.5f * ar, bm = b[0] - 0.5f * br;
    a[0] += ar, b[0] += br;
    a[1] = am + ai, b[1] = bm + bi;
    a[2] = am - ai, b[2] = bm - bi;
  }

  static inline __attribute__((always_inline)) void butterfly(Vec (&a)[4], Vec (&b)[4]) {
    const Vec a02 = a[0] + a[2], b02 = b[0] + b[2], a13 = a[1] + a[3], b13 = b[1] + b[3];
    const Vec c02 = a[0] - a[2], d02 = b[0] - b[2], c13 = b[1] - b[3], d13 = a[3] - a[1];
    a[0] = a02 + a13, b[0] = b02 + b13, a[2] = a02 - a13, b[2] = b02 - b13;
    a[1] = c02 + c13, b[1] = d02 + d13, a[3] = c02 - c13, b[3] = d02 - d13;
  }

  static inline __attribute__((always_inline)) void butterfly(Vec (&a)[5], Vec (&b)[5]) {
    constexpr float C1 = 0.309016994f, C2 = -0.809016994f, S1 = 0.951056516f, S2 = 0.587785252f;
    const Vec a14 = a[1] + a[4], b14 = b[1] + b[4], a23 = a[2] + a[3], b23 = b[2] + b[3];
    const Vec c14 = a[1] - a[4], d14 = b[1] - b[4], c23 = a[2] - a[3], d23 = b[2] - b[3];
    const Vec p = a[0] + C1 * a14 + C2 * a23, q = b[0] + C1 * b14 + C2 * b23, r = a[0] + C2 * a14 + C1 * a23, t = b[0] + C2 * b14 + C1 * b23;
    const Vec u = S1 * d14 + S2 * d23, v = S1 * c14 + S2 * c23, w = S2 * d14 - S1 * d23, z = S2 * c14 - S1 * c23;
    a[0] += a14 + a23, b[0] += b14 + b23;
    a[1] = p + u, b[1] = q - v, a[4] = p - u, b[4] = q + v;
    a[2] = r + w, b[2] = t - z, a[3] = r - w, b[3] = t + z;
  }

  static inline __attribute__((always_inline)) void butterfly(Vec (&a)[6], Vec (&b)[6]) {  // 2 x 3, whose factors have none in common
    Vec a0[3] = {a[0], a[2], a[4]}, b0[3] = {b[0], b[2], b[4]}, a1[3] = {a[3], a[5], a[1]}, b1[3] = {b[3], b[5], b[1]};
    butterfly(a0, b0);
    butterfly(a1, b1);
    a[0] = a0[0] + a1[0], b[0] = b0[0] + b1[0], a[3] = a0[0] - a1[0], b[3] = b0[0] - b1[0];
    a[4] = a0[1] + a1[1], b[4] = b0[1] + b1[1], a[1] = a0[1] - a1[1], b[1] = b0[1] - b1[1];
    a[2] = a0[2] + a1[2], b[2] = b0[2] + b1[2], a[5] = a0[2] - a1[2], b[5] = b0[2] - b1[2];
  }
};

class Fourier : public Step {
  static constexpr ptrdiff_t NUMBER = 2 * LANES;  // a complex one

 public:
  Fourier(Context& context, const Record& record, std::vector<Value>& values)
      : Step(context, record, values), x(*sources[0]), down(size(record, x, 0)), across(size(record, x, 1)), half(across.length / 2 + 1),
        x_blocks(padded(x.channels) / LANES), column((std::max(x.rows, y.rows) + 1) * NUMBER), pair(across.length * column),
        x_rows(size_t(x.channels + 1) / 2 * pair), y_rows(size_t(y.channels + 1) / 2 * pair), of_x(size_t(down.length) * x.channels * NUMBER),
        of_y(size_t(down.length) * y.channels * NUMBER), weights(size_t(half) * down.length * y.channels * x_blocks * NUMBER),
        gradients(context.trains ? weights.size : 0), nothing(size_t(across.length) * LANES) {
    for (int axis = 0; axis < 2; ++axis) {
      const int n = axis ? across.length : down.length, kernel = record.kernel[axis];
      for (int f = 0; f < (axis ? half : n); ++f)
        for (int k = 0; k < kernel; ++k) {
          const double turn = 2 * M_PI * ((ptrdiff_t(f) * (k - record.padding[axis])) % n) / n;
          waves[axis].push_back(float(std::cos(turn)));
          waves[axis].push_back(float(std::sin(turn)));
        }
    }
    if (!context.trains) return;
    const int count = y.channels * x.channels * record.kernel[0] * record.kernel[1];
    weight_room = context.reserve(record.weight, count, count, 1, [](int j) { return j; });
    if (record.bias >= 0) bias_room = context.reserve_vectors(record.bias, y.channels);
  }

  // Whether it needs less time than the plain sum, by what either has been seen to take (in nanoseconds).
  static bool suits(const Record& record, const Value& x, const Value& y) {
    if (record.groups != 1 || record.stride[0] != 1 || record.stride[1] != 1) return false;
    const double r = size(record, x, 0), s = size(record, x, 1), pairs = double(x.channels) * y.channels;
    if (std::max(r, s) > Transform::LONGEST) return false;
    const double plain = 0.0127 * (x.wanted ? 3 : 2) * pairs * record.kernel[0] * record.kernel[1] * y.count();
    return plain > 1.15 * r * s * (2.1 * (x.channels + y.channels) + 0.17 * padded(x.channels) * y.channels);
  }

  void prepare() override {
    std::fill(gradients.data, gradients.data + gradients.size, 0.0f);
    const int rows = record.kernel[0], columns = record.kernel[1], taps = rows * columns;
    const float* w = context.parameters + record.weight;
    const float share = 1.0f / (float(down.length) * across.length);
    std::vector<Vec> kernel(taps), half_way(size_t(2) * rows * half);
    for (int o = 0; o < y.channels; ++o)
      for (int block = 0; block < x_blocks; ++block) {
        for (int k = 0; k < taps; ++k)
          for (int lane = 0; lane < LANES; ++lane) {
            const int i = block * LANES + lane;
            kernel[k][lane] = i < x.channels ? share * w[(o * x.channels + i) * taps + k] : 0.0f;
          }
        for (int a = 0; a < rows; ++a)
          for (int f = 0; f < half; ++f) {
            Vec re = {}, im = {};
            const float* wave = waves[1].data() + 2 * f * columns;
            for (int k = 0; k < columns; ++k) re += wave[2 * k] * kernel[a * columns + k], im += wave[2 * k + 1] * kernel[a * columns + k];
            half_way[2 * (a * half + f)] = re, half_way[2 * (a * half + f) + 1] = im;
          }
        for (int f = 0; f < half; ++f)
          for (int e = 0; e < down.length; ++e) {
            Vec re = {}, im = {};
            const float* wave = waves[0].data() + 2 * e * rows;
            for (int a = 0; a < rows; ++a) {
              const Vec u = half_way[2 * (a * half + f)], v = half_way[2 * (a * half + f) + 1];
              re += wave[2 * a] * u - wave[2 * a + 1] * v, im += wave[2 * a] * v + wave[2 * a + 1] * u;
            }
            float* to = weights.data + at_weight(f * down.length + e, o, block);
            store(to, re), store(to + LANES, im);
          }
      }
  }

  void forward() override {
    for (int c = 0; c < x.channels; c += 2) along_rows(x, x.data, c, x_rows.data);
    for (int f = 0; f < half; ++f) {
      along_columns(x, x_rows.data, f, of_x.data);
      for (int e = 0; e < down.length; ++e)
        multiply<false>(y.channels, x.channels, weights.data + at_weight(f * down.length + e, 0, 0), of_x.data + e * x.channels * NUMBER,
                        of_y.data + e * y.channels * NUMBER);
      back_along_columns(of_y.data, f, y, y_rows.data);
    }
    const float* bias = parameters(record.bias);
    for (int c = 0; c < y.channels; c += 2) {
      back_along_rows(y_rows.data, y, c, y.data, [&](float* at, int channel, Vec v) { store(at, bias ? v + bias[channel] : v); });
      activate(0, y.count(), c, std::min(2, y.channels - c));
    }
  }

  void backward() override {
    if (!y.started) y.clear_gradient();
    for (int c = 0; c < y.channels; c += 2) {
      if (!y.finished) y.descend(y.block(0, y.count(), c, std::min(2, y.channels - c)));
      along_rows(y, y.gradient, c, y_rows.data);
    }
    for (int f = 0; f < half; ++f) {
      along_columns(x, x_rows.data, f, of_x.data);
      along_columns(y, y_rows.data, f, of_y.data);
      for (int o = 0; f == 0 && record.bias >= 0 && o < y.channels; ++o)  // frequency 0 is the sum over positions
        increase(context.room.data() + bias_room + o * LANES, load(of_y.data + o * NUMBER));
      for (int e = 0; e < down.length; ++e) {
        float *xs = of_x.data + e * x.channels * NUMBER, *ys = of_y.data + e * y.channels * NUMBER;
        const size_t bin = f * down.length + e;
        add_gradients(gradients.data + at_weight(bin, 0, 0), xs, ys);
        if (x.wanted) multiply<true>(x.channels, y.channels, weights.data + at_weight(bin, 0, 0), ys, xs);  // in the place of what is done with
      }
      if (x.wanted) back_along_columns(of_x.data, f, x, x_rows.data);
    }
    if (!x.wanted) return;
    const bool adds = x.adds();
    const bool ends = x.readers == 1 && !x.whole && !x.sliced;
    for (int c = 0; c < x.channels; c += 2) {
      back_along_rows(x_rows.data, x, c, x.gradient, [&](float* at, int, Vec v) { store(at, adds ? load(at) + v : v); });
      if (ends) x.descend(x.block(0, x.count(), c, std::min(2, x.channels - c)));
    }
    if (ends) x.finished = true;
  }

  void finish() override {
    const int rows = record.kernel[0], columns = record.kernel[1], taps = rows * columns;
    float* to = context.room.data() + weight_room;
    const float share = 1.0f / (float(down.length) * across.length);
    std::vector<Vec> half_way(size_t(2) * rows * half);
    for (int o = 0; o < y.channels; ++o)
      for (int block = 0; block < x_blocks; ++block) {
        for (int f = 0; f < half; ++f) {
          const bool alone = f == 0 || 2 * f == across.length;  // the others stand for their conjugates as well
          for (int a = 0; a < rows; ++a) {
            Vec re = {}, im = {};
            for (int e = 0; e < down.length; ++e) {
              const float *from = gradients.data + at_weight(f * down.length + e, o, block), *wave = waves[0].data() + 2 * (e * rows + a);
              const Vec u = load(from), v = load(from + LANES);
              re += wave[0] * u - wave[1] * v, im += wave[0] * v + wave[1] * u;
            }
            const float factor = alone ? share : 2 * share;
            half_way[2 * (a * half + f)] = factor * re, half_way[2 * (a * half + f) + 1] = factor * im;
          }
        }
        for (int k = 0; k < taps; ++k) {
          Vec total = {};
          for (int f = 0; f < half; ++f) {
            const float* wave = waves[1].data() + 2 * (f * columns + k % columns);
            const size_t j = 2 * (k / columns * half + f);
            total += wave[0] * half_way[j] - wave[1] * half_way[j + 1];
          }
          for (int i = block * LANES; i < std::min(x.channels, (block + 1) * LANES); ++i) to[(o * x.channels + i) * taps + k] = total[i % LANES];
        }
      }
  }

 private:
  Value& x;
  const Transform down, across;
  const int half;  // columns of a transform that the others follow from
  const int x_blocks;
  const ptrdiff_t column, pair;  // from one to the next in x_rows and y_rows; one row is left free, or columns would share lines of a cache
  Buffer x_rows, y_rows;         // transforms along rows, as (pair of channels, column, row, real or imaginary, image)
  Buffer of_x, of_y;             // a column of the whole transform, as (row, channel, real or imaginary, image)
  Buffer weights, gradients;     // as (column, row, output, block of inputs, real or imaginary, input)
  Buffer nothing;                // zeros
  std::vector<float> waves[2];  // cosine and sine, of each frequency along an axis, at each place in the kernel
  size_t weight_room = 0, bias_room = 0;

  static int size(const Record& record, const Value& x, int axis) {
    const int numbers = axis ? x.columns : x.rows;
    return Transform::fitting(std::max(numbers + record.padding[axis], record.kernel[axis]));
  }

  size_t at_weight(int bin, int o, int block) const { return ((size_t(bin) * y.channels + o) * x_blocks + block) * NUMBER; }
  int opposite(int f, int n) const { return f ? n - f : 0; }

  // Channels c and c + 1.
  void along_rows(const Value& value, const float* data, int c, float* to) const {
    to += c / 2 * pair;
    for (int row = 0; row < value.rows; ++row) {
      const float* from = data + c * value.channel + row * value.row;
      float* at = to + row * NUMBER;
      across.run(from, c + 1 < value.channels ? from + value.channel : nothing.data, LANES, value.columns,
                 [&](int k, Vec a, Vec b) { store(at + k * column, a), store(at + k * column + LANES, b); });
    }
  }

  // Column f of all channels, apart again: of a real signal Z, that at -f is the conjugate.
  void along_columns(const Value& value, const float* rows, int f, float* to) {
    alignas(64) float columns[2][2 * Transform::LONGEST * LANES];
    const int other = opposite(f, across.length);
    for (int c = 0; c < value.channels; c += 2, rows += pair) {
      for (int side = 0; side < (other == f ? 1 : 2); ++side) {
        const float* from = rows + (side ? other : f) * column;
        down.run(from, from + LANES, NUMBER, value.rows,
                 [&](int k, Vec a, Vec b) { store(columns[side] + k * NUMBER, a), store(columns[side] + k * NUMBER + LANES, b); });
      }
      const float* mirror = columns[other == f ? 0 : 1];
      for (int e = 0; e < down.length; ++e) {
        const float *z = columns[0] + e * NUMBER, *w = mirror + opposite(e, down.length) * NUMBER;
        const Vec a = load(z), b = load(z + LANES), u = load(w), v = load(w + LANES);
        float* at = to + (e * value.channels + c) * NUMBER;
        store(at, 0.5f * (a + u)), store(at + LANES, 0.5f * (b - v));
        if (c + 1 < value.channels) store(at + NUMBER, 0.5f * (b + v)), store(at + NUMBER + LANES, 0.5f * (u - a));
      }
    }
  }

  void back_along_columns(const float* from, int f, const Value& value, float* rows) {
    alignas(64) float columns[2][2 * Transform::LONGEST * LANES];
    const int other = opposite(f, across.length);
    for (int c = 0; c < value.channels; c += 2, rows += pair) {
      const bool second = c + 1 < value.channels;
      for (int e = 0; e < down.length; ++e) {
        const float* at = from + (e * value.channels + c) * NUMBER;
        const Vec a = load(at), b = load(at + LANES), u = second ? load(at + NUMBER) : Vec{}, v = second ? load(at + NUMBER + LANES) : Vec{};
        float *z = columns[0] + e * NUMBER, *w = columns[1] + opposite(e, down.length) * NUMBER;
        store(z, a - v), store(z + LANES, b + u);
        store(w, a + v), store(w + LANES, u - b);
      }
      for (int side = 0; side < (other == f ? 1 : 2); ++side) {
        float* to = rows + (side ? other : f) * column;
        down.run(columns[side] + LANES, columns[side], NUMBER, down.length, [&](int k, Vec b, Vec a) {
          if (k < value.rows) store(to + k * NUMBER, a), store(to + k * NUMBER + LANES, b);
        });
      }
    }
  }

  // Channels c and c + 1; put(where, channel, vector) takes the results.
  template <class Put>
  void back_along_rows(const float* rows, const Value& value, int c, float* data, Put put) const {
    rows += c / 2 * pair;
    for (int row = 0; row < value.rows; ++row) {
      const float* at = rows + row * NUMBER;
      float* to = data + c * value.channel + row * value.row;
      across.run(at + LANES, at, column, across.length, [&](int k, Vec b, Vec a) {
        if (k >= value.columns) return;
        put(to + k * LANES, c, a);
        if (c + 1 < value.channels) put(to + value.channel + k * LANES, c + 1, b);
      });
    }
  }

  // The products of one bin: rows are outputs (or, for the gradient by x with conjugate weights, inputs).
  template <bool CONJUGATE>
  void multiply(int rows, int depth, const float* w, const float* in, float* out) const {
    const ptrdiff_t output = x_blocks * NUMBER;
    for (int r = 0; r < rows; r += 4) {
      Vec rr[4], ii[4], ri[4], ir[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) rr[j] = ii[j] = ri[j] = ir[j] = Vec{};
      const float* at[4];
      for (int j = 0; j < 4; ++j) {
        const int row = std::min(r + j, rows - 1);
        at[j] = w + (CONJUGATE ? row / LANES * NUMBER + row % LANES : row * output);
      }
      for (int k = 0; k < depth; ++k) {
        const Vec a = load(in + k * NUMBER), b = load(in + k * NUMBER + LANES);
        const ptrdiff_t step = CONJUGATE ? k * output : k / LANES * NUMBER + k % LANES;
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          const float re = at[j][step], im = at[j][step + LANES];
          rr[j] += re * a, ii[j] += im * b, ri[j] += re * b, ir[j] += im * a;
        }
      }
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        if (r + j >= rows) break;
        store(out + (r + j) * NUMBER, CONJUGATE ? rr[j] + ii[j] : rr[j] - ii[j]);
        store(out + (r + j) * NUMBER + LANES, CONJUGATE ? ri[j] - ir[j] : ri[j] + ir[j]);
      }
    }
  }

  // conj dY(o) X(i), summed over the images, inputs in lanes.
  void add_gradients(float* room, const float* xs, const float* ys) const {
    Vec turned[2][LANES];
    for (int block = 0; block < x_blocks; ++block) {
#pragma GCC unroll 2
      for (int part = 0; part < 2; ++part) {
        for (int i = 0; i < LANES; ++i)
          turned[part][i] = block * LANES + i < x.channels ? load(xs + (block * LANES + i) * NUMBER + part * LANES) : Vec{};
        ::transpose(turned[part]);
      }
      for (int o = 0; o < y.channels; o += 4) {
        Vec rr[4], ii[4], ri[4], ir[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) rr[j] = ii[j] = ri[j] = ir[j] = Vec{};
        const float* at[4];
        for (int j = 0; j < 4; ++j) at[j] = ys + std::min(o + j, y.channels - 1) * NUMBER;
        for (int n = 0; n < LANES; ++n) {
          const Vec a = turned[0][n], b = turned[1][n];
#pragma GCC unroll 4
          for (int j = 0; j < 4; ++j) {
            const float re = at[j][n], im = at[j][n + LANES];
            rr[j] += re * a, ii[j] += im * b, ri[j] += re * b, ir[j] += im * a;
          }
        }
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          if (o + j >= y.channels) break;
          float* to = room + at_weight(0, o + j, block);
          increase(to, rr[j] + ii[j]), increase(to + LANES, ri[j] - ir[j]);
        }
      }
    }
  }
};
