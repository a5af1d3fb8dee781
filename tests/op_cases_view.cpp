// Cases of views, of the copy that the graph makes for kernels that cannot take one, and of a slice's gradient.
#include "ggq/op_table.h"
#include "ggq/ops.h"
#include "tests/op_cases.h"

namespace ggq::test {

namespace {

using In = const std::vector<Tensor>&;

void add_matrix_views(std::vector<OpCase>& table, int64_t rows, int64_t cols) {
    const Shape s{rows, cols};
    table.push_back({case_name(transpose_op, "", rows, cols), &transpose_op, {normal(s)}, [](In in) {
                         return std::vector{transpose(in[0], 0, 1)};
                     }});
    table.push_back({case_name(reshape_op, "", rows, cols), &reshape_op, {normal(s)}, [=](In in) {
                         return std::vector{reshape(in[0], {cols, 1, rows})};
                     }});
    table.push_back({case_name(reshape_op, "of a transposed view", rows, cols), &reshape_op, {normal(s)}, [=](In in) {
                         return std::vector{reshape(transpose(in[0], 0, 1), {rows * cols})};
                     }});
    if (rows == 1 || cols == 1) return;  // contiguous either way
    table.push_back({case_name(copy_op, "of a transposed view", rows, cols), &copy_op, {normal(s)}, [](In in) {
                         return std::vector{contiguous(transpose(in[0], 0, 1))};
                     }});
    table.push_back({case_name(copy_op, "of integers", rows, cols), &copy_op, {below(DType::i32, s, 1000)}, [](In in) {
                         return std::vector{contiguous(transpose(in[0], 0, 1))};
                     }});
    table.push_back(
        {case_name(copy_op, "made for add", rows, cols), &copy_op, {normal(s), normal({cols, rows})}, [](In in) {
             return std::vector{add(transpose(in[0], 0, 1), in[1])};
         }});
}

void add_concat(std::vector<OpCase>& table, int64_t m, int64_t n, int64_t c) {
    table.push_back(
        {case_name(concat_rows_op, "", m, n, c), &concat_rows_op, {normal({m, c}), normal({n, c})}, [](In in) {
             return std::vector{concat_rows(in[0], in[1])};
         }});
}

void add_slices(std::vector<OpCase>& table, const Shape& s, int axis, int64_t begin, int64_t end) {
    const std::string name = to_string(s) + " axis " + std::to_string(axis) + " from " + std::to_string(begin);
    table.push_back(
        {"slice " + name, &slice_op, {normal(s)}, [=](In in) { return std::vector{slice(in[0], axis, begin, end)}; }});
    table.push_back({"slice of a slice " + name, &slice_op, {normal(s)}, [=](In in) {
                         const Tensor part = slice(in[0], axis, begin, end);
                         return std::vector{slice(part, 0, part.shape()[0] / 2, part.shape()[0])};
                     }});
    table.push_back({"slice transposed and flattened " + name, &slice_op, {normal(s)}, [=](In in) {
                         const Tensor part = transpose(slice(in[0], axis, begin, end), 0, s.rank - 1);
                         return std::vector{reshape(part, {part.shape().n_elems()})};
                     }});
    Shape kept = s;
    kept[axis] = end - begin;
    table.push_back({"slice_backward " + name,
                     &slice_backward_op,
                     {frozen(normal(kept))},
                     row(slice_backward_op, SliceParams{axis, begin, end, s})});
}

}  // namespace

void add_view_cases(std::vector<OpCase>& table) {
    for (auto [m, n, c] : {std::tuple{1, 1, 1}, {3, 5, 7}, {17, 16, 33}, {300, 1, 64}, {129, 257, 130}})
        add_concat(table, m, n, c);
    for (auto [rows, cols] : {std::pair{1, 1}, {1, 7}, {5, 3}, {15, 17}, {33, 16}, {131, 257}})
        add_matrix_views(table, rows, cols);
    add_slices(table, {1}, 0, 0, 1);
    add_slices(table, {17}, 0, 16, 17);
    add_slices(table, {5, 13}, 0, 1, 4);
    add_slices(table, {5, 13}, 1, 12, 13);
    add_slices(table, {5, 13}, 1, 0, 13);
    add_slices(table, {3, 5, 7}, 1, 2, 5);
    add_slices(table, {3, 5, 7}, 2, 3, 5);
    add_slices(table, {131, 3, 129}, 1, 1, 2);
}

}  // namespace ggq::test
