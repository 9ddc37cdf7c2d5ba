// One small network trained on pictures: forward, backward and the optimiser's step by hand, an epoch in one call.
//
// A value (C, *grid) is held as C x positions vectors of 16 numbers. In a network of pictures the 16 lanes are 16 images, so that every
// operation is written as if for one image, whatever the kernel, stride or width, and nothing is wasted. In a network of tokens (one
// that begins with patches) the lanes are 16 tokens of one image, so that what an image needs stays in the second-level cache. A
// mini-batch is worked through a group (16 images, or one) at a time; gradients add up over groups. A value on a grid of rows and
// columns has a border of zeros as wide as the convolutions around it need, which is never written to.
//
// A network is trained alone and in one fixed order of operations: the result depends on nothing else.

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "../../vectors.h"
#include "activations.h"
#include "products.h"

namespace {

enum Kind { LINEAR, ACTIVATE, NORM, MEAN_POOL, ADD, SLICE, CONCAT, LEARNED, PATCHES, ATTENTION };
enum NormKind { LAYER, RMS, BATCH };
enum Optimizer { SGD, MOMENTUM, ADAM, RMSPROP, ADAMW };

struct Record {  // a step; native.py fills it in
  int32_t kind, out, num_sources, source[3], weight, bias, activation, kernel[2], stride[2], padding[2], groups, first, heads, causal, norm, drops;
  float omega, scale, eps;
};

struct Shape {
  int32_t channels, rows, columns;
};

struct Settings {
  int32_t optimizer, batch;
  float rate, decay, dropout;
};

struct Value {
  int channels = 0, rows = 0, columns = 0, positions = 0;  // rows x columns vectors, which are `positions` tokens or pixels
  int top = 0, left = 0, bottom = 0, right = 0;             // the border
  ptrdiff_t channel = 0, row = 0;                           // from one to the next, in numbers
  std::vector<int> at;                                      // where each vector of a channel lies
  std::shared_ptr<Buffer> memory, gradients, kept;
  float *data = nullptr, *gradient = nullptr, *slopes = nullptr;
  Value* whole = nullptr;  // of a slice: the value that it is a part of
  const Activation* activation = nullptr;
  float omega = 1;
  int readers = 0;
  bool sliced = false, drops = false;
  bool wanted = false;    // whether gradients go through it
  bool started = false;   // whether its gradient holds something yet
  bool finished = false;  // whether that is by z already

  int count() const { return rows * columns; }
  Block block(int first, int count, int c, int channels) const { return {channel, channels, at.data() + first, count, c}; }
  Block block(int first, int count) const { return block(first, count, 0, channels); }
  Block block() const { return block(0, count()); }

  void widen(int above, int before, int below, int behind) {
    Value& v = whole ? *whole : *this;
    v.top = std::max(v.top, above), v.left = std::max(v.left, before);
    v.bottom = std::max(v.bottom, below), v.right = std::max(v.right, behind);
  }

  void lay_out() {
    if (whole) top = whole->top, left = whole->left, bottom = whole->bottom, right = whole->right;
    row = ptrdiff_t(LANES) * (left + columns + right);
    channel = row * (top + rows + bottom);
    for (int y = 0; y < rows; ++y)
      for (int x = 0; x < columns; ++x) at.push_back(int(y * row + x * LANES));
  }

  void allocate(bool trains) {
    const size_t size = size_t(channels) * channel, begin = top * row + left * LANES;
    memory = std::make_shared<Buffer>(size);
    data = memory->data + begin;
    if (!trains) return;
    gradients = std::make_shared<Buffer>(size);
    gradient = gradients->data + begin;
    if (drops || (activation && (!activation->backward || omega != 1.0f))) {
      kept = std::make_shared<Buffer>(size);
      slopes = kept->data + begin;
    }
  }

  void clear_gradient() {
    each(block(), [&](ptrdiff_t i) { store(gradient + i, Vec{}); });
    started = true;
  }

  // Turns the gradient by a(z) into that by z.
  void descend(const Block& part) {
    if (slopes)
      each(part, [&](ptrdiff_t i) { store(gradient + i, load(gradient + i) * load(slopes + i)); });
    else if (activation)
      activation->backward(part, data, gradient);
  }

  // The gradient by z, complete once every reader has added to it.
  const float* incoming() {
    if (!started) clear_gradient();
    if (!finished) descend(block()), finished = true;
    return gradient;
  }

  // Whether one who writes a gradient has to add to what is there; from now on one has.
  bool adds() {
    bool before = started;
    started = true;
    return before;
  }
};

// What steps share: parameters, their gradients, and which images are under way.
struct Context {
  const float* parameters = nullptr;
  bool tokens = false, trains = false;
  std::vector<float> room;     // gradients, as the steps find them convenient
  std::vector<int> place;      // of each parameter: where in `room`
  std::vector<uint8_t> lanes;  // of each parameter: how many numbers there sum to its gradient, 16 or 1
  float dropout = 0;
  uint32_t key = 0;  // of (seed, step)
  int first = 0;     // number in the mini-batch of the group's first image

  // Room for the gradients of `count` parameters from `parameter` on; `where(j)` of them is in numbers from its beginning.
  template <class F>
  size_t reserve(int parameter, int count, size_t size, int lanes_each, F where) {
    const size_t begin = padded(int(room.size()));
    room.resize(begin + size);
    place.resize(std::max(place.size(), size_t(parameter + count)));
    lanes.resize(place.size());
    for (int j = 0; j < count; ++j) place[parameter + j] = int(begin + where(j)), lanes[parameter + j] = uint8_t(lanes_each);
    return begin;
  }
  size_t reserve_vectors(int parameter, int count) {
    return reserve(parameter, count, size_t(count) * LANES, LANES, [](int j) { return j * LANES; });
  }
};

inline void increase(float* p, Vec by) { store(p, load(p) + by); }

class Step {
 public:
  Step(Context& context, const Record& record, std::vector<Value>& values) : context(context), record(record), y(values[record.out]) {
    for (int s = 0; s < record.num_sources; ++s) sources.push_back(&values[record.source[s]]);
  }
  virtual ~Step() = default;
  virtual void prepare() {}  // whenever parameters have changed
  virtual void forward() = 0;
  virtual void backward() {}
  virtual void finish() {}  // once all groups of a mini-batch have added to the gradients

 protected:
  Context& context;
  const Record record;
  std::vector<Value*> sources;
  Value& y;

  const float* parameters(int first) const { return first < 0 ? nullptr : context.parameters + first; }

  // What is at some positions (and channels) of y, z so far, becomes a(z), or zero where dropped.
  void activate(int first, int count) { activate(first, count, 0, y.channels); }
  void activate(int first, int count, int channel, int channels) {
    const Block block = y.block(first, count, channel, channels);
    if (y.activation) y.activation->forward(block, y.data, y.slopes, y.omega);
    if (y.drops && context.dropout > 0) drop(block, first);
  }

  // Sums of dy at some positions go to the gradients of the bias, if there is one.
  void add_biases(const float* dy, const int* at, int count, size_t room) {
    if (record.bias < 0) return;
    for (int o = 0; o < y.channels; ++o) {
      Vec total[4] = {};
      for (int p = 0; p < count; ++p) total[p % 4] += load(dy + o * y.channel + at[p]);
      increase(context.room.data() + room + o * LANES, (total[0] + total[1]) + (total[2] + total[3]));
    }
  }

 private:
  void drop(const Block& block, int first) {
    const uint32_t threshold = uint32_t(context.dropout * 16777216.0f);
    const float scale = 1.0f / (1.0f - context.dropout);
    Words images, lane;
    for (int i = 0; i < LANES; ++i) lane[i] = i;
    images = context.first + (context.tokens ? lane * 0 : lane);
    const Words key = mixed(mixed(context.key + uint32_t(record.out)) + images * 0x85ebca6bu);
    for (int c = block.first; c < block.first + block.channels; ++c)
      for (int p = 0; p < block.count; ++p) {
        Words unit = uint32_t(c) * y.positions + (context.tokens ? (first + p) * LANES + lane : lane * 0 + (first + p));
        Vec factor = (mixed(key ^ (unit * 0x9e3779b9u)) >> 8) < threshold ? Vec{} : all(scale);
        float* at = y.data + c * block.channel + block.at[p];
        if (y.slopes) {
          float* slope = y.slopes + c * block.channel + block.at[p];
          store(slope, y.activation ? load(slope) * factor : factor);
        }
        store(at, load(at) * factor);
      }
  }
};

#include "linear.h"
#include "fourier.h"
#include "others.h"

// Cross-entropy and its gradient by the outputs.
struct Loss {
  double total = 0;
  int64_t correct = 0;

  void add(Value& y, const Context& context, int real, const int64_t* labels, const int32_t* order, int batch) {
    std::vector<Vec> p(y.channels);
    Vec high = load(y.data), sum = {};
    for (int c = 1; c < y.channels; ++c) {
      Vec z = load(y.data + c * y.channel);
      high = z > high ? z : high;
    }
    for (int c = 0; c < y.channels; ++c) sum += p[c] = exponential(load(y.data + c * y.channel) - high);
    for (int i = 0; i < real; ++i) {
      const int label = int(labels[order[i]]);
      float largest = -INFINITY;
      int best = -1;
      for (int c = 0; c < y.channels; ++c)
        if (float z = y.data[c * y.channel + i]; z > largest) largest = z, best = c;
      total += std::log(double(sum[i])) + double(high[i]) - double(y.data[label * y.channel + i]);
      correct += best == label;
    }
    if (!context.trains) return;
    Vec share = {};
    for (int i = 0; i < real; ++i) share[i] = 1.0f / batch;
    for (int c = 0; c < y.channels; ++c) {
      Vec g = p[c] / sum;
      for (int i = 0; i < real; ++i) g[i] -= labels[order[i]] == c;
      for (int i = real; i < LANES; ++i) g[i] = 0;
      store(y.gradient + c * y.channel, g * share);
    }
    y.started = true;
  }
};

// uint8 pictures, normalised, cropped at an offset and mirrored.
struct Pictures {
  const uint8_t* pixels;
  int channels, rows, columns;
  const float *scale, *offset;
  const int8_t* shifts;  // per image in order: mirrored, rows, columns; or null

  void row(int number, const int8_t* shift, int c, int y, float* to) const {
    const int down = shift ? shift[1] : 0, along = shift ? shift[2] : 0;
    if (y + down < 0 || y + down >= rows) return void(std::fill(to, to + columns, 0.0f));
    const uint8_t* from = pixels + ((size_t(number) * channels + c) * rows + y + down) * columns;
    const float a = scale[c], b = offset[c];
    if (!shift) {
      for (int x = 0; x < columns; ++x) to[x] = float(from[x]) * a + b;
      return;
    }
    for (int x = 0; x < columns; ++x) {
      const int at = (shift[0] ? columns - 1 - x : x) + along;
      to[x] = at < 0 || at >= columns ? 0.0f : float(from[at]) * a + b;
    }
  }
};

class Trainer {
 public:
  Trainer(const Record* records, int num_records, const Shape* shapes, int tokens, bool fourier, const Pictures& pictures, bool trains)
      : pictures_(pictures), fourier_(fourier), values_(num_records + 1) {
    context_.tokens = tokens;
    context_.trains = trains;
    for (int v = 0; v <= num_records; ++v) {
      Value& value = values_[v];
      value.channels = shapes[v].channels, value.rows = shapes[v].rows, value.columns = shapes[v].columns;
      value.positions = value.rows * value.columns;
      if (tokens) value.columns = (value.positions + LANES - 1) / LANES, value.rows = 1;
    }
    for (int i = 0; i < num_records; ++i) connect(records[i]);
    for (int i = 0; i < num_records; ++i)
      if (records[i].kind == LINEAR && !tokens) Linear::widen(records[i], values_[records[i].source[0]], values_[records[i].out]);
    for (Value& value : values_) {
      value.lay_out();
      if (!value.whole && !(tokens && &value == &values_[0])) value.allocate(trains && value.wanted);
    }
    for (int i = 0; i < num_records; ++i) {
      if (records[i].kind == SLICE) share(records[i]);
      else steps_.push_back(make(records[i]));
    }
    if (tokens) picture_.resize(size_t(pictures.channels) * pictures.rows * pictures.columns);
    else picture_.resize(size_t(LANES) * padded(pictures.columns));
  }

  // Images `order` once, in mini-batches; parameters move if the trainer trains.
  void run(float* parameters, float* first, float* second, const int32_t* ranges, int num_ranges, const int64_t* labels, const int32_t* order,
           int count, const Settings& settings, int64_t step, uint64_t seed, Loss& loss) {
    context_.parameters = parameters;
    context_.dropout = context_.trains ? settings.dropout : 0.0f;
    std::vector<float> gradient(context_.place.size());
    const int size = context_.tokens ? 1 : LANES;
    for (int begin = 0; begin < count; begin += settings.batch) {
      const int batch = std::min(settings.batch, count - begin);
      if (begin == 0 || context_.trains)
        for (auto& each : steps_) each->prepare();
      std::fill(context_.room.begin(), context_.room.end(), 0.0f);
      context_.key = mixed(mixed(mixed(uint32_t(seed)) + uint32_t(seed >> 32)) + uint32_t(step));
      for (int i = 0; i < batch; i += size) {
        const int at = begin + i, real = std::min(size, batch - i);
        context_.first = i;
        read(order + at, pictures_.shifts ? pictures_.shifts + 3 * size_t(at) : nullptr, real);
        for (auto& each : steps_) each->forward();
        begin_backward();
        loss.add(values_.back(), context_, real, labels, order + at, batch);
        if (context_.trains)
          for (auto each = steps_.rbegin(); each != steps_.rend(); ++each) (*each)->backward();
      }
      if (!context_.trains) continue;
      ++step;
      for (auto& each : steps_) each->finish();
      for (size_t j = 0; j < gradient.size(); ++j) {
        const float* g = context_.room.data() + context_.place[j];
        gradient[j] = context_.lanes[j] == 1 ? *g : sum(load(g));
      }
      for (int r = 0; r < num_ranges; ++r)
        optimise(settings, step, ranges[2 * r], ranges[2 * r + 1], gradient.data(), parameters, first, second);
    }
  }

 private:
  Pictures pictures_;
  const bool fourier_;  // whether convolutions may go through Fourier transforms
  Context context_;
  std::vector<Value> values_;
  std::vector<std::unique_ptr<Step>> steps_;
  std::vector<float> picture_;

  void connect(const Record& record) {
    Value& y = values_[record.out];
    for (int s = 0; s < record.num_sources; ++s) {
      Value& x = values_[record.source[s]];
      ++x.readers;
      y.wanted |= x.wanted;
      if (record.kind == SLICE) y.whole = x.whole ? x.whole : &x, y.whole->sliced = true;
    }
    y.wanted |= record.weight >= 0;
    y.drops = record.drops;
    y.omega = record.omega;
    if (record.activation || record.omega != 1.0f) y.activation = &ACTIVATIONS[record.activation];
  }

  void share(const Record& record) {
    Value &y = values_[record.out], &x = values_[record.source[0]];
    const ptrdiff_t begin = record.first * x.channel;
    y.data = x.data + begin;
    y.gradient = x.gradient ? x.gradient + begin : nullptr;
  }

  std::unique_ptr<Step> make(const Record& record) {
    switch (record.kind) {
      case LINEAR: {
        const Value &x = values_[record.source[0]], &y = values_[record.out];
        if (fourier_ && !context_.tokens && Fourier::suits(record, x, y)) return std::make_unique<Fourier>(context_, record, values_);
        return std::make_unique<Linear>(context_, record, values_);
      }
      case ACTIVATE: return std::make_unique<Activate>(context_, record, values_);
      case NORM: return std::make_unique<Norm>(context_, record, values_);
      case MEAN_POOL: return std::make_unique<MeanPool>(context_, record, values_);
      case ADD: return std::make_unique<Add>(context_, record, values_);
      case CONCAT: return std::make_unique<Concat>(context_, record, values_);
      case LEARNED: return std::make_unique<Learned>(context_, record, values_);
      case PATCHES: return std::make_unique<Patches>(context_, record, values_, picture_, pictures_.rows, pictures_.columns);
      default: return std::make_unique<Attention>(context_, record, values_);
    }
  }

  void read(const int32_t* order, const int8_t* shifts, int real) {
    const Value& x = values_[0];
    const int width = padded(pictures_.columns);
    for (int c = 0; c < pictures_.channels; ++c)
      for (int y = 0; y < pictures_.rows; ++y) {
        if (context_.tokens) {
          pictures_.row(order[0], shifts, c, y, picture_.data() + (size_t(c) * pictures_.rows + y) * pictures_.columns);
          continue;
        }
        for (int i = 0; i < LANES; ++i) {  // beyond the last image the last one again
          const int image = std::min(i, real - 1);
          pictures_.row(order[image], shifts ? shifts + 3 * image : shifts, c, y, picture_.data() + i * width);
        }
        float* to = x.data + c * x.channel + y * x.row;
        for (int first = 0; first < pictures_.columns; first += LANES) {
          Vec v[LANES];
          for (int i = 0; i < LANES; ++i) v[i] = load(picture_.data() + i * width + first);
          transpose(v);
          for (int i = 0; i < std::min(LANES, pictures_.columns - first); ++i) store(to + (first + i) * LANES, v[i]);
        }
      }
  }

  void begin_backward() {
    for (Value& value : values_) {
      value.started = value.whole;
      value.finished = false;
      if (context_.trains && value.wanted && value.sliced && !value.whole) value.clear_gradient();
    }
  }

  static void optimise(const Settings& settings, int64_t step, int begin, int end, const float* gradient, float* p, float* m, float* v) {
    const float rate = settings.rate, decay = settings.optimizer == ADAMW ? 0.0f : settings.decay;
    const float shrink = settings.optimizer == ADAMW ? 1.0f - settings.rate * settings.decay : 1.0f;
    const float slow = float(settings.rate / (1 - std::pow(0.9, double(step)))), root = float(std::sqrt(1 - std::pow(0.999, double(step))));
    for (int j = begin; j < end; ++j) {
      const float g = gradient[j] + decay * p[j];
      switch (settings.optimizer) {
        case SGD: p[j] -= rate * g; break;
        case MOMENTUM:
          m[j] = 0.9f * m[j] + g;
          p[j] -= rate * m[j];
          break;
        case RMSPROP:
          v[j] = 0.99f * v[j] + 0.01f * g * g;
          p[j] -= rate * g / (std::sqrt(v[j]) + 1e-8f);
          break;
        default:
          m[j] = 0.9f * m[j] + 0.1f * g;
          v[j] = 0.999f * v[j] + 0.001f * g * g;
          p[j] = shrink * p[j] - slow * m[j] / (std::sqrt(v[j]) / root + 1e-8f);
      }
    }
  }
};

}  // namespace

// One pass over the images `order` (count) of `pixels` (N, channels, rows, columns) with `labels` (N), in mini-batches. `shapes` has one
// entry per value, `num_records` + 1 of them; `tokens` says what lanes are, `fourier` whether convolutions may be transformed. With `trains`, `parameters` (P) and the optimiser's moments
// `first` and `second` (P) move, but for parameters outside `ranges` (num_ranges, 2); `step` steps were taken before. `found` (2) gets
// the sum of losses and the number of images that were answered rightly. Returns 1 if memory does not suffice.
extern "C" int weightwalk_train(
    const Record* records, int num_records, const Shape* shapes, int tokens, int fourier, int trains, float* parameters, float* first, float* second,
    const int32_t* ranges, int num_ranges, const uint8_t* pixels, int channels, int rows, int columns, const float* scale, const float* offset,
    const int64_t* labels, const int32_t* order, const int8_t* shifts, int count, const Settings* settings, int64_t step, uint64_t seed,
    double* found) {
  NoSubnormals guard;
  try {
    Trainer trainer(records, num_records, shapes, tokens, fourier, {pixels, channels, rows, columns, scale, offset, shifts}, trains);
    Loss loss;
    trainer.run(parameters, first, second, ranges, num_ranges, labels, order, count, *settings, step, seed, loss);
    found[0] = loss.total;
    found[1] = double(loss.correct);
  } catch (const std::bad_alloc&) {
    return 1;
  }
  return 0;
}
