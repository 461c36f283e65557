#!/bin/bash
# Builds the module in two folders, of the files that git knows, and compares the
# two: the same compiler makes the same file of the same sources.
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

for file in "$module_name.so" "$module_name.so.debug"; do
    sha256sum "$dir"/{one,another-name/below}/build/debian/"$file"
    cmp "$dir"/{one,another-name/below}/build/debian/"$file"
done
echo "both are the same, and so is what debuggers need"
