//! Tells the compiler which nginx this is and the linker what a module is, and has the C compiler
//! say where nginx's structures keep their fields.
//!
//! nginx-sys hands what it found to the build scripts of its direct dependents
//! in `DEP_NGINX_…`.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Versions of nginx whose structures or functions differ for the module:
/// `cfg(nginx_1_23)` is set for 1.23.0 and everything newer.
const VERSIONS: &[(&str, u32)] = &[("nginx_1_23", 1_023_000)];

/// The bit fields, as functions.
const FIELDS: &str = "src/nginx/fields.c";
/// The other fields that are used.
const LAYOUT: &str = "src/nginx/layout.txt";
/// nginx's functions whose signature is another one in Angie.
const ANGIE_C: &str = "src/nginx/angie.c";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={FIELDS}");
    println!("cargo::rerun-if-changed={LAYOUT}");
    nginx_cfgs();
    commit();
    let mut fields = compiler();
    fields.file(FIELDS);
    if is_angie() {
        println!("cargo::rerun-if-changed={ANGIE_C}");
        fields.file(ANGIE_C);
    }
    fields.compile("authgear_fields");
    check_layout();

    // nginx closes a module when a configuration goes away, and a thread of it
    // may still run then: the code has to stay.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,relro,-z,now");
    // nginx loads modules into one scope of symbols. A reload may load another build of this module
    // beside the old one: each must refer to its own symbols.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-Bsymbolic");
}

/// Sets `AUTHGEAR_COMMIT` for the status page: empty where the sources are in no git repository.
fn commit() {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_string())
    };
    // The sources of a release may lie in another repository.
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let is_own = git(&["rev-parse", "--show-toplevel"]).is_some_and(|top| top == root);
    // Changes with every commit and every checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| is_own);
    let commit = commit.unwrap_or_default();
    println!("cargo::rustc-env=AUTHGEAR_COMMIT={commit}");
}

/// Sets `ngx_feature = "…"`, `ngx_os = "…"`, those of [`VERSIONS`], and `angie`.
fn nginx_cfgs() {
    let feature_values = variable("DEP_NGINX_FEATURES_CHECK").unwrap_or_else(|| "any()".into());
    println!("cargo::rustc-check-cfg=cfg(ngx_feature, values({feature_values}))");
    let features = variable("DEP_NGINX_FEATURES").unwrap_or_default();
    for feature in features
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
    {
        println!("cargo::rustc-cfg=ngx_feature=\"{feature}\"");
    }

    let os_values = variable("DEP_NGINX_OS_CHECK").unwrap_or_else(|| "any()".into());
    println!("cargo::rustc-check-cfg=cfg(ngx_os, values({os_values}))");
    if let Some(os) = variable("DEP_NGINX_OS") {
        println!("cargo::rustc-cfg=ngx_os=\"{os}\"");
    }

    for (name, since) in VERSIONS {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if nginx_version() >= *since {
            println!("cargo::rustc-cfg={name}");
        }
    }

    println!("cargo::rustc-check-cfg=cfg(angie)");
    if is_angie() {
        println!("cargo::rustc-cfg=angie");
    }
}

fn is_angie() -> bool {
    includes()
        .iter()
        .any(|folder| folder.join("angie.h").exists())
}

/// The folders of nginx's headers.
fn includes() -> Vec<PathBuf> {
    let include = variable("DEP_NGINX_INCLUDE").expect("nginx-sys tells nginx's headers");
    env::split_paths(&include).collect()
}

/// nginx's version as in its header: 1023000 is 1.23.0.
fn nginx_version() -> u32 {
    let version = variable("DEP_NGINX_VERSION_NUMBER").expect("nginx-sys tells nginx's version");
    version.parse().expect("nginx's version is a number")
}

/// A C compiler for the target, with the headers and definitions that the bindings were made with.
fn compiler() -> cc::Build {
    let mut compiler = cc::Build::new();
    compiler.includes(includes());
    if is_angie() {
        // As in angie.h.
        compiler.define("angie_sign", "spare1");
    }
    for definition in variable("DEP_NGINX_CFLAGS").unwrap_or_default().split(' ') {
        if definition.starts_with("-D") {
            compiler.flag(definition);
        }
    }
    // The debugging information names no folder of this machine: `make reproducible`.
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    compiler.flag_if_supported(format!("-ffile-prefix-map={root}=."));
    if let Some(source) = variable("NGINX_SOURCE_DIR") {
        compiler.flag_if_supported(format!("-ffile-prefix-map={source}=nginx"));
    }
    // nginx's headers leave parameters unused. Debian's definitions ask for optimised code.
    compiler
        .flag_if_supported("-Wno-unused-parameter")
        .flag("-fvisibility=hidden")
        .opt_level(2);
    if variable("CARGO_CFG_SANITIZE").is_some_and(|list| list.contains("address")) {
        compiler.flag("-fsanitize=address");
    }
    if let Some(build) = variable("DEP_NGINX_BUILD_DIR") {
        let configured = Path::new(&build).join("ngx_auto_config.h");
        println!("cargo::rerun-if-changed={}", configured.display());
    }
    compiler
}

/// Writes assertions that Rust and C agree about every field of [`LAYOUT`]: they fail when the
/// module is compiled.
fn check_layout() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let layout = fs::read_to_string(LAYOUT).expect("the list of fields can be read");
    let mut places = Vec::new();
    for line in layout.lines().filter(|line| !line.starts_with('#')) {
        let Some((structure, fields)) = line.split_once(':') else {
            continue;
        };
        places.push((structure, None));
        for field in fields.split_whitespace() {
            let (field, is_there) = match (field.split_once(">="), field.split_once('<')) {
                (Some((field, since)), _) => (field, nginx_version() >= version_number(since)),
                (_, Some((field, until))) => (field, nginx_version() < version_number(until)),
                _ => (field, true),
            };
            if is_there {
                places.push((structure, Some(field)));
            }
        }
    }

    let constants = constants(&out, &places);
    assert_eq!(constants.len(), places.len(), "one constant for each place");
    let mut assertions = String::new();
    for ((structure, field), expected) in places.iter().zip(constants) {
        // bindgen renames what is a word of Rust's own.
        let (expression, what) = match field {
            Some("type") => ("offset_of!(nginx_sys::{}, type_)".to_string(), "type"),
            Some(field) => (format!("offset_of!(nginx_sys::{{}}, {field})"), *field),
            None => ("size_of::<nginx_sys::{}>()".to_string(), "its size"),
        };
        let expression = expression.replace("{}", structure);
        writeln!(
            assertions,
            "const _: () = assert!(core::mem::{expression} == {expected}, \
             \"{structure}, {what}: the bindings differ from the C compiler's {expected}\");"
        )
        .expect("a string takes all");
    }
    fs::write(out.join("layout.rs"), assertions).expect("OUT_DIR can be written");
}

/// `1.23.0` as nginx's header counts.
fn version_number(text: &str) -> u32 {
    text.split('.')
        .chain(["0", "0"])
        .take(3)
        .fold(0, |number, part| {
            number * 1000 + part.parse::<u32>().expect("a version is made of numbers")
        })
}

/// The offsets of the fields, and the sizes of the structures, as the C compiler says. It writes
/// them into its assembly, so that nothing has to be run and a cross compiler will do.
fn constants(out: &Path, places: &[(&str, Option<&str>)]) -> Vec<usize> {
    const MARK: &str = "authgear-constant";
    let mut source = String::from(
        "#include <ngx_config.h>\n#include <ngx_core.h>\n#include <ngx_event.h>\n\
         #include <ngx_http.h>\n\
         void authgear_layout(void);\nvoid authgear_layout(void)\n{\n",
    );
    for (structure, field) in places {
        let value = match field {
            Some(field) => format!("offsetof({structure}, {field})"),
            None => format!("sizeof({structure})"),
        };
        writeln!(
            source,
            "    __asm__ volatile(\"\\n.ascii \\\"{MARK} %c0\\\"\" : : \"i\" ({value}));"
        )
        .expect("a string takes all");
    }
    source.push_str("}\n");
    let (file, assembly) = (out.join("layout.c"), out.join("layout.s"));
    fs::write(&file, source).expect("OUT_DIR can be written");

    let mut command = compiler().get_compiler().to_command();
    // Link-time optimisation would leave no assembly.
    command
        .arg("-fno-lto")
        .arg("-S")
        .arg(&file)
        .arg("-o")
        .arg(&assembly);
    let status = command.status().expect("the C compiler can be run");
    assert!(status.success(), "{command:?} failed");
    let assembly = fs::read_to_string(&assembly).expect("the C compiler wrote its assembly");
    assembly
        .lines()
        .filter_map(|line| line.split_once(MARK))
        .map(|(_, value)| value.trim_matches(['"', ' ']))
        .map(|value| value.parse().expect("a constant is a number"))
        .collect()
}

fn variable(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).ok()
}
