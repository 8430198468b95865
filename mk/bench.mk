# SPDX-License-Identifier: MIT
#
# The measurements of bench/.

.PHONY: benches bench bench-quick peers bench-peers bench-peers-quick

# A package of bench/goodput.sh that cannot be had is no failure: it says what it does not measure.
bench bench-quick: deps-bench
	@.ci/install-missing $(foreach entry,$(PACKAGES_GOODPUT),'$(entry)') || echo 'ctxring: what is missing is skipped'
	$(SUBMAKE) all benches
	@bench/run.sh $(if $(filter bench-quick,$@),--quick)

BENCHES := $(patsubst bench/%.c,$(OUT)/bench/%,$(wildcard bench/*.c))
benches: $(BENCHES)

$(eval $(call objects_of,bench,$(call folders,$(LIB_FOLDERS))))

# Boost.Asio beside parked operations, where it is (libboost-dev).
ASIO := $(wildcard /usr/include/boost/asio.hpp)
COMPILE_ASIO = @mkdir -p $(@D); $(CXX) -std=c++17 -D_GNU_SOURCE $(CFLAGS)
ASIO_RULES := bench/peers/asio.cc bench/peers/asio.h bench/peers/work.h $(COMPILE_RULES) mk/bench.mk
ifneq ($(ASIO),)
$(OUT)/bench/asio.o: $(ASIO_RULES)
	$(COMPILE_ASIO) -DBENCH_PARK -DBOOST_ASIO_DISABLE_IO_URING -c $< -o $@
$(OUT)/bench/park.o: BASE_FLAGS += -DHAVE_ASIO -Ibench/peers
$(OUT)/bench/park: $(OUT)/bench/asio.o
$(OUT)/bench/park: BENCH_LIBRARIES := -lstdc++
endif

$(OUT)/bench/goodput: BENCH_LIBRARIES := -lm

$(OUT)/bench/%: $(OUT)/bench/%.o $(TEST_LIBRARY)
	$(LINK) $^ -luring $(BENCH_LIBRARIES) -o $@

# ---- bench/peers: other libraries side by side, each where its package is

PEERS := ctxring liburing limit threads $(if $(ASIO),asio-epoll $(if $(wildcard $(ASIO:.hpp=)/cancellation_signal.hpp),asio-uring)) \
	$(if $(wildcard /usr/include/nsync.h),nsync) $(if $(wildcard /usr/include/glib-2.0/gio/gio.h),glib) \
	$(if $(wildcard /usr/include/uv.h),libuv) $(if $(shell command -v go),go)
peers: $(addprefix $(OUT)/bench/peers/,$(PEERS))

# A package that cannot be had is no failure: its programs are not built, and named as skipped.
bench-peers bench-peers-quick:
	@.ci/install-missing $(foreach entry,$(PACKAGES_BUILD),'$(entry)')
	@.ci/install-missing $(foreach entry,$(PACKAGES_PEERS),'$(entry)') || echo 'ctxring: what is missing is skipped'
	$(SUBMAKE) library peers
	@bench/peers/run.sh $(if $(filter bench-peers-quick,$@),--quick)

# Headers of other libraries are included as those of the system, which give no warnings.
GIO = $(shell $(PKG_CONFIG) $(1) gio-2.0 | sed 's/-I/-isystem /g')
$(OUT)/bench/peers/glib.o: BASE_FLAGS += $(call GIO,--cflags)
$(OUT)/bench/peers/glib: BENCH_LIBRARIES = $(call GIO,--libs)
$(OUT)/bench/peers/libuv: BENCH_LIBRARIES := -luv
$(OUT)/bench/peers/nsync: BENCH_LIBRARIES := -lnsync

$(OUT)/bench/peers/asio-epoll: $(ASIO_RULES)
	$(COMPILE_ASIO) -DBOOST_ASIO_DISABLE_IO_URING $< -o $@
$(OUT)/bench/peers/asio-uring: $(ASIO_RULES)
	$(COMPILE_ASIO) -DBOOST_ASIO_HAS_IO_URING -DBOOST_ASIO_DISABLE_EPOLL $< -luring -o $@
$(OUT)/bench/peers/go: bench/peers/go.go
	@mkdir -p $(@D)
	GO111MODULE=off GOPROXY=off GOFLAGS= go build -o $@ $<
