// Operators, as Python's.
#include <array>
#include <cmath>
#include <utility>

#include "ggq/error.h"
#include "models/jinja/format.h"
#include "models/jinja/syntax.h"

namespace ggq::jinja {

namespace {

constexpr int64_t kMostRepeated = int64_t{1} << 24;  // items or bytes

[[noreturn]] void refuse(const char* what, const Value& a, const Value& b) {
    for (const Value* v : {&a, &b})
        if (const auto* missing = v->as<Undefined>()) fail("{}", missing->what);
    fail("{} and {} cannot be {}", a.type(), b.type(), what);
}

bool whole(const Value& a, const Value& b) { return a.as<double>() == nullptr && b.as<double>() == nullptr; }

template <typename Whole, typename Real>
Value arithmetic(const Value& a, const Value& b, const char* what, Whole of_integers, Real of_reals) {
    if (!a.is_number() || !b.is_number()) refuse(what, a, b);
    if (!whole(a, b)) return of_reals(a.number(), b.number());
    int64_t result = 0;
    require(!of_integers(a.integer(), b.integer(), &result), "a whole number beyond 64 bits");
    return result;
}

std::vector<Value> joined(const List& a, const List& b) {
    std::vector<Value> items = a.items;
    items.insert(items.end(), b.items.begin(), b.items.end());
    return items;
}

Value add(const Value& a, const Value& b) {
    if (a.text() != nullptr && b.text() != nullptr) {
        Text both = *a.text();
        both.append(*b.text());
        return both;
    }
    if (a.list() != nullptr && b.list() != nullptr && a.list()->tuple == b.list()->tuple)
        return Value::list(joined(*a.list(), *b.list()), a.list()->tuple);
    return arithmetic(
        a, b, "added", [](int64_t x, int64_t y, int64_t* r) { return __builtin_add_overflow(x, y, r); },
        [](double x, double y) { return x + y; });
}

Value subtract(const Value& a, const Value& b) {
    return arithmetic(
        a, b, "subtracted", [](int64_t x, int64_t y, int64_t* r) { return __builtin_sub_overflow(x, y, r); },
        [](double x, double y) { return x - y; });
}

Value repeated(const Value& of, int64_t n) {
    const size_t size = of.text() != nullptr ? of.text()->size() : of.list()->items.size();
    n = std::max<int64_t>(n, 0);
    require(size == 0 || n <= kMostRepeated / static_cast<int64_t>(size), "{} times a value of {} is too much", n,
            size);
    if (const Text* text = of.text()) {
        Text out;
        for (int64_t i = 0; i < (size == 0 ? 0 : n); ++i) out.append(*text);
        return out;
    }
    List out{{}, of.list()->tuple};
    for (int64_t i = 0; i < (size == 0 ? 0 : n); ++i)
        out.items.insert(out.items.end(), of.list()->items.begin(), of.list()->items.end());
    return Value::list(std::move(out.items), out.tuple);
}

Value multiply(const Value& a, const Value& b) {
    const auto sequence = [](const Value& v) { return v.text() != nullptr || v.list() != nullptr; };
    if (sequence(a) && b.is_number() && b.as<double>() == nullptr) return repeated(a, b.integer());
    if (sequence(b) && a.is_number() && a.as<double>() == nullptr) return repeated(b, a.integer());
    return arithmetic(
        a, b, "multiplied", [](int64_t x, int64_t y, int64_t* r) { return __builtin_mul_overflow(x, y, r); },
        [](double x, double y) { return x * y; });
}

void require_divisor(const Value& b) { require(!b.is_number() || b.number() != 0, "division by zero"); }

Value divide(const Value& a, const Value& b) {
    require_divisor(b);
    if (!a.is_number() || !b.is_number()) refuse("divided", a, b);
    return a.number() / b.number();
}

int64_t floor_quotient(int64_t x, int64_t y) {
    const int64_t q = x / y;
    return x % y != 0 && (x < 0) != (y < 0) ? q - 1 : q;
}

Value floor_divide(const Value& a, const Value& b) {
    require_divisor(b);
    return arithmetic(
        a, b, "divided",
        [](int64_t x, int64_t y, int64_t* r) {
            if (x == INT64_MIN && y == -1) return true;
            *r = floor_quotient(x, y);
            return false;
        },
        [](double x, double y) { return std::floor(x / y); });
}

Value remainder(const Value& a, const Value& b) {
    if (a.text() != nullptr) return percent_formatted(*a.text(), b);
    require_divisor(b);
    return arithmetic(
        a, b, "divided",
        [](int64_t x, int64_t y, int64_t* r) {
            *r = y == -1 ? 0 : x - floor_quotient(x, y) * y;
            return false;
        },
        [](double x, double y) {
            const double r = std::fmod(x, y);
            return r != 0 && (r < 0) != (y < 0) ? r + y : r;
        });
}

bool power_of(int64_t base, int64_t exponent, int64_t* result) {
    *result = 1;
    for (int64_t i = 0; i < exponent; ++i) {
        if (__builtin_mul_overflow(*result, base, result)) return true;
        if (*result == 0 || (*result == 1 && base == 1)) return false;
        if (base == -1) {
            *result = exponent % 2 == 0 ? 1 : -1;
            return false;
        }
    }
    return false;
}

Value power(const Value& a, const Value& b) {
    if (a.is_number() && b.is_number() && whole(a, b) && b.integer() < 0) return std::pow(a.number(), b.number());
    return arithmetic(a, b, "raised", power_of, [](double x, double y) { return std::pow(x, y); });
}

Value join(const Value& a, const Value& b) {
    Text both = a.to_text();
    both.append(b.to_text());
    return both;
}

Value equal(const Value& a, const Value& b) { return a.equals(b); }
Value unequal(const Value& a, const Value& b) { return !a.equals(b); }
Value less(const Value& a, const Value& b) { return a.less(b); }
Value more(const Value& a, const Value& b) { return b.less(a); }
Value at_most(const Value& a, const Value& b) { return a.equals(b) || a.less(b); }
Value at_least(const Value& a, const Value& b) { return a.equals(b) || b.less(a); }
Value in(const Value& a, const Value& b) { return b.contains(a); }
Value not_in(const Value& a, const Value& b) { return !b.contains(a); }

constexpr std::array<std::pair<std::string_view, Operator>, 16> kOperators = {{
    {"+", add},
    {"-", subtract},
    {"*", multiply},
    {"/", divide},
    {"//", floor_divide},
    {"%", remainder},
    {"**", power},
    {"~", join},
    {"==", equal},
    {"!=", unequal},
    {"<", less},
    {">", more},
    {"<=", at_most},
    {">=", at_least},
    {"in", in},
    {"not in", not_in},
}};

}  // namespace

Operator find_operator(std::string_view symbol) {
    for (const auto& [name, function] : kOperators)
        if (name == symbol) return function;
    return nullptr;
}

Value negated(const Value& value) {
    return subtract(value.as<double>() != nullptr ? Value(-0.0) : Value(int64_t{0}), value);
}

}  // namespace ggq::jinja
