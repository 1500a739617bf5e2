# Where this checkout is, and its environment .venv: read by all scripts.

CHECKOUT=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

prepare_environment() {  # makes .venv once and sets PYTHON; installs again only where pyproject.toml has changed
    local installed=$CHECKOUT/.venv/installed-from wanted base
    PYTHON=$CHECKOUT/.venv/bin/python
    wanted=$(cksum < "$CHECKOUT/pyproject.toml")
    if [ -x "$PYTHON" ] && [ "$(cat "$installed" 2>/dev/null)" = "$wanted" ]; then return; fi
    if [ ! -x "$PYTHON" ]; then
        base=$(recent_python)
        echo "Making the environment .venv with $("$base" --version)"
        "$base" -m venv "$CHECKOUT/.venv" || die "$base makes no environment; install its venv (Debian: python3-venv)"
    fi
    echo "Installing into .venv, once (PyTorch is a large download)"
    "$PYTHON" -m pip install --disable-pip-version-check -e "${CHECKOUT}[test]"
    echo "$wanted" > "$installed"
}

recent_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if "$name" -c "import sys; sys.exit(sys.version_info < (3, 10))" 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    die "no Python 3.10 or newer on the path; install one and run this again"
}

absolute() {  # PATH, which is relative to the folder the script was started in
    case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac
}

die() {
    echo "error: $*" >&2
    exit 2
}
