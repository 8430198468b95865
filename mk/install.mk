# SPDX-License-Identifier: MIT
#
# Installation below $(DESTDIR)$(PREFIX), and what takes it away again.

.PHONY: install install-strip uninstall

INSTALL ?= install
MAN_PAGES := $(wildcard man/*.1 man/*.3 man/*.5 man/*.7 man/*.8)
INSTALLED_HEADERS := include/ctxring.h include/ctxring.hpp
# FILE=PLACE for each of the files beside the programs; the places are below PREFIX.
INSTALLED_DATA := tools/completion/ctxtool.bash=share/bash-completion/completions/ctxtool \
	tools/completion/_ctxtool=share/zsh/site-functions/_ctxtool \
	tools/completion/ctxd.bash=share/bash-completion/completions/ctxd \
	tools/completion/ctxd.bash=share/bash-completion/completions/ctxd-fleet \
	tools/completion/_ctxd=share/zsh/site-functions/_ctxd \
	$(foreach schema,$(wildcard share/ctxring/schemas/*.json),$(schema)=$(schema)) \
	daemon/systemd/ctxd.service=lib/systemd/system/ctxd.service \
	daemon/systemd/ctxd-fleet.service=lib/systemd/system/ctxd-fleet.service \
	daemon/systemd/ctxd.socket=lib/systemd/system/ctxd.socket \
	daemon/systemd/ctxd-user.service=lib/systemd/user/ctxd.service \
	daemon/systemd/ctxd.sysusers=lib/sysusers.d/ctxd.conf \
	daemon/systemd/ctxd.tmpfiles=lib/tmpfiles.d/ctxd.conf

# ALIAS=PAGE for each function that a page describes beside the one that it is called after, from the pages' NAME lines:
# man(1) finds these only where mandb(8) has run, so each gets a page that leads to that one.
ALIAS_PAGES = $(shell awk 'FNR == 1 { page = FILENAME; gsub(/.*\/|\.3$$/, "", page); inside = 0 } \
	/^\.SH/ { inside = $$2 == "NAME"; next } \
	inside { end = index($$0, "\\-"); count = split(end ? substr($$0, 1, end - 1) : $$0, names, /[ ,]+/); \
		for (i = 1; i <= count; i++) if (names[i] != "" && names[i] != page) print names[i] "=" page; \
		if (end) inside = 0 }' $(filter %.3,$(MAN_PAGES)))
LDCONFIG ?= PATH=$$PATH:/usr/sbin:/sbin ldconfig

# The loader finds a library in a new place, such as /usr/local/lib, after ldconfig(8) has run. With DESTDIR, for a package, it is
# not run; whoever installs without being root is told to have it run.
# A ctxd without libsystemd never says that it is ready, so its unit must not wait for that. Whether it has libsystemd is read
# from the program.
install: library tools
	$(INSTALL) -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(PREFIX)/bin
	$(INSTALL) -m 644 $(INSTALLED_HEADERS) $(DESTDIR)$(PREFIX)/include
	$(INSTALL) -m 755 $(STRIP_OPTION) $(OUT)/$(SHARED) $(DESTDIR)$(LIBDIR)
	ln -sf $(SHARED) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libctxring.so
	$(INSTALL) -m 644 $(STATIC_LIBRARY) $(DESTDIR)$(LIBDIR)
	$(PC_FILE) >$(DESTDIR)$(LIBDIR)/pkgconfig/ctxring.pc
	$(INSTALL) -m 755 $(STRIP_OPTION) $(TOOLS) $(DESTDIR)$(PREFIX)/bin
	set -e; type=simple; if $(READELF) -d $(OUT)/ctxd | grep -q 'NEEDED.*libsystemd'; then type=notify; fi; \
	for pair in $(INSTALLED_DATA); do \
		to=$(DESTDIR)$(PREFIX)/$${pair#*=}; \
		$(INSTALL) -d $${to%/*}; \
		sed -e 's|@BINDIR@|$(PREFIX)/bin|' -e "s|^Type=notify|Type=$$type|" $${pair%%=*} >$$to; chmod 644 $$to; \
	done
	set -e; for page in $(MAN_PAGES); do \
		dir=$(DESTDIR)$(MANDIR)/man$${page##*.}; \
		$(INSTALL) -d $$dir; $(INSTALL) -m 644 $$page $$dir; \
	done
	set -e; cd $(DESTDIR)$(MANDIR)/man3; for pair in $(ALIAS_PAGES); do \
		echo ".so man3/$${pair#*=}.3" >$${pair%%=*}.3; chmod 644 $${pair%%=*}.3; \
	done
	$(if $(DESTDIR),,@if [ "$$(id -u)" = 0 ] && $(LDCONFIG); then :; \
		else echo 'Programs find the library when root has run ldconfig, or by -Wl,-rpath,$(LIBDIR)'; fi)

install-strip: STRIP_OPTION := -s --strip-program=$(STRIP)
install-strip: install

uninstall:
	cd $(DESTDIR)$(PREFIX) && rm -f $(INSTALLED_HEADERS) $(addprefix bin/,$(notdir $(TOOLS))) \
		$(foreach pair,$(INSTALLED_DATA),$(lastword $(subst =, ,$(pair))))
	cd $(DESTDIR)$(LIBDIR) && rm -f $(SHARED) $(SONAME) libctxring.so libctxring.a pkgconfig/ctxring.pc
	cd $(DESTDIR)$(MANDIR) && rm -f $(foreach page,$(MAN_PAGES),man$(subst .,,$(suffix $(page)))/$(notdir $(page))) \
		$(foreach pair,$(ALIAS_PAGES),man3/$(firstword $(subst =, ,$(pair))).3)
	$(if $(DESTDIR),,-@[ "$$(id -u)" != 0 ] || $(LDCONFIG))
