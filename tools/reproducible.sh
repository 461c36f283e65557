#!/bin/bash
# Builds the module in two folders, of the files that git knows, and compares the
# two: the same compiler makes the same code of the same sources.
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
cd "$root"

dir=$root/build/reproducible
rm -rf "$dir"
for folder in "$dir/one" "$dir/another-name/below"; do
    mkdir -p "$folder"
    git ls-files -z --cached --others --exclude-standard | tar --null --files-from - -c | tar -x -C "$folder"
    # Where it is built, all is built.
    env -u CARGO_TARGET_DIR "$folder/tools/build-nginx.sh" debian
    env -u CARGO_TARGET_DIR "$folder/tools/build-module.sh" debian
done

# The build id is a hash of the debugging symbols too, which name the folder in
# which C was compiled.
for folder in "$dir/one" "$dir/another-name/below"; do
    objcopy -R .note.gnu.build-id -R .gnu_debuglink "$folder/build/debian/$module_name.so" "$folder/compared.so"
done
sha256sum "$dir"/{one,another-name/below}/compared.so
cmp "$dir"/{one,another-name/below}/compared.so
echo "both are the same, but for the build id"
