// The folder that a run writes into: made, locked against a second run, and proved to be writable.
#pragma once

#include <filesystem>
#include <vector>

namespace ggq {

class OutputFolder {
public:
    // Refuses a file, a folder in which another process has an OutputFolder, one that is not writable, and one with
    // content unless `overwrite`, which keeps the content. A run that fails before it has written anything leaves
    // nothing: the folders made for it go again with this object if they are still empty.
    OutputFolder(const std::filesystem::path& path, bool overwrite);
    OutputFolder(const OutputFolder&) = delete;
    OutputFolder& operator=(const OutputFolder&) = delete;

private:
    // Held on the folder itself, so that it leaves no file and ends with the process, however that ends.
    class Lock {
    public:
        Lock() = default;
        Lock(const Lock&) = delete;
        Lock& operator=(const Lock&) = delete;
        ~Lock();
        // gone: the folder was removed meanwhile, by the process that had the lock.
        enum class Outcome { taken, busy, gone };
        Outcome take(const std::filesystem::path& folder);

    private:
        void release();
        int descriptor_ = -1;
    };

    // An object of its own, so that a constructor that fails halfway cleans up too.
    struct Made {
        std::vector<std::filesystem::path> folders;  // the innermost first
        ~Made();
    };

    Lock lock_;  // let go after the folders that were made are gone
    Made made_;
};

}  // namespace ggq
