// loss.png: the loss of training, smoothed and as it was, and of validation, over the updates.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "examples/support/canvas.h"

namespace ggq {

struct LossCurves {
    std::string title;
    std::vector<Point> train;  // x: update, y: nats a token; in order of x
    std::vector<Point> validation;
};

// From the entries of a log: {"loss", "step"} and {"eval_loss", "step"}; what is not finite is left out.
LossCurves curves_of(const std::vector<nlohmann::ordered_json>& history, std::string title);

// Mean of the neighbours on both sides under a Gaussian, whose width grows with the number of points.
std::vector<Point> smoothed(const std::vector<Point>& points);

Canvas draw(const LossCurves& curves);

}  // namespace ggq
