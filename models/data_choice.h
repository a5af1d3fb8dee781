// What training and evaluation are told of their data, and the samples that this makes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/model.h"
#include "models/text/batches.h"
#include "models/text/dataset.h"

namespace ggq {

struct DataChoice {
    std::string data;  // a file, or several with commas between
    DataFormat format = DataFormat::automatic;
    Documents documents = Documents::file;  // of plain text files
    std::optional<int64_t> limit;           // the first N samples
    std::string template_name;              // empty: by the form of the data; of conversations the model's own template
    std::string chat_template;              // a file of Jinja to take instead of it
    bool last_answer_only = false;
    std::string text_field;  // given, the data is plain text under this key
    int64_t batch_size = 4;
    int64_t max_length = 512;
    OnLong on_long = OnLong::drop;
    bool on_long_given = false;  // else documents of plain text files are split
    bool packing = true;
    bool train_on_prompt = false;
};

// A folder of data as mlx-lm has it, {train,valid,test}.{jsonl,json,csv,tsv,txt}: the file of the first part that is
// there (`parts` are names without an ending, "valid"). What is no folder is given back as it is. Throws Error for a
// folder without any of them.
std::string file_of_data(const std::string& data, const std::vector<std::string>& parts);
// The validation data: that which was named, else that of a folder of training data where nothing is split off; or
// none.
std::string validation_data(const std::string& data, const std::string& val_data, double val_split);
inline const std::vector<std::string> kTrainingParts = {"train"};
inline const std::vector<std::string> kTestParts = {"test", "valid", "validation"};

// Refuses numbers out of their range, by option.
void validate(const DataChoice& choice);

DataOptions data_options(const DataChoice& choice);

// In the order of the data, a micro-batch at a time.
BatchOptions batch_options(const DataChoice& choice);

// The samples of a file; refuses a length that the model does not have.
Dataset load_samples(const std::string& path, const DataOptions& options, const Model& model,
                     const StopAsked& stop = {});

// What a person should know of the data before it is used, a line each.
std::vector<std::string> describe(const DatasetReport& report, int64_t max_length,
                                  std::optional<int64_t> n_validation = std::nullopt);
std::vector<std::string> warnings_of(const DatasetReport& report);

}  // namespace ggq
