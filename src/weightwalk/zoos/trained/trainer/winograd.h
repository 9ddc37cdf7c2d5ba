// Convolutions of stride 1 with fewer multiplications (Winograd's minimal filtering; Lavin and Gray, arXiv:1509.09308). Part of trainer.cpp.
//
// M x M outputs and the T x T inputs that they come from, T = M + K - 1, are transformed so that a K x K kernel becomes T T products:
// Y = A' [(G w G') o (B' x B)] A, of which the gradients are the adjoints. Rows of the matrices belong to the points 0, 1, -1, 2, -2
// and infinity; two rows of opposite points differ in the signs of their odd columns only, which halves the transforms. For kernels of
// 3 x 3: those of larger ones would be less exact, and their numbers would not stay in the caches (see fourier.h).

#pragma once

// function(i) for i from 0 to N - 1, each a constant.
template <int... I, class F>
inline __attribute__((always_inline)) void unrolled(std::integer_sequence<int, I...>, F function) {
  (function(std::integral_constant<int, I>{}), ...);
}
template <int N, class F>
inline __attribute__((always_inline)) void unrolled(F function) {
  unrolled(std::make_integer_sequence<int, N>{}, function);
}

template <int M, int K>
struct Tiles {
  static constexpr int T = M + K - 1;
  static_assert(T == 6, "a tile has a row per point");
  static constexpr double POINTS[] = {0, 1, -1, 2, -2};
  struct Matrices {
    float a[T][M] = {}, b[T][T] = {};  // A, and B' (its rows belong to points)
    double g[T][K] = {};
  };

  static constexpr Matrices matrices() {
    Matrices found;
    for (int p = 0; p < T; ++p) {
      const bool infinite = p == T - 1;
      double polynomial[T] = {1}, scale = 1, power = 1;
      int degree = 0;
      for (int q = 0; q < T - 1; ++q) {  // the product of (x - other points)
        if (q == p) continue;
        if (!infinite) scale *= POINTS[p] - POINTS[q];
        ++degree;
        for (int j = degree; j >= 0; --j) polynomial[j] = (j ? polynomial[j - 1] : 0) - POINTS[q] * (j < degree ? polynomial[j] : 0);
      }
      for (int j = 0; j < T; ++j) found.b[p][j] = float(polynomial[j]);
      for (int j = 0; j < std::max(M, K); ++j) {
        if (j < M) found.a[p][j] = infinite ? j == M - 1 : float(power);
        if (j < K) found.g[p][j] = infinite ? j == K - 1 : power / scale;
        if (!infinite) power *= POINTS[p];
      }
    }
    return found;
  }
  static constexpr Matrices MATRICES = matrices();

  enum Side { OUTPUTS, INPUTS };  // A or B'
  template <Side S>
  static constexpr int size = S == OUTPUTS ? M : T;
  template <Side S>
  static constexpr float entry(int p, int j) { return S == OUTPUTS ? MATRICES.a[p][j] : MATRICES.b[p][j]; }

  // The sum over j = J, J + STEP, ... of entry(p, j) in(j), without the terms that are zero.
  template <Side S, int P, int J, int STEP>
  static inline __attribute__((always_inline)) Vec row(const Vec* in) {
    if constexpr (entry<S>(P, J) == 0.0f) return row<S, P, J + STEP, STEP>(in);
    else return row_on<S, P, J + STEP, STEP>(entry<S>(P, J) == 1.0f ? in[J] : entry<S>(P, J) * in[J], in);
  }
  template <Side S, int P, int J, int STEP>
  static inline __attribute__((always_inline)) Vec row_on(Vec total, const Vec* in) {
    if constexpr (J >= size<S>) return total;
    else if constexpr (entry<S>(P, J) == 0.0f) return row_on<S, P, J + STEP, STEP>(total, in);
    else return row_on<S, P, J + STEP, STEP>(total + entry<S>(P, J) * in[J], in);
  }

  // out(p) = sum over j of entry(p, j) in(j), rows 2i + 1 and 2i + 2 together.
  template <Side S>
  static inline __attribute__((always_inline)) void to_points(const Vec* in, Vec* out) {
    out[0] = row<S, 0, 0, 1>(in);
    unrolled<T / 2 - 1>([&](auto i) {
      constexpr int p = 2 * i + 1;
      const Vec even = row<S, p, 0, 2>(in), odd = row<S, p, 1, 2>(in);
      out[p] = even + odd;
      out[p + 1] = even - odd;
    });
    out[T - 1] = row<S, T - 1, 0, 1>(in);
  }

  // out(j) = sum over p of entry(p, j) in(p).
  template <Side S>
  static inline __attribute__((always_inline)) void from_points(const Vec* in, Vec* out) {
    Vec sum[T / 2], difference[T / 2];
    unrolled<T / 2 - 1>([&](auto i) { sum[i] = in[2 * i + 1] + in[2 * i + 2], difference[i] = in[2 * i + 1] - in[2 * i + 2]; });
    unrolled<size<S>>([&](auto j) {
      const Vec* paired = j % 2 ? difference : sum;
      Vec total = entry<S>(1, j) * paired[0];
      unrolled<T / 2 - 2>([&](auto i) {
        if constexpr (entry<S>(2 * i + 3, j) != 0.0f) total += entry<S>(2 * i + 3, j) * paired[i + 1];
      });
      if constexpr (entry<S>(0, j) != 0.0f) total += entry<S>(0, j) * in[0];
      if constexpr (entry<S>(T - 1, j) != 0.0f) total += entry<S>(T - 1, j) * in[T - 1];
      out[j] = total;
    });
  }

  // B' x B of the T x T vectors from `x` on; point (i, j) goes to out + (i T + j) * apart.
  static void inputs(const float* x, ptrdiff_t row, float* out, ptrdiff_t apart) {
    Vec half[T][T], in[T], v[T];
    for (int j = 0; j < T; ++j) {
      for (int i = 0; i < T; ++i) in[i] = load(x + i * row + j * LANES);
      to_points<INPUTS>(in, v);
      for (int p = 0; p < T; ++p) half[p][j] = v[p];
    }
    for (int p = 0; p < T; ++p) {
      to_points<INPUTS>(half[p], v);
      for (int q = 0; q < T; ++q) store(out + (p * T + q) * apart, v[q]);
    }
  }

  // A dy A' of the M x M vectors from `dy` on.
  static void outputs_back(const float* dy, ptrdiff_t row, float* out, ptrdiff_t apart) {
    Vec half[T][M], in[M], v[T];
    for (int j = 0; j < M; ++j) {
      for (int i = 0; i < M; ++i) in[i] = load(dy + i * row + j * LANES);
      to_points<OUTPUTS>(in, v);
      for (int p = 0; p < T; ++p) half[p][j] = v[p];
    }
    for (int p = 0; p < T; ++p) {
      to_points<OUTPUTS>(half[p], v);
      for (int q = 0; q < T; ++q) store(out + (p * T + q) * apart, v[q]);
    }
  }

  // N x N vectors out of points: A' m A (the outputs), or B m B' (the gradient by the inputs).
  template <Side S>
  static inline __attribute__((always_inline)) void from_plane(const float* m, ptrdiff_t apart, Vec (*out)[size<S>]) {
    constexpr int N = size<S>;
    Vec half[N][T], in[T], v[N];
    for (int q = 0; q < T; ++q) {
      for (int p = 0; p < T; ++p) in[p] = load(m + (p * T + q) * apart);
      from_points<S>(in, v);
      for (int i = 0; i < N; ++i) half[i][q] = v[i];
    }
    for (int i = 0; i < N; ++i) from_points<S>(half[i], out[i]);
  }

  static void outputs(const float* m, ptrdiff_t apart, float bias, float* y, ptrdiff_t row) {
    Vec tile[M][M];
    from_plane<OUTPUTS>(m, apart, tile);
    for (int i = 0; i < M; ++i)
      for (int j = 0; j < M; ++j) store(y + i * row + j * LANES, tile[i][j] + bias);
  }

  // Adds rows and columns `low` to `high` - 1 (each) of the tile to what is there.
  static void inputs_back(const float* v, ptrdiff_t apart, float* dx, ptrdiff_t row, const int* low, const int* high) {
    Vec tile[T][T];
    from_plane<INPUTS>(v, apart, tile);
    for (int i = low[0]; i < high[0]; ++i)
      for (int j = low[1]; j < high[1]; ++j) increase(dx + i * row + j * LANES, tile[i][j]);
  }
};

template <int M, int K>
class Winograd : public Step {
  using F = Tiles<M, K>;
  static constexpr int T = F::T, POINTS = T * T, TILES = 8;
  // From one channel to the next. Within a channel numbers lie as (tile, point) where transforms write them, (point, tile) where products
  // do: writing one after another is what costs least. + 1, or all channels and tiles would fall on the same few lines of a cache.
  static constexpr ptrdiff_t TILE = (POINTS + 1) * LANES, POINT = TILES * LANES, CHANNEL = TILES * TILE;

 public:
  // Whether it needs less time than the plain sum: a number of a transform costs as much as 12 products.
  static bool suits(const Record& record, const Value& x, const Value& y) {
    if (record.groups != 1 || y.rows % M || y.columns % M || y.rows * y.columns == M * M) return false;
    for (int axis = 0; axis < 2; ++axis)
      if (record.kernel[axis] != K || record.stride[axis] != 1) return false;
    const double pairs = double(x.channels) * y.channels;
    return pairs * K * K * M * M > 1.3 * POINTS * (pairs + 12.0 * (x.channels + y.channels));
  }

  Winograd(Context& context, const Record& record, std::vector<Value>& values)
      : Step(context, record, values), x(*sources[0]), weights(size_t(POINTS) * x.channels * y.channels + LANES),
        of_x(size_t(x.channels) * CHANNEL), of_y(size_t(y.channels) * CHANNEL), x_blocks((x.channels + 3) / 4), y_blocks((y.channels + 3) / 4),
        gradients(context.trains ? size_t(POINTS) * x_blocks * y_blocks * LANES : 0) {
    for (int i = 0; i < std::max(x.channels, y.channels); ++i) taps.push_back(int(i * CHANNEL));
    for (int i = 0; i < TILES; ++i) tiles.push_back(int(i * TILE));
    if (!context.trains) return;
    const int count = y.channels * x.channels * K * K;
    weight_room = context.reserve(record.weight, count, count, 1, [](int j) { return j; });
    if (record.bias >= 0) bias_room = context.reserve_vectors(record.bias, y.channels);
  }

  void prepare() override {
    std::fill(gradients.data, gradients.data + gradients.size, 0.0f);
    const float* w = context.parameters + record.weight;
    const auto& g = F::MATRICES.g;
    for (int n = 0; n < y.channels * x.channels; ++n, w += K * K) {
      double half[T][K] = {};
      for (int p = 0; p < T; ++p)
        for (int i = 0; i < K; ++i)
          for (int j = 0; j < K; ++j) half[p][j] += g[p][i] * w[i * K + j];
      for (int p = 0; p < T; ++p)
        for (int q = 0; q < T; ++q) {
          double total = 0;
          for (int j = 0; j < K; ++j) total += half[p][j] * g[q][j];
          weights.data[size_t(p * T + q) * x.channels * y.channels + n] = float(total);
        }
    }
  }

  void forward() override {
    for (int row = 0; row < y.rows; row += M) {
      for (int column = 0; column < y.columns; column += M * TILES) {
        const int count = std::min(TILES, (y.columns - column) / M);
        transform_inputs(row, column, count);
        for (int p = 0; p < POINTS; ++p)
          multiply<false>(y.channels, count, x.channels, {weights_of(p), x.channels, ROWS * x.channels}, of_x.data + p * LANES,
                          of_y.data + p * POINT, LANES);
        for (int o = 0; o < y.channels; ++o)
          for (int t = 0; t < count; ++t)
            F::outputs(of_y.data + o * CHANNEL + t * LANES, POINT, record.bias < 0 ? 0.0f : context.parameters[record.bias + o],
                       y.data + o * y.channel + row * y.row + (column + t * M) * LANES, y.row);
      }
      activate(row * y.columns, M * y.columns);
    }
  }

  void backward() override {
    const float* dy = y.incoming();
    const bool adds = x.wanted && x.adds(), ends = x.wanted && x.readers == 1 && !x.whole && !x.sliced;
    int cleared = 0, ended = 0;  // rows of x that may be added to; that nothing more is added to
    for (int row = 0; row < y.rows; row += M) {
      const int reached = std::min(x.rows, row - record.padding[0] + T), left = row + M < y.rows ? row + M - record.padding[0] : x.rows;
      if (x.wanted && !adds && reached > cleared) {
        each(x.block(cleared * x.columns, (reached - cleared) * x.columns), [&](ptrdiff_t i) { store(x.gradient + i, Vec{}); });
        cleared = reached;
      }
      for (int column = 0; column < y.columns; column += M * TILES) {
        const int count = std::min(TILES, (y.columns - column) / M);
        for (int o = 0; o < y.channels; ++o)
          for (int t = 0; t < count; ++t)
            F::outputs_back(dy + o * y.channel + row * y.row + (column + t * M) * LANES, y.row, of_y.data + o * CHANNEL + t * TILE, LANES);
        transform_inputs(row, column, count);
        for (int p = 0; p < POINTS; ++p) {
          add_gradients(p, count);
          if (x.wanted)  // in the place of what is done with
            multiply<true>(x.channels, count, y.channels, {weights_of(p), x.channels, ROWS}, of_y.data + p * LANES, of_x.data + p * LANES, TILE);
        }
        if (x.wanted) give(row, column, count);
      }
      add_biases(dy, y.at.data() + row * y.columns, M * y.columns, bias_room);
      if (ends && left > ended) x.descend(x.block(ended * x.columns, (left - ended) * x.columns)), ended = left;
    }
    if (ends) x.finished = true;
  }

  void finish() override {
    const auto& g = F::MATRICES.g;
    float* to = context.room.data() + weight_room;
    for (int o = 0; o < y.channels; ++o)
      for (int i = 0; i < x.channels; ++i, to += K * K) {
        const float* from = gradients.data + ((o / 4 * x_blocks + i / 4) * 4 + o % 4) * 4 + i % 4;
        double half[K][T] = {};
        for (int p = 0; p < T; ++p)
          for (int q = 0; q < T; ++q)
            for (int k = 0; k < K; ++k) half[k][q] += g[p][k] * from[size_t(p * T + q) * x_blocks * y_blocks * LANES];
        for (int k = 0; k < K; ++k)
          for (int l = 0; l < K; ++l) {
            double total = 0;
            for (int q = 0; q < T; ++q) total += half[k][q] * g[q][l];
            to[k * K + l] = float(total);
          }
      }
  }

 private:
  Value& x;
  Buffer weights, of_x, of_y;  // as (point, output, input), (channel, point, tile)
  const int x_blocks, y_blocks;
  Buffer gradients;  // by `weights`, as (point, 4 outputs, 4 inputs)
  std::vector<int> taps, tiles;
  size_t weight_room = 0, bias_room = 0;

  const float* weights_of(int p) const { return weights.data + size_t(p) * x.channels * y.channels; }

  void transform_inputs(int row, int column, int count) {
    const float* from = x.data + (row - record.padding[0]) * x.row + (column - record.padding[1]) * LANES;
    for (int i = 0; i < x.channels; ++i)
      for (int t = 0; t < count; ++t) F::inputs(from + i * x.channel + t * M * LANES, x.row, of_x.data + i * CHANNEL + t * TILE, LANES);
  }

  template <bool ADJACENT>
  void multiply(int rows, int count, int depth, Left<ADJACENT> left, const float* from, float* to, ptrdiff_t tile) {
    for (int t = 0; t < count; t += COLUMNS) {
      const int columns = std::min(COLUMNS, count - t);
      const float* b[COLUMNS];
      float* c[COLUMNS];
      for (int v = 0; v < columns; ++v) b[v] = from + (t + v) * TILE, c[v] = to + (t + v) * tile;
      product<ADJACENT>(rows, columns, depth, left, taps.data(), b, c, CHANNEL, nullptr, false);
    }
  }

  void add_gradients(int p, int count) {
    float* to = gradients.data + size_t(p) * x_blocks * y_blocks * LANES;
    for (int o = 0; o < y.channels; o += 4)
      for (int i = 0; i < x.channels; i += 4, to += LANES) {
        const float *left[4], *right[4];
        for (int r = 0; r < 4; ++r) {
          left[r] = of_y.data + p * LANES + std::min(o + r, y.channels - 1) * CHANNEL;
          right[r] = of_x.data + p * LANES + std::min(i + r, x.channels - 1) * CHANNEL;
        }
        increase(to, outer(count, left, tiles.data(), right, tiles.data()));
      }
  }

  void give(int row, int column, int count) {
    const int top = row - record.padding[0];
    for (int t = 0; t < count; ++t) {
      const int left = column + t * M - record.padding[1];
      const int low[2] = {std::max(0, -top), std::max(0, -left)}, high[2] = {std::min(T, x.rows - top), std::min(T, x.columns - left)};
      for (int i = 0; i < x.channels; ++i)
        F::inputs_back(of_x.data + i * CHANNEL + t * TILE, LANES, x.gradient + i * x.channel + top * x.row + left * LANES, x.row, low, high);
    }
  }
};
