//! Replays what the fuzzer starts from and what it once found: a test of the sidecar, without a fuzzer.

mod targets;

use std::{fs, panic, path::Path};

#[test]
fn no_seed_breaks_a_law() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    for (name, target) in targets::ALL {
        let files =
            fs::read_dir(seeds.join(name)).unwrap_or_else(|_| panic!("{name} has no seeds"));
        let mut count = 0;
        for file in files {
            let path = file.unwrap().path();
            let input = fs::read(&path).unwrap();
            let done = panic::catch_unwind(|| target(&input));
            assert!(done.is_ok(), "{} breaks a law", path.display());
            count += 1;
        }
        assert!(count > 0, "{name} has no seeds");
    }
}

#[test]
fn a_folder_of_seeds_has_a_target() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    for folder in fs::read_dir(seeds).unwrap() {
        let name = folder.unwrap().file_name();
        assert!(targets::ALL.iter().any(|(known, _)| name == *known), "{}", name.display());
    }
}
