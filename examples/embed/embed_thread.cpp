// Engines with threads of their own, in C++17: the program posts, the engine's thread works.
//
//   c++ -std=c++17 embed_thread.cpp $(pkg-config --cflags --libs tidemark) -pthread && ./a.out
#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <tidemark.h>
#include <vector>

namespace {

struct Close {
  void operator()(tm_embed *engine) const {
    tm_close(engine, nullptr, nullptr);
  }
};

class Watch {
public:
  explicit Watch(std::string name) : name_(std::move(name)) {
    tm_config config;
    tm_config_init(&config, sizeof config);
    tm_embed *engine = nullptr;
    if (tm_open(&config, &engine) != TM_OK) return;
    tm_on_event(engine, &Watch::on_event, this);
    tm_target_virtual(engine, name_.c_str(), &target_);
    tm_rules_load(engine, "queue.lua", kRule, std::char_traits<char>::length(kRule));
    if (tm_start_thread(engine) != TM_OK) std::fprintf(stderr, "%s\n", tm_message(engine));
    engine_.reset(engine); // from here on only tm_post
  }

  // Any thread.
  void queue_length(double value) {
    auto *sample = new Sample{this, value};
    if (tm_post(engine_.get(), &Watch::feed, sample) != TM_OK) delete sample;
  }

  int findings() const {
    return findings_.load();
  }

private:
  struct Sample {
    Watch *watch;
    double value;
  };

  static void feed(tm_embed *engine, void *ud) {
    std::unique_ptr<Sample> sample(static_cast<Sample *>(ud));
    tm_feed(engine, sample->watch->target_, "app.queue_count", 0, sample->value);
  }

  static void on_event(void *ud, const tm_notice *n) {
    auto *self = static_cast<Watch *>(ud);
    if (n->type != TM_ON_FINDING || !n->tell) return;
    std::printf("%s: %s at %.0f\n", n->target, n->text, n->value);
    self->findings_++;
  }

  static constexpr const char *kRule =
      "tm.rule { id = 'queue', doc = 'the queue is long', every = '1s', hold = '0s',\n"
      "  inputs = { length = tm.ring('app.queue_count', { every = '1s', keep = 60 }) },\n"
      "  check = function(c)\n"
      "    if (c.length.last or 0) > 1000 then\n"
      "      return c:finding { level = 'warn', value = c.length.last, text = 'a long queue' }\n"
      "    end\n"
      "  end }\n";

  std::string name_;
  tm_target *target_ = nullptr;
  std::atomic<int> findings_{0};
  std::unique_ptr<tm_embed, Close> engine_; // closed first: callbacks use the rest
};

} // namespace

int main() {
  std::vector<std::unique_ptr<Watch>> watches;
  for (const char *name : {"mail", "index", "sync"})
    watches.push_back(std::make_unique<Watch>(name));
  std::vector<std::thread> producers;
  for (auto &watch : watches)
    producers.emplace_back([&watch] {
      for (int i = 1; i <= 80 && !watch->findings(); i++) {
        watch->queue_length(100.0 * i);
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
      }
    });
  for (auto &producer : producers) producer.join();
  for (auto &watch : watches)
    if (!watch->findings()) return 1;
  return 0;
}
