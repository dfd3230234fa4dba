# Everything a person does with a checkout.  `make demo` and `make test` set up .venv themselves.
PYTHON ?= python3
VENV ?= .venv
ROS_DISTRO_WHEELS ?= jazzy
OTHER_DISTRO ?= kilted
TORCH_CONSTRAINTS ?= requirements/torch-cpu.txt
BAG ?=
JOBS ?= 2
PIP = $(VENV)/bin/pip install -q --disable-pip-version-check

.PHONY: setup native demo test test-slow test-distributions bench lint clean
setup: $(VENV)/.built

# Dependencies: ROS 2, its build tools and torch, all from wheels.
$(VENV)/.deps: $(wildcard requirements/*.txt)
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "installing ROS 2 $(ROS_DISTRO_WHEELS) and torch into $(VENV) (some minutes the first time)"
	$(PIP) -r requirements/ros-$(ROS_DISTRO_WHEELS).txt -r requirements/ros-$(ROS_DISTRO_WHEELS)-build.txt \
	  -r requirements/runtime.txt -r requirements/test.txt -c $(TORCH_CONSTRAINTS)
	touch $@

# Our messages, the native kernels and the package itself, in place.
$(VENV)/.built: $(VENV)/.deps setup.py pyproject.toml CMakeLists.txt package.xml $(wildcard msg/* srv/* scripts/* cmake/*.cmake) \
  $(shell find pypose_core/csrc cmake/interfaces -type f)
	@echo "building messages and native kernels"
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PIP) --no-build-isolation --no-deps -e .
	touch $@

# Only the native kernels, incrementally: for work in pypose_core/csrc.
native: $(VENV)/.deps
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake -S pypose_core/csrc -B build/native -G Ninja \
	  -DPython3_EXECUTABLE=$(CURDIR)/$(VENV)/bin/python >/dev/null
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake --build build/native
	rm -f pypose_core/_native.so && cp build/native/_native.so pypose_core/

demo: setup
	$(VENV)/bin/pypose-ros demo $(BAG)

# With the lines that the tests reach, in their own and in other processes, at the end.
test: setup
	rm -f build/coverage build/coverage.*
	$(VENV)/bin/coverage run -m pytest test -m "not slow" -n $(JOBS) --dist worksteal
	$(VENV)/bin/coverage combine -q
	$(VENV)/bin/coverage report --skip-covered

# A second checkout with the other distribution's wheels, and nodes of both that work together.
test-distributions: setup
	test -d build/$(OTHER_DISTRO) || git clone -q . build/$(OTHER_DISTRO)
	$(MAKE) -C build/$(OTHER_DISTRO) setup ROS_DISTRO_WHEELS=$(OTHER_DISTRO)
	PYPOSE_PEER_CHECKOUT=build/$(OTHER_DISTRO) $(VENV)/bin/python -m pytest test/test_node_distributions.py

test-slow: setup
	$(VENV)/bin/python -m pytest test -m slow

bench: setup
	$(PIP) --no-deps -r requirements/bench.txt   # gtsam asks for a pytest newer than ours, and for nothing else
	$(VENV)/bin/python -m benchmarks

# The site in build/site: pages, tutorials, API, examples.
docs: setup
	$(PIP) -r requirements/docs.txt
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build -q
	@echo "wrote build/site/index.html; its search wants a server: $(PYTHON) -m http.server -d build/site"

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

clean:
	rm -rf build results *.egg-info pypose_ros/msg pypose_ros/srv pypose_ros/*.so pypose_core/*.so
