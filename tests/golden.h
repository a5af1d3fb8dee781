// The golden fixtures: which folders are of which kind, and their batches as ggq lays them out. A folder is known by
// its files, never by its name.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ggq/io/safetensors.h"
#include "models/model.h"
#include "models/text/batches.h"

namespace ggq::test {

// Folders under golden/ that hold all of `files`. None is counted as skipped.
std::vector<std::filesystem::path> golden_folders(const std::vector<std::string>& files);

// A model folder whose tokenizer is not there.
Model open_bare(const std::filesystem::path& folder);

nlohmann::json read_json(const std::filesystem::path& path);

// Rows of ids [B,L], labels [B,L] and mask [B,L] (i64, right-padded), laid end to end without the padding.
MicroBatch lay_out(const FileTensor& ids, const FileTensor& labels, const FileTensor& mask);

// Steps and micro-batches of a training fixture: update s is updates[s % size].
std::vector<Update> golden_updates(const std::filesystem::path& folder);

// The batch of a forward fixture, and the logits of its real tokens in that order.
MicroBatch forward_batch(const std::filesystem::path& folder);
std::vector<double> expected_logits(const std::filesystem::path& folder);

// [T,V] of a model that is held in this form.
std::vector<double> logits_of(const Model& model, const MicroBatch& batch, Backend& backend,
                              const WeightChoice& choice = {});

std::vector<double> to_doubles(const FileTensor& t);
std::vector<double> to_doubles(const std::vector<float>& values);

// || a - b || / || b ||
double relative_l2(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace ggq::test
