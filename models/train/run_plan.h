// What a training run would take, without its data, and without weights or a GPU where only their names are given.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/train/options.h"
#include "models/train/training_model.h"

namespace ggq {

struct PlanRequest {
    TrainOptions train;  // of its data only batch_size and max_length count, of its model the configuration
    std::string shape;   // of models/shapes.h, instead of a model folder
    std::string gpu;     // of ggq/gpu_table.h, instead of a device that is there
};

struct RunPlan {
    // Throws Error for what does not fit together. What does not fit into memory is planned all the same, as lean as
    // can be: on_device->set.fits() says so.
    explicit RunPlan(const PlanRequest& request);

    TrainOptions options;
    std::shared_ptr<Backend> backend;
    Model model;
    std::unique_ptr<TrainingModel> on_device;

    // What is missing, and which smaller settings would do; nothing if it fits.
    std::string advice(const PlanRequest& request) const;

    std::string json() const;

private:
    RunPlan(const PlanRequest& request, std::shared_ptr<Backend> device);
};

}  // namespace ggq
