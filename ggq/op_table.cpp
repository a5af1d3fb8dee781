#include "ggq/op_table.h"

#include <span>

namespace ggq {

std::span<const OpDef* const> op_table() {
#define GGQ_ADDRESS_OF_ROW(name) &name##_op,
    static constexpr const OpDef* kTable[] = {GGQ_OPS(GGQ_ADDRESS_OF_ROW)};
#undef GGQ_ADDRESS_OF_ROW
    return kTable;
}

}  // namespace ggq
