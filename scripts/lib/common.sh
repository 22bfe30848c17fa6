# What the scripts share: where the package is, timed phases, system libraries, and the Python environment of the tests.
#
# Source it after `set -euo pipefail`. Nothing here changes the machine unless a library is missing; then it says what
# it installs before it does. Everything else that the scripts make lies under .build.

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
cd -- "$ROOT"

say() { printf '\n==> %s\n' "$*"; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# ---- phases ----------------------------------------------------------------------------------------------------------

PHASE_NAMES=()
PHASE_RESULTS=()

# phase NAME COMMAND...: runs the command, prints how long it took, and remembers whether it failed.
#
# A later phase is often worth running when an earlier one failed, so a failure does not end the script;
# `finish` does, with a failing status.
phase() {
  local name=$1 start=$SECONDS status=0
  shift
  say "$name"
  # In a subshell of its own, so that `set -e` holds inside functions: a status that is tested would switch it off.
  set +e
  (
    set -e
    "$@"
  )
  status=$?
  set -e
  PHASE_NAMES+=("$name")
  if [ "$status" -eq 0 ]; then
    PHASE_RESULTS+=("ok in $((SECONDS - start)) s")
  else
    PHASE_RESULTS+=("FAILED with status $status after $((SECONDS - start)) s")
  fi
  return 0
}

# phase_failed: whether any phase failed so far.
phase_failed() {
  local result
  for result in "${PHASE_RESULTS[@]}"; do
    case $result in FAILED*) return 0 ;; esac
  done
  return 1
}

# finish: prints what every phase came to, and ends the script: with status 0 only when none failed.
finish() {
  local index
  say "$(basename -- "$0"): summary"
  for index in "${!PHASE_NAMES[@]}"; do
    printf '%-44s %s\n' "${PHASE_NAMES[$index]}" "${PHASE_RESULTS[$index]}"
  done
  phase_failed && exit 1
  exit 0
}

# ---- system libraries ------------------------------------------------------------------------------------------------

# Runs a command as root: directly, or through sudo where there is one.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "this needs root, and there is no sudo: $*"
  fi
}

# need_packages PACKAGE...: installs the Debian packages that are missing. Offline it does nothing as long as all are there.
need_packages() {
  local package missing=()
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "This is no Debian system, so these are taken to be installed under their names here: $*"
    return 0
  fi
  for package in "$@"; do
    # Whole words: `dpkg-query` knows packages too that are removed but configured.
    if ! dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$'; then
      missing+=("$package")
    fi
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  echo "Installing from Debian, because they are missing: ${missing[*]}"
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends --quiet)
  if ! as_root "${install[@]}" "${missing[@]}" >/dev/null 2>&1; then
    # Most often the package lists are absent or old, as in a fresh container.
    as_root apt-get update --quiet >/dev/null || echo "warning: apt-get update failed" >&2
    as_root "${install[@]}" "${missing[@]}" || fail "could not install ${missing[*]}; install them by hand"
  fi
}

# The toolchain and the libraries that building needs.
need_build_tools() {
  command -v swift >/dev/null || fail "there is no swift on the PATH; install Swift 6.2 or later from swift.org/install"
  local version
  version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
  case $version in
    6.[01] | [0-5].*) fail "this is Swift $version; Graft needs 6.2 or later" ;;
  esac
  need_packages liburing-dev libzstd-dev libblosc-dev
}

# ---- Python ----------------------------------------------------------------------------------------------------------

# What the Python environment holds: the tests' own needs, and the real Orbax that they compare with.
PYTHON_REQUIREMENTS=(scripts/requirements.txt Tests/Interop/orbax/requirements.txt)

# need_python: makes the environment of PYTHON_REQUIREMENTS once, and sets PYTHON_ENV to its interpreter.
#
# Its name holds a digest of the requirements and of the interpreter, so that a change of either makes a new one and
# several worktrees or branches never share a half-fitting one.
need_python() {
  local interpreter=${PYTHON:-python3} digest folder
  need_packages python3 python3-venv
  command -v "$interpreter" >/dev/null || fail "there is no $interpreter on the PATH; install it or set PYTHON"
  "$interpreter" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$interpreter is older than 3.11, which the pinned packages need; set PYTHON to a newer one"
  digest=$({
    cat "${PYTHON_REQUIREMENTS[@]}"
    "$interpreter" -c 'import sys; print(sys.version, sys.prefix)'
  } | sha256sum | cut -c 1-12)
  folder=.build/python-$digest
  PYTHON_ENV=$ROOT/$folder/bin/python
  if [ ! -e "$folder/complete" ]; then
    echo "Making the Python environment $folder from ${PYTHON_REQUIREMENTS[*]}"
    mkdir -p .build
    rm -rf -- "$folder"
    "$interpreter" -m venv "$folder"
    # Every package is pinned, those that others need too, so none may bring in more.
    "$PYTHON_ENV" -m pip install --quiet --no-deps --disable-pip-version-check "${PYTHON_REQUIREMENTS[@]/#/--requirement=}" ||
      fail "could not install ${PYTHON_REQUIREMENTS[*]}; is there a connection to the package index?"
    touch "$folder/complete"
  fi
}
