# Each target is a command of ./run, which does the same where make is missing.
COMMANDS := help run test check fix bench bench-full torture setup lock clean

.DEFAULT_GOAL := help
.PHONY: $(COMMANDS)
$(COMMANDS):
	@./run $@
