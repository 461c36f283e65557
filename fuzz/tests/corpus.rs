//! Runs each target over its corpus.

use std::fs;
use std::path::Path;

macro_rules! targets {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            replay(stringify!($name), authgear_fuzz::$name::run);
        }
    )*

        #[test]
        fn no_target_is_left_out() {
            let mut built: Vec<_> = fs::read_dir(root("fuzz_targets")).unwrap().map(|file| {
                file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_string()
            }).collect();
            built.sort();
            assert_eq!(built, [$(stringify!($name)),*]);
        }
    };
}

targets! {
    claims cookies counters discovery journal json judgements jwks login origin record resolver revocations signature
    stream token webhook
}

fn root(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn replay(name: &str, run: fn(&[u8])) {
    let mut files = 0;
    for file in fs::read_dir(root("corpus").join(name)).unwrap() {
        let path = file.unwrap().path();
        let data = fs::read(&path).unwrap();
        // Named, should it fail.
        println!("{}", path.display());
        run(&data);
        files += 1;
    }
    assert!(files > 0, "{name} has no corpus");
}
