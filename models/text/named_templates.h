// Chat templates of formats that models were taught, for folders that have none of their own.
#pragma once

#include <string>
#include <vector>

namespace ggq {

// Jinja. Throws Error for a name that is not known, with those that are.
const std::string& named_template(const std::string& name);
const std::vector<std::string>& named_template_names();

}  // namespace ggq
