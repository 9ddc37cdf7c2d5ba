// ReLU of transposed convolutions (kernel 4, stride 2, padding 1) by products at the points of tiles: see doubling.py.
// T is the type of their numbers; doubling.cpp includes this for each.
//
// Maps are (N, H, W, channels). Pictures are taken a block at a time; what is there at a block's nodes is (slots, pictures,
// channels), with slots ordered so that those of a pair of points follow one another: one matrix product for all of them.
// Of the output channels a panel is taken at a time: its products stay in the second-level cache until they are summed.

typedef T Vec __attribute__((vector_size(BYTES)));
constexpr int LANES = BYTES / sizeof(T);
constexpr int PANEL = 256 / BYTES;  // vectors
inline Vec load(const T* p) { Vec v; std::memcpy(&v, p, sizeof v); return v; }
inline void store(T* p, Vec v) { std::memcpy(p, &v, sizeof v); }

struct Room {  // aligned to a cache line
  std::unique_ptr<T[]> memory;
  T* data;
  explicit Room(size_t n) : memory(new T[n + 64 / sizeof(T)]) {
    data = reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(memory.get()) + 63) / 64 * 64);
  }
};

// C = A B, or C += A B, of R rows and W vectors of columns; A(r, k) is a[k * lda + r] if TURNED, else a[r * lda + k].
template <int R, int W, bool TURNED>
inline void tile(int depth, const T* a, ptrdiff_t lda, const T* b, ptrdiff_t ldb, T* c, ptrdiff_t ldc, bool adds) {
  Vec sums[R][W];
#pragma GCC unroll 24
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) sums[r][w] = adds ? load(c + r * ldc + w * LANES) : Vec{};
  for (int k = 0; k < depth; ++k) {
    Vec right[W];
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) right[w] = load(b + k * ldb + w * LANES);
#pragma GCC unroll 24
    for (int r = 0; r < R; ++r) {
      const T left = TURNED ? a[k * lda + r] : a[r * lda + k];
#pragma GCC unroll 4
      for (int w = 0; w < W; ++w) sums[r][w] += left * right[w];
    }
  }
#pragma GCC unroll 24
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int w = 0; w < W; ++w) store(c + r * ldc + w * LANES, sums[r][w]);
}

template <int W, bool TURNED>
void rows_of(int rows, int depth, const T* a, ptrdiff_t lda, const T* b, ptrdiff_t ldb, T* c, ptrdiff_t ldc, bool adds) {
  constexpr int HIGH = SUMS / W;
  const ptrdiff_t down = TURNED ? 1 : lda;
  int r = 0;
  for (; r + HIGH <= rows; r += HIGH) tile<HIGH, W, TURNED>(depth, a + r * down, lda, b, ldb, c + r * ldc, ldc, adds);
  for (; r + 2 <= rows; r += 2) tile<2, W, TURNED>(depth, a + r * down, lda, b, ldb, c + r * ldc, ldc, adds);
  if (r < rows) tile<1, W, TURNED>(depth, a + r * down, lda, b, ldb, c + r * ldc, ldc, adds);
}

template <bool TURNED>
void multiply(int rows, int columns, int depth, const T* a, ptrdiff_t lda, const T* b, ptrdiff_t ldb, T* c, ptrdiff_t ldc, bool adds) {
  for (int at = 0; at < columns;) {
    const int wide = std::min(WIDE, (columns - at) / LANES);
    if (wide == 4) rows_of<4, TURNED>(rows, depth, a, lda, b + at, ldb, c + at, ldc, adds);
    if (wide == 3) rows_of<3, TURNED>(rows, depth, a, lda, b + at, ldb, c + at, ldc, adds);
    if (wide == 2) rows_of<2, TURNED>(rows, depth, a, lda, b + at, ldb, c + at, ldc, adds);
    if (wide == 1) rows_of<1, TURNED>(rows, depth, a, lda, b + at, ldb, c + at, ldc, adds);
    at += wide * LANES;
  }
}

struct Sparse {  // a small matrix by rows, without its zeros
  std::vector<std::vector<std::pair<int, T>>> rows;
  Sparse(const T* matrix, int height, int width, ptrdiff_t down, ptrdiff_t right) : rows(height) {
    for (int i = 0; i < height; ++i)
      for (int j = 0; j < width; ++j)
        if (matrix[i * down + j * right] != 0) rows[i].push_back({j, matrix[i * down + j * right]});
  }
  // out(i) = last(sum_j matrix(i, j) in(j)): `in` and `out` give where W vectors lie.
  template <int W, class In, class Out, class Last> void apply(In in, Out out, Last last) const {
    for (size_t i = 0; i < rows.size(); ++i) {
      Vec sums[W] = {};
      for (const auto& [j, factor] : rows[i]) {
        const T* from = in(j);
        for (int w = 0; w < W; ++w) sums[w] += factor * load(from + w * LANES);
      }
      T* to = out(i);
      for (int w = 0; w < W; ++w) store(to + w * LANES, last(sums[w], w));
    }
  }
};

struct Axis {
  int length, nodes;
  const int* ends;  // where the nodes of each point begin and end
  Sparse evaluate, turned;
  std::vector<Sparse> interpolate, interpolated;
  // evaluate (nodes, length), interpolate (2, length, nodes)
  Axis(int length, const int* ends, const T* e, const T* i)
      : length(length), nodes(ends[POINTS]), ends(ends), evaluate(e, nodes, length, length, 1), turned(e, length, nodes, 1, length) {
    for (int parity = 0; parity < 2; ++parity, i += length * nodes) {
      interpolate.emplace_back(i, length, nodes, nodes, 1);
      interpolated.emplace_back(i, nodes, length, 1, nodes);
    }
  }
};

struct Grid {
  const Axis &rows, &columns;
  int pictures, slots, block;
  std::vector<int> slot;  // (nodes of columns, nodes of rows)
  Room half;
  Grid(const Axis& rows, const Axis& columns, int pictures)
      : rows(rows), columns(columns), pictures(pictures), slots(rows.nodes * columns.nodes), slot(slots),
        half(size_t(PANEL) * LANES * rows.length * columns.nodes) {
    const int tiles = rows.ends[1] * columns.ends[1];  // every tile has the first point
    block = std::min(pictures, (ROWS + tiles - 1) / tiles);
    for (int p = 0; p < POINTS; ++p)
      for (int c = columns.ends[p]; c < columns.ends[p + 1]; ++c)
        for (int r = 0; r < rows.nodes; ++r)
          slot[c * rows.nodes + r] = columns.ends[p] * rows.nodes + r * (columns.ends[p + 1] - columns.ends[p]) + c - columns.ends[p];
  }
  // The first slot of a pair of points, and how many it has.
  std::pair<int, int> pair(int k) const {
    const int c = k / POINTS, r = k % POINTS, width = columns.ends[c + 1] - columns.ends[c];
    return {columns.ends[c] * rows.nodes + rows.ends[r] * width, (rows.ends[r + 1] - rows.ends[r]) * width};
  }
  // W vectors at each place of a picture, by matrices (nodes, length), to its nodes.
  template <int W> void spread(const Sparse& r, const Sparse& c, const T* x, size_t down, size_t right, T* there, size_t between) const {
    const auto at = [&](int h, int n) { return half.data + (h * columns.nodes + n) * W * LANES; };
    const auto same = [](Vec v, int) { return v; };
    for (int h = 0; h < rows.length; ++h)
      c.apply<W>([&](int w) { return x + h * down + w * right; }, [&](int n) { return at(h, n); }, same);
    for (int n = 0; n < columns.nodes; ++n)
      r.apply<W>([&](int h) { return at(h, n); }, [&](int m) { return there + slot[n * rows.nodes + m] * between; }, same);
  }
  // The way back, by matrices (length, nodes).
  template <int W, class Last>
  void gather(const Sparse& r, const Sparse& c, const T* there, size_t between, T* x, size_t down, size_t right, Last last) const {
    const auto at = [&](int h, int n) { return half.data + (h * columns.nodes + n) * W * LANES; };
    for (int n = 0; n < columns.nodes; ++n)
      r.apply<W>([&](int m) { return there + slot[n * rows.nodes + m] * between; }, [&](int h) { return at(h, n); }, [](Vec v, int) { return v; });
    for (int h = 0; h < rows.length; ++h)
      c.apply<W>([&](int n) { return at(h, n); }, [&](int w) { return x + h * down + w * right; }, last);
  }
};

// work(first channel, how many vectors, as a constant) for every panel of channels.
template <class Work> void panels(int channels, Work work) {
  int c = 0;
  for (; c + PANEL * LANES <= channels; c += PANEL * LANES) work(c, std::integral_constant<int, PANEL>());
  for (; c < channels; c += LANES) work(c, std::integral_constant<int, 1>());
}

struct Layer {
  Grid grid;
  int into, out;
  const T* points;  // (PAIRS, 4)

  size_t picture() const { return size_t(grid.rows.length) * grid.columns.length; }
  size_t values_size() const { return size_t(grid.slots) * grid.pictures * into; }

  template <class Work> void blocks(Work work) const {
    for (int b = 0; b < grid.pictures; b += grid.block) work(b, std::min(grid.block, grid.pictures - b));
  }

  // x (N, H, W, I) -> (blocks, slots, pictures of the block, I)
  void evaluate(const T* x, T* values) const {
    blocks([&](int b, int count) {
      for (int n = 0; n < count; ++n)
        panels(into, [&](int c, auto wide) {
          grid.template spread<wide()>(grid.rows.evaluate, grid.columns.evaluate, x + (b + n) * picture() * into + c, size_t(grid.columns.length) * into,
                                       into, values + size_t(b) * grid.slots * into + n * into + c, size_t(count) * into);
        });
    });
  }

  // Which of the 4 x 4 taps a parity has.
  static int tap(int parity, int k) {
    constexpr int OF[2][2] = {{1, 3}, {0, 2}};
    return 4 * OF[parity / 2][k / 2] + OF[parity % 2][k % 2];
  }

  // Of a parity's taps (16, ...) rows x width, at all pairs of points -> (PAIRS, rows, width).
  void kernel(int parity, const T* taps, int rows, size_t step, int width, T* to) const {
    const size_t between = size_t(into) * out;
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < width; c += LANES) {
        Vec taken[4];
        for (int k = 0; k < 4; ++k) taken[k] = load(taps + tap(parity, k) * between + r * step + c);
        for (int p = 0; p < PAIRS; ++p) {
          const T* at = points + 4 * p;
          store(to + (size_t(p) * rows + r) * width + c, at[0] * taken[0] + at[1] * taken[1] + at[2] * taken[2] + at[3] * taken[3]);
        }
      }
  }

  // The way back.
  void taps(int parity, const T* kernel, T* to, int rows, size_t step, int width) const {
    const size_t between = size_t(into) * out;
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < width; c += LANES) {
        Vec sums[4] = {};
        for (int p = 0; p < PAIRS; ++p) {
          const Vec value = load(kernel + (size_t(p) * rows + r) * width + c);
          for (int k = 0; k < 4; ++k) sums[k] += points[4 * p + k] * value;
        }
        for (int k = 0; k < 4; ++k) store(to + tap(parity, k) * between + r * step + c, sums[k]);
      }
  }

  // Where a picture's outputs of a parity begin.
  size_t output(int n, int parity) const { return (4 * n * picture() + size_t(2 * grid.columns.length) * (parity / 2) + parity % 2) * out; }

  // taps (16, I, O) -> answer (N, 2H, 2W, O)
  void forward(const T* x, const T* taps, const T* bias, T* answer) const {
    const size_t down = size_t(4) * grid.columns.length * out, right = size_t(2) * out;
    Room values(values_size()), matrices(size_t(PAIRS) * into * PANEL * LANES), products(size_t(grid.slots) * grid.block * PANEL * LANES);
    evaluate(x, values.data);
    for (int parity = 0; parity < 4; ++parity)
      panels(out, [&](int o, auto wide) {
        constexpr int WIDTH = wide() * LANES;
        kernel(parity, taps + o, into, out, WIDTH, matrices.data);
        blocks([&](int b, int count) {
          const T* there = values.data + size_t(b) * grid.slots * into;
          for (int k = 0; k < PAIRS; ++k) {
            const auto [slot, slots] = grid.pair(k);
            const size_t first = size_t(slot) * count;
            multiply<false>(slots * count, WIDTH, into, there + first * into, into, matrices.data + size_t(k) * into * WIDTH, WIDTH,
                            products.data + first * WIDTH, WIDTH, false);
          }
          for (int n = 0; n < count; ++n)
            grid.template gather<wide()>(grid.rows.interpolate[parity / 2], grid.columns.interpolate[parity % 2], products.data + n * WIDTH,
                                         size_t(count) * WIDTH, answer + output(b + n, parity) + o, down, right, [&](Vec v, int w) {
                                           v += load(bias + o + w * LANES);
                                           return v > 0 ? v : Vec{};
                                         });
        });
      });
  }

  // `turned` are the taps as (16, O, I); the gradient of the taps is (16, I, O).
  void backward(const T* x, const T* turned, const T* answer, const T* of_answer, T* of_x, T* of_taps, T* of_bias) const {
    const size_t down = size_t(4) * grid.columns.length * out, right = size_t(2) * out;
    const size_t kernel_size = size_t(PAIRS) * into * PANEL * LANES;
    Room values(values_size()), of_values(values_size()), matrices(kernel_size), of_matrices(kernel_size);
    Room products(size_t(grid.slots) * grid.block * PANEL * LANES), passed(picture() * PANEL * LANES);
    evaluate(x, values.data);
    std::fill_n(of_values.data, values_size(), T(0));
    std::fill_n(of_bias, out, T(0));
    for (int parity = 0; parity < 4; ++parity)
      panels(out, [&](int o, auto wide) {
        constexpr int WIDTH = wide() * LANES;
        kernel(parity, turned + size_t(o) * into, WIDTH, into, into, matrices.data);
        blocks([&](int b, int count) {
          for (int n = 0; n < count; ++n) {
            Vec sums[wide()] = {};
            T* to = passed.data;
            for (int h = 0; h < grid.rows.length; ++h)
              for (int c = 0; c < grid.columns.length; ++c)
                for (int w = 0; w < wide(); ++w, to += LANES) {
                  const size_t at = output(b + n, parity) + o + h * down + c * right + w * LANES;
                  const Vec value = load(answer + at) > 0 ? load(of_answer + at) : Vec{};
                  store(to, value);
                  sums[w] += value;
                }
            for (int w = 0; w < wide(); ++w) store(of_bias + o + w * LANES, load(of_bias + o + w * LANES) + sums[w]);
            grid.template spread<wide()>(grid.rows.interpolated[parity / 2], grid.columns.interpolated[parity % 2], passed.data,
                                         size_t(grid.columns.length) * WIDTH, WIDTH, products.data + n * WIDTH, size_t(count) * WIDTH);
          }
          const T* there = values.data + size_t(b) * grid.slots * into;
          T* of_there = of_values.data + size_t(b) * grid.slots * into;
          for (int k = 0; k < PAIRS; ++k) {
            const auto [slot, slots] = grid.pair(k);
            const size_t first = size_t(slot) * count;
            multiply<false>(slots * count, into, WIDTH, products.data + first * WIDTH, WIDTH, matrices.data + size_t(k) * into * WIDTH, into,
                            of_there + first * into, into, true);
            multiply<true>(into, WIDTH, slots * count, there + first * into, into, products.data + first * WIDTH, WIDTH,
                           of_matrices.data + size_t(k) * into * WIDTH, WIDTH, b > 0);
          }
        });
        taps(parity, of_matrices.data, of_taps + o, into, out, WIDTH);
      });
    blocks([&](int b, int count) {
      for (int n = 0; n < count; ++n)
        panels(into, [&](int c, auto wide) {
          grid.template gather<wide()>(grid.rows.turned, grid.columns.turned, of_values.data + size_t(b) * grid.slots * into + n * into + c,
                                       size_t(count) * into, of_x + (b + n) * picture() * into + c, size_t(grid.columns.length) * into, into,
                                       [](Vec v, int) { return v; });
        });
    });
  }
};

template <class Work>
void layer(const int* sizes, const int* const* ends, const T* const* evaluate, const T* const* interpolate, const T* points, Work work) {
  const Axis rows(sizes[0], ends[0], evaluate[0], interpolate[0]), columns(sizes[1], ends[1], evaluate[1], interpolate[1]);
  work(Layer{Grid(rows, columns, sizes[2]), sizes[3], sizes[4], points});
}

// A transposed convolution to few channels, by one product with all its taps: (N, H, W, I) -> (N, O, 2H, 2W).
struct Last {
  int height, width, pictures, into, out;

  typedef T Four __attribute__((vector_size(4 * sizeof(T))));
  int columns() const { return 16 * out; }
  int places() const { return height * width; }
  size_t plane() const { return size_t(2 * height + 2) * (2 * width + 2); }  // of one channel, with a border

  // work(four taps of one row, where they lie in the planes): of a picture's patches (H, W, O, 4, 4), all that there are.
  template <class Work> void patches(T* from, T* planes, Work work) const {
    for (int h = 0; h < height; ++h)
      for (int w = 0; w < width; ++w)
        for (int o = 0; o < out; ++o)
          for (int k = 0; k < 4; ++k, from += 4) work(from, planes + o * plane() + (2 * h + k) * (2 * width + 2) + 2 * w);
  }
  // work(plane's row, picture's row) for all rows of a picture.
  template <class Numbers, class Work> void rows(T* planes, Numbers* picture, Work work) const {
    for (int o = 0; o < out; ++o)
      for (int h = 0; h < 2 * height; ++h) work(o, planes + o * plane() + (h + 1) * (2 * width + 2) + 1, picture + size_t(o * 2 * height + h) * 2 * width);
  }

  // weight (I, O 16)
  void forward(const T* x, const T* weight, const T* bias, T* answer) const {
    Room patch(size_t(places()) * columns()), planes(plane() * out);
    for (int n = 0; n < pictures; ++n) {
      multiply<false>(places(), columns(), into, x + size_t(n) * places() * into, into, weight, columns(), patch.data, columns(), false);
      std::fill_n(planes.data, plane() * out, T(0));
      patches(patch.data, planes.data, [](const T* taps, T* at) {
        Four sum, more;
        std::memcpy(&sum, at, sizeof sum);
        std::memcpy(&more, taps, sizeof more);
        sum += more;
        std::memcpy(at, &sum, sizeof sum);
      });
      rows(planes.data, answer + size_t(n) * 4 * places() * out, [&](int o, const T* from, T* to) {
        for (int w = 0; w < 2 * width; ++w) to[w] = from[w] + bias[o];
      });
    }
  }

  // turned (O 16, I); the gradient of the weight is (I, O 16).
  void backward(const T* x, const T* turned, const T* of_answer, T* of_x, T* of_weight) const {
    Room patch(size_t(places()) * columns()), planes(plane() * out);
    std::fill_n(planes.data, plane() * out, T(0));
    std::fill_n(of_weight, size_t(into) * columns(), T(0));
    for (int n = 0; n < pictures; ++n) {
      rows(planes.data, of_answer + size_t(n) * 4 * places() * out, [&](int, T* to, const T* from) { std::copy_n(from, 2 * width, to); });
      patches(patch.data, planes.data, [](T* taps, const T* at) { std::memcpy(taps, at, sizeof(Four)); });
      const size_t picture = size_t(n) * places() * into;
      multiply<false>(places(), into, columns(), patch.data, columns(), turned, into, of_x + picture, into, false);
      multiply<true>(into, columns(), places(), x + picture, into, patch.data, columns(), of_weight, columns(), true);
    }
  }
};
