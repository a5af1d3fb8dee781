// One table a family: a row a case, the median of its repetitions.
#pragma once

#include <benchmark/benchmark.h>

#include <string>

namespace ggq::bench {

class TableReporter final : public benchmark::BenchmarkReporter {
public:
    TableReporter(std::string family, std::string conditions)
        : family_(std::move(family)), conditions_(std::move(conditions)) {}

    bool ReportContext(const Context& context) override;
    void ReportRuns(const std::vector<Run>& runs) override;

private:
    std::string family_, conditions_;
};

}  // namespace ggq::bench
