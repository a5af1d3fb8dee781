// Tests: what follows `is`.
#include <array>

#include "ggq/error.h"
#include "models/jinja/filters.h"
#include "models/jinja/syntax.h"

namespace ggq::jinja {

namespace {

Value defined(Render&, const Value& in, const Arguments&) { return !in.is_undefined(); }
Value undefined(Render&, const Value& in, const Arguments&) { return in.is_undefined(); }
Value none(Render&, const Value& in, const Arguments&) { return in.is_none(); }
Value boolean(Render&, const Value& in, const Arguments&) { return in.as<bool>() != nullptr; }
Value is_true(Render&, const Value& in, const Arguments&) { return in.as<bool>() != nullptr && in.truth(); }
Value is_false(Render&, const Value& in, const Arguments&) { return in.as<bool>() != nullptr && !in.truth(); }
Value string(Render&, const Value& in, const Arguments&) { return in.text() != nullptr; }
Value number(Render&, const Value& in, const Arguments&) { return in.is_number(); }
Value integer(Render&, const Value& in, const Arguments&) { return in.is_integer(); }
Value real(Render&, const Value& in, const Arguments&) { return in.as<double>() != nullptr; }
Value mapping(Render&, const Value& in, const Arguments&) { return in.dict() != nullptr; }
Value callable(Render&, const Value& in, const Arguments&) {
    return in.object() != nullptr && in.object()->can_be_called();
}
// What is undefined can be looped over, as in Jinja.
Value iterable(Render&, const Value& in, const Arguments&) {
    return in.is_undefined() || in.text() != nullptr || in.list() != nullptr || in.dict() != nullptr;
}
Value sequence(Render& r, const Value& in, const Arguments& a) { return iterable(r, in, a); }
Value odd(Render&, const Value& in, const Arguments&) { return in.integer() % 2 != 0; }
Value even(Render&, const Value& in, const Arguments&) { return in.integer() % 2 == 0; }
Value lower_case(Render&, const Value& in, const Arguments&) {
    const Text text = in.to_text();
    return lower(text.view()) == text.str() && upper(text.view()) != text.str();
}
Value upper_case(Render&, const Value& in, const Arguments&) {
    const Text text = in.to_text();
    return upper(text.view()) == text.str() && lower(text.view()) != text.str();
}
Value escaped(Render&, const Value&, const Arguments&) { return false; }

Value divisible(Render&, const Value& in, const Arguments& given) {
    const int64_t by = needed(given, 0, "num", "divisibleby").integer();
    require(by != 0, "division by zero");
    return by == -1 || in.integer() % by == 0;
}

Value known_filter(Render&, const Value& in, const Arguments&) { return find_filter(in.to_text().view()) != nullptr; }
Value known_test(Render&, const Value& in, const Arguments&) { return find_test(in.to_text().view()) != nullptr; }

Value same(Render&, const Value& in, const Arguments& given) {
    const Value& other = needed(given, 0, "other", "sameas");
    return in.type() == other.type() && in.equals(other);
}

constexpr char kEqual[] = "==", kUnequal[] = "!=", kLess[] = "<", kMore[] = ">",
               kAtMost[] = "<=", kAtLeast[] = ">=", kIn[] = "in";

template <const char* symbol>
Value compared(Render&, const Value& in, const Arguments& given) {
    return find_operator(symbol)(in, needed(given, 0, "other", symbol));
}

constexpr std::array kRows = {
    FunctionRow{"defined", defined},
    FunctionRow{"undefined", undefined},
    FunctionRow{"none", none},
    FunctionRow{"boolean", boolean},
    FunctionRow{"true", is_true},
    FunctionRow{"false", is_false},
    FunctionRow{"string", string},
    FunctionRow{"number", number},
    FunctionRow{"integer", integer},
    FunctionRow{"float", real},
    FunctionRow{"mapping", mapping},
    FunctionRow{"callable", callable},
    FunctionRow{"iterable", iterable},
    FunctionRow{"sequence", sequence},
    FunctionRow{"odd", odd},
    FunctionRow{"even", even},
    FunctionRow{"lower", lower_case},
    FunctionRow{"upper", upper_case},
    FunctionRow{"escaped", escaped},
    FunctionRow{"divisibleby", divisible},
    FunctionRow{"filter", known_filter},
    FunctionRow{"test", known_test},
    FunctionRow{"sameas", same},
    FunctionRow{"eq", compared<kEqual>},
    FunctionRow{"equalto", compared<kEqual>},
    FunctionRow{"==", compared<kEqual>},
    FunctionRow{"ne", compared<kUnequal>},
    FunctionRow{"!=", compared<kUnequal>},
    FunctionRow{"lt", compared<kLess>},
    FunctionRow{"lessthan", compared<kLess>},
    FunctionRow{"<", compared<kLess>},
    FunctionRow{"gt", compared<kMore>},
    FunctionRow{"greaterthan", compared<kMore>},
    FunctionRow{">", compared<kMore>},
    FunctionRow{"le", compared<kAtMost>},
    FunctionRow{"<=", compared<kAtMost>},
    FunctionRow{"ge", compared<kAtLeast>},
    FunctionRow{">=", compared<kAtLeast>},
    FunctionRow{"in", compared<kIn>},
};

}  // namespace

Function find_test(std::string_view name) { return find_function(kRows, name); }

}  // namespace ggq::jinja
