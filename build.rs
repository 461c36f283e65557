//! Tells the compiler which nginx this is, and the linker what a module is.
//!
//! nginx-sys hands what it found to the build scripts of its direct dependents
//! in `DEP_NGINX_…`.

use std::env;

/// Versions of nginx whose structures or functions differ for the module:
/// `cfg(nginx_1_23)` is set for 1.23.0 and everything newer.
const VERSIONS: &[(&str, u32)] = &[("nginx_1_23", 1_023_000)];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    nginx_cfgs();

    // nginx closes a module when a configuration goes away, and a thread of it
    // may still run then: the code has to stay.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,relro,-z,now");
}

/// Sets `ngx_feature = "…"`, `ngx_os = "…"` and those of [`VERSIONS`].
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

    let version = variable("DEP_NGINX_VERSION_NUMBER").and_then(|text| text.parse::<u32>().ok());
    for (name, since) in VERSIONS {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if version.is_some_and(|version| version >= *since) {
            println!("cargo::rustc-cfg={name}");
        }
    }
}

fn variable(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).ok()
}
