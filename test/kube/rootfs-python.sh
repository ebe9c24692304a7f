#!/usr/bin/env bash
# rootfs-python.sh DIR [REQUIREMENTS]: what this machine's python3 needs to run, as the root of a container: the interpreter, its
# standard library, the libraries they are linked with. Stands in for docker.io/library/python where no registry is.
# What a file of requirements names comes from PyPI and is in /packages.
set -euo pipefail
root=$1 requirements=${2:-}
rm -rf "$root"; mkdir -p "$root"/{bin,usr/bin,tmp,etc}
python=$(python3 -c 'import os, sys; print(os.path.realpath(sys.executable))')
library=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["stdlib"])')

copy() { mkdir -p "$root$(dirname "$1")"; cp -aL "$1" "$root$1"; }
copy "$python"
ln -s "$python" "$root/usr/bin/python3"
mkdir -p "$root$library"
tar -C "$library" -c --exclude=test --exclude=tests --exclude=site-packages --exclude=__pycache__ --exclude='config-*' \
	--exclude=idlelib --exclude=tkinter --exclude=ensurepip --exclude=lib2to3 . | tar -C "$root$library" -x
[ -z "$requirements" ] || python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --target "$root/packages" -r "$requirements"
# Shared libraries of the interpreter and of extension modules, the loader included.
{ ldd "$python"; find "$root" -name '*.so' -exec ldd {} +; } | grep -oE '/[^ ()]+\.so[^ ():]*' | sort -u | while read -r lib; do
	[ -e "$root$lib" ] || copy "$lib"
done
echo "root:x:0:0:root:/:/sbin/nologin" >"$root/etc/passwd"
