# SPDX-License-Identifier: GPL-2.0
# Entry points; 'make help' lists them. The work is done by scripts/.

# Handed to the scripts when given on the command line or in the environment.
export ARCH PAGES LINUX KERNEL TESTS PATCH BUILD V PATIENCE PART FLAVOUR CONFIG FRESH MUTANTS
# The kernel's own makefiles take an empty one for an answer.
ifeq ($(ARCH),)
unexport ARCH
endif

# The scripts run make themselves, with as many jobs as there are CPUs.
.NOTPARALLEL:
unexport MAKEFLAGS MFLAGS MAKEOVERRIDES

.PHONY: help run check check-bases check-docs check-upstream check-series check-off check-options
.PHONY: series refresh restage discard lint bench check-mutants
.PHONY: kernel stock debug off selftests source tree deps deb check-deb clean distclean

help:
	@echo 'make run            build, boot in QEMU and take the tour'
	@echo 'make check          build, boot and run the tests (KERNEL=debug, TESTS="NAME ...")'
	@echo
	@echo 'make kernel         the patched kernel (build/linux/o-patched)'
	@echo 'make stock          the same base and configuration without the series'
	@echo 'make debug          the patched kernel with KASAN, lockdep and friends'
	@echo 'make off            the patched kernel with the option off'
	@echo 'make selftests      the tests and the tour (build/selftests)'
	@echo '                    These five, check and run for another machine: ARCH=arm64 (PAGES=64k, or 16k,'
	@echo '                    not tested yet); guests of another architecture run Debian from build/root-ARCH'
	@echo
	@echo 'make deb            Debian packages of kernel, headers and devmem(1), in build/deb; FLAVOUR=amd64'
	@echo '                    (default) or cloud-amd64, CONFIG=running or CONFIG=/path: the configuration'
	@echo 'make check-deb      the packages of cloud-amd64, installed in a Debian that QEMU boots with'
	@echo '                    systemd, tried there, and removed (an hour or two, most of it the build)'
	@echo
	@echo 'make refresh        carry edits in build/linux back into the repository (PATCH=NAME)'
	@echo 'make restage        after edits in the repository of a file to which later mails add'
	@echo 'make discard        drop edits in build/linux'
	@echo 'make series         the mails, in build/series, of each part of the series (V=2 for version 2)'
	@echo 'make check-series   prove that the mails apply and give build/linux, and run checkpatch'
	@echo '                    (BUILD=1: compile after each, option on and off; takes long)'
	@echo '                    PART=core: the first part alone; check PART=core boots and tests it'
	@echo 'make check-bases    prove that they apply to every kernel source that apt serves, and compile'
	@echo '                    on the oldest and the newest (BUILD=0: apply only, as in CI)'
	@echo 'make check-off      prove that with the option off every object has the same machine code'
	@echo '                    (TOUCHED=1: of those in folders that the series touches)'
	@echo 'make check-options  prove that our objects compile with each option off that they touch'
	@echo '                    (OFF="NAME ..." for some; 10 minutes)'
	@echo 'make check-docs     build our documentation pages, and fail on any warning about them'
	@echo 'make check-upstream run the kernel'"'"'s own mm tests on stock and patched, print what differs'
	@echo '                    (about 20 minutes; TESTS="NAME ...", PATIENCE=N on a slow machine)'
	@echo 'make bench          what the series costs: stock and patched side by side (FULL=1: all of it;'
	@echo '                    STRICT=1: fail on a missed goal; TESTS="ROW ...")'
	@echo 'make check-mutants  break the kernel on purpose, a hundred times, and see that tests notice'
	@echo '                    (takes hours, goes on where it was; MUTANTS="NAME ...", TESTS="NAME ...")'
	@echo 'make lint           shellcheck, kernel-doc, sparse, W=1'
	@echo
	@echo 'make clean          remove kernels and tests built so far, keep the sources and roots'
	@echo 'make distclean      remove all of build/ (refuses to lose edits in build/linux)'
	@echo
	@echo 'LINUX=/path/to/tree takes a 6.12.y tree of your own as the base (never changed;'
	@echo 'remembered until LINUX=debian). Any command in a kernel: scripts/vm --help'

deps:
	@scripts/deps

source: deps
	@scripts/fetch

tree: source
	@scripts/tree apply

kernel: deps
	@scripts/build patched

stock debug off selftests: deps
	@scripts/build $@

deb:
	@scripts/deps deb
	@scripts/deb

check-deb:
	@scripts/deps check-deb
	@scripts/check-deb

run:
	@scripts/run

check:
	@scripts/check

check-upstream:
	@scripts/check-upstream

bench:
	@scripts/bench $(if $(filter-out 0,$(FULL)),--full) $(if $(filter-out 0,$(STRICT)),--strict)

check-mutants:
	@scripts/check-mutants

series: deps
	@scripts/series make

check-series: deps
	@scripts/series check

check-bases: deps
	@scripts/check-bases

# All objects of the kernel; with TOUCHED=1 those in folders that the series
# touches, for which there is time in .ci/run. And with the option on, no function
# of the fast paths may have got a call more. SLOW are set_mempolicy()'s own.
FAST_PATHS = mm/page_alloc.o mm/memory.o mm/mempolicy.o mm/huge_memory.o mm/swap.o mm/rmap.o
SLOW = mpol_relative_nodemask
TOUCHED_ONLY = $(filter-out 0,$(TOUCHED))
check-off: deps
	@scripts/build $(if $(TOUCHED_ONLY),--touched) stock off
	@scripts/build patched
	@scripts/lib/compare-objects $$(scripts/build outputs stock off) \
		$(if $(TOUCHED_ONLY),$$(scripts/build folders))
	@scripts/lib/compare-objects --inlined $(SLOW) $$(scripts/build outputs stock patched) $(FAST_PATHS)

# Each compiles our own objects once, with an option off: not all of the kernel.
check-options: deps
	@scripts/check-options $(OFF)

refresh:
	@scripts/tree refresh

restage:
	@scripts/tree restage

discard:
	@scripts/tree discard

lint:
	@scripts/lint

check-docs:
	@scripts/check-docs

clean:
	rm -rf build/stock/o-* build/linux/o-* build/core build/mutants build/series-tree build/series build/series-check
	rm -rf build/selftests* build/upstream build/vm build/logs build/bench
	rm -rf build/deb build/check-deb

distclean:
	@edits=$$(scripts/tree edits) && if [ -n "$$edits" ]; then \
		echo "edits in build/linux that are nowhere else:"; echo "$$edits"; \
		echo "run 'make refresh' or 'make discard' first"; exit 1; fi
	rm -rf build
