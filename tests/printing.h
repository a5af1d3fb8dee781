// What a failed check shows of containers and C strings, which doctest by itself prints as {?} and as an address.
// Included ahead of every test file (CMakeLists.txt), so that no file needs to think of it.
#pragma once

#include <doctest/doctest.h>

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace doctest {

// "3: [0.5, 1, 2]", of long ones the first elements.
template <typename Range>
String listed(const Range& range) {
    constexpr size_t kMost = 24;
    std::string text = std::to_string(range.size()) + ": [";
    size_t n = 0;
    for (const typename Range::value_type& element : range) {
        if (n > 0) text += ", ";
        if (n++ == kMost) {
            text += "...";
            break;
        }
        text += toString(element).c_str();
    }
    return (text + "]").c_str();
}

template <>
struct StringMaker<const char*> {
    static String convert(const char* text) { return text ? text : "null"; }
};

template <>
struct StringMaker<std::byte> {
    static String convert(std::byte value) { return toString(std::to_integer<int>(value)); }
};

template <typename A, typename B>
struct StringMaker<std::pair<A, B>> {
    static String convert(const std::pair<A, B>& p) { return toString(p.first) + " = " + toString(p.second); }
};

template <typename T>
struct StringMaker<std::optional<T>> {
    static String convert(const std::optional<T>& value) { return value ? toString(*value) : String("nothing"); }
};

template <typename T>
struct StringMaker<std::vector<T>> {
    static String convert(const std::vector<T>& values) { return listed(values); }
};

template <typename T>
struct StringMaker<std::set<T>> {
    static String convert(const std::set<T>& values) { return listed(values); }
};

template <typename K, typename V>
struct StringMaker<std::map<K, V>> {
    static String convert(const std::map<K, V>& values) { return listed(values); }
};

}  // namespace doctest
