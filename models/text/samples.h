// Samples ready for training: token ids, and which of them carry loss; and a long list of them in little memory.
//
// A token takes 4 bytes: its id, and in the highest bit whether it carries loss. Of more tokens than are to be held the
// rest lies in a file without a name (ggq/io/scratch_file.h) and is read from there when it is asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <vector>

namespace ggq {

struct Sample {
    std::vector<int32_t> ids;
    std::vector<uint8_t> has_loss;  // [ids.size()]; 1: the token is to be predicted

    int64_t n_tokens() const { return static_cast<int64_t>(ids.size()); }
    int64_t n_label_tokens() const;
};

// Where the tokens of samples lie, in the order in which they came.
class TokenStore {
public:
    static constexpr int64_t kMostHeld = int64_t{1} << 28;  // tokens in memory, 1 GiB

    explicit TokenStore(int64_t most_held = kMostHeld);
    ~TokenStore();
    TokenStore(const TokenStore&) = delete;
    TokenStore& operator=(const TokenStore&) = delete;

    uint64_t append(const Sample& sample);  // returns where it begins
    Sample read(uint64_t begin, uint32_t n_tokens) const;

private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

// A list of samples of a store. Copies share what they list; an element is read when it is asked for.
class Samples {
public:
    Samples() = default;
    explicit Samples(std::shared_ptr<TokenStore> store) : store_(std::move(store)) {}
    Samples(const std::vector<Sample>& samples);  // NOLINT(google-explicit-constructor): the same in another form

    const std::shared_ptr<TokenStore>& store() const { return store_; }
    size_t size() const { return places_->size(); }
    bool empty() const { return places_->empty(); }
    Sample operator[](size_t i) const { return store_->read(at(i).begin, at(i).n_tokens); }
    Sample front() const { return (*this)[0]; }
    int64_t n_tokens(size_t i) const { return at(i).n_tokens; }  // without reading it

    void push_back(const Sample& sample);
    // Those of `from`, which it shares its store with.
    void push_back(const Samples& from, size_t i) { places_->push_back(from.at(i)); }

    class Iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = Sample;
        using difference_type = std::ptrdiff_t;
        using pointer = void;
        using reference = Sample;

        Iterator(const Samples& samples, size_t at) : samples_(&samples), at_(at) {}
        Sample operator*() const { return (*samples_)[at_]; }
        Iterator& operator++() { return ++at_, *this; }
        bool operator==(const Iterator& other) const { return at_ == other.at_; }

    private:
        const Samples* samples_;
        size_t at_;
    };
    Iterator begin() const { return {*this, 0}; }
    Iterator end() const { return {*this, size()}; }

private:
    struct Place {
        uint64_t begin;
        uint32_t n_tokens;
    };
    const Place& at(size_t i) const { return (*places_)[i]; }

    std::shared_ptr<TokenStore> store_;
    std::shared_ptr<std::vector<Place>> places_ = std::make_shared<std::vector<Place>>();
};

}  // namespace ggq
