# SPDX-License-Identifier: MIT
#
# The measurements of bench/.

.PHONY: benches bench bench-quick

# A package of bench/goodput.sh that cannot be had is no failure: it says what it does not measure.
bench bench-quick: deps-bench
	@.ci/install-missing $(foreach entry,$(PACKAGES_GOODPUT),'$(entry)') || echo 'ctxring: what is missing is skipped'
	$(SUBMAKE) all benches
	@bench/run.sh $(if $(filter bench-quick,$@),--quick)

BENCHES := $(patsubst bench/%.c,$(OUT)/bench/%,$(wildcard bench/*.c))
benches: $(BENCHES)

$(eval $(call objects_of,bench,$(call folders,$(LIB_FOLDERS))))

# Boost.Asio beside parked operations, where it is (libboost-dev).
ifneq ($(wildcard /usr/include/boost/asio.hpp),)
$(OUT)/bench/asio.o: bench/asio.cc bench/asio.h $(COMPILE_RULES) mk/bench.mk
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -Ibench $(CFLAGS) -c $< -o $@
$(OUT)/bench/park.o: BASE_FLAGS += -DHAVE_ASIO
$(OUT)/bench/park: $(OUT)/bench/asio.o
$(OUT)/bench/park: BENCH_LIBRARIES := -lstdc++
endif

$(OUT)/bench/goodput: BENCH_LIBRARIES := -lm

$(OUT)/bench/%: $(OUT)/bench/%.o $(TEST_LIBRARY)
	$(LINK) $^ -luring $(BENCH_LIBRARIES) -o $@
