# SPDX-License-Identifier: MIT
#
# Packages (Debian's names), each with what shows that it is there: a command, a header or a file. Alternatives are separated
# by "|". Goals that need packages depend on deps-PURPOSE; .ci/install-missing does the work.

PACKAGES_BUILD := gcc=gcc libc6-dev=stdio.h pkg-config=pkg-config binutils=objcopy liburing-dev=liburing.h \
	node-llhttp=/usr/share/llhttp/llhttp.c libjansson-dev=jansson.h libelf-dev=libelf.h libncurses-dev=curses.h \
	libssl-dev=openssl/evp.h libhiredis-dev=hiredis/hiredis.h libdw-dev=elfutils/libdwfl.h \
	libmicrohttpd-dev=microhttpd.h
PACKAGES_DEMO := $(PACKAGES_BUILD) curl=curl redis-server=redis-server redis-sentinel=redis-sentinel \
	iproute2=/usr/*bin/ip
PACKAGES_CHECK := $(PACKAGES_DEMO) check=check.h clang=clang \
	libclang-rt-14-dev|libclang-rt-dev=/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.asan-*.a \
	g++=g++ strace=strace procps=pgrep libseccomp-dev=seccomp.h mandoc=mandoc \
	libcurl4-openssl-dev|libcurl4-gnutls-dev=curl/curl.h libsqlite3-dev=sqlite3.h libpq-dev=postgresql/libpq-fe.h \
	libglib2.0-dev=glib-2.0/glib.h libuv1-dev=uv.h libevent-dev=event2/event.h libc-ares-dev=ares.h \
	stunnel4=stunnel4 openssl=openssl tmux=tmux zsh=zsh python3-jsonschema=/usr/lib/python3/dist-packages/jsonschema/__init__.py \
	systemtap-sdt-dev=sys/sdt.h bpftrace=bpftrace \
	python3-prometheus-client=/usr/lib/python3/dist-packages/prometheus_client/openmetrics/parser.py
# The compiler of tests/build_cross.sh, and what runs its programs. Without them the test says why it does not run.
PACKAGES_CROSS := gcc-aarch64-linux-gnu=aarch64-linux-gnu-gcc libc6-dev-arm64-cross=/usr/aarch64-linux-gnu/include/stdio.h \
	qemu-user=qemu-aarch64
# Virtual machines with other kernels; without them their tests say why they do not run.
PACKAGES_KERNELS := qemu-system-x86=qemu-system-x86_64 cpio=cpio iproute2=ip
# Debian 12 has two versions of Boost. The newer one, which replaces the other, can cancel a single operation.
PACKAGE_BOOST := libboost1.81-dev|libboost-dev
PACKAGES_BENCH := $(PACKAGES_DEMO) wrk=wrk nginx-light|nginx=/usr/sbin/nginx golang-go=go \
	$(PACKAGE_BOOST)=/usr/include/boost/asio.hpp g++=g++
# Other libraries beside ours, make bench-peers. Each is optional.
PACKAGES_PEERS := golang-go=go g++=g++ $(PACKAGE_BOOST)=/usr/include/boost/asio/cancellation_signal.hpp \
	libglib2.0-dev=/usr/include/glib-2.0/gio/gio.h libuv1-dev=uv.h libnsync-dev=nsync.h gnuplot-nox|gnuplot=gnuplot
# What bench/goodput.sh compares with, and draws with. Each is optional.
PACKAGES_GOODPUT := libpq-dev=postgresql/libpq-fe.h postgresql=/usr/lib/postgresql/*/bin/postgres gnuplot-nox|gnuplot=gnuplot \
	golang-github-lib-pq-dev=/usr/share/gocode/src/github.com/lib/pq/conn.go
# A browser without a window, for the test of the page of ctxtool record, and for its picture, with the letters of that. Optional.
PACKAGES_PICTURES := chromium-headless-shell|chromium=/usr/bin/chromium* python3=python3 fonts-inter=/usr/share/fonts/*/inter/*
PACKAGES_TIDY := $(PACKAGES_CHECK) clang-tidy=clang-tidy cppcheck=cppcheck clang-format=clang-format

.PHONY: deps deps-demo deps-check deps-cross deps-kernels deps-bench deps-pictures deps-tidy

deps: deps-check
deps-demo deps-check deps-cross deps-kernels deps-bench deps-pictures deps-tidy: deps-%:
	@.ci/install-missing $(foreach entry,$(PACKAGES_$(shell echo $* | tr a-z A-Z)),'$(entry)')
