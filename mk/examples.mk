# SPDX-License-Identifier: MIT
#
# The programs of examples/, and the goals that show them.

.PHONY: examples demo demo-fleet play picture

EXAMPLES := $(patsubst examples/%.c,$(OUT)/examples/%,$(wildcard examples/*.c))
# Examples that need a library of others, each with its name for pkg-config. Built where that is there.
LIBRARY_EXAMPLES := curl=libcurl sqlite=sqlite3 postgres=libpq postgres_pool=libpq glib=glib-2.0 uv=libuv libevent=libevent_core \
	resolve=libcares
# pkg-config is asked only when examples are among the goals.
ifneq ($(filter all examples,$(or $(MAKECMDGOALS),all)),)
EXAMPLES += $(patsubst %,$(OUT)/examples/libraries/%,$(shell for entry in $(LIBRARY_EXAMPLES); do \
	$(PKG_CONFIG) --exists "$${entry#*=}" 2>/dev/null && echo "$${entry%%=*}"; done))
endif
examples: $(EXAMPLES)

demo: deps-demo
	@echo 'ctxring: building'
	$(SUBMAKE) -s all
	@examples/demo.sh

# Hosts of a fleet on this machine, with the engine that ctxd-fleet uses.
demo-fleet: deps-demo
	@echo 'ctxring: building'
	$(SUBMAKE) -s all
	@examples/demo_fleet.sh

# The picture of README.md: a recording of the example server, as a browser shows it.
picture: deps-demo deps-pictures
	$(SUBMAKE) -s all
	@examples/picture.sh $(OUT)/picture.html
	@python3 tests/support/check_page.py $(OUT)/picture.html examples/picture.png
	@echo 'ctxring: examples/picture.png is the picture, $(OUT)/picture.html the page'

play: deps-demo
	@echo 'ctxring: building'
	$(SUBMAKE) -s all
	@examples/play.sh

$(eval $(call objects_of,examples,-isystem /usr/share/include/llhttp))

# llhttp is not our source, and is compiled without our warnings.
$(OUT)/llhttp/%.o: /usr/share/llhttp/%.c $(COMPILE_RULES) mk/examples.mk
	@mkdir -p $(@D)
	$(CC) $(BASE_FLAGS) -I/usr/share/include/llhttp $(CFLAGS) -w -c $< -o $@

LLHTTP_OBJECTS := $(addprefix $(OUT)/llhttp/,api.o http.o llhttp.o)
$(OUT)/examples/httpd: $(LLHTTP_OBJECTS)
$(OUT)/examples/%: $(OUT)/examples/%.o $(STATIC_LIBRARY)
	$(LINK) $(filter %.o,$^) $(STATIC_LIBRARY) -luring -o $@

# Headers of other libraries are included as those of the system, which give no warnings.
module_of = $(patsubst $*=%,%,$(filter $*=%,$(LIBRARY_EXAMPLES)))
$(OUT)/examples/libraries/%.o: examples/libraries/%.c $(COMPILE_RULES) mk/examples.mk
	@mkdir -p $(@D)
	flags=$$($(PKG_CONFIG) --cflags $(module_of)) && \
		$(COMPILE) $$(echo " $$flags" | sed 's/ -I/ -isystem /g') $(CFLAGS) -c $< -o $@

$(OUT)/examples/libraries/%: $(OUT)/examples/libraries/%.o $(STATIC_LIBRARY)
	libraries=$$($(PKG_CONFIG) --libs $(module_of)) && $(LINK) $^ $$libraries -luring -o $@
