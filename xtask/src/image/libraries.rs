//! Finds the shared libraries that a program of this machine loads.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command;

/// What glibc loads at run time for name look-ups, and `ldd` therefore does not list.
const NAME_SERVICE: [&str; 3] = ["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"];

/// The libraries of `program` and the loader; none for a static program.
pub(super) fn of(program: &Path) -> Result<Vec<PathBuf>> {
    let mut ldd = command::tool("ldd");
    let output = command::output(ldd.arg(program), command::QUICK)?;
    let listing = format!("{}{}", output.stdout, output.stderr);
    if listing.contains("not a dynamic executable") || listing.contains("statically linked") {
        return Ok(Vec::new());
    }
    if !output.status.success() {
        bail!("ldd {} failed: {}", program.display(), listing.trim());
    }
    let mut libraries =
        parse(&listing).with_context(|| format!("libraries of {}", program.display()))?;
    libraries.extend(name_service(&libraries));
    libraries.sort();
    libraries.dedup();
    Ok(libraries)
}

/// Reads `NAME => PATH (ADDRESS)` and `PATH (ADDRESS)`; the kernel's own `linux-vdso` has no path.
fn parse(listing: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in listing.lines().map(str::trim) {
        let (name, place) = line.split_once(" => ").unwrap_or((line, line));
        if place.starts_with("not found") {
            bail!("{name} is not on this machine");
        }
        let path = place.split_once(" (").map_or(place, |(path, _)| path);
        if path.starts_with('/') {
            libraries.push(PathBuf::from(path));
        }
    }
    Ok(libraries)
}

fn name_service(libraries: &[PathBuf]) -> Vec<PathBuf> {
    let libc = libraries.iter().find(|l| l.file_name().is_some_and(|name| name == "libc.so.6"));
    let Some(folder) = libc.and_then(|path| path.parent()) else {
        return Vec::new();
    };
    NAME_SERVICE.iter().map(|name| folder.join(name)).filter(|path| path.is_file()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found_and_the_kernels_page_is_not() {
        let listing = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                       \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                       \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(parse(listing).unwrap(), expected.map(PathBuf::from));
    }

    #[test]
    fn a_library_that_is_missing_is_named() {
        let error = parse("\tlibpq.so.5 => not found\n").unwrap_err();
        assert_eq!(error.to_string(), "libpq.so.5 is not on this machine");
    }

    #[test]
    fn a_program_of_this_machine_brings_libc_and_the_name_service() {
        let libraries = of(Path::new("/bin/ls")).unwrap();
        let has = |name: &str| libraries.iter().any(|path| path.ends_with(name));
        assert!(has("libc.so.6") && has("libresolv.so.2"), "{libraries:?}");
    }
}
