//! The fuzzer: feeds one of the targets, which `WEIR_FUZZ_TARGET` names, with what libFuzzer makes up.

#![no_main]

mod targets;

use std::{env, sync::LazyLock};

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = env::var("WEIR_FUZZ_TARGET").unwrap_or_default();
    let found = targets::ALL.iter().find(|(known, _)| *known == name);
    let Some((_, target)) = found else {
        let known: Vec<_> = targets::ALL.iter().map(|(name, _)| *name).collect();
        eprintln!("WEIR_FUZZ_TARGET names no target; there are: {}", known.join(", "));
        std::process::exit(2);
    };
    *target
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
