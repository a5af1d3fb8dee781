# file: ggq/restore_steps.cpp
# test: restored ahead and shared*
s/step\.after\.push_back(op_waited_for_ = last_op_);/op_waited_for_ = last_op_;/
